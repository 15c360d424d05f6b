"""Models of systems with their weights: `load` reads those of a finished run."""

import hashlib
from pathlib import Path

import jax
import numpy as np
from absl import logging

from jaxret.errors import CheckpointError
from jaxret.inference.model import Model
from jaxret.inference.trained_systems import trained_fusion, trained_system
from jaxret.platforms import check_platforms
from jaxret.runs.finished import FinishedRun, read_run
from jaxret.search.parts import Parts
from jaxret.search.references import Fusion
from jaxret.systems.base import TrainedSystem, Variables


def load(workdir: str | Path, *, gallery: str | None = None, default: str = '') -> Model:
    """The system of a finished run with the weights of its best checkpoint; no data is needed.

    Args:
      workdir: of `experiments/run.py`.
      gallery: cross-modal centers: by what a shape is searched, 'views' (default), 'faces' (the mesh) or 'points'.
      default: what takes its place where it is None, if the system leaves that choice.

    Raises:
      CheckpointError: no finished run there, or one that this version cannot read.
      ConfigError: `gallery` is none of the system's, or the environment asks JAX for devices that are not there.
    """
    check_platforms()
    before = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)  # Orbax notes what a user cannot act on
    try:
        run = read_run(workdir)
    finally:
        logging.set_verbosity(before)
    return model_of(run, gallery=gallery, default=default)


def model_of(run: FinishedRun, *, gallery: str | None = None, default: str = '') -> Model:
    """As `load`, of a run that was read."""
    try:
        parts = trained_system(run, gallery, default=default)
        batch_size = run.config.evaluation.batch_size
    except (AttributeError, KeyError) as error:  # of ConfigDict
        raise CheckpointError(
            f'{run.workdir / "config.json"}: a key is missing ({str(error).splitlines()[0]}); it was '
            f'written by another version of jaxret; train again'
        ) from error
    fusion = trained_fusion(run)
    return made_model(parts, run.variables, run.workdir, step=run.step, batch_size=batch_size, fusion=fusion)


def made_model(
    parts: TrainedSystem,
    variables: Variables,
    workdir: Path,
    *,
    step: int,
    batch_size: int,
    fusion: Fusion,
    embedding: Parts | None = None,
    also: str = '',
) -> Model:
    """A system with its variables as a `Model`.

    Args:
      parts: the system.
      variables: what its `embed` takes.
      workdir, step: see `Model`.
      batch_size: most items that are embedded at a time.
      fusion: see `Model`.
      embedding: its parts, see `Model`.
      also: what else decides embeddings, for the fingerprint.
    """
    return Model(
        system=parts.name,
        workdir=workdir,
        step=step,
        fingerprint=fingerprint(variables, also),
        similarity=parts.similarity,
        shape_inputs=parts.shape_inputs,
        projection=None if parts.projection is None else np.asarray(parts.projection(variables)),
        notes=parts.notes,
        fusion=fusion,
        parts=embedding,
        _parts=parts,
        _variables=jax.device_put(dict(variables)),
        _batch_size=batch_size,
        _compiled=jax.jit(parts.embed, static_argnums=2),
    )


def fingerprint(variables: Variables, also: str = '') -> str:
    """SHA-256 of a text and of the names, shapes, types and values of all variables."""
    digest = hashlib.sha256(also.encode())
    leaves = jax.tree_util.tree_leaves_with_path(variables)
    for path, leaf in sorted(leaves, key=lambda pair: jax.tree_util.keystr(pair[0])):
        array = np.asarray(leaf)
        digest.update(f'{jax.tree_util.keystr(path)} {array.dtype.name} {array.shape}\n'.encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
