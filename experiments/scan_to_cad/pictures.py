"""Which scans the report of the scan-to-CAD experiment shows, and their pictures."""

import jax
import numpy as np
from scan_to_cad.data import ScanData

from jaxret.metrics.ranking import positive_ranks, top_k_indices
from jaxret.reports.contact_sheet import select_queries
from jaxret.reports.scan_cards import ScanCard
from jaxret.reports.voxel_renders import CLUTTER, OBJECT, draw_voxels
from jaxret.systems.base import Variables
from jaxret.systems.scan_cad import ScanCad
from jaxret.systems.scan_cells import ScanCells

ANSWERS = 5


def scan_cards(
    data: ScanData, distances: np.ndarray, *, system: ScanCad | ScanCells | None, variables: Variables | None
) -> dict[str, list[ScanCard]]:
    """Cards of some test scans: the best, the worst, some at random.

    Args:
      data: test scans and gallery.
      distances: between them, [Q, G].
      system, variables: give foreground and completion where the system completes scans; None leaves them out.
    """
    table = data.scans['test']
    ranks = positive_ranks(-distances, table.instance)
    own = distances[np.arange(len(table)), table.instance]
    others = np.where(np.arange(len(data.cads))[None] == table.instance[:, None], np.inf, distances).min(axis=1)
    nearest = top_k_indices(
        -distances, ANSWERS, table.instance, query_category=table.category, gallery_category=data.cads.category
    )
    sections = select_queries(ranks, others - own, best=4, worst=4, random=8)
    rows = np.unique(np.concatenate(list(sections.values())))
    stages = _stages(data, rows, system, variables)
    shown = np.unique(nearest[rows])
    views = dict(zip(shown.tolist(), draw_voxels(data.cads.cads(shown)), strict=True))

    def card(row: int) -> ScanCard:
        results = [
            (views[cad], data.cads.names[cad], float(distances[row, cad]), _kind(data, row, cad))
            for cad in nearest[row].tolist()
        ]
        return ScanCard(
            stages[row], results, table.names[row], data.dataset.category_names[table.category[row]], int(ranks[row])
        )

    return {heading: [card(row) for row in chosen.tolist()] for heading, chosen in sections.items()}


def _stages(
    data: ScanData, rows: np.ndarray, system: ScanCad | ScanCells | None, variables: Variables | None
) -> dict[int, dict[str, np.ndarray]]:
    """Pictures of what comes before the answers, by row."""
    table = data.scans['test']
    scans, masks = table.scans(rows), table.masks(rows)
    painted = np.where(masks, OBJECT, CLUTTER)
    grids = {'scan': scans * painted}
    if system is not None and system.completes:
        foreground, completion = (np.asarray(x) > 0.5 for x in jax.jit(system.segment_and_complete)(variables, scans))
        grids |= {'foreground': foreground * painted, 'completion': completion * OBJECT}
    grids['own CAD'] = table.cads(rows)
    pictures = {name: draw_voxels(grid) for name, grid in grids.items()}
    return {int(row): {name: picture[place] for name, picture in pictures.items()} for place, row in enumerate(rows)}


def _kind(data: ScanData, row: int, cad: int) -> str:
    table = data.scans['test']
    if cad == table.instance[row]:
        return 'own'
    return 'category' if data.cads.category[cad] == table.category[row] else 'other'
