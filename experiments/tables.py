"""Runs the rows of a paper's tables over several seeds, and puts the paper's values beside ours.

  python experiments/tables.py PAPER [--seeds=N|FIRST-LAST] [--preset=PRESET] [--data_dir=DIR] [--rows=NAME,...]
                               [--config.KEY=VALUE ...] [--out=DIR] [--processes=N] [--tune]

PAPER        one of the papers below
--seeds      every row is run with the seeds 0 .. N - 1 (default: 10, of last_blocks 5), or FIRST .. LAST; more can be
             added later, but seeds that are to confirm what others showed must be new ones
--preset     one of the paper's presets (default: the first): 'small' is for CPUs, 'paper' the published setting
--data_dir   folder of the data set, as run.py's --config.data_dir; without it the synthetic sample is used
--rows       only these rows (and those that they start from): names or patterns, such as 'CLF*,*batch 48'
--config.KEY=VALUE
             overrides a key of every row's config, such as --config.data.train_per_class=2; not one that a row sets
--out        where everything goes (default: runs/tables/PAPER-PRESET-DATA, with the overrides in its name)
--tune       first gives every row the same tuning: a few learning rates and lengths, chosen on held-out training data
             with a seed of its own; the seeds above are then run with the chosen values
--processes  runs at a time, each on a core of its own (default: one a core; where the devices are not CPUs, one);
             with 1, a run has all cores

Each row and seed is run by run.py in a work directory of its own below OUT/runs; its output is in log.txt there, and
its report, which takes time to draw, is left to run.py --mode=eval. Rows with equal configs share their runs. The same
command goes on where it was stopped: a finished run is never run again, whatever became of the code since (results name
the commit of each); a stopped one resumes; a failed one is tried again. Ctrl-C lets the runs under way save and ends
with status 130, SIGTERM with 143. A folder holds the tables of one preset, one data set (by names and sizes of its
files) and one set of overrides.

OUT/index.html (with pictures) and OUT/results.json hold the values, their spread over seeds, and for each claim of the
paper the difference of its two rows, seed by seed. OUT/summary.json is small, without paths and with the tables'
metrics alone, to keep beside code (experiments/results). Status 1: a run failed; the others went on. A row that the
data does not allow, such as a batch larger than the training set, is "not possible" and no failure.
"""

import argparse
import hashlib
import json
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from interruption import run_command, says_errors
from machine import code_text, command_text
from overrides import cache_folder, split_overrides
from paper_tables.plan import PASSING, check_settings, data_fingerprint, load_paper, paper_names, plan, select_rows
from paper_tables.results import collect
from paper_tables.runs import run_jobs
from paper_tables.summary import summarize
from paper_tables.tuning import tune
from result_text import one_line_a_row
from training_packages import check_training_packages

from jaxret.errors import ConfigError
from jaxret.files import escape_missing_letters, write_atomically
from jaxret.runs.config import covers, unflatten
from jaxret.runs.workdir import locked

MOST = 1000  # seeds; tuning has those from there on
KNOWN = 'PAPER, --seeds, --preset, --data_dir, --rows, --config.KEY=VALUE, --out, --processes, --tune or --help'


@says_errors
def main(arguments: list[str]) -> int:
    """Runs the command line; returns the exit status."""
    escape_missing_letters()
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument('paper', nargs='?', default='')
    for name in ('seeds', 'preset', 'data_dir', 'rows', 'out'):
        parser.add_argument(f'--{name}', default='')
    parser.add_argument('--processes', default='0')
    parser.add_argument('--tune', action='store_true')
    parser.add_argument('-h', '--help', action='store_true')
    known, rest = parser.parse_known_args(arguments)
    if known.help:
        print(_help())
        return 0
    overrides = split_overrides(rest, known=KNOWN)
    if not (known.processes.isdecimal() and int(known.processes) <= 1000):
        raise ConfigError(f'--processes={known.processes}: not a number of processes')
    check_training_packages()
    return _run(known, overrides)


def _help() -> str:
    papers = []
    for name in paper_names():
        paper = load_paper(name)
        papers.append(f'  {name:<10} {paper.title}; presets {", ".join(paper.presets)}; rows:')
        papers += [f'             {row}' for row in paper.rows]
    return f'{__doc__}\nPapers:\n' + '\n'.join(papers)


def _run(known: argparse.Namespace, overrides: dict[str, str]) -> int:
    paper = load_paper(known.paper)
    preset = known.preset or paper.presets[0]
    if preset not in paper.presets:
        raise ConfigError(f'--preset={preset}: use one of {", ".join(paper.presets)}')
    names, seeds = select_rows(paper, known.rows), seed_range(known.seeds or str(paper.seeds(preset)))
    data_dir = str(Path(known.data_dir).resolve()) if known.data_dir else ''
    out = (
        Path(known.out)
        if known.out
        else Path('runs') / 'tables' / default_name(known.paper, preset, data_dir, overrides, tuned=known.tune)
    ).resolve()
    planned = partial(plan, paper, names, preset=preset, overrides=overrides, data_dir=data_dir, out=out)
    jobs = planned()
    if known.tune and paper.tuning is None:
        raise ConfigError(f'--tune: the rows of {known.paper} say nothing of it')
    settings = {
        'paper': known.paper,
        'preset': preset,
        'data_dir': data_dir,
        'data': data_fingerprint(data_dir),
        'overrides': overrides,
        'tuned': known.tune,
    }
    cache = cache_folder(unflatten(next(iter(jobs.values())).config))
    # TensorFlow and matplotlib would leave files in the home folder; both look at these when they are imported.
    for name in ('KERAS_HOME', 'MPLCONFIGDIR'):
        os.environ.setdefault(name, str(cache.absolute() / 'libraries'))
    run, tuned = {'processes': int(known.processes)}, {}

    def store() -> dict[str, Any]:
        results = collect(paper, jobs, settings, names=names, seeds=seeds, tuned=tuned)
        write_atomically(out / 'results.json', json.dumps(results, indent=2) + '\n')
        write_atomically(out / 'summary.json', one_line_a_row(summarize(results)))
        return results

    with locked(out, option='--out'):
        check_settings(out, settings)
        try:
            if known.tune:
                tuned = tune(jobs, paper.rows_with_starts, paper.tuning, **run)
                jobs = planned(tuned={name: choice['values'] for name, choice in tuned.items()})
            needed = {name: list(paper.metrics_of(name)) for name in jobs}
            run_jobs(jobs, seeds, metrics=needed, after=store, **run)
        except KeyboardInterrupt:
            _report(store(), out, shown=False)
            raise
        return _report(store(), out, shown=True)


def seed_range(text: str) -> range:
    """What --seeds asks for: N is the first N, FIRST-LAST those; raises ConfigError for anything else."""
    first, dash, last = text.rpartition('-')
    if last.isdecimal() and first.isdecimal() == bool(dash):
        start, stop = (int(first), int(last) + 1) if dash else (0, int(last))
        if start < stop <= MOST:
            return range(start, stop)
    raise ConfigError(f'--seeds={text}: neither a number of seeds from 1 to {MOST} nor FIRST-LAST below {MOST}')


def default_name(paper: str, preset: str, data_dir: str, overrides: Mapping[str, str], *, tuned: bool = False) -> str:
    """Name of the folder where --out is not given: what its settings are."""
    changed = [f'{key}={value}' for key, value in sorted(overrides.items()) if not covers(PASSING, key)]
    name = '-'.join([paper, preset, Path(data_dir).name if data_dir else 'sample', *['tuned'] * tuned, *changed])
    safe = re.sub(r'[^\w.,=+-]+', '_', name)
    if safe == name and len(name) <= 120:
        return name
    return f'{safe[:100]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}'


def _report(results: Mapping[str, Any], out: Path, *, shown: bool) -> int:
    """Writes the report and prints the results; returns the exit status."""
    from paper_tables.console import print_results, time_text

    from jaxret.reports.paper_tables import write_table_report

    runs = [
        run
        for row in {row['name']: row for table in results['tables'] for row in table['rows']}.values()
        for run in row['runs']
    ]
    page = write_table_report(out, results, provenance=_provenance(results, runs) | {'Time': time_text(results)})
    if shown:
        print_results(results)
    print(f'report: {page}')
    return int(any(run['state'] not in ('finished', 'not possible') for run in runs))


def _provenance(results: Mapping[str, Any], runs: Sequence[Mapping[str, Any]]) -> dict[str, str | bool]:
    """What ran on what: every kind that is among the runs."""

    def kinds(describe: Callable[[Mapping[str, Any]], str]) -> str:
        counts = Counter(describe(run) for run in runs if 'versions' in run)
        return '; '.join(f'{text} ({count} runs)' if len(counts) > 1 else text for text, count in counts.items())

    settings = results['settings']
    return {
        'synthetic': not settings['data_dir'],
        'Command': command_text(),
        'Data': settings['data_dir'] or 'the synthetic sample',
        'Seeds': f'{results["seeds"][0]} to {results["seeds"][-1]}',
        'Runs': f'{len({run["folder"] for run in runs})}; rows of equal configs share theirs',
        'Code': kinds(code_text),
        'Software': kinds(lambda run: ', '.join(f'{name} {number}' for name, number in run['versions'].items())),
        'Hardware': kinds(
            lambda run: (
                f'{run["hardware"]["devices"]}, {run["hardware"]["cores"]} cores, {run["hardware"]["processor"]}'
            )
        ),
        'Date': results['written'],
    }


if __name__ == '__main__':
    sys.exit(run_command(main))
