"""The page of CMIC's Table 1: rows of a category below each other, printed, run and untrained ones marked."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack

from jaxret.reports.page import Facts, report_folder, write_page
from jaxret.reports.tables import UNKNOWN, number


def write_category_table(
    folder: Path, groups: Sequence[Mapping[str, Any]], columns: Sequence[str], **facts: Unpack[Facts]
) -> Path:
    """Writes index.html.

    Args:
      folder: made if it is missing.
      groups: [{name, photos, rows: [{method, source, values: {column: {mean, sd or none}}}]}]; accuracies in percent.
      columns: keys of the values, four of seen and two of unseen shapes.
      **facts: title, config, skipped, notes and provenance.

    Returns:
      The path of index.html.

    Raises:
      StorageError: the folder cannot be written.
    """
    shown = [
        {**group, 'rows': [{**row, 'cells': [cell(row, column) for column in columns]} for row in group['rows']]}
        for group in groups
    ]
    with report_folder(folder):
        return write_page(folder, 'category_table.html', pictures={}, real='photos', values={'groups': shown}, **facts)


def cell(row: Mapping[str, Any], column: str) -> str:
    """A value as text, with the standard deviation over seeds where there is one; a dash where it is not known."""
    value, digits = row['values'].get(column), 1 if column.startswith('top') else 4
    if value is None:
        return UNKNOWN
    spread = f' \u00b1 {number(value["sd"], digits)}' if value.get('sd') else ''
    return number(value['mean'], digits) + spread
