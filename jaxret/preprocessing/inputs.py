"""What a system takes of photos and shapes: plain values, without the tools that make arrays of files.

Letters: V views, S size in pixels, N points, M faces, R voxels a side.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, ClassVar

import numpy as np
from ml_collections import ConfigDict

from jaxret.geometry.formats import DISTANCE_SUFFIXES, FACE_VALUES, MESH_SUFFIXES
from jaxret.geometry.view_ring import MOST_STEPS, ViewRing, turns_of

RESOLUTION = 32
OUTLINE_CELLS = 32  # a side of a silhouette
_LATER = ('margin', 'outlines', 'headings')  # that earlier versions did not store
Arrays = Mapping[str, tuple[tuple[int, ...], type]]  # name -> shape without the batch axis, type


@dataclass(frozen=True)
class PhotoInputs:
    """How a system sees a photo.

    Attributes:
      kind: 'masked' (photo and mask, CMIC), 'plain' (photo alone, HIFA), 'view' (grey, on white, as if it were a
        rendered view; cross-modal centers), or 'cutout' (the object in colours on white, as `place_object` places it
        with the margin, and its silhouette as few cells, which is empty where only the box or the frame is known; the
        built-in model).
      size: S.
      stored_size: 'plain': the photo is resampled to this side, then its middle S x S pixels are taken.
      crop, margin, fit: as for `frame_photo`; 'plain': fit as for `square_picture`.
      frame_margin: 'cutout': white around a photo without mask and box, as a share of its longer side.
    """

    kind: str
    size: int
    stored_size: int = 0
    crop: str = 'none'
    margin: float = 0.0
    fit: str = 'pad'
    frame_margin: float = 0.0
    headings: ClassVar[None] = None  # a photo has one

    @property
    def whole_frame(self) -> bool:
        """Whether it sees the whole photo, wherever the object is."""
        return self.kind == 'masked' and self.crop == 'none'

    @property
    def arrays(self) -> Arrays:
        """What `photo_arrays` makes."""
        colors = ((self.size, self.size, 3), np.uint8)
        if self.kind == 'masked':
            return {'image': colors, 'mask': ((self.size, self.size, 1), np.uint8)}
        if self.kind == 'cutout':
            return {'photo': colors, 'outline': ((OUTLINE_CELLS, OUTLINE_CELLS), np.uint8)}
        return {'photo': colors} if self.kind == 'plain' else {'views': ((1, self.size, self.size, 1), np.uint8)}


@dataclass(frozen=True)
class ShapeInputs:
    """What a system takes of a shape. Values that a representation does not use are 0, or the ring's defaults.

    Attributes:
      representation: 'views', 'faces', 'points' or 'grid'.
      ring: cameras and light of the views.
      view_ids: the views that are used.
      side: S; pixels in the middle of a rendered view.
      unit_sphere: the mesh is moved to the unit sphere before everything.
      points: N.
      faces: M.
      up_axis: axis that points up in mesh files where nothing else is said.
      placement: of meshes in grids (`grid_meshes.PLACEMENTS`).
      margin: views are cut to what they show and placed anew with this margin, as `place_object` does it with photos;
        None: as rendered.
      outlines: cameras from which silhouettes are kept beside the views; None for none.
      headings: of a query: in so many headings about the vertical it is made ready, evenly spaced; of views in those
        that differ. Arrays then have an axis of headings first, the file's own the first. None as in a gallery.
    """

    representation: str
    ring: ViewRing = ViewRing()
    view_ids: tuple[int, ...] = ()
    side: int = 0
    unit_sphere: bool = False
    points: int = 0
    faces: int = 0
    up_axis: str = 'y'
    placement: str = 'centered'  # of indexes that do not say
    margin: float | None = None
    outlines: ViewRing | None = None
    headings: int | None = None

    def all_around(self, *, one_by_one: bool) -> 'ShapeInputs':
        """As a query whose heading is not known.

        Args:
          one_by_one: views are compared one by one: there are more of them, from all azimuths (`ViewRing.denser`).
        """
        if not one_by_one:
            return replace(self, headings=MOST_STEPS, outlines=None)
        ring = self.ring.denser
        return replace(self, ring=ring, view_ids=tuple(range(ring.count)), outlines=None)

    @property
    def turned_views(self) -> np.ndarray:
        """Of `ring.denser` the views in every heading that shows others: int64 [T, V]; first those of `view_ids`."""
        poses = np.array(self.ring.poses)[list(self.view_ids)]
        turns, _ = turns_of(np.array(self.ring.denser.poses), poses)
        return turns[np.sort(np.unique(np.sort(turns, axis=1), axis=0, return_index=True)[1])]

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Kinds of files that it takes."""
        return (*MESH_SUFFIXES, *DISTANCE_SUFFIXES) if self.representation == 'grid' else MESH_SUFFIXES

    @property
    def arrays(self) -> Arrays:
        """What `shape_arrays` makes."""
        one = {
            'views': {'views': ((len(self.view_ids), self.side, self.side, self.ring.channels), np.uint8)},
            'faces': {'faces': ((self.faces, FACE_VALUES), np.float32), 'neighbors': ((self.faces, 3), np.int32)},
            'points': {'points': ((self.points, 3), np.float32)},
            'grid': {'grid': ((RESOLUTION,) * 3, np.uint8)},
        }[self.representation]
        if self.headings is None:
            return one
        count = len(self.turned_views) if self.representation == 'views' else self.headings
        return {name: ((count, *shape), dtype) for name, (shape, dtype) in one.items()}

    @property
    def textured(self) -> bool:
        """Whether the materials that a file names show."""
        return self.representation == 'views' and not self.unit_sphere and self.ring.shading == 'textured'

    def to_json(self) -> dict[str, Any]:
        """Plain values; `from_json` is the inverse."""
        stored = asdict(self) | {'ring': self.ring.to_json(), 'view_ids': list(self.view_ids)}
        stored['outlines'] = None if self.outlines is None else self.outlines.to_json()
        return {name: value for name, value in stored.items() if name not in _LATER or value is not None}

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> 'ShapeInputs':
        """Raises TypeError, KeyError or ValueError where it is not what `to_json` gave."""
        rings = {name: ViewRing.from_json(stored[name]) for name in ('ring', 'outlines') if stored.get(name)}
        return cls(**(stored | rings | {'view_ids': tuple(stored['view_ids'])}))

    def azimuth(self, view: int) -> float:
        """Degrees in [0, 360) of one of the views that are used; 0 looks at the front (+z), 90 at the right (+x)."""
        return self.ring.poses[self.view_ids[view]][0]

    def elevation(self, view: int) -> float:
        """Degrees above the horizon of the camera of one of the views that are used."""
        return self.ring.poses[self.view_ids[view]][1]


def view_ring(render: ConfigDict, *, size: int) -> ViewRing:
    """The cameras and light of the config group `render`."""
    names = {field.name for field in fields(ViewRing)}
    return ViewRing(size=size, **{name: value for name, value in render.items() if name in names})


def spaced(count: int, available: int) -> tuple[int, ...]:
    """`count` numbers below `available`, evenly spaced from 0; all of them for 0."""
    return tuple(range(available)) if count == 0 else tuple(i * available // count for i in range(count))
