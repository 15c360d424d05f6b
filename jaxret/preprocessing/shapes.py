"""From one model file to the arrays that a system embeds: a pure function of the file, for worker processes. No JAX.

Letters: V views, S size in pixels, N points, M faces, R voxels a side.
"""

import hashlib
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from jaxret.errors import DataError, refused
from jaxret.geometry.distance_grids import read_distances
from jaxret.geometry.formats import DISTANCE_SUFFIXES
from jaxret.geometry.grid_meshes import grid_from_mesh, mesh_from_grid
from jaxret.geometry.materials import material_files
from jaxret.geometry.measures import mesh_facts
from jaxret.geometry.mesh import Mesh, load_mesh, normalize_mesh
from jaxret.geometry.mesh_features import mesh_features
from jaxret.geometry.places import MAX_BYTES, locate, named_files
from jaxret.geometry.points import sample_surface
from jaxret.geometry.render import ViewRing, render_file, render_views
from jaxret.geometry.signatures import signature
from jaxret.geometry.simplify import simplify_mesh
from jaxret.geometry.up_axis import Guess, guess_up_axis
from jaxret.preprocessing.framing import place_view
from jaxret.preprocessing.inputs import RESOLUTION, ShapeInputs
from jaxret.preprocessing.outlines import mesh_outlines
from jaxret.preprocessing.photo_files import png_file

STORED_POINTS = 2048  # an object; training stores as many and takes some of them
# By what reports and pages show a shape: turned a little, which shows more than the front.
THUMBNAIL = ViewRing(views=1, first_azimuth=30.0, elevation=25.0, size=192, supersample=2)
_MISSING = b'missing'
_EXPORT_AGAIN = 'export the mesh again, or take it out of the folder'


@dataclass(frozen=True, eq=False)
class ShapeRecord:
    """What is made of one model file.

    Attributes:
      checksum: of its content (`file_checksum`).
      arrays: what the system's `embed` takes, without the batch axis: 'views' uint8 [V, S, S, 1]; 'faces' float32
        [M, 15] and 'neighbors' int32 [M, 3]; 'points' float32 [N, 3]; or 'grid' uint8 [R, R, R], `SURFACE`
        where occupied, and of a file of distances what is before it (`DistanceGrid.seen`).
      thumbnail: a PNG file.
      extras: by their names what an index keeps beside embeddings; the same names of all files: 'signature', by
        which `jaxret duplicates` finds equal shapes (`signatures.signature`); 'outlines', silhouettes as bits
        (`outlines.mesh_outlines`), where `inputs` asks for them.
      facts: size, triangles and more (`measures.mesh_facts`); 'upright': which axis of the file looks as if it pointed
        up, and how certain that is (`up_axis.guess_up_axis`).
    """

    checksum: str
    arrays: dict[str, np.ndarray]
    thumbnail: bytes
    extras: dict[str, np.ndarray] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)


def shape_record(path: Path, *, inputs: ShapeInputs, up_axis: str) -> ShapeRecord:
    """Reads a model file and makes what `inputs` says of it.

    Args:
      path: mesh, or, for grids, also a file of distances (.df, .sdf, .vox).
      inputs: what to make.
      up_axis: axis that points up in mesh files.

    Raises:
      DataError: the file cannot be used.
    """
    mesh = file_surface(path, up_axis=up_axis)
    arrays = _arrays(path, mesh, inputs, up_axis)
    try:
        if len(mesh.faces) == 1:
            raise _bad(path, 'a single triangle, no model', 'take it out of the folder')
        thumbnail = png_file(_seen(render_views(mesh, THUMBNAIL), path)[0])
        extras = {'signature': signature(_as_in_file(mesh, path, up_axis))}
        if inputs.outlines is not None:
            extras['outlines'] = mesh_outlines(mesh, inputs.outlines)
        facts = mesh_facts(mesh, up_axis=up_axis) | {'upright': _upright(mesh, up_axis)}
        checksum = file_checksum(path, textured=inputs.textured)
        return ShapeRecord(checksum, arrays, thumbnail, extras, facts)
    except ValueError as error:
        raise _bad(path, str(error)) from error


def _upright(mesh: Mesh, up_axis: str) -> Guess:
    """Which axis of its file a mesh looks as if it pointed up."""
    return guess_up_axis(_turned_back(mesh) if up_axis == 'z' else mesh)


def _as_in_file(mesh: Mesh, path: Path, up_axis: str) -> Mesh:
    """A mesh as `load_mesh` gives it with up_axis='y', whatever the axis: a DAE file says its own."""
    return _turned_back(mesh) if up_axis == 'z' and path.suffix.lower() not in (*DISTANCE_SUFFIXES, '.dae') else mesh


def _turned_back(mesh: Mesh) -> Mesh:
    x, y, z = mesh.vertices.T
    return replace(mesh, vertices=np.stack([x, -z, y], axis=1))


def shape_record_of(item: tuple[Path, str], *, inputs: ShapeInputs) -> ShapeRecord:
    """`shape_record` of one item (path, up_axis), for `map_parallel`."""
    path, up_axis = item
    return shape_record(path, inputs=inputs, up_axis=up_axis)


def shape_arrays(path: Path, *, inputs: ShapeInputs, up_axis: str) -> dict[str, np.ndarray]:
    """The arrays of `shape_record` alone, of the file as it stands, whatever the inputs' headings."""
    stored = inputs.representation == 'grid' and path.suffix.lower() in DISTANCE_SUFFIXES
    return _arrays(path, None if stored else file_surface(path, up_axis=up_axis), inputs, up_axis)


def _arrays(path: Path, mesh: Mesh | None, inputs: ShapeInputs, up_axis: str) -> dict[str, np.ndarray]:
    """`shape_arrays` of a file whose mesh is read; of the grid in a file of distances it is not needed."""
    kind, distances = inputs.representation, path.suffix.lower() in DISTANCE_SUFFIXES
    if kind == 'grid' and distances:
        _refuse_unread(path)
        return {'grid': _seen_cells(path)}
    if kind == 'views' and not distances and not inputs.unit_sphere:
        return {'views': _chosen(render_file(path, inputs.ring, up_axis, mesh=mesh), inputs)}
    return arrays_of_mesh(mesh, inputs=inputs, path=path, seed=_seed(path, kind))


def file_surface(path: Path, *, up_axis: str) -> Mesh:
    """The mesh of a file, or the surface that its distances describe. Raises DataError where it cannot be used."""
    if path.suffix.lower() not in DISTANCE_SUFFIXES:
        return load_mesh(path, up_axis=up_axis)
    _refuse_unread(path)
    try:
        return mesh_from_grid(read_distances(path))
    except ValueError as error:  # of a grid without a surface
        raise _bad(path, str(error)) from error


def arrays_of_mesh(mesh: Mesh, *, inputs: ShapeInputs, path: Path, seed: int = 0) -> dict[str, np.ndarray]:
    """As `shape_arrays`, of a mesh, y up and without colours.

    Args:
      mesh: in any units.
      inputs: what to make.
      path: names the mesh in messages.
      seed: of points.
    """
    kind = inputs.representation
    if inputs.unit_sphere:
        mesh = normalize_mesh(mesh, mode='sphere')
    if kind == 'grid':
        return {'grid': _mesh_occupancy(mesh, path, inputs.placement)}
    arrays = mesh_arrays(mesh, (kind,), path=path, ring=inputs.ring, faces=inputs.faces, seed=seed)
    if kind == 'views':
        return {'views': _chosen(arrays['views'], inputs)}
    return {'points': arrays['points'][: inputs.points]} if kind == 'points' else arrays


def _seed(path: Path, kind: str) -> int:
    """Of the points that are drawn of a file: the same again for the same content."""
    return int(file_checksum(path)[:8], 16) if kind == 'points' else 0


def mesh_arrays(
    mesh: Mesh, kinds: Sequence[str], *, path: Path, ring: ViewRing, faces: int, seed: int, points: int = STORED_POINTS
) -> dict[str, np.ndarray]:
    """What systems take of a mesh, in training and in search.

    Args:
      mesh: the mesh, in the frame that the arrays shall have.
      kinds: representations: 'views', 'faces' or 'points'.
      path: names the mesh in messages.
      ring: cameras and light of the views.
      faces: M; larger meshes are simplified.
      seed: of the points.
      points: N, drawn uniformly by area.

    Returns:
      'views' uint8 [V, S, S]; 'faces' float32 [M, 15] and 'neighbors' int32 [M, 3]; 'points' float32 [N, 3].

    Raises:
      DataError: the mesh cannot be used.
    """
    arrays: dict[str, np.ndarray] = {}
    try:
        if 'views' in kinds:
            arrays['views'] = _seen(render_views(mesh, ring), path)
        if 'faces' in kinds:
            features = mesh_features(simplify_mesh(mesh, max_faces=faces), max_faces=faces)
            arrays['faces'], arrays['neighbors'] = features
        if 'points' in kinds:
            arrays['points'] = sample_surface(mesh, points, seed=seed)
    except ValueError as error:
        raise _bad(path, str(error)) from error
    return arrays


def file_checksum(path: Path, *, textured: bool = False) -> str:
    """SHA-256 of a model's content, unpacked, of the files in which its geometry goes on, and of the name of a part.

    Args:
      path: of the file, member or part.
      textured: also of its materials and their textures; never what it is without.

    Raises:
      DataError: the file cannot be read, is no regular file (reading a pipe would wait for ever), or is too large.
    """
    digest, place = hashlib.sha256(), locate(path)
    try:
        for each in (place, *named_files(place)):
            if each.packed:
                digest.update(hashlib.sha256(each.read()).digest())
                continue
            _refuse_unread(each.file)
            with each.file.open('rb') as stream:
                digest.update(hashlib.file_digest(stream, 'sha256').digest())
    except (OSError, ValueError) as error:
        raise _bad(path, f'the file cannot be read ({error})') from error
    if place.part:
        digest.update(f'part {place.part}'.encode())
    if textured:
        digest.update(b''.join([b'colors', *map(_color_digest, material_files(path))]))
    return digest.hexdigest()


def _color_digest(file: Path) -> bytes:
    """SHA-256 of a material or texture; of one that cannot be read, which colours nothing, `_MISSING`."""
    try:
        _refuse_unread(file)
        with file.open('rb') as stream:
            return hashlib.file_digest(stream, 'sha256').digest()
    except (OSError, DataError):
        return _MISSING


def _refuse_unread(path: Path) -> None:
    """Raises DataError for what must not be opened: a pipe waits for ever, a device may never end."""
    try:
        state = path.stat()
    except OSError as error:
        raise _bad(path, f'the file cannot be read ({error})') from error
    if not stat.S_ISREG(state.st_mode):
        raise _bad(path, 'not a regular file', 'take it out of the folder')
    if state.st_size > MAX_BYTES:
        raise _bad(path, f'the file has {state.st_size:,} bytes, the limit is {MAX_BYTES:,}')


def _chosen(views: np.ndarray, inputs: ShapeInputs) -> np.ndarray:
    """The views that are used, each cut or placed: uint8 [V, S, S, C] of [V', S', S'] or [V', S', S', C]."""
    views = views[list(inputs.view_ids)]
    views = views[..., None] if views.ndim == 3 else views
    if inputs.margin is not None:
        return placed_views(views, inputs)
    margin = (inputs.ring.size - inputs.side) // 2
    return views[:, margin : margin + inputs.side, margin : margin + inputs.side]


def placed_views(views: np.ndarray, inputs: ShapeInputs) -> np.ndarray:
    """Views uint8 [V, S', S', C] on the ground of `inputs`, each cut to what it shows and placed with its margin."""
    how = {'size': inputs.side, 'margin': inputs.margin, 'ground': inputs.ring.background}
    return np.stack([place_view(view, **how) for view in views])


def _seen(views: np.ndarray, path: Path) -> np.ndarray:
    if (views == views[0, 0, 0]).all():
        raise _bad(path, 'no view shows anything of the mesh', 'remove stray vertices or faces')
    return views


def _mesh_occupancy(mesh: Mesh, path: Path, placement: str) -> np.ndarray:
    """uint8 [R, R, R] of a mesh."""
    try:
        return grid_from_mesh(mesh, placement=placement).occupancy().astype(np.uint8)
    except ValueError as error:
        raise _bad(path, str(error)) from error


def _seen_cells(path: Path) -> np.ndarray:
    """uint8 [R, R, R] of a file of distances."""
    grid = read_distances(path)
    if grid.values.shape != (RESOLUTION,) * 3:
        sides = ' x '.join(map(str, grid.values.shape))
        raise _bad(path, f'{sides} voxels, not {RESOLUTION} along each side', 'export the grid at that size')
    if not grid.occupancy().any():
        raise _bad(path, 'no voxel is near a surface', 'export the grid again')
    return grid.seen()


def _bad(path: Path, found: str, action: str = _EXPORT_AGAIN) -> DataError:
    return refused(str(path), found, action)
