"""Stanford Cars 3D and CompCars 3D: photos in the layouts of their own data sets, pose annotations, ShapeNet models.

    <data_dir>/cars_train/*.jpg, cars_test/*.jpg           Stanford Cars (Krause et al., 2013)
    <data_dir>/image/<make>/<model>/<year>/*.jpg           CompCars (Yang et al., CVPR 2015)
    <data_dir>/train_anno.pkl, test_anno.pkl               poses and ids of CAD models (`car_annotations`); the split
    <data_dir>/02958343/<id>/...                           CAD models, either version (`shapenet`)
    <data_dir>/mask/<as the photo>.png                     object masks, which the published data lacks

Each part may also lie where the annotations' authors have it (Anno3D/<set>/, Image/<set>/, CAD/, with <set>
StanfordCars or CompCars), and the models in a folder of their own. To use the authors' refined poses of Stanford Cars
(train_anno_v2.pkl), put them in the place of train_anno.pkl.

CMIC (Lin et al., ICCV 2021) gives the counts in PAPER_COUNTS; `count_note` compares. No TensorFlow here.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from data_pipelines.dataset import Faults, bad_file_choice, check_options, one_of, share
from data_pipelines.file_checks import FileChecks, Wrong, unsure_ones, wrong_ones
from data_pipelines.folders import open_folder
from data_pipelines.photo_to_shape.car_folders import SETS, SYNSET, CarPhoto, read_photos, read_shapes
from data_pipelines.photo_to_shape.car_masks import MaskWish, write_masks
from data_pipelines.photo_to_shape.dataset import (
    FILES,
    FRAME,
    POSE,
    PhotoDataset,
    PhotoEntry,
    bad_pairs,
    divided,
    empty_splits,
    few_shapes,
    open_masks,
    photo_dataset,
    without_bad,
)
from data_pipelines.photo_to_shape.dataset import count_note as counts_beside
from data_pipelines.splits import hold_out
from jaxret.errors import DataError, Problem

CATEGORY = 'car'
MASK_CHOICES = ('auto', 'pose', 'pose_test', 'frame')
_NO_MASKS = (
    'put a mask of every photo there (<as the photo>.png), name another folder of them (data.mask_dir), or choose '
    'data.masks=frame (the whole photo) or pose (trains with silhouettes of the true models: uses the answer)'
)
PAPER_COUNTS = {
    'stanford_cars': {'train': 8144, 'test': 8041, 'shapes': 134},
    'comp_cars': {'train': 3798, 'test': 1898, 'shapes': 94},
}


def read_cars(
    data_dir: Path | str,
    *,
    layout: str,
    shapenet_dir: Path | str = '',
    masks: str = 'auto',
    mask_dir: str = '',
    gallery: str = 'referenced',
    on_bad_file: str = 'error',
    crop: str = 'none',
    empty_masks: bool = False,
    val_fraction: float = 0.1,
    seed: int = 0,
    split_table: Mapping[str, str] | None = None,
    unknown_split: str = '',
    required_splits: Sequence[str] = ('train', 'test'),
    min_shapes: int = 1,
    cache_dir: Path | str,
    check_processes: int = 2,
    progress: bool = True,
) -> PhotoDataset:
    """Read and check a folder with photographed cars.

    Args:
      data_dir: the folder.
      layout: 'stanford_cars' or 'comp_cars'.
      shapenet_dir: folder that holds 02958343/; '' looks for it in data_dir.
      masks: 'auto': files of data_dir/mask; 'frame': the whole photo. What uses the answer: 'pose': photos of train and
        val get the silhouette of their true CAD model in its annotated pose (`car_masks`), those of test the files
        where that folder is there, else the whole photo; 'pose_test': those of test get silhouettes too.
      mask_dir: folder that takes the place of data_dir/mask (`open_masks`); '' is none.
      gallery: 'referenced': the annotated models; 'folder': every car in the ShapeNet folder.
      on_bad_file: 'error', or 'skip': photos with a bad file or shape and bad shapes are left out and listed. Faults
        of the annotations themselves are errors in either case.
      crop: what photos will be cropped to, 'none' or 'mask'.
      empty_masks: whether photos whose mask is empty can be used, as by a network without masks.
      val_fraction: share of the train photos held out as val.
      seed: of the photos held out.
      split_table: split by photo name, from an earlier run; it takes the place of the annotations' and of a new
        choice of val.
      unknown_split: split of the photos that split_table does not know, whatever their own; '' leaves them theirs.
      required_splits: splits that must not be empty.
      min_shapes: smallest gallery that is accepted.
      cache_dir: folder for masks and for what sound files are remembered.
      check_processes: processes that decode photos, load meshes and make masks.
      progress: show progress bars.

    Returns:
      the data set; a shape's name is 02958343/<id>.

    Raises:
      DataError: with everything that is wrong.
      ConfigError: an option has no such value.
      StorageError: the cache cannot be written, or the disk is full.
    """
    check_options(
        layout=one_of(layout, *SETS),
        masks=one_of(masks, *MASK_CHOICES),
        mask_dir=(mask_dir, not mask_dir or masks in ('auto', 'pose'), f'no folder where masks={masks} reads none'),
        gallery=one_of(gallery, 'referenced', 'folder'),
        on_bad_file=bad_file_choice(on_bad_file),
        crop=one_of(crop, 'none', 'mask'),  # the annotations have no boxes
        val_fraction=share(val_fraction),
    )
    root = open_folder(data_dir, layout=f'the layout of {SETS[layout]} (photos, *_anno.pkl, {SYNSET}/)')
    used, problems = read_photos(root, layout)
    if unknown_split:
        used = [dataclasses.replace(photo, split=unknown_split) for photo in used]
    malformed = bool(problems)
    faults = Faults(on_bad_file == 'skip', problems)
    folder = open_masks(root, mask_dir) if mask_dir else root / 'mask'
    kinds = mask_kinds(masks, files=folder.is_dir())
    kind_of = _kind_of_masks(used, kinds, split_table or {})
    used = _with_mask_files(root, folder, used, kind_of, faults)

    options = {'processes': check_processes, 'progress': progress}
    shapes, bad, folder_problems = read_shapes(
        root, shapenet_dir, used, whole_folder=gallery == 'folder', cache_dir=cache_dir, **options
    )
    if folder_problems:
        raise DataError(faults.problems + folder_problems)
    path_of = {shape.model: shape.path for shape in shapes}
    wishes = [
        _wish(photo, path_of[photo.model] if kind_of[photo.name] == POSE else None)
        for photo in used
        if photo.mask is None and photo.model not in bad
    ]
    made, wrong = write_masks(wishes, Path(cache_dir) / 'masks', **options) if wishes else ({}, {})
    bad |= wrong
    used = [dataclasses.replace(photo, mask=made.get(photo.name, photo.mask)) for photo in used]
    checks = FileChecks(root, cache_dir, **options)
    wrong, unsure = _check_photos(used, bad, checks, empty_masks=empty_masks and crop == 'none')
    bad |= wrong
    photos = [
        PhotoEntry(photo.name, photo.image, photo.mask, CATEGORY, photo.model, photo.split, None) for photo in used
    ]
    photos, shapes = without_bad(photos, shapes, bad, faults)
    photos = divided(photos, _split(photos, split_table=split_table, val_fraction=val_fraction, seed=seed))
    if not malformed:
        faults.problems += few_shapes(shapes, min_shapes, root, 'add shapes, or use a smaller batch')
        faults.problems += empty_splits(photos, required_splits, root)
    return photo_dataset(root, photos, shapes, faults, required_splits=required_splits, masks=kinds, unsure=unsure)


def mask_kinds(masks: str, *, files: bool) -> tuple[str, str]:
    """What masks photos of train and val have, and photos of test: see `read_cars`; `files`: whether there are any."""
    return {
        'auto': (FILES, FILES),
        'frame': (FRAME, FRAME),
        'pose': (POSE, FILES if files else FRAME),
        'pose_test': (POSE, POSE),
    }[masks]


def _kind_of_masks(used: Sequence[CarPhoto], kinds: tuple[str, str], split_table: Mapping[str, str]) -> dict[str, str]:
    """What the mask of each photo is to be, by its name: that of test photos, or of the others."""
    of_train, of_test = kinds
    parts = {photo.name: split_table.get(photo.name, photo.split) for photo in used}
    return {name: of_test if part == 'test' else of_train for name, part in parts.items()}


def count_note(dataset: PhotoDataset, layout: str) -> str | None:
    """The counts beside the published ones, where they differ. Shapes are those that photos show."""
    test, shapes = len(dataset.split_photos('test')), len({photo.model for photo in dataset.photos})
    found = {'train': len(dataset.photos) - test, 'test': test, 'shapes': shapes}
    note = counts_beside(found, PAPER_COUNTS[layout])
    if note and layout == 'comp_cars' and shapes == 98:
        note += '; the published annotations name 98 models, and why the paper counts 94 is not known'
    return note


def _with_mask_files(
    root: Path, folder: Path, used: Sequence[CarPhoto], kind_of: Mapping[str, str], faults: Faults
) -> list[CarPhoto]:
    """The photos, those whose masks are files with theirs. Raises DataError where their folder is missing."""
    names = [name for name, kind in kind_of.items() if kind == FILES]
    if names and not folder.is_dir():
        raise DataError([*faults.problems, Problem(str(folder), 'missing', _NO_MASKS)])
    files = {name: PurePosixPath(name).with_suffix('.png').as_posix() for name in names}
    return [
        dataclasses.replace(photo, mask=folder / files[photo.name]) if photo.name in files else photo for photo in used
    ]


def _wish(photo: CarPhoto, model: Path | None) -> MaskWish:
    """The mask of a photo: the silhouette of a model's file in the annotated pose, or without one the whole frame."""
    pose = photo.annotation.pose if model is not None else None
    return MaskWish(photo.name, photo.image, model, pose, photo.where)


def _check_photos(
    used: Sequence[CarPhoto], bad: Mapping[str, Wrong], checks: FileChecks, *, empty_masks: bool
) -> tuple[dict[str, Wrong], set[str]]:
    """What is wrong with the photos that are not known to be bad, by name; and those whose mask file is unsure."""
    left = [photo for photo in used if photo.name not in bad]
    bare = [photo for photo in left if photo.mask is None]  # no mask without a shape
    found = checks.pictures([photo.image for photo in bare], kind='photos')
    wrong = wrong_ones([photo.name for photo in bare], found)
    whole = [photo for photo in left if photo.mask is not None]
    names, masks = [photo.name for photo in whole], [photo.mask for photo in whole]
    found = checks.pairs([(photo.image, photo.mask) for photo in whole])
    wrong |= bad_pairs(names, masks, found, empty_masks=empty_masks)
    filed = {photo.name for photo in whole if photo.mask.is_relative_to(checks.root)}  # others are made as displayed
    return wrong, filed & unsure_ones(names, found)


def _split(
    photos: Sequence[PhotoEntry], *, split_table: Mapping[str, str] | None, val_fraction: float, seed: int
) -> dict[str, str]:
    if split_table is not None:
        return dict(split_table)
    marked = {photo.name: photo.split for photo in photos}
    return hold_out(marked, {photo.name: photo.model for photo in photos}, val_fraction=val_fraction, seed=seed)
