"""What a paper's tables are: rows, each an experiment with one config, and the claims that the paper makes of them.

`python experiments/tables.py NAME` reads NAME.py of this folder, which holds `PAPER = Paper(...)` and runs nothing.
How to add one (ncf.py is the example):

  MEAN = Metric('mean_map', 'Mean mAP')                       # a key of metrics.json, shown in percent
  row = Row('ours at batch 12',                               # unique in the paper; no comma (--rows splits at them)
            configs={'small': 'modelnet40.py', 'paper': 'modelnet40.py:paper'},  # --preset -> --config of run.py
            overrides={'batch_size': 12},                     # as --config.batch_size=12
            paper={'mean_map': 26.36})                        # as the paper prints it; what it does not print is absent
  PAPER = Paper('Who (where, when)', tables=(Table('Table 1. ...', metrics=(MEAN,), rows=(row, other)),),
                claims=(Claim('ours is better at batch 12', better=row.name, worse=other.name, metric='mean_map'),),
                notes=('What a reader of the numbers must know.',))

Every row is run by run.py, once a seed. Seed, data folder and work directory are given by tables.py; a row sets none of
them. Rows that come to the same config (also under different names, in different tables) share their runs. A row whose
training starts from the weights of another one names it (`starts_from`) and gets that row's work directory, of the same
seed, or of the only one that the other is run with (`Row.seed`), as the override `start_key`. A value of a row's own
overrides that this data set does not allow (run.py refuses it with 'config.KEY: ...') makes the row "not possible"
here, with run.py's reason; any other error is a failure.

The module imports only dataclasses from here: no JAX, no TensorFlow.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from typing import Any

UNTRAINED = 'not trained: '  # before the name of a comparator, where it stands as a row


@dataclass(frozen=True)
class Metric:
    """A column of a table.

    Attributes:
      key: of metrics.json.
      title: of the column.
      scale: times the value of metrics.json is what the paper prints; 100 is percent.
      digits: decimals shown.
      higher_is_better: False for distances and ranks, such as ANMRR.
      chance: key of metrics.json for what guessing gives; '' is KEY_chance. None is shown where it is missing.
    """

    key: str
    title: str
    scale: float = 100.0
    digits: int = 2
    higher_is_better: bool = True
    chance: str = ''

    @property
    def chance_key(self) -> str:
        """Key of metrics.json for what guessing gives."""
        return self.chance or f'{self.key}_chance'


@dataclass(frozen=True)
class Tuning:
    """What `--tune` tries for every row of a paper alike: each rate with each length.

    Attributes:
      metric: of metrics.jsonl, higher is better, measured on what a run holds out of its training data.
      overrides: of these runs, such as how much they hold out.
      rate_keys: keys of the config that a factor of the learning rate multiplies.
      rates: factors on the row's own learning rates.
      lengths: factors on its own epochs.
      seeds: of these runs; no table has them.
    """

    metric: str
    overrides: Mapping[str, Any] = field(default_factory=dict)
    rate_keys: tuple[str, ...] = ('optimizer.learning_rate',)
    rates: tuple[float, ...] = (1 / 3, 1.0, 3.0)
    lengths: tuple[float, ...] = (0.5, 1.0)
    seeds: tuple[int, ...] = (1000,)


@dataclass(frozen=True)
class Row:
    """An experiment.

    Attributes:
      name: unique in the paper, without commas; what --rows selects by.
      configs: {preset of tables.py: --config of run.py, such as 'modelnet40.py:clf'}; the same presets in all rows.
      overrides: {key of the config: value}, in all presets; what `--config.KEY=VALUE` takes.
      paper: {metric key: value as printed}.
      starts_from: name of the row from whose work directory this one starts; '' for none; or {preset: name} where that
        is of some presets.
      start_key: key of this row's config that takes that work directory.
      tuned: whether `--tune` tunes it; False where nothing is trained.
      in_presets: {preset: {key of the config: value}}, in one preset and below what the command line gives.
      seed: the only one that it is run with, whose values stand for all seeds: of a row that learns nothing, or that
        many others start from. The latter keeps to its overrides, whatever the command line gives, and must learn
        nothing that tries of `--tune` hold out. None for those of the table.
    """

    name: str
    configs: Mapping[str, str]
    overrides: Mapping[str, Any] = field(default_factory=dict)
    paper: Mapping[str, float] = field(default_factory=dict)
    starts_from: str | Mapping[str, str] = ''
    start_key: str = 'start_from'
    tuned: bool = True
    in_presets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    seed: int | None = None

    def start_in(self, preset: str) -> str:
        """`starts_from` in a preset."""
        return self.starts_from if isinstance(self.starts_from, str) else self.starts_from.get(preset, '')


@dataclass(frozen=True)
class Table:
    """Rows that are compared in the same metrics.

    Attributes:
      title: of the table.
      metrics: the first is the one that matters most.
      rows: in the order shown.
      axis: of a table that is a figure of the paper: what the rows differ in, a number; '' for none.
      places: {row name: that number}.
    """

    title: str
    metrics: tuple[Metric, ...]
    rows: tuple[Row, ...]
    axis: str = ''
    places: Mapping[str, float] = field(default_factory=dict)

    def check_places(self) -> None:
        """Raises ValueError for an axis without a place for every row, and for places without an axis."""
        expected = {row.name for row in self.rows} if self.axis else set()
        if self.places.keys() != expected or (self.axis and not self.places):
            raise ValueError(f'{self.title}: an axis needs a place for every row, and only for those')


@dataclass(frozen=True)
class Claim:
    """What the paper says of two rows: in a metric, one is better than the other.

    Attributes:
      text: the claim, as a sentence without a full stop.
      better: name of the row that the paper finds better.
      worse: name of the other row; or UNTRAINED and a name among `comparators` of metrics.json: what nobody trained
        reaches on the same data as the better row.
      metric: key of a metric of both rows' tables.
      difference: by how much, above 0, in the paper's units; None takes the difference of the rows' `paper` values,
        and none is shown where one of these is absent.
    """

    text: str
    better: str
    worse: str
    metric: str
    difference: float | None = None

    @property
    def rows(self) -> tuple[str, ...]:
        """Names of its rows: both, or the better one alone."""
        return (self.better,) if self.worse.startswith(UNTRAINED) else (self.better, self.worse)

    @classmethod
    def of_rows(cls, text: str, better: Row, worse: Row, metric: str) -> 'Claim':
        """A claim of two rows, by the difference of their `paper` values."""
        return cls(text, better.name, worse.name, metric)


@dataclass(frozen=True)
class Paper:
    """The tables of a paper.

    Attributes:
      title: shown above everything.
      tables: a row may stand in several (the same object).
      claims: shown below the tables.
      notes: lines for the reader of the numbers: what the paper leaves open and what was taken.
      tuning: what `--tune` tries; None where a paper's rows cannot be tuned.
      of_presets: {preset: {key of the config: value}}, for every row, below the row's own overrides.
      starts: rows that no table shows, for others to start from.

    Raises:
      ValueError: names that are used twice or unknown, presets that differ, a claim that its rows' values contradict.
    """

    title: str
    tables: tuple[Table, ...]
    claims: tuple[Claim, ...] = ()
    notes: tuple[str, ...] = ()
    tuning: Tuning | None = None
    of_presets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    starts: tuple[Row, ...] = ()

    def __post_init__(self) -> None:
        known = {metric.key for table in self.tables for metric in table.metrics}
        for table in self.tables:
            table.check_places()
            for row in table.rows:
                self._check_row(row, known)
                self._check_start(row)
        for row in self.starts:
            self._check_row(row, known)
            self._check_start(row)
        for claim in self.claims:
            for name in claim.rows:
                if name not in self.rows:
                    raise ValueError(f'claim {claim.text!r}: no row {name!r}')
            difference = self.difference(claim)
            if difference is not None and difference <= 0:
                raise ValueError(f'claim {claim.text!r}: the paper has a difference of {difference}')

    def _check_row(self, row: Row, known: Set[str]) -> None:
        if self.rows_with_starts[row.name] != row:
            raise ValueError(f'two rows are named {row.name!r}')
        if ',' in row.name:
            raise ValueError(f'{row.name!r}: a comma, which --rows takes for the end of the name')
        if row.configs.keys() != set(self.presets):
            raise ValueError(f'{row.name}: presets {", ".join(row.configs)}, not {", ".join(self.presets)}')
        if unknown := row.paper.keys() - known:
            raise ValueError(f'{row.name}: values of {", ".join(sorted(unknown))}, which no table has')

    def _check_start(self, row: Row) -> None:
        for preset in self.presets:
            before = [row.name]
            while start := self.rows_with_starts[before[-1]].start_in(preset):
                if start not in self.rows_with_starts or start in before:
                    raise ValueError(f'{row.name}: cannot start from {start!r}')
                before.append(start)

    @property
    def presets(self) -> tuple[str, ...]:
        """What --preset takes; the first is the default."""
        return tuple(self.tables[0].rows[0].configs)

    def seeds(self, preset: str) -> int:
        """How many runs of each row there are where none are asked for."""
        return 5 if preset == 'last_blocks' else 10

    @property
    def rows(self) -> dict[str, Row]:
        """{name: row}, in the order of the tables."""
        return {row.name: row for table in self.tables for row in table.rows}

    @property
    def rows_with_starts(self) -> dict[str, Row]:
        """{name: row}, of `starts` too."""
        return {**{row.name: row for row in self.starts}, **self.rows}

    def metric(self, claim: Claim) -> Metric:
        """The metric of a claim, which a table of each of its rows must have, in the same units."""
        found = [self.metrics_of(name).get(claim.metric) for name in claim.rows]
        if None in found or len({(metric.scale, metric.higher_is_better) for metric in found}) > 1:
            raise ValueError(f'claim {claim.text!r}: its rows have no common metric {claim.metric!r}')
        return found[0]

    def metrics_of(self, name: str) -> dict[str, Metric]:
        """{key: metric} of the tables of a row; of the first where several have it."""
        tables = [table for table in self.tables if name in {row.name for row in table.rows}]
        return {metric.key: metric for table in reversed(tables) for metric in table.metrics}

    def difference(self, claim: Claim) -> float | None:
        """The paper's difference in favour of the better row, in the paper's units."""
        metric, rows = self.metric(claim), self.rows
        if claim.difference is not None:
            return claim.difference
        values = [rows[name].paper.get(claim.metric) for name in claim.rows]
        if None in values or len(values) < 2:
            return None
        return (values[0] - values[1]) * (1 if metric.higher_is_better else -1)
