"""The few calls that rendering and voxelisation need from embree (headless CPU ray casting).

Letters: N vertices, F faces, M rays.
"""

from collections.abc import Iterator

import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene


def build_scene(vertices: np.ndarray, faces: np.ndarray, *, watertight: bool) -> EmbreeScene:
    """Makes a mesh ready for ray casting.

    Args:
      vertices: [N, 3], near the unit cube (embree works in float32).
      faces: [F, 3].
      watertight: no ray may slip between two triangles that share an edge. Without it casting is about 15 % faster, and
        such slips are rare enough for pictures: none among eight million rays at closed balls of 1k to 200k faces.

    Returns:
      The scene.
    """
    scene = EmbreeScene(robust=watertight)
    TriangleMesh(scene, np.ascontiguousarray(vertices, np.float32), np.ascontiguousarray(faces, np.int32))
    return scene


def first_hits(scene: EmbreeScene, origin: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Index of the first face that each ray from one point meets.

    Args:
      scene: from `build_scene`.
      origin: float32 [3].
      directions: float32 [M, 3], of any length but 0.

    Returns:
      int32 [M], -1 where a ray meets nothing.
    """
    return scene.run(np.broadcast_to(origin, directions.shape), directions)


def all_hits(
    scene: EmbreeScene, origins: np.ndarray, direction: np.ndarray, *, step: float, max_hits: int
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
        hits = scene.run(starts, np.broadcast_to(direction, starts.shape), output=1)
        met = hits['geomID'] >= 0
        if not met.any():
            return
        rays, distance = rays[met], travelled[met] + hits['tfar'][met]
        yield rays, distance
        travelled = distance + step
