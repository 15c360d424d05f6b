"""How the answers to queries are printed: as tables, CSV or JSON."""

import csv
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from jaxret.errors import DataError
from jaxret.files import printable
from jaxret.index.facts import told_facts
from jaxret.index.index import Hit
from jaxret.inference.query_files import QueryFile
from jaxret.preprocessing.photo_files import is_transparent
from jaxret.preprocessing.photos import Box

FIELDS = (
    'rank', 'id', 'category', 'score', 'view', 'azimuth', 'elevation', 'references', 'chance', 'present', 'distance',
    'mean_distance', 'scale', 'mirrored', 'copy_of',
)  # fmt: skip
# Sides in mm, area and volume in mm^2 and mm^3 where the unit is known, else in the file's units.
FACTS = ('name', 'unit', 'width', 'height', 'depth', 'area', 'volume', 'triangles', 'watertight', 'colors')


@dataclass(frozen=True)
class Answer:
    """What was found for a query.

    Attributes:
      query: its file; None where words alone were asked with.
      seen: what was taken as the object.
      hits: best first.
      complete: whether no shape is missing.
      also: further photos of the same object.
      text: the words that were asked with; None for none.
      facts: of the hits (`Index.facts`), by their ids; none where the index was not opened.
    """

    query: QueryFile | None
    seen: str
    hits: Sequence[Hit]
    complete: bool
    also: Sequence[QueryFile] = ()
    text: str | None = None
    facts: Mapping[str, dict[str, Any] | None] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Of the query: its file, its words, or both."""
        parts = [] if self.query is None else [' + '.join(str(query.path) for query in (self.query, *self.also))]
        return ' and '.join(parts if self.text is None else [*parts, f'"{self.text}"'])


def seen_as(query: QueryFile | None, mask: str | Path | None, box: Box | None) -> str:
    """What was taken as the object of a photo."""
    if query is None:
        return 'text'
    if query.kind != 'photo':
        return query.kind
    parts = [f'mask {mask}'] if mask else ['mask by its transparency'] if _is_transparent(query.path) else []
    parts += ['box ' + ','.join(f'{side:g}' for side in box)] if box else []
    return f'photo, {" in ".join(parts) or "no mask or box"}'


def _is_transparent(photo: Path) -> bool:
    try:
        return is_transparent(photo)
    except DataError:  # told where it is embedded
        return False


def print_json(answers: Sequence[Answer]) -> None:
    """One array of all answers."""
    rows = [
        {
            'query': None if answer.query is None else str(answer.query.path),
            **({} if answer.text is None else {'text': answer.text}),
            'kind': 'text' if answer.query is None else answer.query.kind,
            'object': answer.seen,
            'complete': answer.complete,
            **({'also': [str(query.path) for query in answer.also]} if answer.also else {}),
            'hits': [asdict(hit) | {'facts': answer.facts.get(hit.id)} for hit in answer.hits],
        }
        for answer in answers
    ]
    print(json.dumps(rows, indent=1))


def print_csv(answers: Sequence[Answer]) -> None:
    """One line a hit."""
    writer = csv.writer(sys.stdout, lineterminator='\n')
    writer.writerow(('query', *FIELDS, *FACTS))
    for answer in answers:
        for hit in answer.hits:
            values = [_plain(getattr(hit, name)) for name in FIELDS] + _fact_values(answer.facts.get(hit.id))
            writer.writerow((answer.name, *('' if value is None else value for value in values)))


def _plain(value: Any) -> Any:
    return int(value) if isinstance(value, bool) else value


def _fact_values(facts: Mapping[str, Any] | None) -> list[Any]:
    """Of `FACTS`."""
    if not facts:
        return [None] * len(FACTS)
    sides = dict(zip(('width', 'height', 'depth'), facts['size_mm'] or facts['size'], strict=True))
    told = facts | sides | {'watertight': int(facts['watertight']), 'colors': ' '.join(facts['colors'])}
    return [told[name] for name in FACTS]


def print_tables(answers: Sequence[Answer]) -> None:
    """One table a query, with views where there are any."""
    console = Console(markup=False, emoji=False, highlight=False)
    if not console.is_terminal:  # a log file has no width of its own
        console = Console(width=200, markup=False, emoji=False, highlight=False)
    with_facts = any(facts for answer in answers for facts in answer.facts.values())
    for answer in answers:
        with_views = any(hit.view is not None for hit in answer.hits)
        with_photos = any(hit.references for hit in answer.hits)
        with_distances = any(hit.distance is not None for hit in answer.hits)
        order = '; nearest first, by mean distance' if with_distances else ''
        console.print(_shown(f'{answer.name} ({answer.seen}{order})'), soft_wrap=True)
        if sure := certainty_text(answer.hits):
            console.print(_shown(sure), soft_wrap=True)
        table = Table(box=None, pad_edge=False)
        table.add_column('rank', justify='right', overflow='ellipsis')
        table.add_column('score', justify='right', overflow='ellipsis')
        table.add_column('category', overflow='ellipsis')
        table.add_column('id', overflow='fold')
        for column in ('view', 'azimuth', 'elevation') if with_views else ():
            table.add_column(column, justify='right', overflow='ellipsis')
        for column in ('mean distance', 'largest', 'scale') if with_distances else ():
            table.add_column(column, justify='right', overflow='ellipsis')
        for column in (
            *(('known photos',) if with_photos else ()),
            *(('width x height x depth', 'triangles') if with_facts else ()),
        ):
            table.add_column(column, justify='right', overflow='ellipsis')
        for hit in answer.hits:
            angles = (f'{angle:g}\N{DEGREE SIGN}' for angle in (hit.azimuth, hit.elevation)) if with_views else ()
            more = (str(hit.view), *angles) if with_views else ()
            more += _told_distances(hit) if with_distances else ()
            more += (str(hit.references or ''),) if with_photos else ()
            more += told_facts(answer.facts.get(hit.id)) if with_facts else ()
            name = f'{hit.id} (copy of {hit.copy_of})' if hit.copy_of else hit.id
            table.add_row(*map(_shown, (str(hit.rank), f'{hit.score:.4f}', hit.category, name, *more)))
        console.print(table)


def _told_distances(hit: Hit) -> tuple[str, str, str]:
    """Of a hit that was laid on the query, mean and largest in percent of its longest side; its scale, 'mirrored'."""
    if hit.distance is None:
        return '', '', ''
    scale = f'{hit.scale:.4g}{" mirrored" if hit.mirrored else ""}'
    return f'{100 * hit.mean_distance:.3f} %', f'{100 * hit.distance:.2f} %', scale


def certainty_text(hits: Sequence[Hit]) -> str:
    """How sure the first of some hits is; '' where nothing is known of that."""
    chance, present = (hits[0].chance, hits[0].present) if hits else (None, None)
    told = '' if chance is None else f'the first is right with a chance of {_percent(chance)}'
    if present is None or present >= 0.5:
        return told
    absent = f'probably none of the models (with a chance of {_percent(1 - present)})'
    return f'{absent}; if it is one of them, {told}' if told else absent


def _percent(chance: float) -> str:
    return f'{min(max(chance, 0.01), 0.99):.0%}'  # learnt of some photos, it is never certain


def _shown(text: str) -> Text:
    """As `printable`, with escapes for what the terminal lacks, so that columns are as wide as what is in them."""
    encoding = sys.stdout.encoding or 'utf-8'
    return Text(printable(text).encode(encoding, errors='backslashreplace').decode(encoding))
