"""STEP and IGES files into triangles by OpenCASCADE, which can crash or hang on damaged files: always in a process of
its own, or in one that already is.

Letters: F faces.
"""

import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import PurePath

import numpy as np
import trimesh

from jaxret.errors import DataError
from jaxret.geometry.formats import UnusableMesh
from jaxret.geometry.gltf import read_gltf
from jaxret.geometry.gltf_header import gltf_header
from jaxret.geometry.places import Place, external_names
from jaxret.geometry.step_seams import with_free_seams
from jaxret.optional_packages import need
from jaxret.workers import apart, map_parallel, reading_memory

# Deviation as a share of each edge's size, and angle in radians between neighbouring triangles' edges.
_FINE = {'tol_linear': 0.002, 'tol_relative': True, 'tol_angular': 0.3}
_COARSE = {'tol_linear': 0.02, 'tol_relative': True, 'tol_angular': 0.8}
_FARTHEST = 2.0**24 / 1000  # from the origin, in longest sides
_MANY_FACES = 400_000  # of a fine mesh: it is made again, coarse
_UNITS = {'step': 1000.0, 'iges': 1.0}  # millimetres of what the kernel writes: STEP in metres, IGES in millimetres
_SECONDS = 300.0
_DEEPEST = 20
_FACES = re.compile(rb'\b(?:ADVANCED_FACE|FACE_SURFACE|\w*TRIANGULATED\w*|TESSELLATED_\w+)\s*\(')
_OCCURRENCE = re.compile(
    rb"NEXT_ASSEMBLY_USAGE_OCCURRENCE\s*\(\s*'((?:[^']|'')*)'\s*,\s*'((?:[^']|'')*)'\s*,"
    rb"\s*(?:\$|'(?:[^']|'')*')\s*,\s*#\d+\s*,\s*#(\d+)"
)
_DOCUMENT = re.compile(rb"#(\d+)\s*=\s*DOCUMENT_FILE\s*\(\s*'((?:[^']|'')*)'")
_OF_PRODUCT = re.compile(rb'APPLIED_DOCUMENT_REFERENCE\s*\(\s*#(\d+)\s*,[^()]*\(\s*#(\d+)')


def read_cad(place: Place, *, max_bytes: int, max_faces: int) -> trimesh.Scene:
    """Reads a STEP or IGES file, and the files beside it in which a STEP assembly says that its parts are.

    Args:
      place: where it is, whose suffix tells the format.
      max_bytes: of each file.
      max_faces: scenes with more triangles are refused.

    Returns:
      The scene in millimetres; each geometry's metadata say which instance of a part it is of, and its name.

    Raises:
      UnusableMesh: damaged, without surfaces, or files are missing that it names.
      ConfigError: cascadio is not installed.
    """
    need('cascadio', extra='cad', purpose=f'a {place.suffix[1:].upper()} file')
    _check_ends(place.read(max_bytes), place)
    make = partial(_scene, max_bytes=max_bytes, max_faces=max_faces)
    if apart():
        result = make(place)
    else:
        ((_, result),) = map_parallel(
            make, [place], processes=2, serial_below=1, timeout=_SECONDS, memory=reading_memory()
        )
    if isinstance(result, DataError):
        raise UnusableMesh(result.problems[0].found)
    if isinstance(result, str):
        raise UnusableMesh(result)
    return result


def _scene(place: Place, *, max_bytes: int, max_faces: int) -> trimesh.Scene | str:
    """What a file shows, or why it cannot be used."""
    try:
        return _Assembly(max_bytes, max_faces).read(place, ())
    except UnusableMesh as error:
        return str(error)


class _Assembly:
    """A file and those that it names, each read once."""

    def __init__(self, max_bytes: int, max_faces: int):
        self.max_bytes, self.max_faces = max_bytes, max_faces
        self.scenes: dict[Place, trimesh.Scene] = {}

    def read(self, place: Place, above: tuple[Place, ...]) -> trimesh.Scene:
        """The scene of a file that those `above` name."""
        if place in above or len(above) > _DEEPEST:
            raise UnusableMesh(f'it names {place.file.name!r} as a part of itself')
        if place not in self.scenes:
            data, kind = place.read(self.max_bytes), _kind(place)
            _check_ends(data, place)
            names = external_names(data) if kind == 'step' else []
            glb, notes = _converted(data, kind)
            scene = _scaled(_surfaces(glb, self.max_faces), _UNITS[kind]) if glb else None
            if scene is not None and names:
                self._add_parts(scene, _files_of_nodes(data), place, above)
            if scene is None or not scene.geometry:
                raise UnusableMesh(_reason(data, kind, names, notes))
            self.scenes[place] = scene
        return self.scenes[place]

    def _add_parts(self, scene: trimesh.Scene, files: dict[str, str | None], place: Place, above: tuple) -> None:
        """Adds to a scene the parts of its nodes without geometry."""
        wanted = [(files[name], matrix) for name, matrix in scene.metadata['bare'] if name in files]
        if any(name is None for name, _ in wanted):
            raise UnusableMesh('several parts of one name are in different files')
        found = {name: place.beside(name) for name, _ in wanted}
        missing = [name for name, other in found.items() if not other.exists()]
        if missing:
            raise UnusableMesh(f'its parts are in files that are not beside it: {", ".join(missing)[:300]}')
        for number, (name, matrix) in enumerate(wanted):
            part = self.read(found[name], (*above, place))
            instances = {mesh.metadata['instance'] for mesh in part.geometry.values()}
            for node in part.graph.nodes_geometry:
                transform, key = part.graph[node]
                mesh = part.geometry[key].copy()
                mesh.metadata['instance'] = number, mesh.metadata['instance']
                if len(instances) == 1:
                    mesh.metadata['name'] = PurePath(name).stem
                scene.add_geometry(mesh, transform=matrix @ transform)
            if sum(len(mesh.faces) for mesh in scene.geometry.values()) > self.max_faces:
                raise UnusableMesh(f'more than {self.max_faces:,} faces')


def _surfaces(glb: bytes, max_faces: int) -> trimesh.Scene:
    """What the kernel wrote, in its units."""
    try:
        return read_gltf(glb, lambda name: b'', max_faces=max_faces)
    except UnusableMesh as error:
        if 'JSON' in str(error):  # the kernel writes inf and nan as they are
            raise UnusableMesh('coordinates in it are infinite') from None
        raise


def _scaled(scene: trimesh.Scene, millimetres: float) -> trimesh.Scene:
    """A scene in other units, in millimetres."""
    metadata = dict(scene.metadata, millimetres=1.0)
    metadata['bare'] = [(name, _longer(matrix, millimetres)) for name, matrix in metadata['bare']]
    metadata['name'] = metadata['name'] or metadata['root']
    result = trimesh.Scene(metadata=metadata)
    for node in scene.graph.nodes_geometry:
        matrix, key = scene.graph[node]
        mesh = scene.geometry[key]
        mesh.vertices = mesh.vertices * millimetres
        result.add_geometry(mesh, transform=_longer(matrix, millimetres))
    if result.geometry:
        largest, side = max(np.abs(mesh.vertices).max() for mesh in result.geometry.values()), result.extents.max()
        if largest > _FARTHEST * side:  # the kernel writes float32
            raise UnusableMesh(f'it is {side:.3g} mm large and {largest:.3g} mm from the origin: too far to be exact')
    return result


def _longer(matrix: np.ndarray, factor: float) -> np.ndarray:
    matrix = np.array(matrix)
    matrix[:3, 3] *= factor
    return matrix


def _kind(place: Place) -> str:
    return 'iges' if place.suffix in ('.igs', '.iges') else 'step'


def _check_ends(data: bytes, place: Place) -> None:
    """Refuses what is no such file, or cut off."""
    if _kind(place) == 'step':
        if b'ISO-10303-21' not in data[:2000]:
            raise UnusableMesh('no STEP file: it does not begin with ISO-10303-21')
        if b'END-ISO-10303-21' not in data[-2000:]:
            raise UnusableMesh('cut off: it does not end with END-ISO-10303-21')
        return
    lines = data.rstrip().splitlines()
    if len(lines) < 4 or len(lines[0]) < 73 or lines[0][72:73] not in b'SFB':
        raise UnusableMesh('no IGES file: its lines have no section letter in column 73')
    if lines[-1][72:73] != b'T':
        raise UnusableMesh('cut off: its last line is not the terminate section')


def _converted(data: bytes, kind: str) -> tuple[bytes, str]:
    """A GLB file of the kernel's triangles (empty where there are none), and what it printed meanwhile."""
    import cascadio

    data = with_free_seams(data) if kind == 'step' else data
    with _printed() as notes:
        glb = cascadio.load(data, kind, use_parallel=False, **_FINE)
        if glb and _face_count(glb) > _MANY_FACES:
            glb = cascadio.load(data, kind, use_parallel=False, **_COARSE)
    return glb, re.sub(r'\x1b\[[\d;]*m', '', notes[0])


def _face_count(glb: bytes) -> int:
    try:
        header, _ = gltf_header(glb)
    except UnusableMesh:  # its reader says what is wrong
        return 0
    counts = [
        sum(header['accessors'][part['indices']]['count'] // 3 for part in mesh['primitives'] if 'indices' in part)
        for mesh in header.get('meshes', [])
    ]
    return sum(counts[node['mesh']] for node in header.get('nodes', []) if 'mesh' in node)


@contextlib.contextmanager
def _printed() -> Iterator[list[str]]:
    """Keeps off the terminal what is written to the descriptors of standard output and error; its beginning is given.

    Only for a process of its own: others may be printing.
    """
    ends, kept, notes = os.pipe(), [os.dup(1), os.dup(2)], ['']
    for end in ends:
        os.set_blocking(end, False)  # a full pipe drops the rest
    try:
        os.dup2(ends[1], 1)
        os.dup2(ends[1], 2)
        yield notes
    finally:
        for number, old in enumerate(kept, 1):
            os.dup2(old, number)
            os.close(old)
        os.close(ends[1])
        with contextlib.suppress(BlockingIOError):
            notes[0] = os.read(ends[0], 2**16).decode(errors='replace')
        os.close(ends[0])


def _reason(data: bytes, kind: str, names: Sequence[str], notes: str) -> str:
    """Why a file has no triangles."""
    if names:
        return f'its parts are in other files, and it does not say where they stand: {", ".join(names)[:300]}'
    if kind == 'step' and not _FACES.search(data):
        return 'no surfaces in it, only products, points or curves'
    said = ' '.join(notes.split())[:200]
    return 'OpenCASCADE makes no surface of it' + (f' ({said})' if said else '')


def _files_of_nodes(data: bytes) -> dict[str, str | None]:
    """File of the part by the name of an occurrence; None where occurrences of one name are in different files."""
    documents = {number: name.decode('utf-8', 'replace').strip() for number, name in _DOCUMENT.findall(data)}
    products = {product: documents[number] for number, product in _OF_PRODUCT.findall(data) if number in documents}
    found: dict[str, str | None] = {}
    for identifier, name, product in _OCCURRENCE.findall(data):
        for key in {identifier.decode('utf-8', 'replace'), name.decode('utf-8', 'replace')} - {'', ' '}:
            if product in products:
                same = found.setdefault(key, products[product]) == products[product]
                found[key] = products[product] if same else None
    return found
