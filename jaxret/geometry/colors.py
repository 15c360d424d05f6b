"""Colours of the materials of a scene, as `Mesh.colors` has them."""

from collections import Counter
from typing import Any

import numpy as np
import trimesh

MOST = 16  # more in one part are a painting or a scan, not materials


def scene_colors(scene: trimesh.Scene) -> tuple[str, ...]:
    """'#rrggbb' of the parts, faces or vertices that a scene colours, that of most faces (or vertices) first.

    Args:
      scene: as the readers of files give it: a part has its material's colour as metadata 'color', red, green, blue
        from 0 to 1 (sRGB), or colours of faces or vertices.
    """
    counts: Counter[str] = Counter()
    for name in scene.graph.nodes_geometry:
        part = scene.geometry[scene.graph[name][1]]
        if not isinstance(part, trimesh.Trimesh) or not len(part.faces):
            continue
        if (color := part.metadata.get('color')) is not None:
            counts[_hex(np.rint(255 * np.asarray(color)))] += len(part.faces)
        elif part.visual.kind in ('face', 'vertex'):
            colors = part.visual.face_colors if part.visual.kind == 'face' else part.visual.vertex_colors
            found, times = np.unique(colors[:, :3], axis=0, return_counts=True)
            if len(found) <= MOST:
                counts.update({_hex(color): int(count) for color, count in zip(found, times, strict=True)})
    return tuple(color for color, _ in counts.most_common(MOST))


def gltf_color(header: dict[str, Any], primitive: dict[str, Any]) -> np.ndarray | None:
    """Base colour of the material of a part of a glTF file.

    Args:
      header: JSON of the file.
      primitive: the part in it.

    Returns:
      [3], sRGB from 0 to 1 (IEC 61966-2-1) of the file's linear light; None without a material, or where it has a
      texture or is damaged.
    """
    try:
        surface = header['materials'][primitive['material']]['pbrMetallicRoughness']
        linear = np.array(surface['baseColorFactor'][:3], np.float64)
    except (KeyError, IndexError, TypeError, ValueError):
        return None
    if 'baseColorTexture' in surface or linear.shape != (3,) or not np.isfinite(linear).all():
        return None
    linear = np.clip(linear, 0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def _hex(color: np.ndarray) -> str:
    return '#' + ''.join(f'{int(value):02x}' for value in color)
