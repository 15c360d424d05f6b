"""One object in the three modalities, made from a mesh or read from published files. Runs in worker processes.

Letters: V views, S size in pixels, N points, M faces after padding.
"""

import contextlib
import hashlib
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from PIL import Image

from data_pipelines.cross_modal.dataset import ObjectEntry
from jaxret.errors import DataError, Problem, refused
from jaxret.files import check_regular
from jaxret.geometry.formats import FACE_VALUES
from jaxret.geometry.mesh import load_mesh, normalize_mesh
from jaxret.geometry.mesh_features import pad_faces
from jaxret.geometry.render import ViewRing
from jaxret.preprocessing.photo_files import png_file
from jaxret.preprocessing.shapes import mesh_arrays

MAX_ARRAY_BYTES = 2**28  # of a .npz file, unpacked, or of what an HDF5 file unpacks at once: far above published ones
_AGAIN = 'download the file again'
_NAMES = (('face', 'neighbor_index'), ('faces', 'neighbors'))  # MeshNet's two generators


@dataclass(frozen=True)
class ObjectRecord:
    """What is stored of one object.

    Attributes:
      views: V PNG files, [S, S] grey each.
      points: float32 [N, 3].
      faces: float32 [M, 15], as `mesh_features` gives them.
      neighbors: int32 [M, 3].
    """

    views: list[bytes]
    points: np.ndarray
    faces: np.ndarray
    neighbors: np.ndarray


def object_from_mesh(entry: ObjectEntry, *, ring: ViewRing, points: int, max_faces: int, up_axis: str) -> ObjectRecord:
    """Renders views, draws points and computes mesh features, all in the frame of the unit sphere.

    Args:
      entry: names the mesh file; its name seeds the points.
      ring: cameras and light.
      points: N, drawn uniformly by area.
      max_faces: M; larger meshes are simplified.
      up_axis: axis that points up in the file.

    Raises:
      DataError: the mesh cannot be used.
    """
    mesh = normalize_mesh(load_mesh(entry.mesh, up_axis=up_axis), mode='sphere')
    seed = int(hashlib.sha256(entry.name.encode()).hexdigest()[:8], 16)
    arrays = mesh_arrays(
        mesh, ('views', 'faces', 'points'), path=entry.mesh, ring=ring, faces=max_faces, points=points, seed=seed
    )
    views = [png_file(view) for view in arrays['views']]
    return ObjectRecord(views, arrays['points'], arrays['faces'], arrays['neighbors'])


def object_from_files(
    entry: ObjectEntry,
    *,
    size: int,
    points: int,
    max_faces: int,
    up_axis: str,
    points_up_axis: str,
    view_ids: tuple[int, ...],
) -> ObjectRecord:
    """Reads an object of the published sets: views, a row of an HDF5 file, MeshNet's features.

    Args:
      entry: names the files.
      size: S; views of another size are resized.
      points: N, the first ones of the row.
      max_faces: M; fewer faces are padded.
      up_axis: axis that points up in the mesh features.
      points_up_axis: axis that points up in the points.
      view_ids: numbers of the views to read.

    Raises:
      DataError: with all that is wrong with its files.
    """
    problems: list[Problem] = []
    views = []
    for number in view_ids:
        path = entry.images / f'{entry.name}.{number}.png'
        try:
            views.append(_read_view(path, size))
        except Exception as error:  # Pillow lets out many types on damaged files
            reason = getattr(error, 'strerror', None) or ' '.join(str(error).split())[:200]
            problems.append(Problem(str(path), f'cannot be read as an image ({reason})', 'restore the file'))
    cloud = faces = neighbors = None
    try:
        cloud = turn_up(read_row(*entry.points, count=points), points_up_axis)
    except DataError as error:
        problems += error.problems
    try:
        faces, neighbors = read_meshnet(entry.mesh)
        if len(faces) > max_faces:
            raise refused(
                str(entry.mesh), f'{len(faces)} faces where {max_faces} are wanted', 'set --config.data.faces higher'
            )
        faces, neighbors = pad_faces(relative_corners(faces), neighbors, count=max_faces)
        faces = turn_up(faces.reshape(-1, 5, 3), up_axis).reshape(-1, FACE_VALUES)
    except DataError as error:
        problems += error.problems
    if problems:
        raise DataError(problems)
    return ObjectRecord(views, cloud, faces, neighbors)


def turn_up(vectors: np.ndarray, up_axis: str) -> np.ndarray:
    """Vectors [..., 3] turned to +y up: (x, y, z) -> (x, z, -y) where z was up."""
    if up_axis == 'y':
        return vectors
    return np.stack([vectors[..., 0], vectors[..., 2], -vectors[..., 1]], axis=-1)


def read_row(path: Path, row: int, *, count: int) -> np.ndarray:
    """The first `count` points of one row of `data` in an HDF5 file: float32 [count, 3]."""
    try:
        with open_datasets(path, ['data']) as (data,):
            if data.ndim != 3 or data.shape[1] < count or data.shape[2] != 3:
                found = f'{data.shape[1] if data.ndim > 1 else 0} points a row where {count} are wanted'
                raise refused(str(path), found, 'use files with as many')
            points = np.asarray(data[row, :count], np.float32)
    except (ValueError, TypeError) as error:
        raise refused(str(path), f'row {row} cannot be read ({error})', _AGAIN) from error
    if not np.isfinite(points).all():
        raise refused(str(path), f'row {row} has points that are not finite', 'download the file again')
    return points


@contextlib.contextmanager
def open_datasets(path: Path, keys: Sequence[str]) -> Iterator[list[h5py.Dataset]]:
    """Arrays of an HDF5 file, to be read within the `with` block. Nothing but the file itself is opened.

    Args:
      path: the file.
      keys: names of the arrays.

    Raises:
      DataError: the file is missing, damaged or not a regular file, or an array is missing, is a link, has its values
        in other files, or unpacks more than `MAX_ARRAY_BYTES` at once.
    """
    try:
        check_regular(path)  # a pipe would wait for ever
        with h5py.File(path, 'r') as file:
            for key in keys:  # seen without following it
                if key in list(file) and file.id.links.get_info(key.encode()).type != h5py.h5l.TYPE_HARD:
                    found = f'{key} is a link, which is not followed'
                    raise refused(str(path), found, 'store the numbers in the file itself')
            missing = [key for key in keys if not isinstance(file.get(key), h5py.Dataset)]
            if missing:
                found = f'no key {" and no key ".join(missing)} (it has {", ".join(sorted(file)) or "none"})'
                raise refused(str(path), found, _AGAIN)
            arrays = [file[key] for key in keys]
            for key, array in zip(keys, arrays, strict=True):
                if array.external or array.is_virtual:
                    found = f'the values of {key} lie in other files, which are not opened'
                    raise refused(str(path), found, 'store the numbers in the file itself')
                if math.prod(array.chunks or ()) * array.dtype.itemsize > MAX_ARRAY_BYTES:
                    raise refused(str(path), f'{key} has chunks {list(array.chunks)}, too large to unpack', _AGAIN)
            yield arrays
    except (OSError, KeyError, RuntimeError) as error:
        raise refused(str(path), f'not a readable HDF5 file ({error})', _AGAIN) from error


def count_faces(path: Path) -> int:
    """Faces of MeshNet's .npz file; raises DataError where `read_meshnet` would."""
    return len(read_meshnet(path)[0])


def read_meshnet(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """MeshNet's .npz file: `face` and `neighbor_index`, or `faces` and `neighbors`.

    Args:
      path: the file.

    Returns:
      float32 [F, 15] and int32 [F, 3].

    Raises:
      DataError: the file is damaged, has other keys or shapes, or holds objects (which would run code).
    """
    again = "make the file again with MeshNet's generator"
    try:
        check_regular(path)
        with path.open('rb') as stream:  # numpy leaves it open where the file is damaged
            file = np.load(stream, allow_pickle=False)
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise refused(str(path), 'not a .npz file with several arrays', again)
            if sum(info.file_size for info in file.zip.infolist()) > MAX_ARRAY_BYTES:
                raise refused(str(path), f'unpacked larger than {MAX_ARRAY_BYTES:,} bytes', again)
            names = next((pair for pair in _NAMES if set(pair) <= set(file.files)), None)
            if names is None:
                found = f'keys {", ".join(file.files) or "none"}'
                raise refused(str(path), found, f'expected {" or ".join(" and ".join(pair) for pair in _NAMES)}')
            faces, neighbors = (file[name] for name in names)
    except DataError:
        raise
    except ValueError as error:
        if 'allow_pickle' in str(error):
            found = 'an object array, which could run code when loaded; it is not read'
            raise refused(str(path), found, 'save plain arrays of numbers') from error
        raise refused(str(path), f'not a readable .npz file ({error})', again) from error
    except Exception as error:  # zipfile and zlib have several
        raise refused(str(path), f'not a readable .npz file ({type(error).__name__}: {error})', again) from error
    _check_faces(path, faces, neighbors, names, again)
    return faces.astype(np.float32), neighbors.astype(np.int32)


def relative_corners(faces: np.ndarray) -> np.ndarray:
    """MeshNet's face values [F, 15] with the corners made relative to the centre.

    They are absolute in the published files. Where they are relative already, which shows in corners that sum to 0,
    nothing changes.
    """
    centres, corners = faces[:, None, :3], faces[:, 3:12].reshape(-1, 3, 3)
    mean = corners.mean(axis=1, keepdims=True)
    if np.abs(mean - centres).sum() <= np.abs(mean).sum():
        corners = corners - centres
    return np.concatenate([faces[:, :3], corners.reshape(-1, 9), faces[:, 12:]], axis=1)


def _check_faces(path: Path, faces: np.ndarray, neighbors: np.ndarray, names: tuple[str, str], again: str) -> None:
    count = len(faces) if faces.ndim else 0
    numbers = faces.dtype.kind in 'fiu' and neighbors.dtype.kind in 'fiu'
    if not numbers or faces.shape != (count, FACE_VALUES) or neighbors.shape != (count, 3) or count == 0:
        shapes = f'{names[0]} {faces.dtype} {list(faces.shape)}, {names[1]} {neighbors.dtype} {list(neighbors.shape)}'
        raise refused(str(path), shapes, f'expected numbers [F, {FACE_VALUES}] and [F, 3]')
    if not np.isfinite(faces).all() or not np.isfinite(neighbors).all():
        raise refused(str(path), 'values that are not finite', again)
    if neighbors.min() < 0 or neighbors.max() >= count or (neighbors != np.floor(neighbors)).any():
        raise refused(str(path), f'{names[1]} outside 0 .. {count - 1}', again)


def _read_view(path: Path, size: int) -> bytes:
    """A view as a grey PNG of size x size; the file's own bytes where it is that."""
    check_regular(path)
    data = path.read_bytes()
    with Image.open(io.BytesIO(data), formats=['PNG']) as image:
        if image.width != image.height:
            raise ValueError(f'{image.width} x {image.height} pixels, not square')
        image.load()
        if image.mode == 'L' and image.width == size:
            return data
        grey = image.convert('L')
    return png_file(np.asarray(grey if grey.width == size else grey.resize((size, size), Image.Resampling.BILINEAR)))
