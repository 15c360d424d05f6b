"""Embeddings of a run on disk, and those of another run or of the initial weights, to show before and after."""

import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from jaxret.errors import ConfigError, DataError, Problem
from jaxret.files import storage_errors

FILE = 'embeddings.npz'
INITIAL = 'initial weights'  # name of the stage of the same network, before it was trained
Stage = tuple[str, np.ndarray, np.ndarray]  # name, photos [Q, D], shapes [G, D]


def store_embeddings(
    workdir: Path, photos: np.ndarray, shapes: np.ndarray, photo_names: Sequence[str], shape_names: Sequence[str]
) -> None:
    """Writes what was scored, `embeddings.npz`: photos [Q, D], shapes [G, D] and their names; no labels."""
    draft = workdir / f'{FILE}.draft'
    with storage_errors(workdir / FILE):
        with draft.open('wb') as file:
            np.savez(
                file, photos=photos, shapes=shapes, photo_names=np.array(photo_names), shape_names=np.array(shape_names)
            )
        draft.replace(workdir / FILE)


def before_stage(
    other: str, photo_names: Sequence[str], shape_names: Sequence[str], initial: Callable[[], Stage]
) -> Stage:
    """What the picture shows before adaptation: another run (source-only, say), or the initial weights.

    Args:
      other: work directory of the other run; '' for the initial weights.
      photo_names, shape_names: what this run embedded; the other run must have embedded the same.
      initial: embeds with the initial weights.

    Raises:
      DataError: the other run has no embeddings, or of other photos or shapes.
    """
    if not other:
        return initial()
    photos, shapes, names = _read(Path(other))
    if names != [list(photo_names), list(shape_names)]:
        raise DataError(
            Problem(
                str(Path(other) / FILE),
                'embeddings of other photos or shapes',
                'name a run on the same data in --config.evaluation.before',
            )
        )
    return Path(other).name, photos, shapes


def check_before(other: str, workdir: Path) -> None:
    """Refuses what `before_stage` could not use, before any long work.

    Raises:
      ConfigError: the other run is this one, whose embeddings are about to be replaced.
      DataError: it has no embeddings.
    """
    if not other:
        return
    if Path(other).resolve() == workdir.resolve():
        raise ConfigError(
            'config.evaluation.before: is the work directory of this run; name another run, or leave it '
            'empty for the initial weights'
        )
    _read(Path(other))


def _read(folder: Path) -> tuple[np.ndarray, np.ndarray, list[list[str]]]:
    """Photos [Q, D], shapes [G, D] and the names of both, as `store_embeddings` wrote them."""
    path = folder / FILE
    try:
        with path.open('rb') as file, np.load(file, allow_pickle=False) as stored:
            photos, shapes = stored['photos'], stored['shapes']
            names = [stored[key].tolist() for key in ('photo_names', 'shape_names')]
        if [photos.shape, shapes.shape] != [(len(part), photos.shape[-1]) for part in names] or not all(
            np.isfinite(part).all() for part in (photos, shapes)
        ):
            raise ValueError(f'photos {photos.shape}, shapes {shapes.shape}, {len(names[0])} and {len(names[1])} names')
    except (OSError, KeyError, ValueError, IndexError, EOFError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(
            Problem(
                str(path),
                f'no embeddings ({error})',
                'set --config.evaluation.before to the work directory of a finished run, or leave it empty',
            )
        ) from error
    return photos, shapes, names
