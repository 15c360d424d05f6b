"""The results of tables.py without this machine's paths, small enough to keep beside code: `summary.json`."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from machine import commits_text
from paper_tables.results import measured

OWN = ('cache_dir', 'seed', 'start_from')  # keys of a config that are of the machine or the run
COLUMNS = ('paper', 'mean', 'sd', 'low', 'high', 'chance', 'prior', 'seeds')
OF_CLAIM = ('text', 'better', 'worse', 'metric', 'paper', 'n', 'mean', 'sd', 'low', 'high', 'verdict')


def summarize(results: Mapping[str, Any]) -> dict[str, Any]:
    """What `results.json` says, with less of every run.

    Args:
      results: of `results.collect`.

    Returns:
      title, data (a name), preset, seeds, overrides, notes, hardware, versions; processor_seconds: of runs, tuning and
      starts; starts: {name: {commits, steps}} of rows that others start from and that are not shown; tables:
      [{title, metrics, rows}], by keys and names; columns: of what is known of a row in a metric; rows: [{name, state,
      uses_answer, tuned, commits, counts, values: {metric: [a value a column]}}], in all the tables' metrics and in the
      units of `results`, the last column being the values of the seeds; claims_of_paper: how many are judged together;
      claims: [{text, better, worse, metric, paper, n, mean, sd, low, high, verdict, seeds_to_decide}]. Counts are the
      whole numbers of the row's first run; hardware and versions are those of the first run of all. Values of
      `overrides` with a slash are cut to what follows the last one.
    """
    settings, tables = results['settings'], results['tables']
    runs, before = run_seconds(results)
    metrics = {metric['key']: metric for table in tables for metric in table['metrics']}
    rows = _rows(tables)
    first = next((run for row in rows for run in row['runs'] if run['state'] == 'finished'), {})
    return {
        'title': results['title'],
        'data': _without_path(settings['data_dir']) if settings['data_dir'] else 'synthetic sample',
        'preset': settings['preset'],
        'seeds': results['seeds'],
        'overrides': {key: _without_path(value) for key, value in settings['overrides'].items() if key not in OWN},
        'notes': results['notes'],
        'hardware': {key: value for key, value in first.get('hardware', {}).items() if key != 'host'},
        'versions': first.get('versions', {}),
        'tables': [_table(table) for table in tables],
        'processor_seconds': round(sum(runs) + before),
        'starts': {
            name: {
                'commits': commits_text(run for run in records if 'commit' in run),
                'steps': max((run.get('metrics', {}).get('step', 0) for run in records), default=0),
            }
            for name, records in results['starts'].items()
        },
        'columns': COLUMNS,
        'rows': [_row(row, metrics.values()) for row in rows],
        'claims_of_paper': results['claims_of_paper'],
        'claims': [{key: claim[key] for key in (*OF_CLAIM, 'seeds_to_decide')} for claim in results['claims']],
    }


def run_seconds(results: Mapping[str, Any]) -> tuple[list[float], float]:
    """Processor time of each run, rows of equal configs sharing theirs, and that of tuning and starts before them.

    Args:
      results: of `results.collect`.
    """
    rows = _rows(results['tables'])
    runs = {run['folder']: run.get('processor_seconds', 0.0) for row in rows for run in row['runs']}
    tuning = sum(row['tuned']['processor_seconds'] for row in rows if row['tuned'])
    starts = sum(run.get('processor_seconds', 0.0) for records in results['starts'].values() for run in records)
    return list(runs.values()), tuning + starts


def _rows(tables: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Every row once, with the values of all tables that it stands in."""
    rows: dict[str, dict[str, Any]] = {}
    for row in (row for table in tables for row in table['rows']):
        rows[row['name']] = {**row, 'values': rows.get(row['name'], row)['values'] | row['values']}
    return list(rows.values())


def _table(table: Mapping[str, Any]) -> dict[str, Any]:
    """A table's metrics and rows, by keys and names."""
    metrics, rows = ([one[key] for one in table[part]] for part, key in (('metrics', 'key'), ('rows', 'name')))
    return {'title': table['title'], 'metrics': metrics, 'rows': rows}


def _row(row: Mapping[str, Any], metrics: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    finished = [run for run in row['runs'] if run['state'] == 'finished']
    values = {metric['key']: _value(row, metric) for metric in metrics}
    return {
        'name': row['name'],
        'state': _state(row['runs']),
        'uses_answer': row['uses_answer'],
        'tuned': row['tuned'] and row['tuned']['values'],
        'commits': commits_text(finished),
        'counts': {key: value for run in finished[:1] for key, value in run['metrics'].items() if type(value) is int},
        'values': {key: [value[name] for name in COLUMNS] for key, value in values.items() if value['seeds']},
    }


def _value(row: Mapping[str, Any], metric: Mapping[str, Any]) -> dict[str, Any]:
    """What is known of a row in a metric of any table."""
    value = {'paper': row['values'].get(metric['key'], {}).get('paper'), **measured(metric, row['runs'])}
    prior = measured({**metric, 'key': f'{metric["key"]}_prior'}, row['runs'])['mean']
    return {**value, 'prior': prior, 'seeds': list(value['seeds'].values())}


def _state(runs: Sequence[Mapping[str, Any]]) -> str:
    """'finished', or how many runs are what; without the reasons, which name files."""
    counts = Counter(run['state'] for run in runs)
    return ', '.join(f'{count} {state}' for state, count in counts.items()) if len(counts) > 1 else next(iter(counts))


def _without_path(value: str) -> str:
    return ','.join(part.rstrip('/').rpartition('/')[2] for part in value.split(','))
