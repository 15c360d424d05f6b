"""What mesh readers would accept with part of the faces missing: mostly files that were cut off."""

import json
import re

from jaxret.geometry.off import off_fault

# A face of an OBJ file with under three vertices. Possessive, as files are large.
_SHORT_FACE = re.compile(rb'^[ \t]*+f(?:[ \t]++[^\s#]++){0,2}+[ \t]*+(?:#|\r?$)', re.MULTILINE)


def mesh_fault(data: bytes, suffix: str) -> str | None:
    """What is wrong with the content of a mesh file that its reader would not report; None where nothing is.

    Args:
      data: the file's content.
      suffix: of its name, in lower case.

    Returns:
      A description, for a `Problem`.
    """
    return _FAULTS[suffix](data)


def _obj_fault(data: bytes) -> str | None:
    short = _SHORT_FACE.search(data.replace(b'\\\r\n', b' ').replace(b'\\\n', b' '))
    if short is None:
        return None
    face = short[0].strip()[:60].decode('ascii', 'replace')
    return f'cut off, or a damaged face of under three vertices: {face!r}'


def _stl_fault(data: bytes) -> str | None:
    declared = int.from_bytes(data[80:84], 'little') if len(data) >= 84 else -1
    if len(data) == 84 + 50 * declared:
        return None
    if data[:5].lower() != b'solid':
        return f'{len(data)} bytes, but the STL header names {max(declared, 0)} triangles'
    return None if b'endsolid' in data[-1024:].lower() else "cut off: a text STL file must end with 'endsolid'"


def _ply_fault(data: bytes) -> str | None:
    header, _, body = data.partition(b'end_header')
    if b'format ascii' not in header:
        return None
    counts = re.findall(rb'^element\s+\w+\s+(\d{1,18})\s*$', header, re.MULTILINE)
    expected = sum(int(count) for count in counts)
    present = sum(1 for line in body.splitlines() if line.strip())
    if present >= expected:
        return None
    return f'cut off: the header names {expected} vertices and faces, {present} lines follow'


def _glb_fault(data: bytes) -> str | None:
    declared = int.from_bytes(data[8:12], 'little')
    if data[:4] == b'glTF' and len(data) >= declared:
        return None
    return f'{len(data)} bytes, but the GLB header names {declared}'


def _gltf_fault(data: bytes) -> str | None:
    """On a damaged header trimesh would quietly read another file named model.gltf."""
    try:
        header = json.loads(data)
    except (ValueError, RecursionError) as error:
        return f'not valid JSON ({error})'
    return None if isinstance(header, dict) else 'the JSON in it is not an object'


_FAULTS = {
    '.obj': _obj_fault,
    '.off': off_fault,
    '.ply': _ply_fault,
    '.stl': _stl_fault,
    '.glb': _glb_fault,
    '.gltf': _gltf_fault,
}
