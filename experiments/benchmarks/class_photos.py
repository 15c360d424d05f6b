"""How well the built-in model finds the class of real photos among models that nobody labelled or photographed.

    python experiments/benchmarks/class_photos.py --photos=DIR --models=MODELNET_DIR --up-axis=z

Photos lie in DIR/image/{train,test}/<class>/, models in <class>/..., as in ModelNet's layout; classes of one kind alone
are used as they are: models of further classes can be answers, photos of classes without models are left out. A row is
a purpose: the class of the first answer (nearest neighbour, NN), whether one of the first ten is of the class, and the
precision of the first ten. Chance is that of a random order; equal weight is given to every photo, or to every class
(`macro`). Intervals are of 95 % (Wilson; of the precision Student).
"""

import sys
from pathlib import Path
from typing import Any

from measuring import at_least, describe_devices, make_parser, parse, positive, says_errors, show, write_json

# isort: split
import numpy as np
from built_in_index import TOP, accuracy, add_index_arguments, embedded, opened_index, orders

from data_pipelines.domain_adaptation.mi3dor_folders import list_photos
from jaxret.errors import DataError, Problem
from jaxret.metrics.intervals import mean_metrics

COLUMNS = (
    ('row', ''),
    ('queries', 'd'),
    *((f'{name}{end}', '.3f') for name in ('nn', 'top10', 'precision') for end in ('', '_low', '_high')),
    ('nn_macro', '.3f'),
)


def measured(name: str, right: np.ndarray, classes: np.ndarray) -> dict[str, Any]:
    """A row: whether the answers [Q, 10] of photos of some classes [Q] are of the class."""
    row = {'row': name, 'queries': len(right), **accuracy('nn', right[:, 0]), **accuracy('top10', right.any(axis=1))}
    per_class = {str(one): float(right[classes == one, 0].mean()) for one in np.unique(classes)}
    row |= mean_metrics('precision', right.mean(axis=1), 0.95)
    return row | {'nn_macro': float(np.mean(list(per_class.values()))), 'nn_per_class': per_class}


def chance(categories: np.ndarray, classes: np.ndarray) -> dict[str, Any]:
    """The row of a random order."""
    share = np.array([(categories == one).mean() for one in classes])
    return {'row': 'chance', 'queries': len(classes), 'nn': float(share.mean()), 'precision': float(share.mean())}


@says_errors
def main(arguments: list[str] | None = None) -> int:
    """Indexes, searches, prints a table; returns 1 where the data cannot be used."""
    parser = make_parser(__doc__)
    parser.add_argument('--photos', type=Path, required=True, help='folder with image/{train,test}/<class>')
    parser.add_argument('--models', type=Path, required=True, help='folder with <class>/')
    parser.add_argument('--queries', type=positive, help='most photos that are drawn; default: all')
    parser.add_argument('--seed', type=at_least(0), default=0, help='of those')
    add_index_arguments(parser)
    known, _, cores = parse(parser, arguments)
    found, problems = list_photos(known.photos)
    if problems:
        raise DataError(problems)
    with opened_index(known.models, known) as (model, index, cost):
        categories = np.array(index.categories)
        photos = [photo for photo in found if photo.category in set(index.categories)]
        if not photos:
            told = f'none of {len(found)} photos is of a class of the models'
            raise DataError(Problem(str(known.photos), told, 'name another folder'))
        order = np.random.default_rng(known.seed).permutation(len(photos))[: known.queries]
        photos = [photos[number] for number in sorted(order)]
        classes = np.array([photo.category for photo in photos])
        queries = embedded(model, [photo.path for photo in photos])
        rows, title = [], f'classes of photos among {len(index)} models, {describe_devices()}, {cores} cores'
        for purpose in index.purposes:
            first = np.array(orders(index, queries, depth=TOP, purpose=purpose))
            rows.append(measured(purpose, categories[first] == classes[:, None], classes))
        rows.append(chance(categories, classes))
        write_json(known.json, title=title, arguments=known, rows=rows, facts=cost)
    show(title, COLUMNS, rows)
    return 0


if __name__ == '__main__':
    sys.exit(main())
