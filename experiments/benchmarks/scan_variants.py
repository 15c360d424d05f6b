"""How well scans find their CAD models cell by cell, by plain overlap and by the network, as they stand and turned.

    python experiments/benchmarks/scan_variants.py --workdir=DIR [--data_dir=GRIDS] [--rows=cells,overlap,small]

Rows are presets of scan_cad.py. Scans stand as their models do ('standing', compared as they stand), or are simulated
again with any heading about the vertical ('turned', drawn by the data's seed; compared in 24 headings, of which the
nearest counts). Runs learn from standing scans and are made once: the same command again goes on. --held_out=models
tests with scans of models that no training scan shows.

Category and own model (of its category) with Wilson intervals over scans; `top1` is the own model among all. Pairs of
rows by the scans that one finds and the other does not, with the exact two-sided sign test; of seeds, the first.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from measuring import make_parser, parse, says_errors, show, write_json

# isort: split
import run
from scipy.stats import binomtest

from jaxret.errors import ConfigError
from jaxret.metrics.intervals import wilson_interval

HEADINGS = 24
ANY_HEADING = 720  # degrees of deviation
RATES = ('category_top1', 'exact_top1', 'instance_top1', 'ranking_quality')
COLUMNS = (
    ('row', ''),
    ('scans_are', ''),
    ('seed', 'd'),
    ('queries', 'd'),
    *((rate, '.3f') for rate in (*RATES, 'top1')),
)
PAIR_COLUMNS = (
    ('row', ''),
    ('other', ''),
    ('scans_are', ''),
    ('rate', ''),
    ('gained', 'd'),
    ('lost', 'd'),
    ('p', '.2g'),
)
SETTINGS = {
    'standing': (),
    'turned': (f'--config.simulate.yaw={ANY_HEADING}', f'--config.evaluation.headings={HEADINGS}'),
}
PAIRS = {'models': 'scan2cad_objects_models.json', 'viewpoints': 'scan2cad_objects.json'}
Hits = Mapping[str, Mapping[str, bool]]  # rate -> scan -> found


@says_errors
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = make_parser(__doc__)
    parser.add_argument('--workdir', type=Path, required=True, help='runs, kept')
    parser.add_argument('--data_dir', default='', help='CAD grids; the synthetic sample by default')
    parser.add_argument('--cache_dir', default='', help='as config.cache_dir')
    parser.add_argument('--rows', default='cells,overlap', help='presets of scan_cad.py')
    parser.add_argument('--seeds', type=int, default=1, help='of rows that learn')
    parser.add_argument('--held_out', default='viewpoints', choices=tuple(PAIRS), help='what test scans are new in')
    known, overrides, _ = parse(parser, arguments, overrides=True)
    changed = [f'--config.{key}={value}' for key, value in overrides.items()]
    rows, hits = [], {}
    for preset in known.rows.split(','):
        for seed in range(1 if preset == 'overlap' else known.seeds):
            workdir = known.workdir / f'{preset}-{seed}'
            _start(
                f'--config=scan_cad.py:{preset}',
                f'--config.data_dir={known.data_dir}',
                f'--config.cache_dir={known.cache_dir}',
                f'--config.data.pairs={PAIRS[known.held_out]}',
                f'--config.seed={seed}',
                f'--workdir={workdir}',
                *changed,
            )
            for setting, options in SETTINGS.items():
                folder = _evaluated(workdir, options)
                row, found = _read(folder)
                rows.append({'row': preset, 'scans_are': setting, 'seed': seed, **row})
                hits.setdefault((preset, setting), found)
    pairs = [
        {'row': known.rows.split(',')[0], 'other': other, 'scans_are': setting, **pair}
        for other in known.rows.split(',')[1:]
        for setting in SETTINGS
        for pair in compared(hits[known.rows.split(',')[0], setting], hits[other, setting])
    ]
    show('Scans and their CAD models', COLUMNS, rows)
    show('Scans that one row finds and the other does not', PAIR_COLUMNS, pairs)
    folders = {'workdir': '', 'cache_dir': '', 'data_dir': Path(known.data_dir).name or 'synthetic sample'}
    settings = argparse.Namespace(**vars(known) | folders)
    write_json(known.json, title='Variants of scans to CAD models', arguments=settings, rows=rows, pairs=pairs)
    return 0


def compared(one: Hits, other: Hits) -> list[dict[str, Any]]:
    """Of every rate, scans that one row alone finds and that the other alone finds, and the p of so unequal shares."""
    result = []
    for rate in one:
        gained = sum(found and not other[rate][scan] for scan, found in one[rate].items())
        lost = sum(other[rate][scan] and not found for scan, found in one[rate].items())
        p = binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
        result.append({'rate': rate, 'gained': gained, 'lost': lost, 'p': float(p)})
    return result


def _start(*arguments: str) -> None:
    if run.main(list(arguments)):
        raise ConfigError('a run failed, see above')


def _evaluated(workdir: Path, options: Sequence[str]) -> Path:
    """The folder with the metrics of the run itself, or of its evaluation with other options."""
    if not options:
        return workdir
    _start('--mode=eval', f'--workdir={workdir}', *options)
    return max((workdir / 'evaluations').iterdir(), key=lambda folder: (folder / 'metrics.json').stat().st_mtime_ns)


def _read(folder: Path) -> tuple[dict[str, Any], Hits]:
    """Rates of the test scans with their intervals, and which scans find their category and their own model."""
    metrics = json.loads((folder / 'metrics.json').read_text())
    found = json.loads((folder / 'predictions.json').read_text())
    tests = [row for row in found if row['search'] == 'test scans']
    hits = {
        'category_top1': {row['query']: _category(row['results'][0]['id']) == _category(row['truth']) for row in tests},
        'top1': {row['query']: row['rank_of_truth'] == 1 for row in tests},
    }
    right = sum(hits['top1'].values())
    low, high = wilson_interval(right, len(tests))
    intervals = {f'{rate}_{end}': metrics[f'{rate}_{end}'] for rate in RATES for end in ('low', 'high', 'chance')}
    rates = {rate: metrics[rate] for rate in RATES} | intervals
    return {'queries': len(tests), **rates, 'top1': right / len(tests), 'top1_low': low, 'top1_high': high}, hits


def _category(model: str) -> str:
    return model.partition('_')[0]


if __name__ == '__main__':
    sys.exit(main())
