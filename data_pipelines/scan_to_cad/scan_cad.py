"""The on-disk layout of scans with their CAD models. No TensorFlow here.

    <data_dir>/<pairs>                       pair list, JSON
    <data_dir>/<similarity>                  annotations, JSON
    <data_dir>/<scan_dir>/<scan name>.sdf    signed distances of a scan
    <data_dir>/<scan_dir>/<scan name>.mask   voxels of the object
    <data_dir>/<cad_dir>/<scan name>.df      its CAD model in the scan's pose
    <data_dir>/<cad_dir>/<model>__0__.df     CAD models of the pools

Dahnert et al., "Joint Embedding of 3D Scan and CAD Objects", ICCV 2019, from its public code; see
`scan_cad_annotations` for the names and `jaxret.geometry.distance_grids` for the grids.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from data_pipelines.dataset import Faults, all_problems, bad_file_choice, check_options, fingerprint, split_of
from data_pipelines.file_checks import FileChecks, signature, wrong_ones
from data_pipelines.folders import leaves, open_folder, outside
from data_pipelines.scan_to_cad.dataset import Annotation, CadEntry, ScanCadDataset, ScanEntry, empty_splits
from data_pipelines.scan_to_cad.scan_cad_annotations import Pair, Sample, model_key, read_pairs, read_similarity
from jaxret.errors import Problem

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
      cache_dir, check_processes, progress: as `FileChecks`.

    Returns:
      the data set.

    Raises:
      DataError: with everything that is wrong.
      ConfigError: an option has no such value.
    """
    check_options(on_bad_file=bad_file_choice(on_bad_file), resolution=(resolution, resolution >= 1, 'at least 1'))
    root = open_folder(data_dir, layout=_LAYOUT)
    faults = Faults(on_bad_file == 'skip')
    listed, problems = read_pairs(root / pairs)
    samples, wrong = read_similarity(root / similarity) if similarity else ([], [])
    scans, left = _scans(root, listed, scan_dir, cad_dir)
    faults.of_files([*problems, *wrong, *left])
    files, lost = _pool_files(root, samples, cad_dir, faults)
    checks = FileChecks(root, cache_dir, check_processes, progress)
    items = [(entry.scan, entry.mask, entry.cad) for entry in scans] + [(path,) for path in files.values()]
    found = checks.grids(items, resolution=resolution)
    bad = wrong_ones([entry.name for entry in scans], found[: len(scans)])
    bad_files = wrong_ones(files, found[len(scans) :])
    faults.of_files(all_problems(bad) + all_problems(bad_files))
    scans = [entry for entry in scans if entry.name not in bad]
    left_out = {pair.name for pair in listed} - split_of(scans).keys()
    annotations, wrong = _annotations(samples, {*lost, *bad_files}, scans, left_out, similarity)
    faults.of_files(wrong)
    faults.problems += empty_splits(scans, required_splits, root)
    faults.refuse()
    cads = _gallery(scans, {name: path for name, path in files.items() if name not in bad_files})
    return ScanCadDataset(
        root=root,
        scans=tuple(scans),
        cads=tuple(cads),
        annotations=tuple(annotations),
        categories=tuple(sorted({entry.category for entry in (*scans, *cads)})),
        skipped=tuple(faults.skipped),
        required_splits=tuple(required_splits),
        resolution=resolution,
        fingerprint=fingerprint(
            [str(root), pairs, similarity, resolution],
            [(entry.name, entry.split, *map(signature, (entry.scan, entry.mask, entry.cad))) for entry in scans],
            [(entry.model, signature(entry.path)) for entry in cads],
            [(entry.scan, entry.pool, entry.ranked) for entry in annotations],
        ),
    )


def _scans(root: Path, pairs: Sequence[Pair], scan_dir: str, cad_dir: str) -> tuple[list[ScanEntry], list[Problem]]:
    scans = []
    for pair in pairs:
        names = f'{scan_dir}/{pair.name}.sdf', f'{scan_dir}/{pair.name}.mask', f'{cad_dir}/{pair.name}.df'
        if not leaves(pair.name):
            files = (root / name for name in names)
            scans.append(ScanEntry(pair.name, pair.split, pair.synset, f'{pair.synset}_{pair.model}', *files))
    return scans, outside(root / scan_dir, [pair.name for pair in pairs])


def _pool_files(
    root: Path, samples: Sequence[Sample], cad_dir: str, faults: Faults
) -> tuple[dict[str, Path], list[str]]:
    """The file of every model in a pool by its name in the annotations, and names of those outside of the folder."""
    names = sorted({name for sample in samples for name in sample.pool})
    files = {name: root / cad_dir / f'{name}{POOL_SUFFIX}' for name in names}
    lost = [name for name in names if leaves(name)]
    faults.of_files(outside(root / cad_dir, lost))
    return {name: path for name, path in files.items() if name not in lost}, lost


def _gallery(scans: Sequence[ScanEntry], files: Mapping[str, Path]) -> list[CadEntry]:
    """One grid for each model of pools and scans."""
    held_out_first = sorted(reversed(scans), key=lambda entry: entry.split == 'train')  # later ones take the place
    cads = {entry.model: CadEntry(entry.model, entry.category, entry.cad) for entry in held_out_first}
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
