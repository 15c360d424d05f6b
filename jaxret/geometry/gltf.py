"""glTF 2.0 and GLB files: the triangles of the default scene, in the pose and with the vertex colours of the file.

Source: Khronos Group, glTF 2.0 Specification (2021), chapter 3; KHR_mesh_quantization.

Letters: N vertices, F faces, K components.
"""

import base64
import operator
from collections.abc import Callable, Iterator
from functools import cached_property, lru_cache
from typing import Any
from urllib.parse import unquote_to_bytes

import numpy as np
import trimesh

from jaxret.geometry.colors import gltf_color
from jaxret.geometry.formats import UnusableMesh
from jaxret.geometry.gltf_header import gltf_header

_KINDS = {5120: '<i1', 5121: '<u1', 5122: '<i2', 5123: '<u2', 5125: '<u4', 5126: '<f4'}
_COMPONENTS = {'SCALAR': 1, 'VEC2': 2, 'VEC3': 3, 'VEC4': 4, 'MAT4': 16}
_TRIANGLES, _STRIP, _FAN = 4, 5, 6
_WITHOUT_SURFACE = (0, 1, 2, 3)  # points and lines
_INSTANCES = 'EXT_mesh_gpu_instancing'


def read_gltf(data: bytes, get: Callable[[str], bytes], *, max_faces: int) -> trimesh.Scene:
    """Reads a file of either form.

    Sparse accessors, normalized integers, strides, strips and fans are read; morph targets and skins are applied as the
    file poses them. Of materials the base colour is read, as metadata 'color' of a part; textures are not.

    Args:
      data: the file's content.
      get: gives a buffer outside it, by its name.
      max_faces: scenes with more triangles are refused before they are made.

    Raises:
      UnusableMesh: the file is cut off, reads past its buffers, needs an extension that is not known, or its nodes are
        not a tree.
    """
    return _Document(*gltf_header(data), get, max_faces).scene()


class _Document:
    """A file whose parts refer to one another by number."""

    def __init__(self, header: dict[str, Any], binary: bytes | None, get: Callable[[str], bytes], max_faces: int):
        self.header, self.binary, self.get = header, binary, get
        self.array = lru_cache(maxsize=None)(self._array)
        self.joints = lru_cache(maxsize=None)(self._joints)
        self.max_faces = self.faces_left = max_faces
        self.read = 0  # bytes

    def scene(self) -> trimesh.Scene:
        """The default scene; metadata say of which node each geometry is, and which nodes end without one."""
        roots = [self._item('nodes', index).get('name') for index in self.top.get('nodes', [])]
        bare = [
            (node.get('name'), matrix) for node, matrix in self.nodes.values() if not {'mesh', 'children'} & node.keys()
        ]
        metadata = {'root': roots[0] if len(roots) == 1 else None, 'bare': bare}
        result = trimesh.Scene(metadata={'millimetres': 1000.0, 'name': self.top.get('name'), **metadata})
        for index, (node, matrix) in self.nodes.items():
            if 'mesh' not in node:
                continue
            if _INSTANCES in node.get('extensions', {}):
                raise UnusableMesh(f'a node is repeated by the glTF extension {_INSTANCES}, which is not known')
            joints = self.joints(node['skin']) if 'skin' in node else None
            name = self._item('meshes', node['mesh']).get('name') or node.get('name')
            for part in self._parts(node, joints):
                part.metadata.update(instance=index, name=name)
                result.add_geometry(part, transform=None if joints is not None else matrix)
        return result

    @cached_property
    def top(self) -> dict[str, Any]:
        """The default scene as the file has it."""
        if not self.header.get('scenes'):
            raise UnusableMesh('there is no scene in it')
        return self._item('scenes', self.header.get('scene', 0))

    @cached_property
    def nodes(self) -> dict[int, tuple[dict, np.ndarray]]:
        """The nodes of the default scene by number, with their places in the world [4, 4]."""
        left = [(index, np.eye(4)) for index in self.top.get('nodes', [])]
        found = {}
        while left:
            index, above = left.pop()
            if index in found:
                raise UnusableMesh(f'node {index} of it has several places in the scene')
            node = self._item('nodes', index)
            found[index] = node, above @ _matrix(node)
            left += [(child, found[index][1]) for child in node.get('children', [])]
        return found

    @cached_property
    def buffers(self) -> list[bytes | None]:
        """The buffers; None for one that is in no file, which an extension must fill."""
        found = []
        for index, buffer in enumerate(self.header.get('buffers', [])):
            uri = buffer.get('uri')
            if uri is None:
                content = self.binary if index == 0 else None
            elif uri.startswith('data:'):
                head, _, body = uri.partition(',')
                content = base64.b64decode(body) if head.endswith(';base64') else unquote_to_bytes(body)
            else:
                content = self.get(uri)
            if content is not None and len(content) < buffer['byteLength']:
                raise UnusableMesh(f'its buffer {index} has {len(content)} bytes, not {buffer["byteLength"]}')
            found.append(content)
        return found

    @cached_property
    def size(self) -> int:
        """Bytes of all buffers."""
        return sum(len(buffer or b'') for buffer in self.buffers)

    def _item(self, kind: str, index: int) -> dict[str, Any]:
        items = self.header.get(kind, [])
        if not 0 <= operator.index(index) < len(items):
            raise UnusableMesh(f'it names {kind}[{index}] of {len(items)}')
        return items[index]

    def _rows(self, view: int, offset: int, count: int, kind: str, width: int) -> np.ndarray:
        """Rows [count, width] of a buffer view, which must hold them all."""
        view = self._item('bufferViews', view)
        start, length, size = view.get('byteOffset', 0), view['byteLength'], np.dtype(kind).itemsize * width
        stride = view.get('byteStride') or size
        content = self.buffers[view['buffer']]
        if content is None:
            names = ', '.join(view.get('extensions', {})) or 'of a kind that is not known'
            raise UnusableMesh(f'its buffer {view["buffer"]} is empty: it needs a glTF extension ({names})')
        span = (count - 1) * stride + size
        within = min(start, offset, count - 1) >= 0 and offset + span <= length and start + length <= len(content)
        if not within or stride < size:
            raise UnusableMesh(f'its JSON names {count} values of {size} bytes where its buffers have fewer')
        self.read += count * size
        if self.read > 8 * self.size:
            raise UnusableMesh('its JSON reads the same bytes many times over')
        return np.ndarray((count, width), kind, content, start + offset, (stride, np.dtype(kind).itemsize))

    def _array(self, index: int) -> np.ndarray:
        """The values [N, K] of an accessor: integers, or float64 where they are floats or normalized."""
        accessor = self._item('accessors', index)
        count, kind = operator.index(accessor['count']), _KINDS[accessor['componentType']]
        width, sparse = _COMPONENTS[accessor['type']], accessor.get('sparse')
        if 'bufferView' in accessor:
            rows = self._rows(accessor['bufferView'], accessor.get('byteOffset', 0), count, kind, width)
        elif sparse is None:
            raise UnusableMesh(f'accessors[{index}] of it has no values: it needs a glTF extension that is not known')
        elif count > 8 * self.size:
            raise UnusableMesh(f'accessors[{index}] of it claims {count} values, more than its buffers have bytes')
        else:
            rows = np.zeros((count, width), kind)
        if sparse is not None:
            rows, changed = rows.copy(), operator.index(sparse['count'])
            places, values = sparse['indices'], sparse['values']
            kind_of_place = _KINDS[places['componentType']]
            where = self._rows(places['bufferView'], places.get('byteOffset', 0), changed, kind_of_place, 1)
            if where.max() >= count:
                raise UnusableMesh(f'accessors[{index}] of it replaces value {where.max()} of {count}')
            rows[where[:, 0]] = self._rows(values['bufferView'], values.get('byteOffset', 0), changed, kind, width)
        if accessor.get('normalized'):
            return np.maximum(rows / np.iinfo(kind).max, -1)
        return rows.astype(np.float64) if kind == '<f4' else rows

    def _joints(self, skin: int) -> np.ndarray:
        """Places [J, 4, 4] in the world that a skin's joints give to what they hold."""
        skin = self._item('skins', skin)
        matrices = np.array([self.nodes[joint][1] for joint in skin['joints']])
        if 'inverseBindMatrices' in skin:
            matrices = matrices @ self.array(skin['inverseBindMatrices']).reshape(-1, 4, 4).swapaxes(1, 2)
        return matrices

    def _parts(self, node: dict[str, Any], joints: np.ndarray | None) -> Iterator[trimesh.Trimesh]:
        """The surfaces of a node's mesh."""
        mesh = self._item('meshes', node['mesh'])
        for primitive in mesh['primitives']:
            attributes, mode = primitive['attributes'], primitive.get('mode', _TRIANGLES)
            if mode in _WITHOUT_SURFACE:
                continue
            positions, indices = self._values(primitive)
            faces, rows = _triangles(indices, mode), slice(None)
            self.faces_left -= len(faces)
            if self.faces_left < 0:
                raise UnusableMesh(f'more than {self.max_faces:,} faces')
            if faces.max() >= len(positions):
                raise UnusableMesh(f'a face names vertex {faces.max()} of {len(positions)}, counted from 0')
            if len(positions) > faces.size:  # parts often share their vertices
                rows, faces = np.unique(faces, return_inverse=True)
            vertices = positions[rows]
            weights = node.get('weights', mesh.get('weights', []))
            for weight, target in zip(weights, primitive.get('targets', []), strict=False):
                if weight and 'POSITION' in target:
                    vertices = vertices + weight * self.array(target['POSITION'])[rows]
            if joints is not None:
                vertices = self._bent(vertices, attributes, rows, joints)
            colors = self._colors(attributes, len(positions))
            colors = None if colors is None else colors[rows]
            options = {'vertex_colors': colors, 'metadata': {'color': gltf_color(self.header, primitive)}}
            yield trimesh.Trimesh(vertices, faces.reshape(-1, 3), **options, process=False)

    def _values(self, primitive: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        """Positions [N, 3] of a part, and its indices."""
        try:
            positions = self.array(primitive['attributes']['POSITION'])
            given = 'indices' in primitive
            indices = self.array(primitive['indices']) if given else np.arange(len(positions), dtype='u4')[:, None]
        except (KeyError, UnusableMesh) as error:
            extensions = ', '.join(primitive.get('extensions', {})) or 'none'
            found = 'a part of it has no positions' if isinstance(error, KeyError) else error
            raise UnusableMesh(f'{found} (glTF extensions of the part: {extensions})') from None
        if positions.shape[1] != 3 or indices.shape[1] != 1 or indices.dtype.kind != 'u':
            raise UnusableMesh('a part of it has positions or indices of a wrong type')
        return positions, indices[:, 0]

    def _bent(self, vertices: np.ndarray, attributes: dict[str, int], rows, joints: np.ndarray) -> np.ndarray:
        """Vertices [N, 3], which are `rows` of the part's, in the world: each moved by the joints that hold it."""
        result, total, number = np.zeros((len(vertices), 3)), np.zeros((len(vertices), 1)), 0
        while f'JOINTS_{number}' in attributes:
            held, weights = (self.array(attributes[f'{name}_{number}'])[rows] for name in ('JOINTS', 'WEIGHTS'))
            for joint, weight in zip(held.T, weights.T[:, :, None], strict=True):
                turned = np.einsum('nij,nj->ni', joints[joint][:, :3, :3], vertices)
                result += weight * (turned + joints[joint][:, :3, 3])
                total += weight
            number += 1
        if not (total > 0).all():
            raise UnusableMesh('a part of it with a skin has vertices that no joint holds')
        return result / total

    def _colors(self, attributes: dict[str, int], count: int) -> np.ndarray | None:
        """Colours [N, 3 or 4] from 0 to 1, of a part of `count` vertices."""
        if 'COLOR_0' not in attributes:
            return None
        colors = self.array(attributes['COLOR_0'])
        colors = colors if colors.dtype.kind == 'f' else colors / np.iinfo(colors.dtype).max
        return colors if len(colors) == count and colors.shape[1] in (3, 4) else None


def _matrix(node: dict[str, Any]) -> np.ndarray:
    """The place [4, 4] of a node in the one above it."""
    if 'matrix' in node:
        return np.array(node['matrix'], np.float64).reshape(4, 4).T
    x, y, z, w = node.get('rotation', (0, 0, 0, 1))
    matrix = trimesh.transformations.quaternion_matrix((w, x, y, z))
    matrix[:3, :3] *= np.array(node.get('scale', (1, 1, 1)), np.float64)
    matrix[:3, 3] = node.get('translation', (0, 0, 0))
    return matrix


def _triangles(indices: np.ndarray, mode: int) -> np.ndarray:
    """Faces int64 [F, 3] of a list of triangles, a strip, or a fan."""
    indices = indices.astype(np.int64)
    if mode == _TRIANGLES:
        if len(indices) % 3:
            raise UnusableMesh(f'a part of it has {len(indices)} indices, not three a triangle')
        return indices.reshape(-1, 3)
    if len(indices) < 3 or mode not in (_STRIP, _FAN):
        raise UnusableMesh(f'a part of it has {len(indices)} indices in mode {mode}')
    if mode == _STRIP:
        return trimesh.util.triangle_strips_to_faces([indices])
    return np.stack([np.full(len(indices) - 2, indices[0]), indices[1:-1], indices[2:]], axis=1)
