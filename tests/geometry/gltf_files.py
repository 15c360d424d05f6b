"""Makes glTF files of the box, for the tests that read them."""

import json

import numpy as np
from box_files import BOX, TRIANGLES

FACES = np.array(TRIANGLES)
CODES = {'i1': 5120, 'u1': 5121, 'i2': 5122, 'u2': 5123, 'u4': 5125, 'f4': 5126}
WIDTHS = {1: 'SCALAR', 3: 'VEC3', 4: 'VEC4', 16: 'MAT4'}


class Builder:
    """Puts a glTF file together: arrays into one buffer, the rest as JSON."""

    def __init__(self):
        self.data = b''
        self.views, self.accessors, self.parts, self.extra = [], [], [], {}

    def view(self, content, **options):
        self.data += b'\0' * (-len(self.data) % 4)
        self.views.append({'buffer': 0, 'byteOffset': len(self.data), 'byteLength': len(content), **options})
        self.data += content
        return len(self.views) - 1

    def accessor(self, values, kind='f4', **options):
        values = np.asarray(values).reshape(len(values), -1)
        view = self.view(values.astype('<' + kind).tobytes())
        form = {'componentType': CODES[kind], 'count': len(values), 'type': WIDTHS[values.shape[1]]}
        self.accessors.append({'bufferView': view, **form, **options})
        return len(self.accessors) - 1

    def part(self, positions=BOX, faces=FACES, kind='u2', **options):
        attributes = {'POSITION': positions if isinstance(positions, int) else self.accessor(positions)}
        part = {'attributes': attributes | options.pop('attributes', {}), **options}
        if faces is not None:
            part['indices'] = self.accessor(np.ravel(faces), kind)
        self.parts.append(part)
        return part

    def header(self, nodes=None):
        nodes = nodes or [{'mesh': 0}]
        return {
            'asset': {'version': '2.0'},
            'scenes': [{'nodes': [0]}],
            'nodes': nodes,
            'meshes': [{'primitives': self.parts}],
            'accessors': self.accessors,
            'bufferViews': self.views,
            'buffers': [{'byteLength': len(self.data)}],
        } | self.extra

    def glb(self, nodes=None, *, mark=b''):
        text = mark + json.dumps(self.header(nodes)).encode()
        text += b' ' * (-len(text) % 4)
        body = self.data + b'\0' * (-len(self.data) % 4)
        chunks = len(text).to_bytes(4, 'little') + b'JSON' + text + len(body).to_bytes(4, 'little') + b'BIN\0' + body
        return b'glTF' + (2).to_bytes(4, 'little') + (12 + len(chunks)).to_bytes(4, 'little') + chunks

    def gltf(self, uri, nodes=None):
        header = self.header(nodes)
        header['buffers'][0]['uri'] = uri
        return json.dumps(header)


def built(**options):
    builder = Builder()
    builder.part(**options)
    return builder
