"""3MF files: the triangles that a build shows, in the unit of the file.

Source: 3MF Consortium, 3D Manufacturing Format Core Specification 1.3; Production Extension 1.1.

Letters: N vertices, F faces.
"""

import io
import re
import zipfile
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from xml.parsers import expat

import numpy as np
import trimesh

from jaxret.geometry.formats import UnusableMesh

_UNITS = {'micron': 0.001, 'millimeter': 1.0, 'centimeter': 10.0, 'inch': 25.4, 'foot': 304.8, 'meter': 1000.0}
_CORE = 'http://schemas.microsoft.com/3dmanufacturing/core/2015/02'
# Extensions that change the shape, by words in their namespaces.
_SHAPING = ('beamlattice', 'boolean', 'displacement', 'implicit', 'securecontent', 'volumetric')
_MOST_INSTANCES = 20_000
_DEEPEST = 50


@dataclass
class _Object:
    """An object of a model file: a mesh, or other objects."""

    name: str
    vertices: array = field(default_factory=lambda: array('d'))
    faces: array = field(default_factory=lambda: array('q'))
    components: list[tuple[str, str, np.ndarray]] = field(default_factory=list)
    property: tuple[str, str] = ('', '')  # group of its material or colour, and which of it
    color: np.ndarray | None = None  # [3], sRGB from 0 to 1
    support: bool = False  # printed to hold others, and no part of the shape


def read_threemf(data: bytes, *, max_bytes: int, max_faces: int) -> trimesh.Scene:
    """Reads a 3MF file: every item of its build, at its place.

    Args:
      data: the file's content.
      max_bytes: of the model files in it, unpacked and together.
      max_faces: scenes with more triangles are refused before they are made.

    Returns:
      The scene; each geometry's metadata say which instance of an object it is of, and its name.

    Raises:
      UnusableMesh: damaged, too large, without items to build, or it needs an extension that changes the shape.
    """
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        models = {
            f'/{info.filename}'.lower(): info
            for info in archive.infolist()
            if info.filename.lower().endswith('.model') and not info.is_dir()
        }
        if sum(info.file_size for info in models.values()) > max_bytes:
            raise UnusableMesh(f'its models have more than {max_bytes:,} bytes unpacked')
        if any(info.flag_bits & 1 for info in models.values()):
            raise UnusableMesh('it is encrypted')
        files = {path: _Model(archive.read(info), max_faces) for path, info in models.items()}
        top = _start_of(archive, max_bytes)
    top = next((path for path in (top, '/3d/3dmodel.model', *files) if path in files), None)
    if top is None:
        raise UnusableMesh('there is no 3D model in it')
    return _built(files, top, max_faces)


def _start_of(archive: zipfile.ZipFile, max_bytes: int) -> str:
    """The model file that the package's relationships name, '' where they do not."""
    info = next((info for info in archive.infolist() if info.filename.lower() == '_rels/.rels'), None)
    if info is None or info.file_size > max_bytes:
        return ''
    found: list[str] = []

    def start(tag: str, values: dict[str, str]) -> None:
        if values.get('Type', '').endswith('/3dmodel'):
            found.append('/' + values.get('Target', '').lower().lstrip('/'))

    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler, parser.StartElementHandler = _refuse_entities, start
    parser.Parse(archive.read(info), True)
    return found[0] if found else ''


def _built(files: Mapping[str, '_Model'], top: str, max_faces: int) -> trimesh.Scene:
    root = files[top]
    placed = _placed(files, top, root.printed or root.items, max_faces)
    scene = trimesh.Scene(metadata={'millimetres': root.millimetres, 'name': root.title})
    for instance, (item, matrix) in enumerate(placed):
        vertices, faces = np.array(item.vertices).reshape(-1, 3), np.array(item.faces).reshape(-1, 3)
        metadata = {'instance': instance, 'name': item.name, 'color': item.color}
        scene.add_geometry(trimesh.Trimesh(vertices, faces, process=False, metadata=metadata), transform=matrix)
    return scene


def _placed(
    files: Mapping[str, '_Model'], top: str, items: Sequence[tuple[str, str, np.ndarray]], max_faces: int
) -> list[tuple[_Object, np.ndarray]]:
    """The meshes that some items of a build show, each with its place [4, 4] in the unit of the file `top`."""
    if not items:
        raise UnusableMesh('its build has no items')
    placed, faces, visited = [], 0, 0
    left = [(*_inside(files, top, item), 0) for item in reversed(items)]
    while left:
        path, number, matrix, depth = left.pop()
        found = files[path].objects.get(number) if path in files else None
        if found is None:
            raise UnusableMesh(f'it names object {number[:40]!r} of {path[:100]!r}, which is not in it')
        visited += 1
        if visited > _MOST_INSTANCES or depth > _DEEPEST:
            raise UnusableMesh('its objects contain one another too often or too deeply, or themselves')
        if found.faces and not found.support:
            placed.append((found, matrix))
        faces += len(found.faces) // 3
        if faces > max_faces:
            raise UnusableMesh(f'more than {max_faces:,} faces')
        for component in reversed(found.components):
            other, child, own = _inside(files, path, component)
            left.append((other, child, matrix @ own, depth + 1))
    return placed


def _inside(
    files: Mapping[str, '_Model'], path: str, reference: tuple[str, str, np.ndarray]
) -> tuple[str, str, np.ndarray]:
    """A reference of a file with its path; its place leads from the unit of the file that it names to this one's."""
    other, number, matrix = reference
    if other not in files:  # '' is this one
        return other or path, number, matrix
    scale = files[other].millimetres / files[path].millimetres
    return other, number, matrix @ np.diag([scale, scale, scale, 1.0])


class _Model:
    """One model file: its objects by number, and its build."""

    def __init__(self, data: bytes, max_faces: int):
        self.objects: dict[str, _Object] = {}
        self.items: list[tuple[str, str, np.ndarray]] = []
        self.printed: list[tuple[str, str, np.ndarray]] = []  # of these all that slicers do not switch off
        self.millimetres, self.title = 1.0, ''
        self._object = _Object('')
        self._title = False
        self._spaces: dict[str, str] = {}
        self._most = 3 * max_faces
        parser = expat.ParserCreate(namespace_separator='|')
        parser.StartNamespaceDeclHandler = lambda prefix, space: self._spaces.setdefault(prefix or '', space)
        parser.StartDoctypeDeclHandler = _refuse_entities
        parser.StartElementHandler, parser.EndElementHandler = self._start, self._end
        parser.CharacterDataHandler = self._text
        self._colors: dict[tuple[str, str], np.ndarray] = {}
        self._group, self._place = '', 0
        parser.Parse(data, True)
        for made in self.objects.values():
            made.color = self._colors.get(made.property)

    def _start(self, tag: str, values: dict[str, str]) -> None:
        space, _, name = tag.rpartition('|')
        if name in ('basematerials', 'colorgroup'):
            self._group, self._place = values.get('id', ''), 0
        elif name in ('base', 'color'):
            self._color(values.get('displaycolor') or values.get('color') or '')
        if space != _CORE:
            return
        if name == 'vertex':
            self._object.vertices.extend((float(values['x']), float(values['y']), float(values['z'])))
        elif name == 'triangle':
            self._object.faces.extend((int(values['v1']), int(values['v2']), int(values['v3'])))
            if len(self._object.faces) > self._most:
                raise UnusableMesh(f'more than {self._most // 3:,} faces')
        elif name == 'object':
            self._object = self.objects[values['id']] = _Object(values.get('name') or values.get('partnumber') or '')
            self._object.support = values.get('type') in ('support', 'solidsupport')
            self._object.property = values.get('pid', ''), values.get('pindex', '0')
        elif name == 'component':
            self._object.components.append(_reference(values))
        elif name == 'item':
            self.items.append(_reference(values))
            self.printed += self.items[-1:] if values.get('printable') != '0' else []
        elif name == 'model':
            self._model(values)
        self._title = name == 'metadata' and values.get('name') == 'Title'

    def _color(self, text: str) -> None:
        """Of the next place of a group, as '#rrggbb' or '#rrggbbaa'."""
        if re.fullmatch('#[0-9a-fA-F]{6}([0-9a-fA-F]{2})?', text):
            self._colors[self._group, str(self._place)] = np.array([*bytes.fromhex(text[1:7])]) / 255
        self._place += 1

    def _model(self, values: dict[str, str]) -> None:
        unit = values.get('unit', 'millimeter')
        if unit not in _UNITS:
            raise UnusableMesh(f'unit {unit[:40]!r}, not one of {", ".join(_UNITS)}')
        self.millimetres = _UNITS[unit]
        for prefix in values.get('requiredextensions', '').split():
            space = self._spaces.get(prefix, prefix)
            if any(word in space for word in _SHAPING):
                raise UnusableMesh(f'it needs the 3MF extension {space[:100]}, which is not known')

    def _end(self, tag: str) -> None:
        self._title = False

    def _text(self, text: str) -> None:
        if self._title:
            self.title += text


def _reference(values: dict[str, str]) -> tuple[str, str, np.ndarray]:
    """Path of the file ('' for the same), number and place [4, 4] of an object."""
    path = next((value for key, value in values.items() if key.endswith('|path')), '')
    matrix = np.eye(4)
    if 'transform' in values:
        matrix[:3] = np.array(values['transform'].split(), np.float64).reshape(4, 3).T
    return path.lower(), values['objectid'], matrix


def _refuse_entities(*_) -> None:
    raise UnusableMesh('it declares a document type, as no 3MF file does')
