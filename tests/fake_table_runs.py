"""A paper of two rows, and a stand-in for the processes that run run.py."""

import contextlib
import json
import random
from pathlib import Path

from paper_tables.rows.paper import Claim, Metric, Paper, Row, Table
from paper_tables.workers import Ended

from jaxret.files import write_atomically

CONFIGS = {'small': 'modelnet40.py:smoke', 'clf': 'modelnet40.py:clf'}
MAP, MIXING = (
    Metric('mean_map', 'Mean mAP'),
    Metric('domain_mixing', 'Mixing', scale=1.0, digits=3, higher_is_better=False, chance='domain_mixing_expected'),
)
A = Row('a', CONFIGS, {'batch_size': 4}, {'mean_map': 50.5})
B = Row('b', CONFIGS, {'batch_size': 8}, {'mean_map': 50.0})
SAME = Row('a again', CONFIGS, {'batch_size': 4}, {'mean_map': 50.5})
PAPER = Paper(
    'Somebody (2024)',
    notes=('A note.',),
    tables=(Table('Table 1: this', (MAP, MIXING), (A, B)), Table('Table 2: that', (MAP,), (SAME, B))),
    claims=(
        Claim('a is better than b', better='a', worse='b', metric='mean_map'),
        Claim('b mixes less', better='b', worse='a', metric='domain_mixing', difference=0.1),
    ),
)


class FakeRuns:
    """Stands in for the processes that run run.py: writes metrics.json, or does what `faults` says for a (batch size,
    seed). Runs end in the order in which they began."""

    def __init__(self):
        self.calls, self.faults, self.most, self.ended, self.order, self.signals = [], {}, 1, [], [], []

    def __call__(self, count):
        self.count = count
        return contextlib.nullcontext(self)

    @property
    def free(self):
        return len(self.ended) < self.most

    @property
    def running(self):
        return len(self.ended)

    def start(self, key, arguments, log):
        options = dict(part.removeprefix('--').split('=', 1) for part in arguments)
        workdir, seed, size = Path(options['workdir']), int(options['config.seed']), int(options['config.batch_size'])
        self.calls.append((size, seed))
        assert workdir.parent.name == 'runs' and not (workdir / 'metrics.json').exists()
        assert options['report'] == 'no'
        self.ended.append((key, workdir, log, size, seed))

    def next(self):
        key, workdir, log, size, seed = self.ended[0]
        fault = self.faults.get((size, seed))
        if isinstance(fault, BaseException):
            del self.faults[size, seed]
            self.faults[size, seed] = 143, ''
            raise fault
        del self.ended[0]
        self.order.append((size, seed))
        if isinstance(fault, tuple):
            status, text = fault
            with log.open('a') as file:
                file.write(text)
            return Ended(key, status, 1.5)
        write_atomically(workdir / 'metrics.json', json.dumps(fault or metrics_of(size, seed)))
        return Ended(key, 0, 1.5)

    def interrupt(self, number):
        self.signals.append(number)


def metrics_of(size, seed):
    """What a run of this batch size and seed 'reaches'."""
    value = random.Random(seed).uniform(0.4, 0.6) + (0.1 if size == 4 else 0.0) + 0.01 * seed
    return {
        'mean_map': value,
        'mean_map_chance': 0.25,
        'domain_mixing': 0.3,
        'domain_mixing_expected': 0.5,
        'queries': 24,
        'synthetic': True,
        'per_class': {'chair': {}},
    }


def results_of(tmp_path):
    return json.loads((tmp_path / 'out' / 'results.json').read_text())


def rows_of(tmp_path):
    """{name: row}, with the values of all tables that it stands in."""
    rows = {}
    for row in (row for table in results_of(tmp_path)['tables'] for row in table['rows']):
        rows[row['name']] = row | {'values': rows.get(row['name'], {}).get('values', {}) | row['values']}
    return rows
