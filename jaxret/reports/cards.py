"""What a page shows of a query: pictures stored as files, the answers, and the outcome in words.

Letters: H, W picture size, N items.
"""

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

_THUMBNAIL = 160  # pixels of the stored thumbnails (shown at half of that or less)


@dataclass(frozen=True)
class Shown:
    """A picture on a card.

    Attributes:
      picture: path of its file, as the page names it.
      name: of what it shows.
      caption: under it.
      mark: of an answer: 'true', 'wrong', or '' for neither.
    """

    picture: str
    name: str
    caption: str
    mark: str = ''


@dataclass(frozen=True)
class Card:
    """One query.

    Attributes:
      state: 'hit', 'miss', or 'unjudged' where there is no right answer.
      verdict: the outcome in words.
      names: of the query, and of what it looks for.
      questions: what goes before the answers.
      answers: best first.
    """

    state: str
    verdict: str
    names: str
    questions: Sequence[Shown]
    answers: Sequence[Shown]


class Thumbnails:
    """The folder of a report's thumbnails, without those of an earlier report."""

    def __init__(self, folder: Path):
        self.folder = folder
        for pattern in ('photo-*.jpg', 'mask-*.png', 'view-*.png', 'voxels-*.png'):
            for old in folder.glob(pattern):
                old.unlink()

    def store(self, array: np.ndarray, kind: str) -> str:
        """Writes a thumbnail, named by its content, so that what many queries share is stored once.

        Args:
          array: uint8 [H, W] or [H, W, 3].
          kind: 'photo', 'mask', 'view' or 'voxels' (in colour, and kept sharp).

        Returns:
          Its path as the page names it.
        """
        image = as_image(array, kind)
        image.thumbnail((_THUMBNAIL, _THUMBNAIL))
        digest = hashlib.sha256(image.tobytes() + str(image.size).encode()).hexdigest()[:16]
        name = f'{kind}-{digest}.{"jpg" if kind == "photo" else "png"}'
        self.folder.mkdir(parents=True, exist_ok=True)
        if not (self.folder / name).exists():
            image.save(self.folder / name, **({'quality': 88} if kind == 'photo' else {'optimize': True}))
        return f'{self.folder.name}/{name}'


def as_image(array: np.ndarray, kind: str) -> Image.Image:
    """A picture uint8 [H, W] or [H, W, 1 or 3]; 'mask' ones of 0 and 1 become black and white."""
    array = np.asarray(array)
    array = array[..., 0] if array.ndim == 3 and (kind == 'mask' or array.shape[-1] == 1) else array
    if kind == 'mask' and array.max(initial=0) <= 1:
        array = array * np.uint8(255)
    return Image.fromarray(np.ascontiguousarray(array, np.uint8))


def class_card(query: Shown, answers: Sequence[Shown], same: Sequence[bool], *, there: int, nothing: str) -> Card:
    """A query whose right answers are those of its class.

    Args:
      query: captioned with its class.
      answers: best first, captioned with theirs.
      same: whether each is of the query's class.
      there: how many of its class it could find.
      nothing: the verdict where that is none.
    """
    verdict = f'{sum(same)} of {min(there, len(answers))}' if there else nothing
    marked = [
        dataclasses.replace(answer, mark='true' if right else 'wrong')
        for answer, right in zip(answers, same, strict=True)
    ]
    return Card('hit' if same and same[0] else 'miss', verdict, query.name, [query], marked)


def drawn_rows(labels: np.ndarray, count: int, *, seed: int, single_last: bool = False) -> np.ndarray:
    """Some items at random, of different classes as far as there are.

    Args:
      labels: [N] class ids.
      count: how many; all where there are fewer.
      seed: of the draw.
      single_last: rather of classes with several items.
    """
    order = np.random.default_rng(seed).permutation(len(labels))
    first = {int(c): place for place, c in reversed(list(enumerate(labels[order])))}  # place of each class's first
    repeated = [first[int(c)] != place for place, c in enumerate(labels[order])]
    single = (np.bincount(labels)[labels[order]] == 1) & single_last
    return order[np.lexsort((single, repeated))[:count]]
