"""Table 1 of CMIC by category: accuracies and distances of runs, of what nobody trained, and as the papers print them.

  python experiments/category_table.py [--seeds=N] [--data_dir=DIR] [--unseen_dir=DIR] [--config.KEY=VALUE ...]
                                       [--out=DIR]

--seeds       runs of pix3d.py with the seeds 0 .. N - 1 (default: 5); more can be added later
--data_dir    folder in Pix3D's layout; without it the synthetic sample is used
--unseen_dir  gallery that the runs never saw, as --config.evaluation.unseen_dir: a folder, or sample; without it
              those columns stay empty
--config.KEY=VALUE
              overrides a key of the runs' config
--out         where everything goes (default: runs/category_table-DATA)

Each run is scored twice: with its training photos as references, which is the default, and by views alone, as the
paper scores. Runs lie in OUT/runs; the same command goes on where it was stopped, and a finished run stays as it is.
OUT holds the table of one data set (by names and sizes of its files) and one set of overrides.
OUT/report/index.html is the table; OUT/table.json is the same as data, without paths, to keep beside code
(experiments/results). Status 1: a run failed.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import run
from interruption import run_command, says_errors
from machine import command_text, commits_text, machine, source
from overrides import apply_overrides, load_config, split_overrides
from paper_tables.plan import PASSING, check_settings, data_fingerprint
from result_text import one_line_a_row
from training_packages import check_training_packages

from jaxret.errors import ConfigError, StorageError
from jaxret.files import escape_missing_letters, read_json, write_atomically
from jaxret.runs.config import covers
from jaxret.runs.workdir import locked

REFERENCES, VIEWS = 'CMIC, ours, with references', 'CMIC, ours'
KNOWN = '--seeds, --data_dir, --unseen_dir, --config.KEY=VALUE, --out or --help'
CONFIG = 'pix3d.py'
SAMPLE = 'sample'  # as --unseen_dir: a synthetic gallery
SOURCE = 'source.json'  # in a run's folder: the code that made it
FOLDERS = {'data_dir': '--data_dir', 'evaluation.unseen_dir': '--unseen_dir'}
OWN = {'seed': '--seeds', **FOLDERS}
_NEEDED = ('gallery', 'masks', 'uses_answer', 'per_category', 'comparators', 'by_views')  # of metrics.json


@says_errors
def main(arguments: list[str]) -> int:
    """Runs the command line; returns the exit status."""
    escape_missing_letters()
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for name, default in (('seeds', '5'), ('data_dir', ''), ('unseen_dir', ''), ('out', '')):
        parser.add_argument(f'--{name}', default=default)
    parser.add_argument('-h', '--help', action='store_true')
    known, rest = parser.parse_known_args(arguments)
    if known.help:
        print(__doc__)
        return 0
    overrides = split_overrides(rest, known=KNOWN)
    if not (known.seeds.isdecimal() and 0 < int(known.seeds) <= 1000):
        raise ConfigError(f'--seeds={known.seeds}: not a number of seeds from 1 to 1000')
    for key in (*OWN, 'evaluation.references', 'evaluation.shape_metrics'):
        if key in overrides:
            raise ConfigError(f'--config.{key}: {f"use {OWN[key]}" if key in OWN else "the table sets it itself"}')
    check_training_packages()
    name = Path(known.data_dir).name if known.data_dir else 'sample'
    out = (Path(known.out) if known.out else Path('runs') / f'category_table-{name}').resolve()
    folders = {'data_dir': known.data_dir, 'evaluation.unseen_dir': known.unseen_dir}
    given = overrides | {key: str(Path(value).resolve()) if value else '' for key, value in folders.items()}
    if known.unseen_dir == SAMPLE:
        given['evaluation.unseen_dir'] = SAMPLE
    apply_overrides(load_config(CONFIG)[0], given)
    settings = {
        'paper': 'category_table',
        'preset': CONFIG,
        'data_dir': given['data_dir'],
        'data': ', '.join(
            given[key] if given[key] == SAMPLE else data_fingerprint(given[key], option=option) or 'none'
            for key, option in FOLDERS.items()
        ),
        'tuned': False,
        'overrides': overrides,
    }
    with locked(out, option='--out'):
        return _make(int(known.seeds), given, settings, out)


def _make(seeds: int, given: dict[str, str], settings: dict[str, Any], out: Path) -> int:
    new = not (out / 'settings.json').exists()
    check_settings(out, settings)
    runs: dict[str, dict[int, dict[str, Any]]] = {REFERENCES: {}, VIEWS: {}}
    sources: list[dict[str, Any]] = []
    for seed in range(seeds):
        workdir = out / 'runs' / f'seed-{seed}'
        if not (workdir / 'metrics.json').exists():
            keys = [f'--config.{key}={value}' for key, value in {**given, 'seed': seed}.items()]
            if status := run.main([f'--config={CONFIG}', f'--workdir={workdir}', *keys]):
                if new and not workdir.exists():  # refused before it began: the folder is free for other settings
                    (out / 'settings.json').unlink()
                return status
            write_atomically(workdir / SOURCE, json.dumps(source()))
        if not (workdir / 'metrics.json').exists():  # stopped, with its state saved
            raise KeyboardInterrupt
        new, metrics = False, _metrics(workdir / 'metrics.json')
        runs[REFERENCES][seed], runs[VIEWS][seed] = metrics, {**metrics, **metrics['by_views']}
        sources.append(_source(workdir))
    _write(out, runs, sources, {key: value for key, value in sorted(given.items()) if not covers(PASSING, key)})
    return 0


def _metrics(path: Path) -> dict[str, Any]:
    """The metrics of a finished run; a StorageError where they are damaged, or lack what the table needs."""
    try:
        metrics = read_json(path)
        missing = [key for key in _NEEDED if key not in metrics]
        if missing or not isinstance(metrics['by_views'], dict):
            raise ValueError(f'without {", ".join(missing) or "metrics by views"}')
        return metrics
    except (OSError, ValueError, TypeError) as error:
        raise StorageError(
            f'{path}: damaged, or of an earlier version ({error}); delete the file, and the same command evaluates '
            f'the run again'
        ) from error


def _source(workdir: Path) -> dict[str, Any]:
    """What code made a run; unknown of those of earlier versions."""
    try:
        return {'commit': None, 'dirty': None} | read_json(workdir / SOURCE)
    except (OSError, ValueError, TypeError):
        return {'commit': None, 'dirty': None}


def _write(
    out: Path, runs: dict[str, dict[int, dict[str, Any]]], sources: list[dict[str, Any]], settings: dict[str, str]
) -> None:
    from photo_to_shape.category_rows import COLUMNS, NOTES, groups

    from jaxret.reports.category_table import write_category_table

    one, title = runs[REFERENCES][0], 'CMIC, Table 1: photos to shapes by category'
    table, environment, data = groups(runs), machine(), settings['data_dir']
    facts = {
        'title': title,
        'data': Path(data).name if data else 'synthetic sample',
        'overrides': {key: Path(value).name for key, value in settings.items() if value and key != 'data_dir'},
        'seeds': len(runs[REFERENCES]),
        'gallery': one['gallery'],
        'unseen_gallery': one.get('unseen_gallery'),
        'unseen_photos': one.get('unseen_queries'),
        'masks': one['masks'],
        'uses_answer': one['uses_answer'],
        'commits': commits_text(sources),
        'hardware': {key: value for key, value in environment['hardware'].items() if key != 'host'},
        'versions': environment['versions'],
    }
    write_atomically(out / 'table.json', one_line_a_row({**facts, 'notes': NOTES, 'columns': COLUMNS, 'groups': table}))
    answer = [f'USES THE ANSWER: {one["uses_answer"]}.'] if one['uses_answer'] else []
    page = write_category_table(
        out / 'report',
        table,
        COLUMNS,
        title=title,
        config=settings,
        skipped=[],
        notes=[*answer, *NOTES],
        provenance={
            'synthetic': not data,
            'Command': command_text(),
            'Data': data or 'the synthetic sample',
            'Seeds': f'0 to {len(runs[REFERENCES]) - 1}',
            'Gallery': f'{one["gallery"]} shapes; unseen {one.get("unseen_gallery", "none")}',
            'Code': ', '.join(commits_text(sources)),
        },
    )
    print(f'report: {page}')


if __name__ == '__main__':
    sys.exit(run_command(main))
