"""Which runs a paper's rows need: every row's config, checked before anything runs; rows of one config share a run."""

import contextlib
import fnmatch
import hashlib
import importlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from overrides import apply_overrides, check_keys, load_config
from paper_tables.rows.paper import Paper, Row

from jaxret.errors import ConfigError
from jaxret.files import write_atomically
from jaxret.runs.config import covers, flatten
from jaxret.systems.by_task import system_classes

FOLDER = Path(__file__).parent / 'rows'
PASSING = ('cache_dir', 'processes', 'parallel')  # keys and groups that a table's runs may differ in
OWN = {'seed': '--seeds=N', 'data_dir': '--data_dir=DIR'}  # keys that are arguments of their own


@dataclass(frozen=True)
class Job:
    """One config, to be run once a seed, for one row or several.

    Attributes:
      key: of the config, without its seed and data folder.
      folder: work directory less '-seed-N'.
      config: flattened, of seed 0.
      arguments: of run.py, without seed, start and work directory.
      own_keys: keys that the rows themselves set.
      start: the job whose work directory this one starts from.
      start_key: key of the config that takes it.
      only_seed: it is run with, whatever seed is asked for; None for all.
    """

    key: str
    folder: Path
    config: Mapping[str, Any]
    arguments: tuple[str, ...]
    own_keys: frozenset[str]
    start: 'Job | None' = None
    start_key: str = ''
    only_seed: int | None = None

    def seed(self, seed: int) -> int:
        """The seed of its run that stands for a seed of the table."""
        return seed if self.only_seed is None else self.only_seed

    def workdir(self, seed: int) -> Path:
        """Work directory of a seed."""
        return self.folder.with_name(f'{self.folder.name}-seed-{self.seed(seed)}')

    def config_of(self, seed: int) -> dict[str, Any]:
        """The flattened config of a seed."""
        start = {self.start_key: str(self.start.workdir(seed))} if self.start else {}
        return {**self.config, 'seed': self.seed(seed), **start}

    def command(self, seed: int) -> list[str]:
        """Arguments of run.py."""
        start = [f'--config.{self.start_key}={self.start.workdir(seed)}'] if self.start else []
        own = (f'--config.seed={self.seed(seed)}', *start, f'--workdir={self.workdir(seed)}', '--report=no')
        return [*self.arguments, *own]


def paper_names() -> list[str]:
    """What tables.py takes as the paper."""
    return sorted(path.stem for path in FOLDER.glob('*.py') if path.stem != 'paper')


def load_paper(name: str) -> Paper:
    """The tables of a paper; raises ConfigError for an unknown name."""
    if name not in paper_names():
        raise ConfigError(f'{name or "no paper named"}: use one of {", ".join(paper_names())}')
    return importlib.import_module(f'paper_tables.rows.{name}').PAPER


def select_rows(paper: Paper, patterns: str) -> list[str]:
    """Names of the rows that comma-separated patterns (as of file names, case aside) match; all for ''.

    Raises:
      ConfigError: a pattern that matches none.
    """
    wanted = [part.strip() for part in patterns.split(',') if part.strip()]
    for pattern in wanted:
        if not any(_matches(name, pattern) for name in paper.rows):
            raise ConfigError(f'--rows={pattern}: no such row; the rows are\n  ' + '\n  '.join(paper.rows))
    return [name for name in paper.rows if not wanted or any(_matches(name, pattern) for pattern in wanted)]


def _matches(name: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(name.lower(), pattern.lower())


def plan(
    paper: Paper,
    names: Sequence[str],
    *,
    preset: str,
    overrides: Mapping[str, str],
    data_dir: str,
    out: Path,
    tuned: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, Job]:
    """The job of every named row, and of those that they start from (which come first).

    Args:
      paper: the tables.
      names: rows.
      preset: one of the paper's.
      overrides: of the command line, for every row.
      data_dir: of all rows; '' is the sample.
      out: where the work directories go.
      tuned: {row name: {key: value}}, what `tuning.tune` chose; it takes the place of the row's own.

    Returns:
      {row name: job}; rows of equal configs have the same one.

    Raises:
      ConfigError: an unknown key or a value of the wrong type, a key that rows set themselves, or that makes rows equal
        which are not.
    """
    for key, argument in OWN.items():
        if key in overrides:
            raise ConfigError(f'--config.{key}: use {argument}')
    fixed = {
        'preset': preset,
        'common': paper.of_presets.get(preset, {}),
        'data_dir': data_dir,
        'out': out,
        'tuned': tuned or {},
    }
    jobs, plain = (_jobs(paper, names, overrides=given, **fixed) for given in (overrides, {}))
    for name, job in jobs.items():
        same = (other for other in jobs if jobs[other] is not job and jobs[other].key == job.key)
        lost = next((other for other in same if plain[other].key != plain[name].key), None)
        if lost:
            raise ConfigError(
                f'--config.{", --config.".join(overrides)}: makes the rows {name!r} and {lost!r} the '
                f'same; leave out what they differ in'
            )
    merged: dict[str, Job] = {}
    for job in jobs.values():  # the first of equal ones, with what all of them set
        first = merged.get(job.key, job)
        merged[job.key] = replace(first, own_keys=first.own_keys | job.own_keys)
    return {name: merged[job.key] for name, job in jobs.items()}


def _jobs(paper: Paper, names: Sequence[str], **given: Any) -> dict[str, Job]:
    """A job for every row, before those of equal configs are made one."""
    jobs: dict[str, Job] = {}
    for name in names:
        chain, rows = [paper.rows[name]], paper.rows_with_starts
        while start := chain[-1].start_in(given['preset']):
            chain.append(rows[start])
        for row in reversed(chain):
            if row.name not in jobs:
                jobs[row.name] = _job(row, jobs.get(row.start_in(given['preset'])), **given)
    return jobs


def _job(
    row: Row,
    start: Job | None,
    *,
    preset: str,
    common: Mapping[str, Any],
    overrides: Mapping[str, str],
    data_dir: str,
    out: Path,
    tuned: Mapping[str, Mapping[str, Any]],
) -> Job:
    config, short = load_config(row.configs[preset])
    check_keys(flatten(config), row.configs[preset])
    own = _texts(row.overrides)
    if row.seed is not None:
        overrides = {key: value for key, value in overrides.items() if key not in own}
    for key in sorted(overrides.keys() & {*own, *([row.start_key] if start else [])}):
        raise ConfigError(f'--config.{key}: row {row.name!r} sets it itself; leave the row out with --rows')
    below = _texts({**common, **row.in_presets.get(preset, {})})
    given = {**below, **own, **overrides, **_texts(tuned.get(row.name, {}))}
    apply_overrides(config, {**given, 'data_dir': data_dir, **({row.start_key: ''} if start else {})})
    flat = flatten(config)
    later = system_classes()[config.experiment].LATER.items()  # folders of earlier versions keep their names
    counted = {k: v for k, v in flat.items() if k not in OWN and not covers(PASSING, k) and (k, v) not in later}
    text = json.dumps([counted, start.key if start else ''], sort_keys=True)
    key = hashlib.sha256(text.encode()).hexdigest()[:10]
    arguments = (
        f'--config={row.configs[preset]}',
        *(f'--config.{name}={value}' for name, value in {**given, 'data_dir': data_dir}.items()),
    )
    return Job(
        key,
        out / 'runs' / f'{short.rpartition("-")[0]}-{key}',
        flat,
        arguments,
        frozenset({*own, *common}),
        start,
        row.start_key if start else '',
        row.seed,
    )


def _texts(overrides: Mapping[str, Any]) -> dict[str, str]:
    """As a command line gives them."""
    return {key: str(value) for key, value in overrides.items()}


def data_fingerprint(folder: str, *, option: str = '--data_dir') -> str:
    """Hash of the names and sizes of all files below a folder; '' for the sample.

    Args:
      folder: that `option` gives.
      option: for the message.

    Raises:
      ConfigError: no such folder.
    """
    if not folder:
        return ''
    if not Path(folder).is_dir():
        raise ConfigError(f'{option}={folder}: does not exist, or is not a folder')
    digest = hashlib.sha256()
    for parent, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            path = os.path.join(parent, name)
            with contextlib.suppress(OSError):  # run.py names broken links and unreadable files
                digest.update(f'{os.path.relpath(path, folder)}\0{os.stat(path).st_size}\0'.encode(errors='replace'))
    return digest.hexdigest()[:16]


def check_settings(out: Path, settings: Mapping[str, Any]) -> None:
    """Stores what a folder of tables is made with, `settings.json`; refuses another folder's.

    Args:
      out: the folder.
      settings: {'paper', 'preset', 'data' (fingerprint), 'tuned', 'overrides'}; also what is not compared, such as
        'data_dir'.

    Raises:
      ConfigError: the folder was made with others, or its file is damaged.
    """
    path = out / 'settings.json'
    if path.exists():
        try:
            stored = json.loads(path.read_text())
            before, now = (
                {
                    'paper': one['paper'],
                    'preset': one['preset'],
                    'data': one['data'],
                    'tuned': one.get('tuned', False),  # folders of earlier versions do not say
                    **{f'config.{key}': value for key, value in one['overrides'].items() if not covers(PASSING, key)},
                }
                for one in (stored, settings)
            )
        except (OSError, ValueError, TypeError, AttributeError, KeyError) as error:
            raise ConfigError(f'{path}: cannot be read ({error!r}); delete the folder or name another --out') from error
        lines = [
            f'{key}: {before.get(key, "(not given)")} there, {now.get(key, "(not given)")} now'
            for key in sorted(before.keys() | now.keys())
            if before.get(key) != now.get(key)
        ]
        if lines:
            raise ConfigError(
                f'{out} was made with other settings:\n  '
                + '\n  '.join(lines)
                + '\nuse the same to go on, or name another --out'
            )
    write_atomically(path, json.dumps(dict(settings), indent=2) + '\n')
