"""Stanford Cars 3D and CompCars 3D: photos in the layouts of their own data sets, pose annotations, ShapeNet models.

    <data_dir>/cars_train/*.jpg, cars_test/*.jpg           Stanford Cars (Krause et al., 2013)
    <data_dir>/image/<make>/<model>/<year>/*.jpg           CompCars (Yang et al., CVPR 2015)
    <data_dir>/train_anno.pkl, test_anno.pkl               poses and ids of CAD models (`car_annotations`); the split
    <data_dir>/02958343/<id>/...                           CAD models, either version (`shapenet_layout`)
    <data_dir>/mask/<as the photo>.png                     optional: object masks

Each part may also lie where the annotations' authors have it (Anno3D/<set>/, Image/<set>/, CAD/, with <set>
StanfordCars or CompCars), and the models in a folder of their own. To use the authors' refined poses of Stanford Cars
(train_anno_v2.pkl), put them in the place of train_anno.pkl.

CMIC (Lin et al., ICCV 2021) gives the counts in PAPER_COUNTS; `count_note` compares. No TensorFlow here.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from data_pipelines.file_checks import check_pairs, check_pictures, memory_file, signature
from data_pipelines.folders import open_folder
from data_pipelines.photo_to_shape.car_folders import SETS, SYNSET, CarPhoto, escaping, read_photos, read_shapes
from data_pipelines.photo_to_shape.car_masks import MaskWish, write_masks
from data_pipelines.photo_to_shape.dataset import PhotoDataset, PhotoEntry, ShapeEntry, empty_splits, orphan
from data_pipelines.splits import hold_out
from jaxret.errors import ConfigError, DataError, Problem

CATEGORY = 'car'
PAPER_COUNTS = {
    'stanford_cars': {'train': 8144, 'test': 8041, 'shapes': 134},
    'comp_cars': {'train': 3798, 'test': 1898, 'shapes': 94},
}


def read_cars(
    data_dir: Path | str,
    *,
    dataset: str,
    shapenet_dir: Path | str = '',
    masks: str = 'auto',
    gallery: str = 'referenced',
    on_bad_file: str = 'error',
    crop: str = 'none',
    val_fraction: float = 0.1,
    seed: int = 0,
    split_table: Mapping[str, str] | None = None,
    required_splits: Sequence[str] = ('train', 'test'),
    min_shapes: int = 1,
    cache_dir: Path | str,
    check_processes: int = 2,
    progress: bool = True,
) -> PhotoDataset:
    """Read and check a folder with photographed cars.

    Args:
      data_dir: the folder.
      dataset: 'stanford_cars' or 'comp_cars'.
      shapenet_dir: folder that holds 02958343/; '' looks for it in data_dir.
      masks: 'auto': files of data_dir/mask where that folder is, else the silhouette of the CAD model in its annotated
        pose (`car_masks`); 'pose': the silhouettes in any case; 'frame': the whole photo.
      gallery: 'referenced': the annotated models; 'folder': every car in the ShapeNet folder.
      on_bad_file: 'error', or 'skip': photos with a bad file or shape and bad shapes are left out and listed. Faults
        of the annotations themselves are errors in either case.
      crop: what photos will be cropped to, 'none' or 'mask'.
      val_fraction: share of the train photos held out as val.
      seed: of the photos held out.
      split_table: split by photo name, from an earlier run; it takes the place of the annotations' and of a new
        choice of val.
      required_splits: splits that must not be empty.
      min_shapes: smallest gallery that is accepted.
      cache_dir: folder for masks and for what sound files are remembered.
      check_processes: processes that decode photos, load meshes and make masks.
      progress: show progress bars.

    Returns:
      the layout; a shape's name is 02958343/<id>.

    Raises:
      DataError: with everything that is wrong.
      ConfigError: an option has no such value.
      StorageError: the cache cannot be written, or the disk is full.
    """
    _check_options(val_fraction, dataset=dataset, masks=masks, gallery=gallery, on_bad_file=on_bad_file, crop=crop)
    root = open_folder(Path(data_dir), layout=f'the layout of {SETS[dataset]} (photos, *_anno.pkl, {SYNSET}/)')
    used, problems = read_photos(root, dataset)
    malformed = bool(problems)
    if masks == 'auto' and (root / 'mask').is_dir():
        files = [root / 'mask' / PurePosixPath(photo.name).with_suffix('.png') for photo in used]
        used = [dataclasses.replace(photo, mask=file) for photo, file in zip(used, files, strict=True)]
        problems += escaping(root, [file.relative_to(root).as_posix() for file in files])

    options = {'processes': check_processes, 'progress': progress}
    shapes, bad, folder_problems = read_shapes(
        root, shapenet_dir, used, whole_folder=gallery == 'folder', cache_dir=cache_dir, **options
    )
    if folder_problems:
        raise DataError(problems + folder_problems)
    path_of = {shape.model: shape.path for shape in shapes}
    if masks == 'frame' or any(photo.mask is None for photo in used):
        whole = masks == 'frame'
        wishes = [
            MaskWish(photo.name, photo.image, None if whole else path_of[photo.model],
                     None if whole else photo.annotation.pose, photo.where)
            for photo in used if photo.model not in bad
        ]  # fmt: skip
        made, wrong = write_masks(wishes, Path(cache_dir) / 'masks', **options)
        bad |= wrong
        used = [dataclasses.replace(photo, mask=made.get(photo.name)) for photo in used]
    bad |= _bad_photos(root, used, bad, crop=crop, memory=memory_file(cache_dir, root, 'photos'), **options)
    wrong_files = [problem for found in bad.values() for problem in found]
    skipped: list[Problem] = []
    if on_bad_file == 'skip':
        orphans = [photo for photo in used if photo.model in bad and photo.name not in bad]
        skipped = wrong_files + [orphan(photo.name, photo.model) for photo in orphans]
        used = [photo for photo in used if photo.name not in bad and photo.model not in bad]
        shapes = [shape for shape in shapes if shape.model not in bad]
    else:
        problems += wrong_files
    if len(shapes) < max(1, min_shapes) and not malformed:
        found = f'{len(shapes)} usable shapes where {max(1, min_shapes)} are needed'
        problems.append(Problem(str(root), found, 'add shapes, or use a smaller batch'))
    split = _split(used, split_table=split_table, val_fraction=val_fraction, seed=seed)
    photos = tuple(
        PhotoEntry(photo.name, photo.image, photo.mask, CATEGORY, photo.model, split[photo.name], None)
        for photo in sorted(used, key=lambda photo: photo.name)
    )
    if not malformed:
        problems += empty_splits(photos, required_splits, str(root))
    if problems:
        raise DataError(problems + skipped)
    shapes = tuple(sorted(shapes, key=lambda shape: shape.model))
    return PhotoDataset(
        root=root,
        photos=photos,
        shapes=shapes,
        categories=(CATEGORY,),
        skipped=tuple(skipped),
        required_splits=tuple(required_splits),
        up_axis='y',
        fingerprint=_fingerprint(root, photos, shapes),
    )


def count_note(layout: PhotoDataset, dataset: str) -> str | None:
    """The layout's counts beside the published ones, where they differ. Shapes are those that photos show."""
    test = len(layout.split_photos('test'))
    shapes = len({photo.model for photo in layout.photos})
    found = {'train': len(layout.photos) - test, 'test': test, 'shapes': shapes}
    paper = PAPER_COUNTS[dataset]
    if found == paper:
        return None
    note = f'counts here (in the CMIC paper): {", ".join(f"{key} {found[key]} ({paper[key]})" for key in paper)}'
    if dataset == 'comp_cars' and shapes == 98:
        note += '; the published annotations name 98 models, and why the paper counts 94 is not known'
    return note


def _check_options(val_fraction: float, **options: str) -> None:
    allowed = {
        'dataset': tuple(SETS),
        'masks': ('auto', 'pose', 'frame'),
        'gallery': ('referenced', 'folder'),
        'on_bad_file': ('error', 'skip'),
        'crop': ('none', 'mask'),  # the annotations have no boxes
    }
    for name, value in options.items():
        if value not in allowed[name]:
            raise ConfigError(f'{name}={value!r}: use one of {", ".join(allowed[name])}')
    if not 0 <= val_fraction < 1:
        raise ConfigError(f'val_fraction={val_fraction!r}: use a share in [0, 1)')


def _bad_photos(
    root: Path,
    used: Sequence[CarPhoto],
    bad: Mapping[str, tuple[Problem, ...]],
    *,
    crop: str,
    memory: Path | None,
    processes: int,
    progress: bool,
) -> dict[str, tuple[Problem, ...]]:
    """What is wrong with the photos that are not known to be bad, by name."""
    wrong = {}
    bare = [photo for photo in used if photo.mask is None and photo.name not in bad]  # no mask without a shape
    found = check_pictures([photo.image for photo in bare], processes=processes, progress=progress)
    wrong |= {photo.name: facts for photo, facts in zip(bare, found, strict=True) if isinstance(facts[0], Problem)}
    whole = [photo for photo in used if photo.mask is not None and photo.name not in bad]
    pairs = [(photo.image, photo.mask) for photo in whole]
    found = check_pairs(pairs, processes=processes, memory=memory, progress=progress)
    for photo, facts in zip(whole, found, strict=True):
        if isinstance(facts[0], Problem):
            wrong[photo.name] = facts
        elif crop == 'mask' and not facts[2]:
            action = 'mend the mask, use crop=none, or on_bad_file=skip'
            problem = Problem(str(photo.mask), 'no object pixels, so there is nothing to crop to', action)
            wrong[photo.name] = (problem,)
    return wrong


def _split(
    used: Sequence[CarPhoto], *, split_table: Mapping[str, str] | None, val_fraction: float, seed: int
) -> dict[str, str]:
    marked = {photo.name: photo.split for photo in used}
    if split_table is not None:
        return {name: split_table.get(name, split) for name, split in marked.items()}
    return hold_out(marked, {photo.name: photo.model for photo in used}, val_fraction=val_fraction, seed=seed)


def _fingerprint(root: Path, photos: Sequence[PhotoEntry], shapes: Sequence[ShapeEntry]) -> str:
    rows = [(photo.name, photo.model, photo.split, str(photo.mask), signature(photo.image), signature(photo.mask))
            for photo in photos]  # fmt: skip
    content = [str(root), rows, [(shape.model, str(shape.path), signature(shape.path)) for shape in shapes]]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
