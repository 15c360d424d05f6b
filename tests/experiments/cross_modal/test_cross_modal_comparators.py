"""Image to image by frozen features alone, against loops."""

from types import SimpleNamespace

import numpy as np
import pytest
from cross_modal.comparators import untrained_metrics

RNG = np.random.default_rng(0)
FEATURES = {split: RNG.normal(size=(count, 3, 2, 2, 5)) for split, count in (('test', 7), ('train', 4))}
LABELS = {'test': np.array([0, 1, 2, 0, 1, 2, 0]), 'train': np.array([2, 0, 1, 1])}


class Table:
    """As much of `ObjectTable` as is used."""

    categories = ('a', 'b', 'c')

    def __init__(self, label):
        self.label = label

    def __len__(self):
        return len(self.label)


def pooled(features):
    """Mean of each view's map, to length 1, mean over views, to length 1."""
    rows = []
    for views in features:
        total = np.zeros(5)
        for view in views:
            mean = sum(view[i, j] for i in range(2) for j in range(2)) / 4
            total += mean / np.sqrt(sum(mean**2))
        rows.append(total / np.sqrt(sum(total**2)))
    return rows


def mean_average_precision(vectors, labels):
    """Without the query itself."""
    found = []
    for query, vector in enumerate(vectors):
        others = [n for n in range(len(vectors)) if n != query]
        cosines = [vector @ vectors[n] / np.linalg.norm(vector) / np.linalg.norm(vectors[n]) for n in others]
        order = [others[place] for place in np.argsort(cosines)[::-1]]
        hits = [labels[n] == labels[query] for n in order]
        found.append(sum(sum(hits[: n + 1]) / (n + 1) for n in range(len(hits)) if hits[n]) / sum(hits))
    return sum(found) / len(found)


@pytest.mark.parametrize('trained', [True, False])
def test_untrained(trained):
    names = ('test', 'train') if trained else ('test',)
    tables = {name: Table(LABELS[name]) for name in names}
    found = untrained_metrics(SimpleNamespace(tables=tables), lambda table, split: FEATURES[split])
    test, train = pooled(FEATURES['test']), pooled(FEATURES['train'])
    expected = {'zero_shot': mean_average_precision(test, LABELS['test'])}
    if trained:
        classes = []
        for query in test:
            sums = np.zeros(3)
            for reference, label in zip(train, LABELS['train'], strict=True):
                sums[label] += np.exp(query @ reference / 0.05)
            classes.append(sums / sums.sum())
        expected['references'] = mean_average_precision(classes, LABELS['test'])
    assert {name: row['map_image_image_excluding_self'] for name, row in found.items()} == pytest.approx(expected)
