"""Spheres of a STEP file whose seam is the border of a face: OpenCASCADE then takes the whole sphere for the face.

Half a shell, cut by a plane through the poles that the exporting system gave its sphere, is such a face. Where the seam
lies is free, as it is not in the file: it follows from the X direction of the sphere's placement, which is turned to
the middle of the face.
"""

import re
from functools import partial

import numpy as np

_STRING = re.compile(rb"'(?:[^']|'')*'")
_ENTITY = re.compile(rb"#(\d+)\s*=\s*([A-Z_0-9]+)\s*\(((?:[^';]|'(?:[^']|'')*')*)\)\s*;")
_REFERENCE = re.compile(rb'#(\d+)')
_SPHERE = re.compile(rb"(#(\d+)\s*=\s*SPHERICAL_SURFACE\s*\(\s*'(?:[^']|'')*'\s*,\s*)#(\d+)")
_NEAR = 1e-6  # of unit vectors, and of lengths as a share of the radius
Entities = dict[int, tuple[bytes, bytes]]  # name and arguments by number


def with_free_seams(data: bytes) -> bytes:
    """A STEP file of the same shape, whose spheres have no seam on a border of their faces.

    Files are left as they are where curves are given on surfaces (PCURVE), which depend on the seam, and where
    something in them is not as the standard has it: their reader says so.

    Args:
      data: content of the file.
    """
    if b'SPHERICAL_SURFACE' not in data or b'PCURVE' in data:
        return data
    entities = {int(number): (name, _STRING.sub(b"''", said)) for number, name, said in _ENTITY.findall(data)}
    added, placed, last = [], {}, max(entities, default=0)
    try:
        for sphere, (origin, pole, middle) in _spheres(entities).items():
            last += 3
            placed[sphere] = last
            numbers = (last - 2, _triple(pole), last - 1, _triple(middle), last, origin, last - 2, last - 1)
            added.append(
                b"#%d=DIRECTION('',%s);\n#%d=DIRECTION('',%s);\n#%d=AXIS2_PLACEMENT_3D('',#%d,#%d,#%d);\n" % numbers
            )
        data = _SPHERE.sub(lambda found: found[1] + b'#%d' % placed.get(int(found[2]), int(found[3])), data)
        end = data.rindex(b'ENDSEC')
    except (KeyError, ValueError, IndexError, AttributeError):
        return data
    return data[:end] + b''.join(added) + data[end:]


def _spheres(entities: Entities) -> dict[int, tuple[int, np.ndarray, np.ndarray]]:
    """Spheres with a seam on a border: number of their centre, their axis, and where the seam is in nobody's way."""
    found = {}
    for name, said in entities.values():
        if name != b'ADVANCED_FACE':
            continue
        *bounds, surface = map(int, _REFERENCE.findall(said))
        if entities[surface][0] != b'SPHERICAL_SURFACE':
            continue
        placed = _references(entities, _references(entities, surface)[0])
        centre, pole, *seam = (_numbers(entities, number) for number in placed)
        pole, radius = _unit(pole), _radius(entities, surface)
        for circle in _circles(entities, bounds) if seam else ():
            other, axis = map(partial(_numbers, entities), _references(entities, _references(entities, circle)[0])[:2])
            great = max(np.linalg.norm(centre - other), abs(radius - _radius(entities, circle))) < _NEAR * radius
            if great and max(abs(_unit(axis) @ pole), abs(_unit(axis) @ _unit(seam[0]))) < _NEAR:
                found[surface] = placed[0], pole, _unit(axis)
    return found


def _circles(entities: Entities, bounds: list[int]) -> list[int]:
    """Numbers of the circles in the edges of some bounds of a face."""
    circles = []
    for bound in bounds:
        loop = _references(entities, bound)[0]
        for oriented in _references(entities, loop) if entities[loop][0] == b'EDGE_LOOP' else ():
            curve = _references(entities, _references(entities, oriented)[-1])[2]
            circles += [curve] if entities[curve][0] == b'CIRCLE' else []
    return circles


def _radius(entities: Entities, number: int) -> float:
    return float(entities[number][1].split(b',')[-1])


def _references(entities: Entities, number: int) -> list[int]:
    return [int(reference) for reference in _REFERENCE.findall(entities[number][1])]


def _numbers(entities: Entities, number: int) -> np.ndarray:
    inside = re.search(rb'\(([^()]*)\)', entities[number][1]).group(1)
    return np.array([float(value) for value in inside.split(b',')])


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


def _triple(vector: np.ndarray) -> bytes:
    """As STEP writes reals: with a point."""
    return b'(%s)' % ','.join(f'{value:.15E}' for value in vector).encode()
