"""Pix3D's on-disk layout: photos with masks, each of one CAD model, and the gallery of models. No TensorFlow here.

    <data_dir>/pix3d.json                  a list with one object a photo: img, mask, model, category, ...
    <data_dir>/img/..., mask/...           photos and masks, named by the list
    <data_dir>/model/<category>/...        one mesh file a shape, +y up

Sun et al., Pix3D, CVPR 2018. Beyond Pix3D's own keys an entry may have `split` (train, val or test), or a file of photo
names says it (`split_file`). Where no entry has one, photos are divided by `data_pipelines.splits`; store
`PhotoDataset.split_table()` with a run to keep its split.

With the categories of CMIC (Lin et al., ICCV 2021), no occluded or truncated photos and gallery='referenced', the
published Pix3D should give the counts in PAPER_COUNTS; `paper_note` compares.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from data_pipelines.dataset import Faults, bad_file_choice, check_options, one_of, share
from data_pipelines.file_checks import FileChecks, PairFacts, Wrong, is_wrong, unsure_ones, wrong_ones
from data_pipelines.folders import open_folder
from data_pipelines.photo_to_shape.dataset import (
    PhotoDataset,
    PhotoEntry,
    ShapeEntry,
    bad_pairs,
    count_note,
    divided,
    empty_splits,
    few_shapes,
    open_masks,
    photo_dataset,
    without_bad,
)
from data_pipelines.photo_to_shape.pix3d_annotations import JSON_NAME, Entry, read_entries
from data_pipelines.photo_to_shape.pix3d_gallery import list_shapes
from data_pipelines.photo_to_shape.split_file import published_split
from data_pipelines.splits import hold_out, split_photos
from jaxret.errors import Problem
from jaxret.preprocessing.framing import clip_box
from jaxret.preprocessing.photo_files import Box, turned_box

PAPER_CATEGORIES = ('bed', 'chair', 'sofa', 'table')
PAPER_COUNTS = {'photos': 5118, 'train': 2648, 'test': 2470, 'shapes': 322}


def read_pix3d(
    data_dir: Path | str,
    *,
    categories: Sequence[str] = (),
    exclude_occluded: bool = True,
    exclude_truncated: bool = True,
    mask_dir: str = '',
    gallery: str = 'folder',
    on_bad_file: str = 'error',
    crop: str = 'none',
    empty_masks: bool = False,
    test_fraction: float = 2470 / 5118,
    split_file: str = '',
    val_fraction: float = 0.1,
    seed: int = 0,
    split_table: Mapping[str, str] | None = None,
    unknown_split: str = '',
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
      mask_dir: folder whose masks take the place of the data's own (`open_masks`): a mask that pix3d.json calls
        mask/<path> is <path> there; '' is none.
      gallery: 'folder': every mesh below model/<category>/; 'referenced': the shapes of the selected photos.
      on_bad_file: 'error', or 'skip': photos with a bad file or shape and bad shapes are left out and listed. Faults
        of pix3d.json itself are errors in either case.
      crop: what photos will be cropped to ('none', 'mask', 'bbox'), so that photos without it are found.
      empty_masks: whether photos whose mask is empty can be used, as by a network without masks.
      test_fraction: share of test photos, where the entries have no split.
      split_file: file of photo names (`split_file`), below data_dir or an absolute path, that takes the place of the
        entries' split; '' is none.
      val_fraction: share of the train photos held out as val, where no entry is marked val.
      seed: of the split.
      split_table: split by photo name, from an earlier run; it takes the place of the entries' and of a new split.
        A photo that it does not know was never trained on: test, or what its own key `split` says.
      unknown_split: split of the photos that split_table does not know, whatever their own; '' leaves them theirs.
      required_splits: splits that must not be empty.
      min_shapes: smallest gallery that is accepted (a batch needs as many distinct shapes as it has queries).
      up_axis: axis that points up in the mesh files, 'y' (Pix3D) or 'z'.
      cache_dir, check_processes, progress: as `FileChecks`.

    Returns:
      the data set.

    Raises:
      DataError: with everything that is wrong.
      ConfigError: an option has no such value.
    """
    check_options(
        test_fraction=share(test_fraction),
        val_fraction=share(val_fraction),
        gallery=one_of(gallery, 'folder', 'referenced'),
        on_bad_file=bad_file_choice(on_bad_file),
        crop=one_of(crop, 'none', 'mask', 'bbox'),
        up_axis=one_of(up_axis, 'y', 'z'),
        categories=(categories, all(map(_is_folder_name, categories)), 'names of folders below model/'),
    )
    root = open_folder(data_dir, layout="Pix3D's layout (pix3d.json, img, mask, model)")
    entries, problems = read_entries(root)
    malformed = bool(problems)  # entries that could not be read may be the ones missing
    faults = Faults(on_bad_file == 'skip', problems)
    used = _selected(entries, categories, occluded=not exclude_occluded, truncated=not exclude_truncated)
    if split_file and not malformed:
        used = published_split(root / split_file, used, faults)
    used = _other_masks(root, mask_dir, used) if mask_dir else used
    raw = {entry.model_raw for entry in entries if entry.model_raw}
    shapes, wrong = list_shapes(root, used, raw=raw, categories=categories, whole_folder=gallery == 'folder')
    faults.problems += wrong
    faults.problems += _unknown(root, categories, entries, used, shapes)

    checks = FileChecks(root, cache_dir, check_processes, progress)
    used, bad, unsure = _check_photos(root, used, checks, crop=crop, empty_masks=empty_masks)
    bad |= wrong_ones(
        [shape.model for shape in shapes], checks.meshes([shape.path for shape in shapes], up_axis=up_axis)
    )
    photos = [
        PhotoEntry(entry.image, root / entry.image, root / entry.mask, entry.category, entry.model, entry.split or '',
                   entry.bbox)
        for entry in used
    ]  # fmt: skip
    photos, shapes = without_bad(photos, shapes, bad, faults)
    if not (malformed and gallery == 'referenced'):
        faults.problems += few_shapes(shapes, min_shapes, root / 'model', 'add shapes, or use a smaller batch')
    if not malformed:
        fractions = {'test_fraction': test_fraction, 'val_fraction': val_fraction}
        photos = divided(photos, _split(photos, split_table=split_table, unknown=unknown_split, seed=seed, **fractions))
        faults.problems += empty_splits(photos, required_splits, root / JSON_NAME)
    return photo_dataset(root, photos, shapes, faults, required_splits=required_splits, up_axis=up_axis, unsure=unsure)


def paper_note(dataset: PhotoDataset) -> str | None:
    """The counts beside the published ones, where they differ: for the real Pix3D in CMIC's categories."""
    if dataset.categories != PAPER_CATEGORIES:
        return None
    photos, test = len(dataset.photos), len(dataset.split_photos('test'))
    found = {'photos': photos, 'train': photos - test, 'test': test, 'shapes': len(dataset.shapes)}
    return count_note(found, PAPER_COUNTS)


def _selected(entries: Sequence[Entry], categories: Sequence[str], *, occluded: bool, truncated: bool) -> list[Entry]:
    """Entries of some categories, with or without occluded and truncated ones."""
    return [
        entry
        for entry in entries
        if (not categories or entry.category in categories)
        and (occluded or not entry.occluded)
        and (truncated or not entry.truncated)
    ]


def _is_folder_name(category: str) -> bool:
    return category not in ('', '.', '..') and '/' not in category and '\0' not in category


def _unknown(
    root: Path, categories: Sequence[str], entries: Sequence[Entry], used: Sequence[Entry], shapes: Sequence[ShapeEntry]
) -> list[Problem]:
    """A problem for each wanted category of which nothing is in use."""
    lacking = sorted(set(categories) - {item.category for item in (*used, *shapes)})
    choices = ', '.join(sorted({entry.category for entry in entries})) or 'none'
    where, action = str(root / JSON_NAME), f'choose from: {choices}'
    return [Problem(where, f'no photo or shape of category {name!r}', action) for name in lacking]


def _other_masks(root: Path, mask_dir: str, used: Sequence[Entry]) -> list[Entry]:
    """The entries with the masks of `mask_dir` (as absolute paths)."""
    folder = open_masks(root, mask_dir)
    return [replace(entry, mask=str(folder.joinpath(*PurePosixPath(entry.mask).parts[1:]))) for entry in used]


def _check_photos(
    root: Path, used: Sequence[Entry], checks: FileChecks, *, crop: str, empty_masks: bool
) -> tuple[list[Entry], dict[str, Wrong], set[str]]:
    """The entries with boxes as displayed, what is wrong with photos by name, and those whose masks are unsure."""
    names, masks = [entry.image for entry in used], [root / entry.mask for entry in used]
    facts = checks.pairs([(root / name, mask) for name, mask in zip(names, masks, strict=True)])
    used = _boxes_as_displayed(used, facts)
    bad = bad_pairs(names, masks, facts, empty_masks=empty_masks and crop != 'mask')
    if crop == 'bbox':
        bad = bad | _wrong_boxes(used, facts) | bad
    return used, bad, unsure_ones(names, facts)


def _boxes_as_displayed(used: Sequence[Entry], found: Sequence[PairFacts | Wrong]) -> list[Entry]:
    """The entries, with the bbox turned where the mask was turned with its photo (EXIF)."""
    entries = []
    for entry, facts in zip(used, found, strict=True):
        if entry.bbox and not is_wrong(facts):
            width, height, _, turn, _ = facts
            entry = dataclasses.replace(entry, bbox=turned_box(entry.bbox, turn, width=width, height=height))
        entries.append(entry)
    return entries


def _wrong_boxes(used: Sequence[Entry], found: Sequence[PairFacts | Wrong]) -> dict[str, Wrong]:
    """What is wrong with the boxes of sound photos, by name."""
    faults = {
        entry: _wrong_box(entry.bbox, facts) for entry, facts in zip(used, found, strict=True) if not is_wrong(facts)
    }
    return {
        entry.image: (Problem(f'{JSON_NAME}[{entry.index}].bbox', *fault),) for entry, fault in faults.items() if fault
    }


def _wrong_box(box: Box | None, facts: PairFacts) -> tuple[str, str] | None:
    """What is wrong with a bbox, and what to do."""
    width, height, inside, *_ = facts
    clipped = clip_box(box, width=width, height=height) if box else None
    if clipped is None:
        return f'bbox {box} for a photo of {width} x {height} pixels', 'correct it, or use crop=none or crop=mask'
    apart = inside and any(clipped[low] >= inside[low + 2] or clipped[low + 2] <= inside[low] for low in (0, 1))
    return (f'bbox {box} is beside the object of the mask, {tuple(inside)}', 'correct it') if apart else None


def _split(
    photos: Sequence[PhotoEntry],
    *,
    split_table: Mapping[str, str] | None,
    unknown: str,
    test_fraction: float,
    val_fraction: float,
    seed: int,
) -> dict[str, str]:
    marked = {photo.name: photo.split for photo in photos}
    if split_table is not None:
        return {name: split_table.get(name, unknown or split or 'test') for name, split in marked.items()}
    shape_of = {photo.name: photo.model for photo in photos}
    split = marked if all(marked.values()) else split_photos(shape_of, test_fraction=test_fraction, seed=seed)
    if 'val' not in split.values():
        split = hold_out(split, shape_of, val_fraction=val_fraction, seed=seed)
    return split
