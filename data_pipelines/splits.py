"""Deterministic splits of photos, and of objects by class.

They depend on the set of names, the numbers wanted and a seed, not on file order. One photo more or less may move
others: store a split to keep it.
"""

import hashlib
from collections import defaultdict
from collections.abc import Mapping


def split_photos(shape_of: Mapping[str, str], *, test_fraction: float, seed: int) -> dict[str, str]:
    """Divide each shape's photos over train and test.

    A shape's photos are ordered by sha256('<seed>:<photo>'); the first k are test, the others train, 1 <= k <= n - 1
    for a shape with n >= 2 photos. A shape with one photo is in train. The numbers k are proportional to n, rounded
    with the remainder carried from shape to shape (in the order of their names), and chosen such that the share of
    test over all photos is as near to `test_fraction` as that allows.

    Args:
      shape_of: shape of each photo, by the photo's name.
      test_fraction: share of test photos wanted; 0 gives none.
      seed: another seed, another split.

    Returns:
      'train' or 'test' by the photo's name.
    """
    photos_of = defaultdict(list)
    for photo, shape in shape_of.items():
        photos_of[shape].append(photo)
    divisible = sum(len(photos) for photos in photos_of.values() if len(photos) > 1)
    share = min(1.0, test_fraction * len(shape_of) / divisible) if divisible else 0.0
    split = dict.fromkeys(shape_of, 'train')
    if share == 0.0:
        return split
    carry = 0.0
    for shape in sorted(photos_of):
        photos = sorted(photos_of[shape], key=lambda photo: _hash(f'{seed}:{photo}'))
        if len(photos) == 1:
            continue
        wanted = share * len(photos) + carry
        count = min(max(round(wanted), 1), len(photos) - 1)
        carry = min(max(wanted - count, -1.0), 1.0)
        split.update(dict.fromkeys(photos[:count], 'test'))
    return split


def hold_out(
    split: Mapping[str, str], shape_of: Mapping[str, str], *, val_fraction: float, seed: int
) -> dict[str, str]:
    """Move a share of the train photos to val, never the last train photo of a shape.

    Photos are taken in the order of sha256('<seed>:val:<photo>') until round(val_fraction * train photos) are found,
    and at least one.

    Args:
      split: 'train', 'val' or 'test' by the photo's name.
      shape_of: shape of each photo, by the photo's name.
      val_fraction: share of the train photos to hold out; 0 gives none.
      seed: another seed, another choice.

    Returns:
      the split with the held-out photos marked 'val'.
    """
    train = sorted((photo for photo, part in split.items() if part == 'train'), key=lambda x: _hash(f'{seed}:val:{x}'))
    left: dict[str, int] = defaultdict(int)
    for photo in train:
        left[shape_of[photo]] += 1
    count = max(1, round(val_fraction * len(train))) if val_fraction > 0 else 0
    held: dict[str, str] = {}
    for photo in train:
        if len(held) == count:
            break
        if left[shape_of[photo]] > 1:
            left[shape_of[photo]] -= 1
            held[photo] = 'val'
    return {**split, **held}


def draw_per_class(class_of: Mapping[str, str], *, count: int, seed: int) -> set[str]:
    """A few objects of each class: the first `count` in the order of sha256('<seed>:few:<object>').

    A smaller draw is part of a larger one.

    Args:
      class_of: class of each object, by the object's name.
      count: objects a class; a class with fewer gives all.
      seed: another seed, another choice.

    Returns:
      names of the drawn objects.
    """
    members = defaultdict(list)
    for name in sorted(class_of, key=lambda name: _hash(f'{seed}:few:{name}')):
        members[class_of[name]].append(name)
    return {name for names in members.values() for name in names[:count]}


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
