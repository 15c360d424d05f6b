"""Closed primitives (box, cylinder, cushion, slab, arch) gathered into one mesh that remembers each face's part.

Frame: right-handed, +y up, the floor at y = 0, the front of a piece of furniture towards -z. Every primitive is a
closed surface with outward faces, so that a union of them can be voxelised as a solid.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

Triple = Sequence[float]


@dataclass
class Assembly:
    """A growing list of labelled primitives.

    Attributes:
      vertices: arrays [N_i, 3], one a primitive.
      faces: arrays [F_i, 3] that index the primitive's own vertices.
      labels: the part label of each primitive ('leg', 'seat', ...).
    """

    vertices: list[np.ndarray] = field(default_factory=list)
    faces: list[np.ndarray] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)

    def add(self, label: str, vertices: np.ndarray, faces: np.ndarray) -> None:
        """Adds one closed primitive; its faces are turned outward."""
        vertices = np.asarray(vertices, np.float64)
        faces = np.asarray(faces, np.int64)
        corners = vertices[faces] - vertices.mean(0)
        if np.einsum('fi,fi->', corners[:, 0], np.cross(corners[:, 1], corners[:, 2])) < 0:  # six times the volume
            faces = faces[:, ::-1]
        self.vertices.append(vertices)
        self.faces.append(faces)
        self.labels.append(label)

    def box(self, label: str, low: Triple, high: Triple) -> None:
        """Adds an axis-aligned box between two opposite corners."""
        low, high = np.minimum(low, high), np.maximum(low, high)
        unit = np.array([(x, y, z) for x in (0, 1) for y in (0, 1) for z in (0, 1)], float)
        quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
        self.add(label, low + unit * (high - low), _triangles(quads))

    def bar(self, label: str, start: Triple, end: Triple, width: float, depth: float | None = None) -> None:
        """Adds a square-section bar between two points (for slanted legs and braces)."""
        half = width / np.sqrt(2)
        self.rod(label, start, end, half, sections=4, stretch=1.0 if depth is None else depth / width)

    def rod(
        self,
        label: str,
        start: Triple,
        end: Triple,
        radius: float,
        end_radius: float | None = None,
        *,
        sections: int = 14,
        stretch: float = 1.0,
    ) -> None:
        """Adds a cylinder or cone frustum between two points; `stretch` scales its second cross-section axis."""
        start, end = np.asarray(start, float), np.asarray(end, float)
        axis = (end - start) / np.linalg.norm(end - start)
        helper = np.array([0.0, 0.0, 1.0]) if abs(axis[2]) < 0.9 else np.array([1.0, 0.0, 0.0])
        first = np.cross(helper, axis)
        first /= np.linalg.norm(first)
        second = np.cross(axis, first) * stretch
        angle = 2 * np.pi * (np.arange(sections) + 0.5) / sections
        ring = np.cos(angle)[:, None] * first + np.sin(angle)[:, None] * second
        end_radius = radius if end_radius is None else end_radius
        self.add(label, *loft([start + radius * ring, end + end_radius * ring]))

    def path(self, label: str, points: Sequence[Triple], radius: float, *, closed: bool = False) -> None:
        """Adds a bent tube: rods along a polyline, each drawn a little past its joints so that they overlap."""
        points = [np.asarray(point, float) for point in points]
        for start, end in zip(points, points[1:] + points[:1], strict=True):
            if not closed and end is points[0]:
                break
            reach = (end - start) / np.linalg.norm(end - start) * radius * 0.4
            self.rod(label, start - reach, end + reach, radius, sections=10)

    def slab(self, label: str, outline: np.ndarray, low: float, high: float, *, axis: int = 1) -> None:
        """Adds a star-shaped outline [N, 2] pushed along an axis (1: a table top in x, z; 2: a headboard in x, y)."""
        first, second = [i for i in range(3) if i != axis]
        rings = []
        for level in (low, high):
            ring = np.empty((len(outline), 3))
            ring[:, first], ring[:, second], ring[:, axis] = outline[:, 0], outline[:, 1], level
            rings.append(ring)
        self.add(label, *loft(rings))

    def cushion(self, label: str, low: Triple, high: Triple, *, roundness: float = 0.35) -> None:
        """Adds a rounded box (superellipsoid) between two opposite corners; roundness 1 gives an ellipsoid."""
        low, high = np.asarray(low, float), np.asarray(high, float)
        rows, columns = 8, 20
        power = lambda value: np.sign(value) * np.abs(value) ** roundness  # noqa: E731
        latitude = np.linspace(-np.pi / 2, np.pi / 2, rows + 1)[1:-1]
        longitude = 2 * np.pi * (np.arange(columns) + 0.5) / columns
        rings = []
        for angle in latitude:
            x = power(np.cos(angle)) * power(np.cos(longitude))
            z = power(np.cos(angle)) * power(np.sin(longitude))
            rings.append(np.stack([x, np.full(columns, power(np.sin(angle))), z], 1))
        vertices, faces = loft(rings)
        vertices[-2], vertices[-1] = (0, -1, 0), (0, 1, 0)
        self.add(label, (low + high) / 2 + vertices * (high - low) / 2, faces)

    def merge(
        self,
        other: 'Assembly',
        *,
        lean: float = 0.0,
        pivot: tuple[float, float] = (0.0, 0.0),
        turn: float = 0.0,
        shift: Triple = (0.0, 0.0, 0.0),
    ) -> None:
        """Adds another assembly: leaned back about the x axis through pivot (y, z), turned about y, then shifted.

        Args:
          other: its primitives are copied.
          lean: degrees; positive moves the top towards +z.
          pivot: (y, z) of the leaning axis.
          turn: degrees about +y.
          shift: translation.
        """
        angle, heading = np.deg2rad(lean), np.deg2rad(turn)
        tilt = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
        spin = np.array([[np.cos(heading), 0, np.sin(heading)], [0, 1, 0], [-np.sin(heading), 0, np.cos(heading)]])
        origin = np.array([0.0, *pivot])
        for label, vertices, faces in zip(other.labels, other.vertices, other.faces, strict=True):
            moved = ((vertices - origin) @ tilt.T + origin) @ spin.T + np.asarray(shift, float)
            self.add(label, moved, faces)

    def joined(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[str, ...]]:
        """Returns vertices [N, 3], faces [F, 3], the part of each face [F], and the part names."""
        names = tuple(dict.fromkeys(self.labels))
        offsets = np.cumsum([0] + [len(vertices) for vertices in self.vertices[:-1]])
        faces = np.concatenate([f + offset for f, offset in zip(self.faces, offsets, strict=True)])
        parts = np.concatenate(
            [np.full(len(f), names.index(label)) for f, label in zip(self.faces, self.labels, strict=True)]
        )
        return np.concatenate(self.vertices), faces, parts, names


def ellipse(half_x: float, half_y: float, *, sections: int = 28, start: float = 0.0, stop: float = 360.0) -> np.ndarray:
    """Outline [N, 2] of an ellipse or, with other angles, of a segment of it."""
    whole = stop - start == 360.0
    angle = np.deg2rad(np.linspace(start, stop, sections, endpoint=not whole))
    return np.stack([half_x * np.cos(angle), half_y * np.sin(angle)], 1)


def arch(half_x: float, low: float, shoulder: float, top: float, *, sections: int = 15) -> np.ndarray:
    """Outline [N, 2] of a board with straight sides up to `shoulder` and a round upper edge that reaches `top`."""
    curve = ellipse(half_x, top - shoulder, sections=sections, stop=180.0) + [0.0, shoulder]
    return np.concatenate([[[half_x, low]], curve, [[-half_x, low]]])


def _triangles(quads: Sequence[tuple[int, ...]]) -> np.ndarray:
    """Splits quadrilaterals [[a, b, c, d], ...] into triangles."""
    return np.array([triangle for a, b, c, d in quads for triangle in ((a, b, c), (a, c, d))])


def loft(rings: Sequence[np.ndarray], *, closed: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Skins a stack of rings [S, 3] and closes both ends with fans around their centres (the last two vertices).

    With `closed` the last ring is joined to the first instead.
    """
    count, sections = len(rings), len(rings[0])
    here, after = np.arange(sections), np.roll(np.arange(sections), -1)
    faces = []
    for ring in range(count if closed else count - 1):
        low, high = ring * sections, (ring + 1) % count * sections
        faces += [np.stack([low + here, low + after, high + after], 1)]
        faces += [np.stack([low + here, high + after, high + here], 1)]
    if closed:
        return np.concatenate(rings), np.concatenate(faces)
    vertices = np.concatenate([*rings, [rings[0].mean(0)], [rings[-1].mean(0)]])
    bottom, top, last = count * sections, count * sections + 1, (count - 1) * sections
    faces += [np.stack([np.full(sections, bottom), after, here], 1)]
    faces += [np.stack([np.full(sections, top), last + here, last + after], 1)]
    return vertices, np.concatenate(faces)


def others(values: tuple[str, ...], *known: str) -> tuple[str, ...]:
    """The values of an option besides some."""
    return tuple(value for value in values if value not in known)
