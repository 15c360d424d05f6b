"""Equal tuning: every row tries the same factors on its learning rate and length, before the table's seeds are run.

The choice is made on a part of the training data that these runs hold out, with seeds that no table has: nothing of it
looks at test queries. Rows that train alike share their tries.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from paper_tables.plan import Job
from paper_tables.records import read_record, same_training
from paper_tables.rows.paper import Row, Tuning
from paper_tables.runs import run_jobs

from jaxret.training.logging import read_history

FOLDER = 'tuning'  # of the work directories, in that of the tables


def tune(
    jobs: Mapping[str, Job], rows: Mapping[str, Row], tuning: Tuning, *, processes: int
) -> dict[str, dict[str, Any]]:
    """Runs every try of every row that is not there yet, and chooses.

    Args:
      jobs: {row name: job}, as it would run without tuning.
      rows: {name: row}.
      tuning: of the paper.
      processes: as for `run_jobs`.

    Returns:
      {row name: {'values': {key: value of the config}, 'factors': [of rates, of epochs], 'scores': {'RATE x EPOCHS':
      held-out score, None where the try failed}, 'processor_seconds': of all tries, by the first of rows that share
      them}}; without the rows that are not tuned. Where every try failed, values are those of the row itself.
    """
    leaders = _leaders({name: job for name, job in jobs.items() if rows[name].tuned})
    tries = {
        (name, factors): _try(jobs[name], tuning, factors)
        for name in dict.fromkeys(leaders.values())
        for factors in itertools.product(tuning.rates, tuning.lengths)
    }
    named = {f'{name}, {_text(factors)}': job for (name, factors), job in tries.items()}
    starts = {f'{name}, as it is': job.start for (name, _), job in tries.items() if job.start}
    wanted = {name: () for name in (starts | named)}
    run_jobs(starts | named, tuning.seeds, metrics=wanted, processes=processes)
    found = {}
    for name, leader in leaders.items():
        own = {factors: job for (of, factors), job in tries.items() if of == leader}
        seconds = sum(_seconds(job, tuning) for job in own.values()) if name == leader else 0.0
        found[name] = _choice(own, jobs[name], tuning) | {'processor_seconds': seconds}
    return found


def _leaders(jobs: Mapping[str, Job]) -> dict[str, str]:
    """{row name: name of the first row that trains as it does}."""
    found: dict[str, str] = {}
    for name, job in jobs.items():
        same = (other for other in dict.fromkeys(found.values()) if _alike(jobs[other], job))
        found[name] = next(same, name)
    return found


def _alike(one: Job, other: Job) -> bool:
    return one.key == other.key or (one.start is other.start and same_training(one, other, 0))


def _values(job: Job, tuning: Tuning, factors: tuple[float, float]) -> dict[str, Any]:
    """{key: value} of the config, its own times the factors."""
    keys = {key: factors[0] for key in tuning.rate_keys} | {'epochs': factors[1]}
    return {
        key: max(1, round(job.config[key] * factor)) if isinstance(job.config[key], int) else job.config[key] * factor
        for key, factor in keys.items()
        if factor != 1
    }


def _try(job: Job, tuning: Tuning, factors: tuple[float, float]) -> Job:
    changed = _values(job, tuning, factors) | dict(tuning.overrides)
    name = f'{job.folder.name}-{_text(factors).replace(" ", "")}'
    return replace(
        job,
        key=f'{job.key} {_text(factors)}',
        folder=job.folder.parents[1] / FOLDER / name,
        config={**job.config, **changed},
        arguments=(*job.arguments, *(f'--config.{key}={value}' for key, value in changed.items())),
        start=_start(job.start, tuning),
    )


def _start(job: Job | None, tuning: Tuning) -> Job | None:
    """What a try starts from: trained without what tries hold out, but where one run serves all seeds."""
    if job is None or job.only_seed is not None:
        return job
    return _try(job, tuning, (1.0, 1.0))


def _choice(tries: Mapping[tuple[float, float], Job], job: Job, tuning: Tuning) -> dict[str, Any]:
    scores = {factors: _score(one, tuning) for factors, one in tries.items()}
    own_first = sorted(scores, key=lambda factors: sum(factor != 1 for factor in factors))  # of equal ones, less change
    known = [factors for factors in own_first if scores[factors] is not None]
    best = max(known, key=scores.__getitem__, default=(1.0, 1.0))
    return {
        'values': _values(job, tuning, best),
        'factors': list(best),
        'scores': {_text(factors): score for factors, score in scores.items()},
    }


def _seconds(job: Job, tuning: Tuning) -> float:
    return sum(read_record(job, seed).get('processor_seconds', 0.0) for seed in tuning.seeds)


def _score(job: Job, tuning: Tuning) -> float | None:
    """Mean over the seeds of the held-out metric of the checkpoint that a run evaluates; None where one has none."""
    found = []
    for seed in tuning.seeds:
        if read_record(job, seed).get('state') != 'finished':
            return None
        lines = read_history(job.workdir(seed) / 'metrics.jsonl')
        values = [line[tuning.metric] for line in lines if tuning.metric in line]
        if not values:
            return None
        found.append(values[-1] if job.config['select'] == 'last' else max(values))
    return sum(found) / len(found)


def _text(factors: Sequence[float]) -> str:
    return '{:g} x {:g}'.format(*factors)
