"""Writes the synthetic sample in the scan-CAD layout, so that one code path reads both.

model/<synset>/<name>.obj    the furniture, +y up
scan/, cad/, *.json          scans simulated from it; see `data_pipelines.scan_to_cad.simulation`
"""

from pathlib import Path
from typing import Any

import numpy as np

from data_pipelines.atomic_folder import complete_sample
from data_pipelines.dataset import ANY, Faults, check_ranges
from data_pipelines.scan_to_cad.model_files import find_models
from data_pipelines.scan_to_cad.simulation import Simulation, write_scans
from data_pipelines.synthetic.shapes.cabinets import make_bookshelf, make_cabinet
from data_pipelines.synthetic.shapes.furniture import MAX_SHAPES, make_furniture, write_obj
from data_pipelines.synthetic.shapes.parts import Assembly
from jaxret.geometry.scan import ScanOptions

GENERATOR_VERSION = 3
CATEGORIES = {
    'bed': '02818832', 'bookshelf': '02871439', 'cabinet': '02933112', 'chair': '03001627', 'sofa': '04256520',
    'table': '04379243',
}  # fmt: skip
_STORAGE = {'bookshelf': make_bookshelf, 'cabinet': make_cabinet}
YAW = ScanOptions.yaw  # degrees


def write_scan_cad_sample(
    root: Path | str,
    *,
    seed: int = 0,
    models_per_class: int = 12,
    scans_per_model: int = 4,
    placement: str = 'published',
    yaw: float = YAW,
    processes: int | None = None,
    progress: bool = True,
) -> Path:
    """Writes the sample to `root` once, as `complete_sample` does.

    Args:
      root: the folder to write.
      seed: decides everything, whatever the number of processes.
      models_per_class: models of each of the six categories, 1 .. 24; from 7 on there are annotations.
      scans_per_model: at least 2; from 4 on one of them is val.
      placement: of the models in their grids (`grid_meshes.PLACEMENTS`).
      yaw: deviation of the scans' headings in degrees.
      processes: worker processes; None takes one a core.
      progress: show a progress bar.

    Returns:
      `root`, absolute.

    Raises:
      ConfigError: a number out of range.
      StorageError: as `complete_sample`.
    """
    check_ranges(
        seed=(seed, 0, ANY),
        models_per_class=(models_per_class, 1, MAX_SHAPES),
        scans_per_model=(scans_per_model, 2, ANY),
        processes=(processes, 1, ANY),
    )
    wanted = {
        'layout': 'scan-CAD',
        'generator_version': GENERATOR_VERSION,
        'seed': seed,
        'models_per_class': models_per_class,
        'scans_per_model': scans_per_model,
        'placement': placement,
        **({} if yaw == YAW else {'yaw': yaw}),
    }

    def write(folder: Path) -> dict[str, Any]:
        for category in CATEGORIES:
            _write_models(folder / 'model' / CATEGORIES[category], category, models_per_class, seed)
        files, _ = find_models(folder / 'model', 'meshes')
        simulation = Simulation(scans_per_model, seed, ScanOptions(yaw=yaw), placement=placement)
        return write_scans(folder, files, simulation, Faults(skip=False), processes=processes, progress=progress)

    return complete_sample(root, wanted, write)


def _write_models(folder: Path, category: str, count: int, seed: int) -> None:
    folder.mkdir(parents=True)
    if category in _STORAGE:
        for index in range(count):
            rng = np.random.default_rng([seed, int(CATEGORIES[category]), index])
            _write_assembly(folder / f'{category}-{index:02d}.obj', _STORAGE[category](rng))
        return
    for furniture in make_furniture(category, count, seed=seed):
        write_obj(folder / f'{furniture.name.replace("_", "-")}.obj', furniture)


def _write_assembly(path: Path, assembly: Assembly) -> None:
    vertices, faces, _, _ = assembly.joined()
    lines = [f'v {x:.6f} {y:.6f} {z:.6f}' for x, y, z in vertices]
    lines += [f'f {a} {b} {c}' for a, b, c in faces + 1]
    path.write_text('\n'.join(lines) + '\n', encoding='ascii')
