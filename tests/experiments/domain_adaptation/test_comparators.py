"""What frozen features reach without training, on features that are made up."""

from types import SimpleNamespace

import numpy as np
import pytest
from domain_adaptation.comparators import untrained_metrics

from jaxret.metrics.shrec_scores import SCORES
from jaxret.reports.domain_adaptation import UNTRAINED, untrained_scores

CLASSES = ('bed', 'chair', 'lamp')


class Table:
    """Of photos or shapes."""

    def __init__(self, label):
        self.label, self.categories = np.array(label, int), CLASSES

    def __len__(self):
        return len(self.label)


def features_of(directions, label, *, maps, views=0):
    """[N, ...]: of every item the direction of its class, of any length; of a third of the views another class's."""
    rows = directions[np.array(label)] * np.arange(1, len(label) + 1)[:, None]
    if views:
        rows = np.stack([rows, rows, directions[(np.array(label) + 1) % 3]], axis=1)
    if maps:
        rows = np.broadcast_to(rows[..., None, None, :], (*rows.shape[:-1], 2, 2, rows.shape[-1]))
    return rows.astype(np.float32)


@pytest.mark.parametrize('maps', [False, True])
def test_features_and_references_find_their_class(maps):
    """Photos and shapes of a class share no feature with each other, but with a training photo."""
    known, asked, shapes = [0, 0, 1, 1, 2, 2], [0, 1, 2], [2, 1, 0, 0]
    photos = np.eye(6)[:3]
    both = photos + np.eye(6)[3:]
    directions = {'train': both, 'test': photos, 'gallery': np.eye(6)[3:]}
    labels = {'train': known, 'test': asked, 'gallery': shapes}

    def features(table, name):
        assert np.array_equal(table.label, labels[name])
        return features_of(directions[name], labels[name], maps=maps, views=3 * (name == 'gallery'))

    data = SimpleNamespace(photos={'train': Table(known), 'test': Table(asked)}, shapes={'gallery': Table(shapes)})
    found = untrained_metrics(data, SimpleNamespace(plain_features=features), np.array(shapes))
    data.photos['train'] = Table([])  # as --mode=eval has it, which reads no training photos
    alone = untrained_metrics(data, SimpleNamespace(plain_features=features), np.array(shapes))
    assert alone == {'zero_shot': found['zero_shot']}
    assert found.keys() == UNTRAINED.keys() - {'initial_weights'}
    assert all(values.keys() == {*SCORES, *(f'standard_{name}' for name in SCORES)} for values in found.values())
    assert found['zero_shot']['standard_nn'] == 0  # all cosines tie, and ties count against it
    assert found['references']['standard_nn'] == found['references']['nn'] == 1
    assert found['references']['ft'] == 1 and found['references']['anmrr'] == 0
    shown = untrained_scores({'comparators': found})
    assert [name for name, _ in shown] == [UNTRAINED[name] for name in found]
    assert shown[1][1].startswith('NN 1.000, FT 1.000') and untrained_scores({}) == []
