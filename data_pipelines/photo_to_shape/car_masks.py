"""Object masks of photographed cars that have none on file: the silhouette of the CAD model in its annotated pose.

A silhouette ends up at the photo's size, after it was cast at the annotations' own width of 300 pixels. What stands in
front of a car is not cut out of it. Masks are kept in the cache under a name that hashes all they depend on.

Poses belong to ShapeNet's version 1 (models about their box's centre, its diagonal 1, length along x). The frame of
version 2 (about the mean of the vertices, the front at -z) is turned and shifted to it.
"""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from data_pipelines.file_checks import signature, source_hash
from data_pipelines.photo_to_shape.car_annotations import CarPose
from jaxret.errors import DataError, Problem
from jaxret.files import write_atomically
from jaxret.geometry import mesh, rays
from jaxret.preprocessing import photo_files as photos
from jaxret.workers import map_parallel

WIDTH = 300  # pixels to which the annotations' u, v and f refer
_FRAMES = 64  # whole-frame masks made by one job


@dataclass(frozen=True)
class MaskWish:
    """A mask to be made.

    Attributes:
      name: of the photo.
      photo: its file.
      model: mesh file, or None for a mask of the whole frame.
      pose: of the model, or None.
      where: names the annotation in messages.
    """

    name: str
    photo: Path
    model: Path | None
    pose: CarPose | None
    where: str


@dataclass(frozen=True)
class _Job:
    """Masks of one model."""

    model: Path | None
    wishes: tuple[MaskWish, ...]


def write_masks(
    wishes: Sequence[MaskWish], folder: Path, *, processes: int = 2, progress: bool = True
) -> tuple[dict[str, Path], dict[str, tuple[Problem, ...]]]:
    """Make the masks that are not in the cache yet.

    Args:
      wishes: masks to be made.
      folder: of the cache.
      processes: worker processes.
      progress: show a progress bar.

    Returns:
      mask file by the photo's name, and what is wrong with the photos that got none.

    Raises:
      StorageError: the cache cannot be written, or the disk is full.
    """
    code = source_hash(__file__)
    files = {wish.name: folder / f'{_key(wish, code)}.png' for wish in wishes}
    missing = [wish for wish in wishes if not files[wish.name].is_file()]
    groups: dict[Path | None, list[MaskWish]] = {}
    for wish in missing:
        groups.setdefault(wish.model, []).append(wish)
    jobs = []
    for model, group in groups.items():  # a mesh is loaded once
        size = len(group) if model is not None else _FRAMES
        for first in range(0, len(group), size):
            jobs.append(_Job(model, tuple(group[first : first + size])))
    wrong: dict[str, tuple[Problem, ...]] = {}
    options = {'processes': processes, 'timeout': 3600.0, 'progress': 'Making masks' if progress else None}
    for index, result in map_parallel(_make, jobs, **options):
        for wish in jobs[index].wishes:
            made = result.problems if isinstance(result, DataError) else result[wish.name]
            if isinstance(made, bytes):
                write_atomically(files[wish.name], made)
            else:
                wrong[wish.name] = made
    return {name: file for name, file in files.items() if name not in wrong}, wrong


def silhouette(scene: rays.Scene, pose: CarPose, *, width: int, height: int) -> np.ndarray:
    """Pixels of a photo on which a model is seen.

    Args:
      scene: the model, in the frame of ShapeNet's version 1 (`rays.build_scene`).
      pose: of the model.
      width: of the photo, pixels.
      height: of the photo, pixels.

    Returns:
      uint8 [height, width], 255 on the model and 0 elsewhere.
    """
    rows = max(1, round(WIDTH * height / width))
    turn = pose_rotation(pose)
    x, y = np.meshgrid(np.arange(WIDTH) + 0.5 - WIDTH / 2 - pose.u, np.arange(rows) + 0.5 - rows / 2 - pose.v)
    seen = np.stack([-x.ravel() / pose.f, -y.ravel() / pose.f, -np.ones(x.size)], axis=1)  # in the turned frame
    directions = np.ascontiguousarray(seen @ turn, np.float32)
    origin = (turn.T @ [0.0, 0.0, pose.distance]).astype(np.float32)
    hit = rays.first_hits(scene, origin, directions)[0] >= 0
    small = Image.fromarray(np.where(hit.reshape(rows, WIDTH), np.uint8(255), np.uint8(0)))
    large = np.asarray(small.resize((width, height), Image.Resampling.BILINEAR))
    return np.where(large >= 128, np.uint8(255), np.uint8(0))


def pose_rotation(pose: CarPose) -> np.ndarray:
    """R of `CarPose`, float64 [3, 3]."""
    (a, e, t), zero = (pose.azimuth, pose.elevation, pose.theta), 0.0
    about_y = np.array([[np.cos(a), zero, -np.sin(a)], [zero, 1, zero], [np.sin(a), zero, np.cos(a)]])
    about_x = np.array([[1, zero, zero], [zero, np.cos(e), -np.sin(e)], [zero, np.sin(e), np.cos(e)]])
    about_z = np.array([[np.cos(t), -np.sin(t), zero], [np.sin(t), np.cos(t), zero], [zero, zero, 1]])
    return about_z @ about_x @ about_y


def first_version(vertices: np.ndarray, path: Path) -> np.ndarray:
    """Vertices [N, 3] of a model file in the frame of ShapeNet's version 1; those of version 1 are as they are."""
    if path.name != 'model_normalized.obj':
        return vertices
    x, y, z = vertices.T
    turned = np.stack([-z, y, x], axis=1)
    low, high = turned.min(axis=0), turned.max(axis=0)
    return (turned - (low + high) / 2) / np.linalg.norm(high - low)


def _key(wish: MaskWish, code: str) -> str:
    model = (str(wish.model), signature(wish.model)) if wish.model is not None else None
    pose = dataclasses.astuple(wish.pose) if wish.pose is not None else None
    content = [str(wish.photo), signature(wish.photo), model, pose, code]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]


def _make(job: _Job) -> dict[str, bytes | tuple[Problem, ...]]:
    """PNG file of each mask of a job, or what is wrong, by the photo's name."""
    made: dict[str, bytes | tuple[Problem, ...]] = {}
    if job.model is not None:
        model = mesh.load_mesh(job.model)
        scene = rays.build_scene(first_version(model.vertices, job.model), model.faces, watertight=False)
    for wish in job.wishes:
        try:
            height, width = photos.read_photo(wish.photo).shape[:2]
        except DataError as error:
            made[wish.name] = error.problems
            continue
        if wish.pose is None:
            mask = np.full((height, width), 255, np.uint8)
        else:
            mask = silhouette(scene, wish.pose, width=width, height=height)
        if mask.any():
            made[wish.name] = photos.png_file(mask)
        else:
            found = 'in its pose nothing of the CAD model is within the photo'
            made[wish.name] = (Problem(wish.where, found, 'correct the annotation, or use on_bad_file=skip'),)
    return made
