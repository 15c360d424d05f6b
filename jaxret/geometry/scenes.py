"""What model files hold: the surfaces of a file, each at its place, and the parts that they belong to."""

import contextlib
import functools
import hashlib
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import trimesh

from jaxret.errors import ConfigError, DataError
from jaxret.geometry.cad_kernel import read_cad
from jaxret.geometry.collada import read_collada
from jaxret.geometry.formats import (
    ARCHIVE_SUFFIX,
    ASSEMBLY_SUFFIXES,
    CONVERTED_SUFFIXES,
    MESH_SUFFIXES,
    UnusableMesh,
    unread_format,
)
from jaxret.geometry.gltf import read_gltf
from jaxret.geometry.obj import read_obj
from jaxret.geometry.off import read_off
from jaxret.geometry.places import MAX_BYTES, Place, bad, locate, model_files
from jaxret.geometry.ply import read_ply
from jaxret.geometry.stl import read_stl
from jaxret.geometry.threemf import read_threemf
from jaxret.quiet import QUIET

MAX_FACES = 5_000_000
_LONGEST_NAME = 100


def read_scene(
    path: Path, *, max_bytes: int = MAX_BYTES, max_faces: int = MAX_FACES, textured: bool = False
) -> trimesh.Scene:
    """The surfaces of a model as they lie in its file, in the order in which `load_mesh` joins them.

    Args:
      path: of a file with one of `MESH_SUFFIXES`, compressed or not, a member of a zip archive, or a part.
      max_bytes: of the file, and of its content unpacked.
      max_faces: scenes with more triangles are refused.
      textured: of an OBJ file also materials and texture coordinates (`read_obj`).

    Raises:
      DataError: as `load_mesh`.
    """
    place = locate(path)
    if place.file.suffix.lower() == ARCHIVE_SUFFIX and not place.member:
        raise bad(path, 'an archive, not a model', f'name a model in it, such as {path / "model.stl"}')
    if place.suffix not in MESH_SUFFIXES:
        action = unread_format(place.member or place.file.name) or f'use one of {" ".join(MESH_SUFFIXES)}'
        raise bad(path, f'unknown mesh format {place.suffix!r}', action)
    with refusals(path, place.suffix):
        if place.part or place.suffix in CONVERTED_SUFFIXES:
            scene = _kept(Place(place.file, place.member), _mark(path), max_bytes, max_faces)
        else:
            scene = _read(place, max_bytes, max_faces, textured=textured)
        return _part(scene, place.part) if place.part else scene


def part_names(path: Path) -> list[str]:
    """Names of the distinct parts of an assembly, safe in paths and different; [] for what is no assembly.

    Args:
      path: of a file, or a member of an archive.

    Raises:
      DataError: as `load_mesh`.
    """
    place = locate(path)
    if place.suffix not in ASSEMBLY_SUFFIXES:
        return []
    with refusals(path, place.suffix):
        names = list(_parts(_kept(place, _mark(path), MAX_BYTES, MAX_FACES)))
    return names if len(names) > 1 else []


@contextlib.contextmanager
def refusals(path: Path, suffix: str) -> Iterator[None]:
    """Makes whatever is wrong with a model a DataError, and keeps what readers print off the terminal."""
    try:
        with quiet():
            yield
    except DataError:
        raise
    except UnusableMesh as error:
        raise bad(path, str(error)) from None
    except ConfigError as error:  # a package is missing
        found, _, action = error.message.partition(': ')
        raise bad(path, found, action) from None
    except Exception as error:  # damaged files let out a dozen unrelated types
        reason = ' '.join(str(error).split())[:200]
        raise bad(path, f'not a readable {suffix[1:].upper()} file ({type(error).__name__}: {reason})') from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps what the readers print about damaged files off the terminal; the DataError says it."""
    logger = logging.getLogger('trimesh')  # its modules log below it
    before = logger.handlers, logger.propagate
    try:
        logger.handlers, logger.propagate = [logging.NullHandler()], False
        with QUIET, np.errstate(all='ignore'):
            yield
    finally:
        logger.handlers, logger.propagate = before


def _read(place: Place, max_bytes: int, max_faces: int, *, textured: bool = False) -> trimesh.Scene:
    suffix = place.suffix
    if suffix in CONVERTED_SUFFIXES:
        return read_cad(place, max_bytes=max_bytes, max_faces=max_faces)
    data = place.read(max_bytes)
    if suffix in ('.glb', '.gltf'):
        return read_gltf(data, _Buffers(place, max_bytes - len(data)).get, max_faces=max_faces)
    if suffix == '.3mf':
        return read_threemf(data, max_bytes=max_bytes, max_faces=max_faces)
    if suffix == '.dae':
        return read_collada(data, max_faces=max_faces)
    if suffix == '.obj':
        return read_obj(data, textured=textured)
    return {'.off': read_off, '.ply': read_ply, '.stl': read_stl}[suffix](data)


def _mark(path: Path) -> tuple[tuple[int, int], ...]:
    """Sizes and times of change of a model's files."""
    try:
        states = [file.stat() for file in model_files(path)]
    except (OSError, ValueError):  # reading it says what is wrong
        return ()
    return tuple((state.st_size, state.st_mtime_ns) for state in states)


@functools.lru_cache(maxsize=1)  # parts are read one after the other, and conversions take long
def _kept(place: Place, mark: tuple[tuple[int, int], ...], max_bytes: int, max_faces: int) -> trimesh.Scene:
    return _read(place, max_bytes, max_faces)


def _part(scene: trimesh.Scene, name: str) -> trimesh.Scene:
    """The first place of a part in a scene, alone."""
    nodes = _parts(scene).get(name)
    if nodes is None:
        raise UnusableMesh(f'there is no part {name[:200]!r} in the file')
    result = trimesh.Scene(metadata=dict(scene.metadata, name=name))
    for node in nodes:
        matrix, key = scene.graph[node]
        result.add_geometry(scene.geometry[key], transform=matrix)
    return result


def _parts(scene: trimesh.Scene) -> dict[str, list[str]]:
    """Nodes of the first place of every part with a surface, by its name; instances of one name and surface are one."""
    instances: dict[object, list[str]] = {}
    for node in scene.graph.nodes_geometry:
        mesh = scene.geometry[scene.graph[node][1]]
        if isinstance(mesh, trimesh.Trimesh) and len(mesh.faces):
            instances.setdefault(mesh.metadata.get('instance'), []).append(node)
    first: dict[tuple[str, bytes], list[str]] = {}
    for nodes in instances.values():
        meshes = [scene.geometry[scene.graph[node][1]] for node in nodes]
        digest = hashlib.sha256()
        for mesh in meshes:
            digest.update(np.ascontiguousarray(mesh.vertices).tobytes())
            digest.update(np.ascontiguousarray(mesh.faces).tobytes())
        first.setdefault((str(meshes[0].metadata.get('name') or ''), digest.digest()), nodes)
    found: dict[str, list[str]] = {}
    for (name, _), nodes in first.items():
        name = re.sub(r'[/\\]+|[^\w .,()+#=@&!-]', '_', name).strip(' .')[:_LONGEST_NAME] or 'part'
        free, number = name, 2
        while free in found:
            free, number = f'{name}-{number}', number + 1
        found[free] = nodes
    return found


class _Buffers:
    """The files beside a glTF file, and nothing outside its folder or archive."""

    def __init__(self, place: Place, max_bytes: int):
        self.place, self.left = place, max_bytes

    def get(self, key: str) -> bytes:
        """The content of a buffer."""
        other = self.place.beside(key)
        if other.suffix in MESH_SUFFIXES or not other.exists():
            raise UnusableMesh(f'its buffer {key[:200]!r} is missing')
        try:
            data = other.read(max(self.left, 0))
        except DataError as error:
            raise UnusableMesh(f'its buffer {key[:200]!r}: {error.problems[0].found}') from None
        self.left -= len(data)
        return data
