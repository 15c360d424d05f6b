"""The model of an index, to embed queries."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from jaxret.errors import CheckpointError
from jaxret.index.files import Manifest
from jaxret.inference.model import Model
from jaxret.inference.pretrained_model import PRETRAINED, load_model


@contextlib.contextmanager
def hint_of_moved(manifest: Manifest) -> Iterator[None]:
    """Adds to a CheckpointError that the run of the index may have been moved, and what to do."""
    try:
        yield
    except CheckpointError as error:
        raise CheckpointError(
            f'{error}\nthe index was made with {manifest.workdir}; if that was moved, name it with --checkpoint'
        ) from error


def load_for_index(manifest: Manifest, workdir: str | Path | None = None) -> Model:
    """The model that embedded the shapes of an index, to embed queries.

    Args:
      manifest: of the index.
      workdir: of its run, or the folder of the built-in model's weights, where that was moved; None for where it was.

    Raises:
      CheckpointError: no run there, or its best checkpoint has other weights.
    """
    default = manifest.shape_inputs.representation
    if workdir:
        model = load_model(manifest.system, workdir, default=default)
    else:
        with hint_of_moved(manifest):
            model = load_model(manifest.system, manifest.workdir, default=default)
    if model.fingerprint != manifest.fingerprint and manifest.system == PRETRAINED:
        raise CheckpointError(
            f'{model.workdir}: has other weights or settings ({model.fingerprint[:12]}) than the built-in model of the '
            f'index ({manifest.fingerprint[:12]}, {manifest.workdir}); embed the models anew with '
            f'`jaxret index --rebuild`'
        )
    if model.fingerprint != manifest.fingerprint:
        raise CheckpointError(
            f'{model.workdir}: its best checkpoint, of step {model.step}, has other weights ({model.fingerprint[:12]}) '
            f'than the index ({manifest.fingerprint[:12]}, step {manifest.step} of {manifest.workdir}); name that run '
            f'with --checkpoint, or embed the models anew with `jaxret index --rebuild`'
        )
    return model
