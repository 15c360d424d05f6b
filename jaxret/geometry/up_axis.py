"""Which axis of a mesh points up, y or z: what its format says, else what the mesh and its neighbours tell.

What stands upright rests on a wide foot, and it is more alike along its two horizontal directions than along a
horizontal and the vertical one (A. Fu, D. Cohen-Or, G. Dror, A. Sheffer, "Upright Orientation of Man-Made Objects",
ACM Transactions on Graphics 27(3), 2008: static stability and symmetry). One model can mislead: a screen is a table on
its side, an airplane lies flat in both. Models of one folder mostly come from one tool, so their guesses are counted.

Letters: P points.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxret.geometry.formats import DISTANCE_SUFFIXES
from jaxret.geometry.mesh import Mesh, load_mesh, normalize_mesh
from jaxret.geometry.places import locate
from jaxret.geometry.points import sample_surface

AUTO = 'auto'  # in the place of an axis: it is guessed
Guess = tuple[str, float]  # 'y' or 'z', and a certainty
FIRM = 0.9  # certainty from which a guess counts for its folder
_SURE = 0.97  # and from which it stands alone
_POINTS, _CELLS = 6000, 16
_FOOT = 0.03  # of the height: what of a model touches the ground
_ALIKE_WEIGHT, _FOOT_WEIGHT = 7.0, 5.0
_LEAST_LEAD, _LEAST_SHARE = 2, 0.75  # of the firm guesses that decide for a folder
_LEAST_FOLDERS = 3  # that agree on another axis than the folder above
_AXES = {'y': 1, 'z': 2}
# glTF 2.0 specification, 3.4; COLLADA's <up_axis>, by which it is read; 3MF core specification, 2.2.
_STATED = {**dict.fromkeys(('.glb', '.gltf', '.dae', *DISTANCE_SUFFIXES), 'y'), '.3mf': 'z'}
_angles = np.linspace(0, 2 * np.pi, 32, endpoint=False)
_DIRECTIONS = np.stack([np.cos(_angles), np.sin(_angles)])


def stated_axis(path: Path) -> str | None:
    """The axis that points up by a file's format, as `load_mesh` takes it; None where the format leaves it open."""
    return _STATED.get(locate(path).suffix)


def guess_up_axis(mesh: Mesh) -> Guess:
    """The axis that more probably points up, and how probable that is.

    Args:
      mesh: in the axes of its file (`load_mesh` with up_axis='y').

    Returns:
      'y' or 'z', and a certainty from 0.5 (nothing tells) to 1; below `FIRM` it says little. The certainty is of one
      model among models of all kinds: some kinds, such as flat screens, mislead with high certainty.
    """
    return guess_of_points(sample_surface(normalize_mesh(mesh, mode='cube'), _POINTS, seed=0).astype(np.float64))


def guess_file_axis(path: Path) -> Guess:
    """`guess_up_axis` of a mesh file. Raises DataError: it cannot be used."""
    return guess_up_axis(load_mesh(path))


def guess_of_points(points: np.ndarray) -> Guess:
    """`guess_up_axis` of points [P, 3] that lie evenly on a surface."""
    low, high = points.min(axis=0), points.max(axis=0)
    unit = (points - low) / np.maximum(high - low, 1e-9 * (high - low).max())  # every side of its box 1
    cells = _cells(unit)
    leads = {
        name: _ALIKE_WEIGHT * _alike(unit, cells, axis) + _FOOT_WEIGHT * _foot(unit, axis)
        for name, axis in _AXES.items()
    }
    lead = leads['y'] - leads['z']
    return 'y' if lead >= 0 else 'z', float(1 / (1 + np.exp(-abs(lead))))


def _cells(unit: np.ndarray) -> np.ndarray:
    """Cells of the unit cube that have a point of [P, 3] in them or in one of the 26 around: bool [N, N, N]."""
    own = np.zeros((_CELLS,) * 3, bool)
    own[_places(unit)] = True
    near = np.pad(own, 1)
    for axis in range(3):
        near |= np.roll(near, 1, axis) | np.roll(near, -1, axis)
    return near[1:-1, 1:-1, 1:-1]


def _places(unit: np.ndarray) -> tuple[np.ndarray, ...]:
    return tuple(np.minimum((unit * _CELLS).astype(np.int64), _CELLS - 1).T)


def _alike(unit: np.ndarray, cells: np.ndarray, axis: int) -> float:
    """Share of the points [P, 3] that have one near where the mirrors between the two other axes put them."""
    across = [0, 3 - axis]
    swapped = unit.copy()
    swapped[:, across] = unit[:, across[::-1]]
    opposite = swapped.copy()
    opposite[:, across] = 1 - swapped[:, across]
    return float(cells[_places(swapped)].mean() + cells[_places(opposite)].mean()) / 2


def _foot(unit: np.ndarray, axis: int) -> float:
    """Area of the convex hull of the lowest points of [P, 3], as a share of the box seen along the axis."""
    lowest = unit[unit[:, axis] <= _FOOT][:, [0, 3 - axis]]
    corners = lowest[(lowest @ _DIRECTIONS).argmax(axis=0)]  # the farthest each way, in the order of the angles
    x, y = corners.T
    return float(abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2)


def agreed_axis(guesses: Sequence[Guess | None]) -> str | None:
    """What the firm guesses of one folder's models agree on, 'y' or 'z'; None where too few do."""
    votes = Counter(guess[0] for guess in guesses if guess and guess[1] >= FIRM)
    (axis, most), *_ = [*votes.most_common(1), ('', 0)]
    lead = 2 * most - votes.total()
    return axis if lead >= _LEAST_LEAD and most >= _LEAST_SHARE * votes.total() else None


def folder_axes(names: Sequence[str], guesses: Sequence[Guess | None]) -> list[str | None]:
    """The axis of each model: what its folder's models agree on, the highest folder first; else its own sure guess.

    A folder below has another axis than the one above where several of its own folders agree on that. One folder alone
    says less: models of one kind, such as screens, all mislead in the same way.

    Args:
      names: paths of the models below one folder, with /.
      guesses: of `guess_up_axis`; None for models of which there is none.

    Returns:
      of each 'y', 'z', or None where neither its folders nor the model itself tell.
    """
    axes = [guess[0] if guess and guess[1] >= _SURE else None for guess in guesses]
    waiting = [([(number, name.split('/')) for number, name in enumerate(names)], None)]
    while waiting:
        members, above = waiting.pop()
        below: dict[str, list[tuple[int, list[str]]]] = {}
        for number, (first, *rest) in members:
            if rest:
                below.setdefault(first, []).append((number, rest))
        agreed = agreed_axis([guesses[number] for number, _ in members])
        if above and agreed != above:
            votes = Counter(agreed_axis([guesses[number] for number, _ in inside]) for inside in below.values())
            differs = votes[agreed] >= _LEAST_FOLDERS and votes[agreed] >= _LEAST_SHARE * (votes['y'] + votes['z'])
            agreed = agreed if agreed and differs else above
        for number, _ in members if agreed else ():
            axes[number] = agreed
        waiting += [(inside, agreed) for inside in below.values()]
    return axes
