"""The page of `jaxret duplicates`: groups of models that are alike, side by side."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from jaxret.reports.cards import Card
from jaxret.reports.page import write_page


def write_duplicates(
    folder: Path,
    sheet: Mapping[str, Sequence[Card]],
    *,
    counts: Sequence[tuple[str, str]],
    groups_left: int,
    skipped: Sequence[str],
    provenance: Mapping[str, str],
) -> Path:
    """Writes index.html and gives its path.

    Args:
      folder: of the report (`page.report_folder`).
      sheet: {class: cards of its groups}.
      counts: what was found, in words.
      groups_left: how many groups are not among the cards.
      skipped: files that could not be used, one line each.
      provenance: what was compared.
    """
    return write_page(
        folder,
        'duplicates.html',
        pictures={},
        real='models',
        sheets=[sheet],
        values={'counts': counts, 'groups_left': groups_left},
        title='Models that are alike',
        config={},
        skipped=skipped,
        notes=(),
        provenance={'synthetic': False, **provenance},
    )
