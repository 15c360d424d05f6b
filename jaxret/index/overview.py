"""One page with pictures of an index's models and which axis points up in each: what lies on its side is seen at once.

The page is one file that needs no other and no network.
"""

from base64 import b64encode
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxret.files import write_atomically
from jaxret.geometry.places import locate
from jaxret.geometry.up_axis import FIRM
from jaxret.index.axes import how_known
from jaxret.index.files import OVERVIEW, Source
from jaxret.index.shards import SHARDS, ShapeRow, read_facts, read_thumbnail
from jaxret.reports.templates import rendered

_MOST, _MOST_DOUBTFUL = 400, 200  # pictures
UPRIGHT = 'upright'  # of the facts: the guess of the shape's own


def write_overview(folder: Path, rows: Sequence[ShapeRow], sources: Sequence[Source]) -> int:
    """Writes the page of an index; returns how many models look as if another axis pointed up than they have.

    Args:
      folder: of the index.
      rows: of its table.
      sources: its folders of models.

    Raises:
      DataError: a damaged shard.
      StorageError: the page cannot be written.
    """
    doubtful = _doubtful(folder, rows, [Path(source.folder) for source in sources])
    others = [number for number in range(len(rows)) if number not in doubtful]
    shown = sorted(doubtful)[:: -(-len(doubtful) // _MOST_DOUBTFUL) or 1]
    others = others[:: -(-len(others) // (_MOST - len(shown))) or 1]
    groups = {f'Look as if another axis pointed up: {len(doubtful):,}': shown, 'Models': others}
    cards = {
        heading: [_card(folder, rows[number], doubt=number in doubtful) for number in numbers]
        for heading, numbers in groups.items()
        if numbers
    }
    page = rendered(
        'overview.html',
        title='Which axis points up',
        folders={source.folder: _counts(rows, number) for number, source in enumerate(sources)},
        groups=cards,
        shown=len(shown) + len(others),
        total=len(rows),
        questions=0,
        answers=1,
    )
    write_atomically(folder / OVERVIEW, page.encode(errors='replace'))
    return len(doubtful)


def _doubtful(folder: Path, rows: Sequence[ShapeRow], places: Sequence[Path]) -> set[int]:
    """Numbers of the rows whose own guess is firm, and another axis than they have; parts alone tell nothing."""
    facts = {shard: read_facts(folder / SHARDS / shard) for shard in sorted({row.shard for row in rows})}
    guesses = [facts[row.shard][row.row].get(UPRIGHT, (row.up_axis, 0.0)) for row in rows]
    return {
        number
        for number, (row, (axis, certainty)) in enumerate(zip(rows, guesses, strict=True))
        if certainty >= FIRM and axis != row.up_axis and not locate(places[row.source] / row.id).part
    }


def _counts(rows: Sequence[ShapeRow], source: int) -> dict[tuple[str, str], int]:
    return dict(sorted(Counter((row.up_axis, how_known(row)) for row in rows if row.source == source).items()))


def _card(folder: Path, row: ShapeRow, *, doubt: bool) -> dict[str, Any]:
    return {
        'id': row.id,
        'category': row.category,
        'axis': row.up_axis,
        'other': 'y' if row.up_axis == 'z' else 'z',
        'how': how_known(row),
        'doubt': doubt,
        'picture': b64encode(read_thumbnail(folder / SHARDS / row.shard, row.row)).decode(),
    }
