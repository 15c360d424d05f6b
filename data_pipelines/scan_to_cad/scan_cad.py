"""The on-disk layout of scans with their CAD models. No TensorFlow here.

    <data_dir>/<pairs>                       pair list, JSON
    <data_dir>/<similarity>                  annotations, JSON
    <data_dir>/<scan_dir>/<scan name>.sdf    signed distances of a scan
    <data_dir>/<scan_dir>/<scan name>.mask   voxels of the object
    <data_dir>/<cad_dir>/<scan name>.df      its CAD model in the scan's pose
    <data_dir>/<cad_dir>/<model>__0__.df     CAD models of the pools

Dahnert et al., "Joint Embedding of 3D Scan and CAD Objects", ICCV 2019, from its public code; see `scan_cad_json` for
the names and `jaxret.geometry.distance_grids` for the grids.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from data_pipelines.file_checks import check_grids, signature
from data_pipelines.folders import open_folder, resolve
from data_pipelines.scan_to_cad.dataset import Annotation, CadEntry, ScanCadDataset, ScanEntry, empty_splits
from data_pipelines.scan_to_cad.scan_cad_annotations import Pair, Sample, model_key, read_pairs, read_similarity
from jaxret.errors import ConfigError, DataError, Problem

POOL_SUFFIX = '__0__.df'
_LAYOUT = 'the scan-CAD layout (a pair list, a folder of scans and one of CAD models)'


def read_scan_cad(
    data_dir: Path | str,
    *,
    pairs: str = 'scan2cad_objects.json',
    similarity: str = 'similarity.json',
    scan_dir: str = 'scan',
    cad_dir: str = 'cad',
    on_bad_file: str = 'error',
    required_splits: Sequence[str] = ('train', 'test'),
    resolution: int = 32,
    cache_dir: Path | str | None = None,
    check_processes: int = 2,
    progress: bool = True,
) -> ScanCadDataset:
    """Reads and checks a folder. Every grid is read.

    The gallery holds each model once: by its file of the pools where there is one, else by the file of a scan, which
    has that scan's pose: of its first training scan, if it has one, so that no held-out scan meets its own pose.

    Args:
      data_dir: the folder.
      pairs: the pair list, below the folder; so are the others.
      similarity: the annotations; '' for none.
      scan_dir: folder of scans and masks.
      cad_dir: folder of CAD models.
      on_bad_file: 'error', or 'skip': scans with a bad file, and bad annotations, are left out and listed; a missing or
        bad model of a pool leaves its place in the pool empty.
      required_splits: splits that must have scans.
      resolution: voxels along each side of every grid.
      cache_dir: folder in which sound files are remembered, so that the next check is quick; None for none.
      check_processes: processes that read grids.
      progress: show a progress bar.

    Returns:
      the layout.

    Raises:
      DataError: with everything that is wrong.
      ConfigError: an option has no such value.
    """
    if on_bad_file not in ('error', 'skip') or resolution < 1:
        raise ConfigError(f'on_bad_file={on_bad_file!r}, resolution={resolution}: use error or skip, at least 1')
    root = open_folder(Path(data_dir), layout=_LAYOUT)
    listed, problems = read_pairs(root / pairs)
    samples, wrong = read_similarity(root / similarity) if similarity else ([], [])
    problems += wrong
    scans, outside = _scans(root, listed, scan_dir, cad_dir)
    problems += outside
    files = _pool_files(root, samples, cad_dir)
    links = {name for name, path in files.items() if not resolve(root, str(path)).is_relative_to(root)}
    problems += [_outside(files.pop(name)) for name in sorted(links)]
    memory = None
    if cache_dir is not None:
        memory = Path(cache_dir) / 'checked' / f'{hashlib.sha256(os.fsencode(root)).hexdigest()[:16]}-grids.json'
    items = [(entry.scan, entry.mask, entry.cad) for entry in scans] + [(path,) for path in files.values()]
    found = check_grids(items, resolution=resolution, processes=check_processes, memory=memory, progress=progress)
    bad = {entry.name: faults for entry, faults in zip(scans, found, strict=False) if faults}
    bad_files = {name: faults for name, faults in zip(files, found[len(scans) :], strict=True) if faults}
    problems += [problem for faults in (*bad.values(), *bad_files.values()) for problem in faults]
    scans = [entry for entry in scans if entry.name not in bad]
    left_out = {pair.name for pair in listed} - {entry.name for entry in scans}
    annotations, wrong = _annotations(samples, links | set(bad_files), scans, left_out, similarity)
    problems += wrong
    empty = empty_splits(scans, required_splits, root)
    if empty or (problems and on_bad_file == 'error'):
        raise DataError([*problems, *empty])
    cads = _gallery(scans, {name: path for name, path in files.items() if name not in bad_files})
    synsets = {entry.synset for entry in (*scans, *cads)}
    options = [str(root), pairs, similarity, resolution]
    rows = [(entry.name, entry.split, *map(signature, (entry.scan, entry.mask, entry.cad))) for entry in scans]
    gallery = [(entry.model, signature(entry.path)) for entry in cads]
    pools = [(entry.scan, entry.pool, entry.ranked) for entry in annotations]
    content = json.dumps([options, rows, gallery, pools])
    return ScanCadDataset(
        root=root,
        scans=tuple(scans),
        cads=tuple(cads),
        annotations=tuple(annotations),
        categories=tuple(sorted(synsets)),
        skipped=tuple(problems),
        required_splits=tuple(required_splits),
        resolution=resolution,
        fingerprint=hashlib.sha256(content.encode()).hexdigest(),
    )


def _scans(root: Path, pairs: Sequence[Pair], scan_dir: str, cad_dir: str) -> tuple[list[ScanEntry], list[Problem]]:
    scans, problems = [], []
    for pair in pairs:
        names = f'{scan_dir}/{pair.name}.sdf', f'{scan_dir}/{pair.name}.mask', f'{cad_dir}/{pair.name}.df'
        outside = [name for name in names if not resolve(root, name).is_relative_to(root)]
        if outside:
            problems.append(_outside(root / outside[0]))
            continue
        files = (root / name for name in names)
        scans.append(ScanEntry(pair.name, pair.split, pair.synset, f'{pair.synset}_{pair.model}', *files))
    return scans, problems


def _outside(path: Path) -> Problem:
    return Problem(str(path), 'a link that leaves the folder', 'put the file itself below the data folder')


def _pool_files(root: Path, samples: Sequence[Sample], cad_dir: str) -> dict[str, Path]:
    """The file of every model in a pool, by its name in the annotations."""
    names = sorted({name for sample in samples for name in sample.pool})
    return {name: root / cad_dir / f'{name}{POOL_SUFFIX}' for name in names}


def _gallery(scans: Sequence[ScanEntry], files: Mapping[str, Path]) -> list[CadEntry]:
    """One grid for each model of pools and scans."""
    held_out_first = sorted(reversed(scans), key=lambda entry: entry.split == 'train')  # later ones take the place
    cads = {entry.model: CadEntry(entry.model, entry.synset, entry.cad) for entry in held_out_first}
    for name, path in files.items():
        synset, model = model_key(name)
        cads[f'{synset}_{model}'] = CadEntry(f'{synset}_{model}', synset, path)
    return [cads[model] for model in sorted(cads)]


def _annotations(
    samples: Sequence[Sample], missing: set[str], scans: Sequence[ScanEntry], bad: set[str], where: str
) -> tuple[list[Annotation], list[Problem]]:
    """Annotations of the scans in use, and those of scans that are nowhere."""
    annotations, problems, known = [], [], {entry.name for entry in scans}
    for sample in samples:
        if sample.scan in bad:  # left out with its scan
            continue
        if sample.scan not in known:
            found = f'its scan {sample.scan} is not in the pair list'
            problems.append(Problem(f'{where}[{sample.index}]', found, 'add it, or leave the annotation out'))
            continue
        left = {name: '_'.join(model_key(name)) for name in sample.pool if name not in missing}
        pool = tuple(left.get(name) for name in sample.pool)
        ranked = tuple(left[name] for name in sample.ranked if name in left)
        if left:
            annotations.append(Annotation(sample.scan, pool, ranked))
    return annotations, problems
