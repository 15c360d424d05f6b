"""How well the built-in model finds the models of real photos: without any, with known photos, and as it is taught.

    python experiments/benchmarks/known_photos.py --data_dir=DIR
    python experiments/benchmarks/known_photos.py --data_dir=DIR --index=models.index --seeds=5

The folder is in Pix3D's layout; an entry's key `split` says which photos are known (train, val) and which are searched
with (test). Rows:

- zero-shot: as `jaxret search` does it with an index that knows no photo, for each purpose.
- prior: always the models (the category) that most of the known photos show.
- zero-shot + prior: score / T + log of how often a model is shown, T that of the built-in model's fusion.
- references alone: soft nearest neighbours among all known photos.
- views + references: as `jaxret search` does it once all known photos are taught.
- fit: the same after `jaxret fit`; missing where the known photos are too few for it.
- N photos a model: N random photos, at most, of every model with known photos are taught; mean and spread of the seeds.
- taught, one photo each: the same with N = 1, of test photos whose model was taught alone; and zero-shot on these.
- half taught: one photo of each of a random half of these models; test photos of the taught and of the other half, each
  beside zero-shot.

Category is that of the first answer. Intervals are of 95 %: of the share (Wilson), or of the mean over seeds (Student).
"""

import contextlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from measuring import describe_devices, make_parser, parse, positive, says_errors, show, write_json

# isort: split
import numpy as np
from built_in_index import (
    ACCURACIES,
    TOP,
    accuracy,
    add_index_arguments,
    embedded,
    opened_index,
    ordered,
    orders,
    ranks,
)

from data_pipelines.photo_to_shape.pix3d import read_pix3d
from jaxret.errors import DataError, Problem
from jaxret.index.files import FIT
from jaxret.index.index import Index
from jaxret.index.references import Photo
from jaxret.index.teaching import prepare_photos
from jaxret.inference.model import Model
from jaxret.metrics.intervals import spread
from jaxret.metrics.photo_to_shape import most_frequent_weights
from jaxret.search.parts import photos_centre, views_centre
from jaxret.search.references import reference_probabilities

COLUMNS = (('row', ''), ('queries', 'd'), ('seeds', 'd'), *ACCURACIES)
PHOTOS_A_MODEL = (1, 2, 4)
MODELS = 'model'  # folder of them
Row = dict[str, Any]


@dataclass(frozen=True)
class Photos:
    """What is known and what is searched with.

    Attributes:
      known: photos as they are taught.
      owner: int [R], place in the index of the model that each shows.
      queries: embeddings of the photos that are searched with.
      wanted: int [Q], places of their models.
    """

    known: Sequence[Photo]
    owner: np.ndarray
    queries: np.ndarray
    wanted: np.ndarray


class Benchmark:
    """An index, its photos, and the rows that are measured with them."""

    def __init__(self, model: Model, index: Index, photos: Photos):
        self.model, self.index, self.photos = model, index, photos
        self._category = np.unique(index.categories, return_inverse=True)[1]

    def rows(self, seeds: int) -> Iterator[Row]:
        """All rows."""
        for purpose in self.index.purposes:
            yield self._row(f'zero-shot, {purpose}', self._found(purpose=purpose))
        yield self._prior()
        yield self._row('zero-shot + prior', self._with_prior())
        yield self._row('references alone', self._references_alone())
        everything = np.arange(len(self.photos.known))
        yield self._row('views + references', self._taught(everything))
        with contextlib.suppress(DataError):  # too few to learn of
            yield self._row('views + references, fit', self._taught(everything, fit=True))
        taught = {
            count: [self._hits(self._taught(self._draw(seed, count))) for seed in range(seeds)]
            for count in PHOTOS_A_MODEL
        }
        for count, hits in taught.items():
            yield _over_seeds(f'{count} photos a model', hits)
        yield from self._teaching_rows(taught[1])

    def _found(self, *, depth: int = TOP, **options: Any) -> list[list[int]]:
        return orders(self.index, self.photos.queries, depth=depth, **options)

    def _hits(self, found: Sequence[Sequence[int]]) -> dict[str, np.ndarray]:
        """Whether each query is right, bool [Q], by name of the accuracy."""
        ranked = ranks(found, self.photos.wanted)
        first = np.array([row[0] for row in found])
        right = self._category[first] == self._category[self.photos.wanted]
        return {'top1': ranked <= 1, 'top10': ranked <= TOP, 'category': right}

    def _row(self, name: str, found: Sequence[Sequence[int]]) -> Row:
        return _shares(name, self._hits(found))

    def _prior(self) -> Row:
        owner, wanted = self.photos.owner, self.photos.wanted
        chances = {f'top{count}': most_frequent_weights(owner, len(self.index), count)[wanted] for count in (1, TOP)}
        category, kinds = self._category, len(set(self.index.categories))
        chances['category'] = most_frequent_weights(category[owner], kinds, 1)[category[wanted]]
        return _shares('prior', chances)

    def _with_prior(self) -> list[list[int]]:
        shapes = len(self.index)
        scores = np.empty((len(self.photos.queries), shapes))
        place = {name: number for number, name in enumerate(self.index.ids)}
        for row, hits in zip(scores, self.index.search(self.photos.queries, top_k=shapes), strict=True):
            row[[place[hit.id] for hit in hits]] = [hit.score for hit in hits]
        counts = np.bincount(self.photos.owner, minlength=shapes) + 1 / len(self.photos.owner)
        return ordered(scores / self.model.fusion.view_temperature + np.log(counts), depth=TOP)

    def _references_alone(self) -> list[list[int]]:
        vectors = np.stack([photo.embedding for photo in self.photos.known])
        centre = photos_centre(views_centre(self.index.gallery.embeddings[:]), vectors)
        space = partial(self.model.parts.photo_vectors, centre=centre)
        said = reference_probabilities(
            space(self.photos.queries),
            space(vectors),
            self.photos.owner,
            len(self.index),
            temperature=self.model.fusion.temperature,
        )
        return [
            [shape for shape in row if said[query, shape] > 0] for query, row in enumerate(ordered(said, depth=TOP))
        ]

    def _taught(self, chosen: np.ndarray, *, fit: bool = False) -> list[list[int]]:
        """What is found once some of the known photos are taught, and perhaps learnt of; all is taken back then."""
        rows = [(self.index.ids[self.photos.owner[number]], self.photos.known[number]) for number in chosen]
        numbers = self.index.references.add(rows, key=self.index.fingerprint, origin='python')
        learnt = self.index.folder / FIT
        before = learnt.read_bytes() if learnt.exists() else None
        learnt.unlink(missing_ok=True)
        try:
            if fit:
                self.index.fit()
            return self._found()
        finally:
            self.index.references.remove(numbers)
            learnt.unlink(missing_ok=True)
            if before is not None:
                learnt.write_bytes(before)

    def _draw(self, seed: int, count: int, models: np.ndarray | None = None) -> np.ndarray:
        """Which photos are taught: `count` of every model, or all where it has fewer; of some models or all."""
        generator = np.random.default_rng([seed, count])
        order = generator.permutation(len(self.photos.owner))
        owner = self.photos.owner[order]
        models = np.unique(owner) if models is None else models
        return np.concatenate([order[owner == shape][:count] for shape in models])

    def _teaching_rows(self, taught: Sequence[Mapping[str, np.ndarray]]) -> Iterator[Row]:
        """What one photo a model does for the models that are taught, and for the others.

        Args:
          taught: `_hits` of every seed with one photo of every model.
        """
        models, wanted, seeds = np.unique(self.photos.owner), self.photos.wanted, range(len(taught))
        before = self._hits(self._found())
        halves = [np.random.default_rng(seed).permutation(models)[: len(models) // 2] for seed in seeds]
        half = [self._hits(self._taught(self._draw(seed, 1, halves[seed]))) for seed in seeds]
        within = [np.isin(wanted, chosen) for chosen in halves]
        for name, after, which in (
            ('taught, one photo each', taught, [np.isin(wanted, models)] * len(taught)),
            ('half taught, these', half, within),
            ('half taught, the others', half, [~part for part in within]),
        ):
            for title, hits in ((f'{name}: zero-shot', [before] * len(taught)), (name, after)):
                cut = [{key: one[key][part] for key in one} for one, part in zip(hits, which, strict=True)]
                yield _over_seeds(title, cut)


def _shares(name: str, hits: Mapping[str, np.ndarray]) -> Row:
    row: Row = {'row': name, 'queries': len(hits['top1'])}
    for key, values in hits.items():
        row |= accuracy(key, values)
    return row


def _over_seeds(name: str, hits: Sequence[Mapping[str, np.ndarray]]) -> Row:
    """A row of means over seeds, whose numbers of queries may differ."""
    queries = round(float(np.mean([len(one['top1']) for one in hits])))
    row: Row = {'row': name, 'queries': queries, 'seeds': len(hits)}
    for key in hits[0]:
        of = spread({seed: float(one[key].mean()) for seed, one in enumerate(hits)})
        row |= {key: of.mean, f'{key}_sd': of.sd, f'{key}_low': of.low, f'{key}_high': of.high}
    return row


def read(data_dir: Path, model: Model, index: Index, *, up_axis: str) -> Photos:
    """The photos of a folder, embedded.

    Raises:
      DataError: the folder is not as it should be, or the index lacks models that its photos show.
    """
    dataset = read_pix3d(data_dir, up_axis=up_axis)
    place = {f'{MODELS}/{name}': number for number, name in enumerate(index.ids)}
    if lacking := sorted({photo.model for photo in dataset.photos} - place.keys()):
        raise DataError(
            Problem(str(index.folder), f'lacks {len(lacking)} models, such as {lacking[0]}', 'index the folder again')
        )
    test = dataset.split_photos('test')
    known = [photo for photo in dataset.photos if photo.split != 'test']
    objects = [(photo.image, photo.mask, None) for photo in known]
    return Photos(
        prepare_photos(model, objects, [photo.name for photo in known], progress=True),
        np.array([place[photo.model] for photo in known]),
        embedded(model, [photo.image for photo in test], masks=[photo.mask for photo in test]),
        np.array([place[photo.model] for photo in test]),
    )


@says_errors
def main(arguments: list[str] | None = None) -> int:
    """Indexes, teaches, searches, prints a table; returns 1 where the data cannot be used."""
    parser = make_parser(__doc__)
    parser.add_argument('--data_dir', type=Path, required=True)
    parser.add_argument('--seeds', type=positive, default=5, help='draws of known photos')
    add_index_arguments(parser)
    known, _, cores = parse(parser, arguments)
    with opened_index(known.data_dir / MODELS, known) as (model, index, cost):
        photos, rows = read(known.data_dir, model, index, up_axis=known.up_axis), []
        facts = {**cost, 'known_photos': len(photos.known), 'models_with_known_photos': len(set(photos.owner.tolist()))}
        title = f'photos of {len(index)} models, {describe_devices()}, {cores} cores'
        for row in Benchmark(model, index, photos).rows(known.seeds):
            rows.append(row)
            write_json(known.json, title=title, arguments=known, rows=rows, facts=facts)
    show(title, COLUMNS, rows)
    return 0


if __name__ == '__main__':
    sys.exit(main())
