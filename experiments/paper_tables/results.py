"""The results of a paper's tables as plain data, `results.json`: every run, every row, every claim."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from paper_tables.plan import Job
from paper_tables.records import read_record
from paper_tables.rows.paper import UNTRAINED, Claim, Paper, Row, Table
from paper_tables.runs import COMPARATORS

from jaxret.metrics.intervals import MOST_SEEDS, VERDICTS, Spread, paired_difference, seeds_to_decide, spread

METRIC_KEYS = ('key', 'title', 'scale', 'digits', 'higher_is_better', 'chance_key')


def collect(
    paper: Paper,
    jobs: Mapping[str, Job],
    settings: Mapping[str, Any],
    *,
    names: Sequence[str],
    seeds: Sequence[int],
    tuned: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, Any]:
    """Everything that is known so far.

    Args:
      paper: the tables.
      jobs: {row name: job}.
      settings: what the tables were made with; copied.
      names: of the rows to show.
      seeds: of the runs.
      tuned: {row name: what `tuning.tune` chose}.

    Returns:
      Plain data. Values of metrics are in the units that the paper prints (`scale` times metrics.json's); the `metrics`
      of a run are metrics.json's own.
        title, notes, warning (why values and the paper's are not of the same training, or ''), settings, seeds, written
        tables: [{title, axis, metrics: [{key, title, scale, digits, higher_is_better, chance_key}], rows (last those
          that nobody trained): [{name, state, uses_answer (sentences), tuned (or None), config, runs: [record], place
          (on the axis, or None), values: {metric: {paper, mean, sd, n, low, high, chance, seeds: {seed: value}}}}]}]
        starts: {name of a row that others start from and that is not shown: [record]}
        claims_of_paper: how many there are, also of rows that are not shown
        claims: [{text, better, worse, metric, digits, paper, n, mean, sd, low, high, verdict, seeds_to_decide,
          conclusion, sentence}]; intervals hold for all claims of the paper at once, seeds_to_decide is how many would
          decide an undecided one (None: more than MOST_SEEDS, or not asked)
    """
    records = {
        name: [{'state': 'not run yet'} | read_record(jobs[name], seed) | {'seed': seed} for seed in seeds]
        for name in names
    }
    tables = [
        _table(table, [row for row in table.rows if row.name in names], records, jobs, tuned or {})
        for table in paper.tables
    ]
    _name_apart(tables)
    return {
        'title': paper.title,
        'notes': [*paper.notes, *_answer_notes(records)],
        'warning': _warning(settings, records, jobs),
        'settings': dict(settings),
        'seeds': list(seeds),
        'written': datetime.now(UTC).isoformat(timespec='seconds'),
        'tables': [table for table in tables if table['rows']],
        'starts': {
            name: [read_record(job, seed) for seed in dict.fromkeys(map(job.seed, seeds))]
            for name, job in jobs.items()
            if name not in names
        },
        'claims_of_paper': len(paper.claims),
        'claims': [
            _claim(paper, claim, records) for claim in paper.claims if all(name in names for name in claim.rows)
        ],
    }


def _warning(
    settings: Mapping[str, Any], records: Mapping[str, Sequence[Mapping[str, Any]]], jobs: Mapping[str, Job]
) -> str:
    """How these runs fall short of the published setting; '' where they are of it."""
    changed = sorted({'epochs', 'batch_size'} & settings['overrides'].keys())
    if settings['preset'] == 'paper' and settings['data_dir'] and not changed:
        return ''
    epochs = [jobs[name].config['epochs'] for name in records]
    steps = [run['metrics'].get('step', 0) for runs in records.values() for run in runs if run['state'] == 'finished']
    size = ' to '.join(dict.fromkeys(f'{value:g}' for value in (min(epochs), max(epochs))))
    data = 'its own data' if settings['data_dir'] else 'the synthetic sample'
    return (
        f'Not the published training: preset {settings["preset"]!r} on {data}, {size} epochs, at most '
        f'{max(steps, default=0):,} steps. Compare differences of rows with those of the paper, not values with values.'
    )


def measured(metric: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the finished runs of a row reached in a metric, and what guessing does.

    Args:
      metric: {key, scale, chance_key}.
      records: one a seed.

    Returns:
      {mean, sd, n, low, high, chance, seeds: {seed: value}} in the paper's units; None for what is not known.
    """
    seeds = _values(records, metric['key'], metric['scale'])
    chance = spread(_values(records, metric['chance_key'], metric['scale'])).mean
    return {**asdict(spread(seeds)), 'chance': chance, 'seeds': seeds}


def _values(records: Sequence[Mapping[str, Any]], key: str, scale: float) -> dict[int, float]:
    """{seed: value} of the finished runs, in the paper's units; without those that have none that is finite."""
    found = {record['seed']: record['metrics'].get(key) for record in records if record['state'] == 'finished'}
    return {
        seed: value * scale
        for seed, value in found.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    }


def _table(
    table: Table,
    rows: Sequence[Row],
    records: Mapping[str, Sequence[Mapping[str, Any]]],
    jobs: Mapping[str, Job],
    tuned: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    percent = all(metric.scale == 100 for metric in table.metrics)
    metrics = [{key: getattr(metric, key) for key in METRIC_KEYS} for metric in table.metrics]
    return {
        'title': f'{table.title}{" (percent)" if percent else ""}',
        'axis': table.axis,
        'rows': [
            *(
                _row(row, metrics, records[row.name], jobs[row.name], tuned.get(row.name))
                | {'place': table.places.get(row.name)}
                for row in rows
            ),
            *_untrained_rows(rows, metrics, records, jobs),
        ],
        'metrics': metrics,
    }


def _row(
    row: Row,
    metrics: Sequence[Mapping[str, Any]],
    records: Sequence[Mapping[str, Any]],
    job: Job,
    tuned: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    values = {metric['key']: {'paper': row.paper.get(metric['key']), **measured(metric, records)} for metric in metrics}
    runs = [{**record, 'folder': str(job.workdir(record['seed']))} for record in records]
    return {
        'name': row.name,
        'state': _state(records),
        'uses_answer': _answers(records),
        'tuned': dict(tuned) if tuned else None,
        'config': dict(job.config),
        'runs': runs,
        'values': values,
    }


def _untrained_rows(
    rows: Sequence[Row],
    metrics: Sequence[Mapping[str, Any]],
    records: Mapping[str, Sequence[Mapping[str, Any]]],
    jobs: Mapping[str, Job],
) -> list[dict[str, Any]]:
    """What nobody trained reaches on the same photos (`comparators` of metrics.json), by the first row that has it."""
    for row in rows:
        found = [_comparators(record) for record in records[row.name]]
        configs = [jobs[other.name].config for other in rows]
        shown = {values.get('method') for values in configs}  # those that are rows of their own
        names = [name for name in dict.fromkeys(name for one in found for name in one) if name not in shown]
        if names:
            return [
                _row(
                    Row(f'{UNTRAINED}{name.replace("_", " ")}', {}),
                    metrics,
                    _of_untrained(name, records[row.name]),
                    jobs[row.name],
                )
                | {'place': None, 'beside': row.name}
                for name in names
            ]
    return []


def _name_apart(tables: Sequence[Mapping[str, Any]]) -> None:
    """Names the row beside which an untrained one stands, where another table's of that name has other values."""
    first: dict[str, Mapping[str, Any]] = {}
    for row in (row for table in tables for row in table['rows'] if 'beside' in row):
        values, known = row['values'], first.setdefault(row['name'], row)['values']
        if any(values[key]['seeds'] != known[key]['seeds'] for key in values.keys() & known.keys()):
            row['name'] += f', beside {row["beside"]}'


def _of_untrained(name: str, records: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Records of a comparator, from those of a row."""
    return [
        {**record, 'metrics': _comparators(record).get(name, {})} if 'metrics' in record else record
        for record in records
    ]


def _comparators(record: Mapping[str, Any]) -> Mapping[str, Any]:
    return record.get('metrics', {}).get(COMPARATORS, {})


def _answers(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """What of a row's runs knows the answer, as metrics.json says; mostly nothing."""
    found = [record['metrics'].get('uses_answer') for record in records if record['state'] == 'finished']
    return sorted({text for text in found if text})


def _answer_notes(records: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    rows: dict[str, list[str]] = {}
    for name, runs in records.items():
        for line in _answers(runs):
            rows.setdefault(line, []).append(name)
    return [f'USES THE ANSWER: {line} (rows: {", ".join(names)}).' for line, names in rows.items()]


def _state(runs: Sequence[Mapping[str, Any]]) -> str:
    """'finished', or how many runs are not, and why."""
    parts = []
    for state in ('not possible', 'failed', 'stopped', 'not run yet'):
        found = [run for run in runs if run['state'] == state]
        if found:
            count = '' if len(found) == len(runs) else f'{len(found)} of {len(runs)} '
            reason = found[0].get('error', '').partition('\n')[0]
            parts.append(f'{count}{state}{": " if reason else ""}{reason}')
    return '; '.join(parts) or 'finished'


def _claim(paper: Paper, claim: Claim, records: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    metric, printed = paper.metric(claim), paper.difference(claim)
    if claim.worse not in records:
        name = claim.worse.removeprefix(UNTRAINED)
        records = {**records, claim.worse: _of_untrained(name, records[claim.better])}
    rows = (claim.better, claim.worse)
    better, worse = (_values(records[name], metric.key, metric.scale) for name in rows)
    claims = len(paper.claims)  # also those that are not shown: what is chosen must not narrow the intervals
    result, verdict = paired_difference(better, worse, higher_is_better=metric.higher_is_better, claims=claims)
    conclusion, needed = VERDICTS[verdict], None
    if verdict == 'undecided':
        needed = seeds_to_decide(result.mean, result.sd, claims=claims) if result.sd else None
        conclusion += f' ({needed or f"more than {MOST_SEEDS:,}"} seeds would decide)'
    elif result.n == 1:
        conclusion += ': one seed has no spread'
    elif result.n == 2 and verdict == 'unknown':
        conclusion += ': two seeds that agree have no spread'
    elif not result.n:
        states = {name: _state(records[name]) for name in rows}
        reasons = [f'{name} is {state}' for name, state in states.items() if state != 'finished']
        conclusion += f': {"; ".join(reasons) or "no seed has both values"}'
    return {
        'text': claim.text,
        'better': claim.better,
        'worse': claim.worse,
        'metric': metric.title,
        'digits': metric.digits,
        'paper': printed,
        **asdict(result),
        'verdict': verdict,
        'seeds_to_decide': needed,
        'conclusion': conclusion,
        'sentence': _sentence(claim.text, printed, result, conclusion, metric.digits),
    }


def _sentence(text: str, printed: float | None, result: Spread, conclusion: str, digits: int) -> str:
    def show(value: float) -> str:
        return f'{value:+.{digits}f}'

    numbers = [] if printed is None else [f'paper {show(printed)}']
    if result.n:
        numbers.append(f'here {show(result.mean)}')
    if result.low is not None:
        numbers[-1] += (
            f' with standard deviation {result.sd:.{digits}f}, 95 % interval of all claims {show(result.low)} to '
            f'{show(result.high)}, {result.n} seeds'
        )
    shown = f' ({"; ".join(numbers)})' if numbers else ''
    return f'{text[0].upper()}{text[1:]}{shown}: {conclusion}.'
