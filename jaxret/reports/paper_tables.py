"""The report of a paper's tables: its values beside ours with the spread of seeds, and what becomes of its claims."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from jaxret.files import storage_errors
from jaxret.reports.curves import _BLUE, _GREY, _ORANGE, _style
from jaxret.reports.page import save_picture, write_page
from jaxret.reports.tables import UNKNOWN, number

COLUMNS = 5  # panels side by side


def write_table_report(folder: Path, results: Mapping[str, Any], *, provenance: Mapping[str, str | bool]) -> Path:
    """Writes index.html and its pictures: table_1.png, ..., claims.png, and curve_N.png of a table with an axis.

    Args:
      folder: made if it is missing.
      results: as `experiments/paper_tables/results.py` describes it: {title, notes, settings, seeds, tables, claims}.
      provenance: as in `jaxret.reports.photo_to_shape.write_report`.

    Returns:
      The path of index.html.

    Raises:
      StorageError: the folder cannot be written.
    """
    folder, tables = Path(folder), results['tables']
    incomplete = {row['name']: row['state'] for table in tables for row in table['rows'] if row['state'] != 'finished'}
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for place, table in enumerate(tables, start=1):
            save_picture(draw_table(table), folder / f'table_{place}.png')
            save_picture(draw_curve(table), folder / f'curve_{place}.png')
        save_picture(draw_claims(results['claims']), folder / 'claims.png')
        return write_page(
            folder,
            'paper_tables.html',
            title=results['title'],
            config=results['settings'],
            skipped=[f'{name}: {state}' for name, state in incomplete.items()],
            notes=results['notes'],
            provenance=provenance,
            real='data',
            questions=1,
            answers=0,
            seeds=results['seeds'],
            tables=[
                {**table, 'rows': [{**row, 'cells': cells(row, table['metrics'])} for row in table['rows']]}
                for table in tables
            ],
            claims=[{**claim, 'shown': _texts(claim, claim['digits'], signed=True)} for claim in results['claims']],
            runs=_runs(tables, folder),
        )


def cells(row: Mapping[str, Any], metrics: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """The texts of a row, one dict a metric: paper, mean, sd, interval and chance; a dash for what is not known."""
    return [_texts(row['values'][metric['key']], metric['digits']) for metric in metrics]


def _texts(values: Mapping[str, Any], digits: int, *, signed: bool = False) -> dict[str, str]:
    known = {name: number(values.get(name), digits) for name in ('paper', 'mean', 'sd', 'low', 'high', 'chance')}
    if signed:
        known |= {name: f'+{known[name]}' for name in ('paper', 'mean', 'low', 'high') if (values[name] or 0.0) > 0}
    interval = UNKNOWN if values['low'] is None else f'{known["low"]} to {known["high"]}'
    return {**known, 'interval': interval}


def _runs(tables: Sequence[Mapping[str, Any]], folder: Path) -> list[dict[str, Any]]:
    """The rows of the list of runs; a row of several tables once."""
    lines = []
    for row in {row['name']: row for table in tables for row in table['rows']}.values():
        for run in row['runs']:
            path = os.path.relpath(run['folder'], folder)
            report = f'{path}/report/index.html'
            seconds = run.get('wall_seconds')
            lines.append(
                {
                    'row': row['name'],
                    'seed': run['seed'],
                    'folder': path,
                    'state': run['state'] + (f': {run["error"]}' if run.get('error') else ''),
                    'time': UNKNOWN if seconds is None else f'{seconds:.0f} s',
                    'commit': f'{(run.get("commit") or UNKNOWN)[:10]}{" changed" if run.get("dirty") else ""}',
                    'report': report if run['state'] == 'finished' and (folder / report).exists() else '',
                }
            )
    return lines


def draw_table(table: Mapping[str, Any]) -> Figure:
    """A panel a metric: the paper's value, ours with its 95 % interval, every seed, and chance, a line a row."""
    metrics, rows = table['metrics'], table['rows']
    columns = min(COLUMNS, len(metrics))
    lines = -(-len(metrics) // columns)
    figure = Figure(
        figsize=(2.6 + 2.5 * columns, 0.7 + lines * (0.95 + 0.36 * len(rows))), layout='constrained', dpi=110
    )
    FigureCanvasAgg(figure)
    for place, metric in enumerate(metrics):
        axes = figure.add_subplot(lines, columns, place + 1)
        better = '' if metric['higher_is_better'] else ' (lower is better)'
        _style(axes, f'{metric["title"]}{better}', '', '')
        axes.grid(False, axis='y')
        for y, row in zip(range(len(rows) - 1, -1, -1), rows, strict=True):
            value = row['values'][metric['key']]
            _marks(
                axes,
                y,
                paper=value['paper'],
                mean=value['mean'],
                low=value['low'],
                high=value['high'],
                seeds=list(value['seeds'].values()),
                chance=value['chance'],
            )
        names = [row['name'] + ('' if row['values'][metric['key']]['n'] else ' (no runs)') for row in rows]
        axes.set_yticks(
            range(len(rows) - 1, -1, -1), names if place % columns == 0 else [''] * len(rows), parse_math=False
        )
        axes.set_ylim(-0.6, len(rows) - 0.4)
    _legend(figure)
    return figure


def draw_curve(table: Mapping[str, Any]) -> Figure | None:
    """The first metric of a table against its axis: our mean with its 95 % interval and seeds, paper and chance.

    None for a table without an axis.
    """
    if not table['axis']:
        return None
    metric = table['metrics'][0]
    rows = sorted(table['rows'], key=lambda row: row['place'])
    values = [(row['place'], row['values'][metric['key']]) for row in rows]
    figure = Figure(figsize=(7.0, 4.2), layout='constrained', dpi=110)
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    _style(axes, metric['title'], table['axis'], '')
    known = [(x, value) for x, value in values if value['mean'] is not None]
    spread = [(x, value['low'], value['high']) for x, value in known if value['low'] is not None]
    if spread:
        axes.fill_between(
            *zip(*spread, strict=True), color=_BLUE, alpha=0.2, linewidth=0, label='our 95 % interval over seeds'
        )
    seeds = [(x, seed) for x, value in known for seed in value['seeds'].values()]
    for points, style, label in (
        (seeds, {'marker': 'o', 'color': _BLUE, 'markersize': 3.5, 'alpha': 0.6, 'linestyle': 'none'}, 'our seeds'),
        ([(x, value['mean']) for x, value in known], {'color': _BLUE, 'linewidth': 1.8}, 'our mean'),
        (
            [(x, value['paper']) for x, value in values if value['paper'] is not None],
            {'marker': 'D', 'color': _ORANGE, 'markersize': 5.5, 'linestyle': 'none'},
            'paper',
        ),
        (
            [(x, value['chance']) for x, value in known if value['chance'] is not None],
            {'color': _GREY, 'linewidth': 1, 'linestyle': ':'},
            'chance',
        ),
    ):
        if points:
            axes.plot(*zip(*points, strict=True), label=label, **style)
    _legend(figure)
    return figure


def draw_claims(claims: Sequence[Mapping[str, Any]]) -> Figure | None:
    """The paper's differences beside ours with their intervals; a panel a metric. None without claims."""
    panels = list(dict.fromkeys(claim['metric'] for claim in claims))
    if not panels:
        return None
    counts = [sum(claim['metric'] == title for claim in claims) for title in panels]
    figure = Figure(figsize=(9.5, 0.7 + sum(0.85 + 0.42 * count for count in counts)), layout='constrained', dpi=110)
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(len(panels), 1, height_ratios=[count + 1 for count in counts])
    for place, title in enumerate(panels):
        axes = figure.add_subplot(grid[place])
        _style(axes, title, 'difference in favour of what the paper finds better', '')
        axes.grid(False, axis='y')
        axes.axvline(0.0, color=_GREY, linewidth=1)
        shown = [claim for claim in claims if claim['metric'] == title]
        for y, claim in zip(range(len(shown) - 1, -1, -1), shown, strict=True):
            _marks(axes, y, paper=claim['paper'], mean=claim['mean'], low=claim['low'], high=claim['high'])
        axes.set_yticks(
            range(len(shown) - 1, -1, -1),
            [f'{claim["better"]}\n− {claim["worse"]}' for claim in shown],
            parse_math=False,
        )
        axes.set_ylim(-0.6, len(shown) - 0.4)
    _legend(figure)
    return figure


def _marks(
    axes,
    y: float,
    *,
    paper: float | None,
    mean: float | None,
    low: float | None,
    high: float | None,
    seeds: Sequence[float] = (),
    chance: float | None = None,
) -> None:
    """One line of a panel; what is None is left out."""
    if low is not None:
        axes.plot(
            [low, high],
            [y, y],
            color=_BLUE,
            linewidth=5,
            alpha=0.25,
            solid_capstyle='butt',
            label='our 95 % interval over seeds',
        )
    if len(seeds):
        axes.plot(
            seeds, [y] * len(seeds), 'o', color=_BLUE, markersize=3.5, alpha=0.6, label='our seeds', linestyle='none'
        )
    for value, marker, colour, size, label in (
        (mean, '|', _BLUE, 13, 'our mean'),
        (paper, 'D', _ORANGE, 5.5, 'paper'),
        (chance, '|', _GREY, 9, 'chance'),
    ):
        if value is not None:
            axes.plot(
                [value],
                [y],
                marker,
                color=colour,
                markersize=size,
                markeredgewidth=2 if marker == '|' else 1,
                label=label,
                linestyle='none',
            )


def _legend(figure: Figure) -> None:
    found = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    if found:
        figure.legend(
            found.values(), found.keys(), loc='outside lower center', ncols=len(found), frameon=False, fontsize=8
        )
