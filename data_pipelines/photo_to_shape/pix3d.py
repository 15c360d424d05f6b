"""Pix3D's on-disk layout: photos with masks, each of one CAD model, and the gallery of models. No TensorFlow here.

    <data_dir>/pix3d.json                  a list with one object a photo: img, mask, model, category, ...
    <data_dir>/img/..., mask/...           photos and masks, named by the list
    <data_dir>/model/<category>/...        one mesh file a shape, +y up

Sun et al., Pix3D, CVPR 2018. Beyond Pix3D's own keys an entry may have `split` (train, val or test). Where no entry
has it, photos are divided by `data_pipelines.splits`; store `PhotoDataset.split_table()` with a run to keep its split.

With the categories of CMIC (Lin et al., ICCV 2021), no occluded or truncated photos and gallery='referenced', the
published Pix3D should give the counts in PAPER_COUNTS; `paper_note` compares.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from data_pipelines.file_checks import check_meshes, check_pairs, memory_file, signature
from data_pipelines.folders import open_folder, resolve
from data_pipelines.photo_to_shape.dataset import PhotoDataset, PhotoEntry, ShapeEntry, empty_splits, orphan
from data_pipelines.photo_to_shape.pix3d_annotations import JSON_NAME, Entry, read_entries
from data_pipelines.photo_to_shape.pix3d_gallery import list_shapes
from data_pipelines.splits import hold_out, split_photos
from jaxret.errors import ConfigError, DataError, Problem
from jaxret.preprocessing.framing import clip_box

PAPER_CATEGORIES = ('bed', 'chair', 'sofa', 'table')
PAPER_COUNTS = {'photos': 5118, 'train': 2648, 'test': 2470, 'shapes': 322}


def read_pix3d(
    data_dir: Path | str,
    *,
    categories: Sequence[str] = (),
    exclude_occluded: bool = True,
    exclude_truncated: bool = True,
    gallery: str = 'folder',
    on_bad_file: str = 'error',
    crop: str = 'none',
    test_fraction: float = 2470 / 5118,
    val_fraction: float = 0.1,
    seed: int = 0,
    split_table: Mapping[str, str] | None = None,
    required_splits: Sequence[str] = ('train', 'test'),
    min_shapes: int = 1,
    up_axis: str = 'y',
    cache_dir: Path | str | None = None,
    check_processes: int = 2,
    progress: bool = True,
) -> PhotoDataset:
    """Read and check a folder in Pix3D's layout. Filters come first; only files that are used are looked at.

    Args:
      data_dir: the folder.
      categories: those to use; empty for all.
      exclude_occluded: leave out photos marked occluded (slightly occluded ones stay).
      exclude_truncated: leave out photos marked truncated.
      gallery: 'folder': every mesh below model/<category>/; 'referenced': the shapes of the selected photos.
      on_bad_file: 'error', or 'skip': photos with a bad file or shape and bad shapes are left out and listed. Faults
        of pix3d.json itself are errors in either case.
      crop: what photos will be cropped to ('none', 'mask', 'bbox'), so that photos without it are found.
      test_fraction: share of test photos, where the entries have no split.
      val_fraction: share of the train photos held out as val, where no entry is marked val.
      seed: of the split.
      split_table: split by photo name, from an earlier run; it takes the place of the entries' and of a new split.
        A photo that it does not know was never trained on: test, or what its own key `split` says.
      required_splits: splits that must not be empty.
      min_shapes: smallest gallery that is accepted (a batch needs as many distinct shapes as it has queries).
      up_axis: axis that points up in the mesh files, 'y' (Pix3D) or 'z'.
      cache_dir: folder in which sound files are remembered, so that the next check is quick; None for none.
      check_processes: processes that decode photos and load meshes.
      progress: show progress bars.

    Returns:
      the layout.

    Raises:
      DataError: with everything that is wrong.
      ConfigError: an option has no such value.
    """
    fractions = {'test_fraction': test_fraction, 'val_fraction': val_fraction}
    _check_options(fractions, categories, gallery=gallery, on_bad_file=on_bad_file, crop=crop, up_axis=up_axis)
    root = open_folder(Path(data_dir), layout="Pix3D's layout (pix3d.json, img, mask, model)")
    entries, problems = read_entries(root)
    malformed = bool(problems)
    used = [
        entry
        for entry in entries
        if (not categories or entry.category in categories)
        and not (exclude_occluded and entry.occluded)
        and not (exclude_truncated and entry.truncated)
    ]
    problems += _escaping(root, used)
    raw = {entry.model_raw for entry in entries if entry.model_raw}
    shapes, folder_problems = list_shapes(root, used, raw=raw, categories=categories, whole_folder=gallery == 'folder')
    problems += folder_problems
    for category in sorted(set(categories) - {item.category for item in (*used, *shapes)}):
        choices = ', '.join(sorted({entry.category for entry in entries})) or 'none'
        found = f'no photo or shape of category {category!r}'
        problems.append(Problem(str(root / JSON_NAME), found, f'choose from: {choices}'))

    options = {'cache_dir': cache_dir, 'processes': check_processes, 'progress': progress}
    bad = _bad_files(root, used, shapes, crop=crop, up_axis=up_axis, **options)
    wrong_files = [problem for wrong in bad.values() for problem in wrong]
    skipped: list[Problem] = []
    if on_bad_file == 'skip':
        orphans = [entry for entry in used if entry.model in bad and entry.image not in bad]
        skipped = wrong_files + [orphan(entry.image, entry.model) for entry in orphans]
        used = [entry for entry in used if entry.image not in bad and entry.model not in bad]
        shapes = [shape for shape in shapes if shape.model not in bad]
    else:
        problems += wrong_files
    if len(shapes) < max(1, min_shapes) and not (malformed and gallery == 'referenced'):
        found = f'{len(shapes)} usable shapes where {max(1, min_shapes)} are needed'
        problems.append(Problem(str(root / 'model'), found, 'add shapes, or use a smaller batch'))
    split = _split(used, split_table=split_table, test_fraction=test_fraction, val_fraction=val_fraction, seed=seed)
    photos = tuple(
        PhotoEntry(name, root / name, root / entry.mask, entry.category, entry.model, split[name], entry.bbox)
        for name, entry in sorted({entry.image: entry for entry in used}.items())
        if name in split
    )
    if not malformed and (split or not used):  # entries that could not be read may be the ones missing
        problems += empty_splits(photos, required_splits, str(root / JSON_NAME))
    if problems:
        raise DataError(problems + skipped)
    shapes = tuple(sorted(shapes, key=lambda shape: shape.model))
    return PhotoDataset(
        root=root,
        photos=photos,
        shapes=shapes,
        categories=tuple(sorted({item.category for item in (*photos, *shapes)})),
        skipped=tuple(skipped),
        required_splits=tuple(required_splits),
        up_axis=up_axis,
        fingerprint=_fingerprint(root, photos, shapes, up_axis),
    )


def paper_note(layout: PhotoDataset) -> str | None:
    """The layout's counts beside the published ones, where they differ: for the real Pix3D in CMIC's categories."""
    if layout.categories != PAPER_CATEGORIES:
        return None
    test = len(layout.split_photos('test'))
    photos = len(layout.photos)
    found = {'photos': photos, 'train': photos - test, 'test': test, 'shapes': len(layout.shapes)}
    pairs = ', '.join(f'{key} {found[key]} ({PAPER_COUNTS[key]})' for key in PAPER_COUNTS)
    return None if found == PAPER_COUNTS else f'counts here (in the CMIC paper): {pairs}'


def _check_options(fractions: Mapping[str, float], categories: Sequence[str], **options: str) -> None:
    allowed = {
        'gallery': ('folder', 'referenced'),
        'on_bad_file': ('error', 'skip'),
        'crop': ('none', 'mask', 'bbox'),
        'up_axis': ('y', 'z'),
    }
    for name, value in options.items():
        if value not in allowed[name]:
            raise ConfigError(f'{name}={value!r}: use one of {", ".join(allowed[name])}')
    for name, value in fractions.items():
        if not 0 <= value < 1:
            raise ConfigError(f'{name}={value!r}: use a share in [0, 1)')
    for category in categories:
        if category in ('', '.', '..') or '/' in category or '\0' in category:
            raise ConfigError(f'categories: {category!r} is not the name of a folder below model/')


def _escaping(root: Path, used: Sequence[Entry]) -> list[Problem]:
    """Links that lead out of the folder."""
    problems = []
    for entry in used:
        for key, name in (('img', entry.image), ('mask', entry.mask), ('model', entry.model)):
            if not resolve(root, name).is_relative_to(root):
                where, found = f'{JSON_NAME}[{entry.index}].{key}', f'{name!r} is a link that leaves the folder'
                problems.append(Problem(where, found, 'put the file itself below the data folder'))
    return problems


def _bad_files(
    root: Path,
    used: Sequence[Entry],
    shapes: Sequence[ShapeEntry],
    *,
    crop: str,
    up_axis: str,
    cache_dir: Path | str | None,
    processes: int,
    progress: bool,
) -> dict[str, tuple[Problem, ...]]:
    """What is wrong with the files, by name of photo or shape."""
    photo_memory, mesh_memory = (memory_file(cache_dir, root, kind) for kind in ('photos', 'meshes'))
    bad = {}
    pairs = [(root / entry.image, root / entry.mask) for entry in used]
    found = check_pairs(pairs, processes=processes, memory=photo_memory, progress=progress)
    for entry, facts in zip(used, found, strict=True):
        wrong = facts if isinstance(facts[0], Problem) else _check_crop(entry, facts, crop=crop, root=root)
        if wrong:
            bad[entry.image] = wrong
    meshes = [shape.path for shape in shapes]
    found = check_meshes(meshes, up_axis=up_axis, processes=processes, memory=mesh_memory, progress=progress)
    return bad | {shape.model: wrong for shape, wrong in zip(shapes, found, strict=True) if wrong}


def _check_crop(entry: Entry, facts: tuple[int, int, bool], *, crop: str, root: Path) -> tuple[Problem, ...]:
    width, height, has_object = facts
    if crop == 'mask' and not has_object:
        found = 'no object pixels, so there is nothing to crop to'
        return (Problem(str(root / entry.mask), found, 'mend the mask, use crop=none, or on_bad_file=skip'),)
    if crop == 'bbox' and (entry.bbox is None or clip_box(entry.bbox, width=width, height=height) is None):
        found = f'bbox {entry.bbox} for a photo of {width} x {height} pixels'
        return (Problem(f'{JSON_NAME}[{entry.index}].bbox', found, 'correct it, or use crop=none or crop=mask'),)
    return ()


def _split(
    used: Sequence[Entry],
    *,
    split_table: Mapping[str, str] | None,
    test_fraction: float,
    val_fraction: float,
    seed: int,
) -> dict[str, str]:
    shape_of = {entry.image: entry.model for entry in used}
    if split_table is not None:
        return {entry.image: split_table.get(entry.image, entry.split or 'test') for entry in used}
    marked = {entry.image: entry.split for entry in used if entry.split is not None}
    if marked and len(marked) < len(shape_of):
        return {}  # already reported by read_entries
    split = marked or split_photos(shape_of, test_fraction=test_fraction, seed=seed)
    if 'val' not in split.values():
        split = hold_out(split, shape_of, val_fraction=val_fraction, seed=seed)
    return split


def _fingerprint(root: Path, photos: Sequence[PhotoEntry], shapes: Sequence[ShapeEntry], up_axis: str) -> str:
    rows = [
        (photo.name, photo.category, photo.model, photo.split, photo.bbox, str(photo.mask.relative_to(root)),
         signature(photo.image), signature(photo.mask))
        for photo in photos
    ]  # fmt: skip
    content = [str(root), up_axis, rows, [(shape.model, shape.category, signature(shape.path)) for shape in shapes]]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
