"""The command `jaxret index`: checks what needs no model, then updates the index and adds known photos."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jaxret.cli.next_step import quoted, tell_next
from jaxret.cli.photos import add_photos, added_alone, after_photos, tell_of_fit
from jaxret.errors import ConfigError, DataError
from jaxret.index.files import check_writable, read_manifest
from jaxret.index.model_files import read_categories
from jaxret.pretrained.packaged import check_model
from jaxret.runs.config import check_run


def run_index(options: argparse.Namespace, *, before_jax: Callable[[], None]) -> int:
    """Makes or updates an index, and says what was done; returns the exit status.

    Raises:
      ConfigError: options that do not go together, or a folder that is not there.
      DataError, CheckpointError, StorageError: as `update_index`, and of --add-photos.
    """
    if options.models is not None and not Path(options.models).is_dir():
        raise ConfigError(f'--models={options.models}: no such folder')
    if options.categories is not None:
        read_categories(Path(options.categories))  # before anything slow
    if options.model is not None:
        check_model(options.model)
    if options.checkpoint is not None:
        check_run(Path(options.checkpoint))
    check_writable(Path(options.out))
    if options.add_photos is not None and added_alone(options, before_jax=before_jax):
        tell_of_fit(Path(options.out))
        after_photos(Path(options.out))
        return 0
    before_jax()
    from jaxret.index.build import update_index

    embed = None
    if options.cluster is not None:
        from jaxret.index.cluster import ClusterEmbedding

        embed = ClusterEmbedding(options.cluster)
    model = _model_to_index(options)
    done = update_index(
        options.out,
        model,
        options.models,
        up_axis=options.up_axis,
        categories=options.categories,
        parts=options.parts,
        add=options.add,
        rebuild=options.rebuild,
        processes=options.processes,
        embed=embed,
    )
    print(f'{options.out}: {done.told(Path(options.out))}')
    if options.add_photos is not None:
        add_photos(options, model)
    tell_of_fit(Path(options.out))
    tell_next(f'jaxret search --index {quoted(options.out)} QUERY', f'jaxret serve --index {quoted(options.out)}')
    return 0


def _model_to_index(options: argparse.Namespace) -> Any:
    """The `Model` that the options name, else that of the index which is there, else the default."""
    from jaxret.index.loading import hint_of_moved
    from jaxret.inference.pretrained_model import DEFAULT, PRETRAINED, load_model

    try:
        before = read_manifest(Path(options.out))
    except DataError:  # none, or a damaged one, which is named where it is updated
        before = None
    default = before.shape_inputs.representation if before else ''
    if options.checkpoint:
        system, place = '', options.checkpoint
    elif options.model or before is None:
        system, place = PRETRAINED, options.model or DEFAULT
    else:
        with hint_of_moved(before):
            return load_model(before.system, before.workdir, gallery=options.gallery, default=default)
    return load_model(system, place, gallery=options.gallery, default=default)
