"""The pose annotations of photographed cars: which CAD model a photo shows, and from where.

A file is a pickled dictionary {photo: {azimuth, elevation, theta, distance, u, v, f, model_id}}, read without running
anything (`jaxret.pretrained.plain_pickle`). Photos are paths with '/', relative to the folder of the photos. Wang et
al., 3D Pose Estimation for Fine-Grained Object Categories, ECCV Workshops 2018.
"""

import math
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from jaxret.errors import Problem, refused
from jaxret.pretrained.plain_pickle import load_plain

_MEND = 'correct the annotation file'
_NUMBERS = ('azimuth', 'elevation', 'theta', 'distance', 'u', 'v', 'f')


@dataclass(frozen=True)
class CarPose:
    """Perspective projection of a ShapeNet model of version 1 onto its photo, scaled to a width of 300 pixels.

    With R = Rz(theta) Rx(elevation) Ry(-azimuth), a model point p is at P = R p and is seen at the pixel

        x = 150 + u + f P_x / (P_z - distance),    y = h / 2 + v + f P_y / (P_z - distance)    (x right, y down).

    This is the projection of the authors' own script. As distance > P_z, +P_y is up and +P_x is left: photo and model
    are mirror images of each other, which a car, alike on both sides, does not show.

    Attributes:
      azimuth: radians; 0 looks at the model from +z, pi / 2 from +x.
      elevation: radians, positive from above.
      theta: radians, roll.
      distance: of the camera from the model's origin, in the model's units.
      u: of the principal point from the photo's middle, pixels.
      v: the same, down.
      f: focal length, pixels.
    """

    azimuth: float
    elevation: float
    theta: float
    distance: float
    u: float
    v: float
    f: float


@dataclass(frozen=True)
class CarAnnotation:
    """One photo: its path below the folder of the photos (normalised, with '/'), the id of its CAD model, its pose."""

    photo: str
    model_id: str
    pose: CarPose


def read_annotations(path: Path) -> tuple[list[CarAnnotation], list[Problem]]:
    """Annotations of one file that are sound, and what is wrong with the others.

    Args:
      path: the pickled dictionary.

    Returns:
      sound annotations in the order of their photos, and one problem for each fault of the others.

    Raises:
      DataError: the file is missing, unreadable, damaged, holds anything but plain data (named; nothing of it is run),
        or is not a dictionary with at least one photo.
    """
    try:
        if not path.is_file():
            found = 'missing' if not path.exists() else 'not a regular file'
            raise refused(str(path), found, 'restore the annotation file')
        with path.open('rb') as stream:
            content = load_plain(stream, path=str(path))
    except OSError as error:
        found = f'cannot be read ({error.strerror or error})'
        raise refused(str(path), found, 'check its permissions') from error
    if not isinstance(content, dict) or not content:
        found = 'an empty dictionary' if content == {} else f'holds a {type(content).__name__}, not a dictionary'
        raise refused(str(path), found, 'give a dictionary with one entry a photo')
    sound: dict[str, CarAnnotation] = {}
    problems: list[Problem] = []
    for key, value in content.items():
        where = f'{path.name}[{ascii(key)[:120]}]'
        entry, wrong = _check(where, key, value)
        problems += wrong
        if entry is None:
            continue
        if entry.photo in sound:  # two spellings of one path
            problems.append(Problem(where, f'{entry.photo} is listed already', 'list each photo once'))
        sound[entry.photo] = entry
    return [sound[photo] for photo in sorted(sound)], problems


def _check(where: str, key: Any, value: Any) -> tuple[CarAnnotation | None, list[Problem]]:
    if not isinstance(key, str) or not isinstance(value, dict):
        found = 'its photo is not a text' if not isinstance(key, str) else f'a {type(value).__name__}, not a dictionary'
        return None, [Problem(where, found, _MEND)]
    fault = _path_fault(key)
    problems = [Problem(where, fault, 'give a path below the folder of the photos')] if fault else []
    faults = {'model_id': _id_fault(value.get('model_id'))}
    faults |= {field: _number_fault(field, value.get(field)) for field in _NUMBERS}
    problems += [Problem(f'{where}.{field}', found, _MEND) for field, found in faults.items() if found]
    if problems:
        return None, problems
    pose = CarPose(**{field: float(value[field]) for field in _NUMBERS})
    return CarAnnotation(str(PurePosixPath(key)), value['model_id'], pose), []


def _id_fault(model_id: Any) -> str | None:
    if not isinstance(model_id, str):
        return 'missing' if model_id is None else f'a {type(model_id).__name__}, not a text'
    if _path_fault(model_id) or len(PurePosixPath(model_id).parts) != 1:
        return f'{ascii(model_id)[:80]} is not the id of a CAD model'
    return None


def _number_fault(field: str, number: Any) -> str | None:
    if number is None:
        return 'missing'
    if not isinstance(number, int | float) or isinstance(number, bool):
        return f'a {type(number).__name__}, not a number'
    if not -1e9 < number < 1e9 or not math.isfinite(number):
        return f'{number}'[:40] + ' is out of range'
    return f'{number} is not positive' if field in ('distance', 'f') and number <= 0 else None


def _path_fault(text: str) -> str | None:
    if any(ord(letter) < 32 or 0xD800 <= ord(letter) < 0xE000 for letter in text):
        return 'characters that no file name can hold'
    path = PurePosixPath(text)
    if path.is_absolute() or '..' in path.parts or not path.parts:
        return f'path {ascii(text)[:120]} leaves the folder'
    return None
