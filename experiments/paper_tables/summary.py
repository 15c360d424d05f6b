"""The results of tables.py without this machine's paths, small enough to keep beside code: `summary.json`."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from jaxret.metrics.intervals import VERDICTS

# Keys of metrics.json that belong to a metric: its interval, chance level, most frequent answer, and macro mean.
ENDINGS = tuple(f'{macro}{ending}' for macro in ('', '_macro') for ending in ('', '_low', '_high', '_chance', '_prior'))
OWN = ('cache_dir', 'seed', 'start_from')  # keys of a config that are not of the row, but of the machine or the run


def summarize(results: Mapping[str, Any]) -> dict[str, Any]:
    """What `results.json` says, with less of every run.

    Args:
      results: of `table_results.collect`.

    Returns:
      title, data (a name), preset, overrides, written, notes, hardware, versions; tables: [{title, rows: [{name, state,
      values, config, runs: [{seed, commit, dirty, wall_seconds, metrics}]}]}]; claims: [sentence]. Metrics are those
      of all the tables, with what belongs to them, and every count. A row's config and runs stand where it first
      appears; hardware and versions are those of the first run. Values with a slash are cut to what follows
      the last one.
    """
    settings = results['settings']
    keys = {
        f'{metric["key"]}{ending}' for table in results['tables'] for metric in table['metrics'] for ending in ENDINGS
    }
    tables, seen, finished = [], set(), []
    for table in results['tables']:
        rows = []
        for row in table['rows']:
            runs = [run for run in row['runs'] if run['state'] == 'finished']
            finished += runs
            summary = {'name': row['name'], 'state': _state(row['runs']), 'values': row['values']}
            if row['name'] not in seen:
                summary |= {'config': _without_paths(row['config']), 'runs': [_run(run, keys) for run in runs]}
            seen.add(row['name'])
            rows.append(summary)
        tables.append({'title': table['title'], 'rows': rows})
    first = finished[0] if finished else {}
    return {
        'title': results['title'],
        'data': _without_path(settings['data_dir']) if settings['data_dir'] else 'synthetic sample',
        'preset': settings['preset'],
        'overrides': _without_paths(settings['overrides']),
        'written': results['written'],
        'notes': results['notes'],
        'hardware': {key: value for key, value in first.get('hardware', {}).items() if key != 'host'},
        'versions': first.get('versions', {}),
        'tables': tables,
        'claims': [_claim(claim) for claim in results['claims']],
    }


def _run(run: Mapping[str, Any], keys: set[str]) -> dict[str, Any]:
    metrics = {key: value for key, value in run['metrics'].items() if key in keys or type(value) is int}
    return {key: run[key] for key in ('seed', 'commit', 'dirty', 'wall_seconds')} | {'metrics': metrics}


def _state(runs: Sequence[Mapping[str, Any]]) -> str:
    """'finished', or how many runs are what; without the reasons, which name files."""
    counts = Counter(run['state'] for run in runs)
    return ', '.join(f'{count} {state}' for state, count in counts.items()) if len(counts) > 1 else next(iter(counts))


def _claim(claim: Mapping[str, Any]) -> str:
    """What came of a claim; where nothing did, without the errors of its rows."""
    if claim['n']:
        return claim['sentence']
    return claim['sentence'].replace(claim['conclusion'], VERDICTS[claim['verdict']])


def _without_paths(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _without_path(value) for key, value in config.items() if key not in OWN}


def _without_path(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_without_path(part) for part in value]
    if isinstance(value, str):
        return ','.join(part.rstrip('/').rpartition('/')[2] for part in value.split(','))
    return value
