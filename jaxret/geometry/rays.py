"""Ray casting for rendering, voxelisation and depth pictures: embree on the CPU, without a display.

Letters: N vertices, F faces, M rays, P packets of rays.

embree comes with embreex, whose own functions cast one ray at a time and copy a mesh number by number. Here embree's C
interface (stable within version 4) is called instead: 16 rays at a time, on the mesh where it lies.
"""

import collections
import ctypes
import functools
import itertools
import weakref
from collections.abc import Iterator

import embreex.rtcore_scene
import numpy as np

LANES = 16  # rays that are cast together

# From embree4/rtcore_*.h.
_TRIANGLES, _INDICES, _VERTICES, _UINT3, _FLOAT3 = 0, 0, 1, 0x5003, 0x9003
_DEFAULT, _ROBUST = 0, 1 << 2
_INCOHERENT, _COHERENT, _ALL_FEATURES = 0, 1 << 16, 0xFFFFFFFF
# RTCRayHit16 is rows of 16 numbers, RTCRayHit rows of one. Behind the last one named here lie numbers of instances, as
# many as embree was built for; they have room to spare.
_ROWS = 24
_ORIGIN, _DIRECTION, _FAR, _MASK, _UV, _FACE, _HIT = slice(0, 3), slice(4, 7), 8, 9, slice(15, 17), 17, slice(15, 19)
PACKETS = 1024  # cast in one go; caches hold as many
# Rays together and rays alone round differently. What meets a face so close to its edge (as a share of the face) that
# it might as well meet the neighbour is cast again, alone, so that pictures are those of rays cast one by one.
_EDGE = 1e-4


class _Arguments(ctypes.Structure):
    """RTCIntersectArguments."""

    _fields_ = (
        ('flags', ctypes.c_int),
        ('features', ctypes.c_uint),
        ('context', ctypes.c_void_p),
        ('filter', ctypes.c_void_p),
        ('intersect', ctypes.c_void_p),
    )


class Scene:
    """A mesh ready for ray casting, by one thread at a time; from `build_scene`."""

    def __init__(self, handle: int, buffers: tuple[np.ndarray, np.ndarray]):
        self._handle, self._buffers = handle, buffers
        self._together, self._alone = _Packets(PACKETS, LANES), _Packets(PACKETS, 1)
        weakref.finalize(self, _embree().rtcReleaseScene, handle).atexit = False

    def cast(self, origins: np.ndarray, directions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The first face that each ray of some packets meets. A packet is quickest where its rays are neighbours.

        Args:
          origins: float32, broadcasts to the directions.
          directions: float32 [P, 3, 16], P up to `PACKETS`, of any length but 0.

        Returns:
          The face, int32 [P, 16], -1 where a ray meets nothing, and how far from the origin in lengths of the
          direction, float32 [P, 16].
        """
        faces, distances, near_edge = self._together.cast(self._handle, origins, directions)
        again = np.flatnonzero(near_edge)
        for start in range(0, len(again), PACKETS):
            one = np.unravel_index(again[start : start + PACKETS], faces.shape)
            rays = (np.broadcast_to(x, directions.shape)[one[0], :, one[1], None] for x in (origins, directions))
            alone = self._alone.cast(self._handle, *rays)
            faces[one], distances[one] = alone[0][:, 0], alone[1][:, 0]
        return faces, distances


class _Packets:
    """Memory for packets of rays, in which embree writes what they meet."""

    def __init__(self, count: int, lanes: int):
        size = count * _ROWS * lanes
        memory = np.zeros(size + 2 * LANES, np.float32)
        start = -memory.ctypes.data % 64 // 4  # embree wants it aligned to 64 bytes
        self._valid = memory[start : start + LANES].view(np.int32)
        self._rows = memory[start + LANES : start + LANES + size].reshape(count, _ROWS, lanes)
        self._valid[:] = -1
        self._rows.view(np.int32)[:, _MASK] = -1
        base = (ctypes.c_char * (4 * size)).from_address(self._rows.ctypes.data)
        self._pointers = [ctypes.byref(base, 4 * _ROWS * lanes * number) for number in range(count)]

    def cast(
        self, scene: int, origins: np.ndarray, directions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Faces, distances, and whether a ray comes near an edge of its face."""
        count, _, lanes = directions.shape
        rows = self._rows[:count]
        rows[:, _ORIGIN], rows[:, _DIRECTION], rows[:, _FAR] = origins, directions, np.inf
        rows.view(np.int32)[:, _HIT] = -1  # no face; as u and v it is NaN, which is near no edge
        arguments = _Arguments(flags=_INCOHERENT if lanes == 1 else _COHERENT, features=_ALL_FEATURES)
        valid = () if lanes == 1 else (itertools.repeat(ctypes.c_void_p(self._valid.ctypes.data)),)
        calls = map(
            _intersect(lanes),
            *valid,
            itertools.repeat(ctypes.c_void_p(scene)),
            self._pointers[:count],
            itertools.repeat(ctypes.byref(arguments)),
        )
        collections.deque(calls, maxlen=0)  # runs them all, without a step of Python between
        u, v = rows[:, _UV].swapaxes(0, 1).copy()
        near_edge = np.minimum(np.minimum(u, v), 1 - u - v) < _EDGE
        return rows.view(np.int32)[:, _FACE].copy(), rows[:, _FAR].copy(), near_edge


def build_scene(vertices: np.ndarray, faces: np.ndarray, *, watertight: bool) -> Scene:
    """Makes a mesh ready for ray casting.

    Args:
      vertices: [N, 3], near the unit cube (embree works in float32).
      faces: [F, 3].
      watertight: no ray may slip between two triangles that share an edge. Without it casting is faster, and such slips
        are rare enough for pictures.

    Returns:
      The scene.
    """
    points = np.zeros((len(vertices) + 1, 3), np.float32)  # embree reads a number beyond the last vertex
    points[:-1] = vertices
    corners = np.ascontiguousarray(faces, np.uint32)
    embree = _embree()
    device = embree.rtcNewDevice(b'threads=1')  # as many processes render as there are cores
    scene, geometry = embree.rtcNewScene(device), embree.rtcNewGeometry(device, _TRIANGLES)
    embree.rtcSetSceneFlags(scene, _ROBUST if watertight else _DEFAULT)
    embree.rtcSetSharedGeometryBuffer(geometry, _VERTICES, 0, _FLOAT3, points.ctypes.data, 0, 12, len(vertices))
    embree.rtcSetSharedGeometryBuffer(geometry, _INDICES, 0, _UINT3, corners.ctypes.data, 0, 12, len(corners))
    embree.rtcCommitGeometry(geometry)
    embree.rtcAttachGeometry(scene, geometry)
    embree.rtcCommitScene(scene)
    error = embree.rtcGetDeviceError(device)
    result = Scene(scene, (points, corners))
    embree.rtcReleaseGeometry(geometry)  # scene, geometry and device live as long as one of the others needs them
    embree.rtcReleaseDevice(device)
    if error:
        raise MemoryError(f'embree cannot build a scene of {len(corners):,} faces (its error {error})')
    return result


def first_hits(scene: Scene, origins: np.ndarray, directions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first face that each ray meets.

    Args:
      scene: from `build_scene`.
      origins: float32 [M, 3], or [3] of all rays.
      directions: float32 [M, 3], of any length but 0; fastest where rays in a row are neighbours.

    Returns:
      The face, int32 [M], -1 where a ray meets nothing, and how far from the origin in lengths of the direction,
      float32 [M].
    """
    count = len(directions)
    faces, distances = np.empty(count, np.int32), np.empty(count, np.float32)
    for start in range(0, count, PACKETS * LANES):
        part = slice(start, min(start + PACKETS * LANES, count))
        rays = np.arange(start, part.stop + -part.stop % LANES).reshape(-1, LANES)
        rays = np.minimum(rays, count - 1)  # the last ray fills up the last packet
        own = origins[:, None] if origins.ndim == 1 else origins[rays].swapaxes(1, 2)
        found = scene.cast(own, directions[rays].swapaxes(1, 2))
        faces[part], distances[part] = (values.ravel()[: part.stop - start] for values in found)
    return faces, distances


def all_hits(
    scene: Scene, origins: np.ndarray, direction: np.ndarray, *, step: float, max_hits: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Walks parallel rays through the mesh, one surface after the other.

    Surfaces closer together than `step` along a ray count once, which merges the duplicated faces of CAD exports.

    Args:
      scene: from `build_scene`.
      origins: float32 [M, 3].
      direction: float32 [3], of length 1.
      step: how far past a hit the search goes on.
      max_hits: no ray is followed further than this many hits.

    Yields:
      (ray int64 [H], distance from the ray's origin float64 [H]): the next hit of every ray that still has one.
    """
    rays = np.arange(len(origins))
    travelled = np.zeros(len(origins))
    for _ in range(max_hits):
        starts = origins[rays] + travelled[:, None].astype(np.float32) * direction
        faces, distances = first_hits(scene, starts, np.broadcast_to(direction, starts.shape))
        met = faces >= 0
        if not met.any():
            return
        rays, distance = rays[met], travelled[met] + distances[met]
        yield rays, distance
        travelled = distance + step


@functools.cache
def _embree() -> ctypes.CDLL:
    """embree's functions, found through the module of embreex that was linked with it."""
    library = ctypes.CDLL(embreex.rtcore_scene.__file__)
    pointer, whole, size = ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t
    for name, result, arguments in (
        ('rtcNewDevice', pointer, [ctypes.c_char_p]),
        ('rtcReleaseDevice', None, [pointer]),
        ('rtcGetDeviceError', whole, [pointer]),
        ('rtcNewScene', pointer, [pointer]),
        ('rtcSetSceneFlags', None, [pointer, whole]),
        ('rtcCommitScene', None, [pointer]),
        ('rtcReleaseScene', None, [pointer]),
        ('rtcNewGeometry', pointer, [pointer, whole]),
        ('rtcSetSharedGeometryBuffer', None, [pointer, whole, whole, whole, pointer, size, size, size]),
        ('rtcCommitGeometry', None, [pointer]),
        ('rtcAttachGeometry', whole, [pointer, pointer]),
        ('rtcReleaseGeometry', None, [pointer]),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


@functools.cache
def _intersect(lanes: int):
    """rtcIntersect16 or rtcIntersect1. Calls keep Python's lock: they are many and take a microsecond."""
    function = getattr(ctypes.PyDLL(embreex.rtcore_scene.__file__), f'rtcIntersect{lanes}')
    function.restype = None
    return function
