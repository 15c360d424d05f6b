"""Scans simulated from CAD models, written in the scan-CAD layout.

    <models>/<category>/<id>.vox             what it starts from: distance grids, or meshes (.obj, .off, ...)

    <out>/scan/, <out>/cad/                  grids, as `scan_cad` reads them; cad/<category>_<id>__0__.df is the model
    <out>/scan2cad_objects.json              pair list whose val and test scans show every model from other viewpoints
    <out>/scan2cad_objects_models.json       pair list whose val and test scans are of other models
    <out>/similarity.json                    pools of 6 other models of the category, ranked by overlap of their grids
    <out>/scans.json                         facts of every scan: share of the surface seen, clutter, noise (`scan`)
    <out>/complete.json                      written last; also lists what was left out

Letters: S scans of a model, R voxels a side.
"""

import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data_pipelines.atomic_folder import complete_sample, write_json
from data_pipelines.dataset import Faults, bad_file_choice, check_options, one_of
from data_pipelines.file_checks import FileChecks, is_wrong, signature
from data_pipelines.folders import open_folder
from data_pipelines.scan_to_cad.model_files import SOURCES, ModelFile, find_models
from data_pipelines.scan_to_cad.scan_cad import POOL_SUFFIX
from data_pipelines.scan_to_cad.simulated_benchmark import (
    generator,
    rank_pools,
    split_by_model,
    split_by_viewpoint,
    stable_hash,
)
from jaxret.errors import DataError, Problem, refused
from jaxret.geometry.distance_grids import DistanceGrid, read_distances, write_distances, write_mask
from jaxret.geometry.formats import MESH_SUFFIXES
from jaxret.geometry.grid_meshes import grid_from_mesh, mesh_from_grid, place_in_grid
from jaxret.geometry.mesh import Mesh, load_mesh
from jaxret.geometry.scan import ScanOptions, simulate_scan
from jaxret.workers import default_processes, map_parallel

GENERATOR_VERSION = 3
_NEIGHBOURS = 2  # other models that may stand beside the scanned one
_SIDE = 32


@dataclass(frozen=True)
class Simulation:
    """How scans are made: S scans of each model, the seed, the options of a scan; of meshes the axis that points up,
    and their place in a grid (`grid_meshes.PLACEMENTS`).
    """

    scans_per_model: int
    seed: int
    options: ScanOptions
    up_axis: str = 'y'
    placement: str = 'published'


@dataclass(frozen=True)
class _Job:
    """All scans of one model; `index` numbers the models in the scans' names, each scan has its own neighbours."""

    folder: Path
    index: int
    file: ModelFile
    neighbours: tuple[tuple[Path, ...], ...]


def simulate_layout(
    models_dir: Path | str,
    out: Path | str,
    *,
    source: str = 'grids',
    scans_per_model: int = 8,
    seed: int = 0,
    options: ScanOptions | None = None,
    up_axis: str = 'y',
    on_bad_file: str = 'error',
    replace: bool = False,
    processes: int | None = None,
    progress: bool = True,
) -> Path:
    """Writes scans of every model to `out`, or returns at once where the same scans already stand there.

    The azimuths around a model are cut into S equal sectors, from a random one on; each scan's cameras stay within its
    sector. So scans of different splits of scan2cad_objects.json were never taken from the same side of a model: of
    each model one random sector is test, from S = 4 on one more is val, the others are train. In the other list about a
    fifth of the models of each category is test and, from five models on, a tenth val. The two other models that may
    stand beside a model are drawn anew for each of its scans.

    Args:
      models_dir: folder with a folder of models for each category.
      out: the folder to write; never half written, and refused if it holds anything else.
      source: 'grids' (32^3, .vox, .df or .sdf) or 'meshes'.
      scans_per_model: S, at least 2.
      seed: decides everything, whatever the number of processes.
      options: of the scans; None for the defaults.
      up_axis: axis that points up in mesh files.
      on_bad_file: 'error', or 'skip': models that cannot be used are left out and listed in complete.json.
      replace: scans of other models or options that stand in `out`; False refuses them.
      processes: worker processes; None takes one a core.
      progress: show progress bars.

    Returns:
      `out`, absolute. Scans that show too little of their model are left out and listed in complete.json.

    Raises:
      DataError: with every model that cannot be used.
      ConfigError: an option has no such value.
      StorageError: `out` cannot be written, holds something else, or the disk is full.
    """
    check_options(
        source=one_of(source, *SOURCES),
        on_bad_file=bad_file_choice(on_bad_file),
        scans_per_model=(scans_per_model, scans_per_model >= 2, 'at least 2'),
        seed=(seed, seed >= 0, 'at least 0'),
    )
    options = ScanOptions() if options is None else options
    root = open_folder(models_dir, layout='the layout <category>/<id> of CAD models', key='models_dir')
    files, problems = find_models(root, source)
    workers = processes or default_processes()
    checks = FileChecks(root, None, workers, progress)
    if source == 'grids':
        found = checks.grids([(file.path,) for file in files], resolution=_SIDE)
    else:
        found = checks.meshes([file.path for file in files], up_axis=up_axis)
    problems += [problem for result in found if is_wrong(result) for problem in result]
    files = [file for file, result in zip(files, found, strict=True) if not is_wrong(result)]
    faults = Faults(on_bad_file == 'skip' and bool(files))
    faults.of_files(problems)
    faults.refuse()
    content = [[(file.key, signature(file.path)) for file in files], dataclasses.asdict(options), up_axis, on_bad_file]
    wanted = {
        'layout': 'scan-CAD',
        'generator_version': GENERATOR_VERSION,
        'seed': seed,
        'scans_per_model': scans_per_model,
        'models_dir': str(root),
        'source': source,
        'content': hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16],
    }

    def write(folder: Path) -> dict[str, Any]:
        simulation = Simulation(scans_per_model, seed, options, up_axis)
        return write_scans(folder, files, simulation, faults, processes=workers, progress=progress)

    return complete_sample(out, wanted, write, replace=replace)


def write_scans(
    folder: Path,
    files: Sequence[ModelFile],
    simulation: Simulation,
    faults: Faults,
    *,
    processes: int | None,
    progress: bool,
) -> dict[str, Any]:
    """Fills `folder`; returns what complete.json says.

    Args:
      folder: an empty folder.
      files: the models.
      simulation: how scans are made.
      faults: what is wrong with other models; models that fail now are added.
      processes: worker processes; None takes one a core.
      progress: show a progress bar.

    Raises:
      DataError: models that cannot be used, or no scan that shows enough of its model.
    """
    for name in ('scan', 'cad'):
        (folder / name).mkdir()
    jobs = [_job(folder, index, files, simulation) for index in range(len(files))]
    function = functools.partial(_scan_model, simulation=simulation)
    title = 'Simulating scans' if progress else None
    facts, used, hidden = {}, [], []
    for index, result in map_parallel(function, jobs, processes=processes, ordered=True, progress=title):
        if isinstance(result, DataError):
            faults.of_files(result.problems)
            continue
        used.append(files[index].key)
        facts |= result[0]
        hidden += result[1]
    if not facts:
        found = f'none of {len(hidden)} scans shows enough of its model'
        faults.problems.append(Problem('scans', found, 'bring the cameras nearer (distance, max_depth)'))
    faults.refuse()
    write_json(folder / 'scans.json', facts)
    rows = list(facts.values())
    return {
        'models': len(used),
        'scans': len(facts),
        'annotations': _write_benchmark(folder, list(facts), used, simulation),
        'mean_seen': float(np.mean([row['seen'] for row in rows])),
        'with_clutter': float(np.mean([row['clutter'] >= 0.05 for row in rows])),
        'left_out': [dataclasses.astuple(problem) for problem in faults.skipped],
        'hidden_scans': hidden,
    }


def _job(folder: Path, index: int, files: Sequence[ModelFile], simulation: Simulation) -> _Job:
    file = files[index]
    others = [other.path for other in files if other is not file]
    # drawn anew for every scan: the same ones in training and test would tell which model stands between them
    numbers = range(simulation.scans_per_model)
    draws = [generator(simulation.seed, f'neighbours of scan {number}', file.key) for number in numbers]
    drawn = tuple(tuple(others[i] for i in draw.permutation(len(others))[:_NEIGHBOURS]) for draw in draws)
    return _Job(folder, index, file, drawn)


def _write_benchmark(folder: Path, scans: list[str], keys: Sequence[str], simulation: Simulation) -> int:
    """Writes pair lists and annotations of some scans; returns the number of annotations."""
    seed = simulation.seed
    viewpoints = split_by_viewpoint(scans, scans_per_model=simulation.scans_per_model, seed=seed)
    write_json(folder / 'scan2cad_objects.json', {'scan2cad_objects': viewpoints})
    write_json(folder / 'scan2cad_objects_models.json', {'scan2cad_objects': split_by_model(scans, keys, seed=seed)})
    grids = {key: read_distances(folder / 'cad' / f'{key}{POOL_SUFFIX}').occupancy() for key in keys}
    samples = rank_pools(scans, grids, seed=seed)
    write_json(folder / 'similarity.json', {'samples': samples})
    return len(samples)


def _scan_model(job: _Job, *, simulation: Simulation) -> tuple[dict[str, dict[str, float]], list[str]]:
    """Writes one model with its scans; returns their facts by name, and which of them showed too little."""
    seed, options = simulation.seed, simulation.options
    mesh, grid = _load(job.file.path, simulation)
    surfaces: dict[Path, Mesh] = {}
    for path in {path for paths in job.neighbours for path in paths}:
        with contextlib.suppress(DataError):  # reported with its own scans
            surfaces[path] = _surface(path, simulation)
    model = job.folder / 'cad' / f'{job.file.key}{POOL_SUFFIX}'
    write_distances(model, grid)
    first = generator(seed, 'sector', job.file.key).uniform(0, 360)
    facts, hidden = {}, []
    scans = len(job.neighbours)
    for number, paths in enumerate(job.neighbours):
        neighbours = [surfaces[path] for path in paths if path in surfaces]
        name = f'sim{job.index:05d}_{number:02d}_arc_0_{job.file.key}'
        low = first + 360 * number / scans
        numbers = (seed, stable_hash(f'scan {number} of {job.file.key}'))
        try:
            scan = simulate_scan(
                mesh, grid, neighbours=neighbours, azimuths=(low, low + 360 / scans), seed=numbers, options=options
            )
        except DataError:
            hidden.append(name)
            continue
        write_distances(job.folder / 'scan' / f'{name}.sdf', scan.distances)
        write_mask(job.folder / 'scan' / f'{name}.mask', scan.mask, scan.distances)
        _link(model, job.folder / 'cad' / f'{name}.df')
        facts[name] = scan.facts
    return facts, hidden


def _load(path: Path, simulation: Simulation) -> tuple[Mesh, DistanceGrid]:
    """Surface in voxel indices, and distances."""
    if path.suffix.lower() in MESH_SUFFIXES:
        mesh, placement = load_mesh(path, up_axis=simulation.up_axis), simulation.placement
        return place_in_grid(mesh, placement=placement), grid_from_mesh(mesh, placement=placement)
    grid = read_distances(path)
    return _from_grid(grid, path), grid


def _surface(path: Path, simulation: Simulation) -> Mesh:
    """Surface in voxel indices."""
    if path.suffix.lower() in MESH_SUFFIXES:
        return place_in_grid(load_mesh(path, up_axis=simulation.up_axis), placement=simulation.placement)
    return _from_grid(read_distances(path), path)


def _from_grid(grid: DistanceGrid, path: Path) -> Mesh:
    try:
        return mesh_from_grid(grid)
    except ValueError as error:
        raise refused(str(path), str(error), 'export the grid again, or leave it out') from None


def _link(model: Path, path: Path) -> None:
    """The model's file under the scan's name; a link, as it is the same for all scans."""
    try:
        os.link(model, path)
    except OSError:  # a file system without links
        shutil.copyfile(model, path)
