"""The report of a paper's tables: its values beside ours with the spread of seeds, and what becomes of its claims."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from jaxret.reports.figures import name_rows, new_figure, plot_known, style_axes
from jaxret.reports.page import report_folder, write_page
from jaxret.reports.palette import BLUE, GREY, ORANGE
from jaxret.reports.tables import UNKNOWN, duration, number

COLUMNS = 5  # panels side by side
_INTERVAL = 'our 95 % interval over seeds'
_SEEDS = {'marker': 'o', 'color': BLUE, 'markersize': 3.5, 'alpha': 0.6, 'linestyle': 'none', 'label': 'our seeds'}
_PAPER = {'marker': 'D', 'color': ORANGE, 'markersize': 5.5, 'linestyle': 'none', 'label': 'paper'}
_BAR = {'marker': '|', 'markeredgewidth': 2, 'linestyle': 'none'}
_MEAN = _BAR | {'color': BLUE, 'markersize': 13, 'label': 'our mean'}
_CHANCE = _BAR | {'color': GREY, 'markersize': 9, 'label': 'chance'}


def write_table_report(folder: Path, results: Mapping[str, Any], *, provenance: Mapping[str, str | bool]) -> Path:
    """Writes index.html and its pictures: table_1.png, ..., claims.png, and curve_N.png of a table with an axis.

    Args:
      folder: made if it is missing.
      results: as `experiments/paper_tables/results.py` describes it: {title, notes, warning, settings, seeds, tables,
        claims, claims_of_paper}.
      provenance: what was run on what, as in `page.Facts`.

    Returns:
      The path of index.html.

    Raises:
      StorageError: the folder cannot be written.
    """
    folder, tables = Path(folder), results['tables']
    incomplete = {row['name']: row['state'] for table in tables for row in table['rows'] if row['state'] != 'finished'}
    pictures = {'claims': draw_claims(results['claims'])}
    for place, table in enumerate(tables, start=1):
        pictures |= {f'table_{place}': draw_table(table), f'curve_{place}': draw_curve(table)}
    values = {
        'seeds': results['seeds'],
        'warning': results['warning'],
        'tables': [
            {**table, 'rows': [{**row, 'cells': cells(row, table['metrics'])} for row in table['rows']]}
            for table in tables
        ],
        'count': results['claims_of_paper'],
        'claims': [{**claim, 'shown': _texts(claim, claim['digits'], signed=True)} for claim in results['claims']],
        'runs': _runs(tables, folder),
    }
    with report_folder(folder):
        return write_page(
            folder,
            'paper_tables.html',
            pictures=pictures,
            real='data',
            values=values,
            title=results['title'],
            config=results['settings'],
            skipped=[f'{name}: {state}' for name, state in incomplete.items()],
            notes=results['notes'],
            provenance=provenance,
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
    """The rows of the list of runs, each run once, with all rows of tables that show it."""
    lines: dict[str, dict[str, Any]] = {}
    for row in {row['name']: row for table in tables for row in table['rows']}.values():
        for run in row['runs']:
            if run['folder'] in lines:
                lines[run['folder']]['row'] += f'; {row["name"]}'
                continue
            path = os.path.relpath(run['folder'], folder)
            report = f'{path}/report/index.html'
            seconds = run.get('wall_seconds')
            lines[run['folder']] = {
                'row': row['name'],
                'seed': run['seed'],
                'folder': path,
                'state': run['state'] + (f': {run["error"]}' if run.get('error') else ''),
                'time': UNKNOWN if seconds is None else duration(seconds),
                'commit': f'{(run.get("commit") or UNKNOWN)[:10]}{" changed" if run.get("dirty") else ""}',
                'report': report if run['state'] == 'finished' and (folder / report).exists() else '',
            }
    return list(lines.values())


def draw_table(table: Mapping[str, Any]) -> Figure:
    """A panel a metric: the paper's value, ours with its 95 % interval, every seed, and chance, a line a row."""
    metrics, rows = table['metrics'], table['rows']
    columns = min(COLUMNS, len(metrics))
    lines = -(-len(metrics) // columns)
    figure = new_figure(2.6 + 2.5 * columns, 0.7 + lines * (0.95 + 0.36 * len(rows)))
    for place, metric in enumerate(metrics):
        axes = figure.add_subplot(lines, columns, place + 1)
        style_axes(axes, metric['title'] + ('' if metric['higher_is_better'] else ' (lower is better)'))
        values = [row['values'][metric['key']] for row in rows]
        names = [row['name'] + ('' if own['n'] else ' (no runs)') for row, own in zip(rows, values, strict=True)]
        places = name_rows(axes, names if place % columns == 0 else [''] * len(rows))
        for y, own in zip(places, values, strict=True):
            _marks(axes, y, own, seeds=own['seeds'].values(), chance=own['chance'])
    _legend(figure)
    return figure


def draw_curve(table: Mapping[str, Any]) -> Figure | None:
    """The first metric of a table against its axis: our mean with its 95 % interval and seeds, paper and chance.

    None for a table without an axis.
    """
    if not table['axis']:
        return None
    metric = table['metrics'][0]
    placed = [row for row in table['rows'] if row['place'] is not None]  # not those that nobody trained
    rows = sorted(placed, key=lambda row: row['place'])
    values = [(row['place'], row['values'][metric['key']]) for row in rows]
    figure = new_figure(7.0, 4.2)
    axes = figure.add_subplot()
    style_axes(axes, metric['title'], table['axis'])
    spread = [(x, own['low'], own['high']) for x, own in values if own['low'] is not None]
    if spread:
        axes.fill_between(*zip(*spread, strict=True), color=BLUE, alpha=0.2, linewidth=0, label=_INTERVAL)
    plot_known(axes, [(x, seed) for x, own in values for seed in own['seeds'].values()], **_SEEDS)
    plot_known(axes, [(x, own['mean']) for x, own in values], color=BLUE, linewidth=1.8, label='our mean')
    plot_known(axes, [(x, own['paper']) for x, own in values], **_PAPER)
    chance = [(x, own['chance']) for x, own in values if own['mean'] is not None]
    plot_known(axes, chance, color=GREY, linewidth=1, linestyle=':', label='chance')
    _legend(figure)
    return figure


def draw_claims(claims: Sequence[Mapping[str, Any]]) -> Figure | None:
    """The paper's differences beside ours with their intervals; a panel a metric. None without claims."""
    panels: dict[str, list[Mapping[str, Any]]] = {}
    for claim in claims:
        panels.setdefault(claim['metric'], []).append(claim)
    if not panels:
        return None
    figure = new_figure(9.5, 0.7 + sum(0.85 + 0.42 * len(shown) for shown in panels.values()))
    grid = figure.add_gridspec(len(panels), 1, height_ratios=[len(shown) + 1 for shown in panels.values()])
    for place, (title, shown) in enumerate(panels.items()):
        axes = figure.add_subplot(grid[place])
        style_axes(axes, title, 'difference in favour of what the paper finds better')
        axes.axvline(0.0, color=GREY, linewidth=1)
        places = name_rows(axes, [f'{claim["better"]}\n− {claim["worse"]}' for claim in shown])
        for y, claim in zip(places, shown, strict=True):
            _marks(axes, y, claim)
    _legend(figure)
    return figure


def _marks(
    axes, y: float, values: Mapping[str, Any], *, seeds: Iterable[float] = (), chance: float | None = None
) -> None:
    """One line of a panel: interval, seeds, mean, paper and chance; what is not known is left out."""
    if values['low'] is not None:
        ends = [values['low'], values['high']]
        axes.plot(ends, [y, y], color=BLUE, linewidth=5, alpha=0.25, solid_capstyle='butt', label=_INTERVAL)
    plot_known(axes, [(seed, y) for seed in seeds], **_SEEDS)
    for value, style in ((values['mean'], _MEAN), (values['paper'], _PAPER), (chance, _CHANCE)):
        plot_known(axes, [(value, y)], **style)


def _legend(figure: Figure) -> None:
    found = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    if found:
        figure.legend(
            found.values(), found.keys(), loc='outside lower center', ncols=len(found), frameon=False, fontsize=8
        )
