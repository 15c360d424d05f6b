"""MI3DOR's on-disk layout: labelled photos, and shapes whose labels only an evaluation reads. No TensorFlow here.

    <data_dir>/image/{train,test}/<class>/*.jpg             photos
    <data_dir>/view/{train,test}/<class>/<shape>/*.png      shapes as V pictures each, or flat: <shape>_NN.png
    <data_dir>/model/{train,test}/<class>/*.obj             or as meshes, of which V views are rendered
    <shapes_dir>/<class>/{train,test}/*.off                 or as meshes elsewhere, in ModelNet's layout

or list files with one 'path label' line a photo or view (`mi3dor_lists`).

What is known of the published sets (they need a signed agreement): MI3DOR has image/test/<class> and
model/test/<class>/*.obj, 21 classes, and 12 views a shape; the benchmark's public code (tianbao-li/MI3DOR, RevGard)
reads list_{source,target}_{train,test}.txt from the data folder, where V consecutive lines are the views of a shape.
Copies in other public code have train/2D/label.txt with paths below train/2D/images, and for MI3DOR-2 (40 classes)
train/MI3DOR_2_Image_train_list.txt and MI3DOR_2_View_train_list.txt, one line a view. PAPER_COUNTS are those of HIFA.

The target's labels: they choose nothing in training but which classes are used at all (classes of one domain alone are
left out, as the benchmark is closed). The order of shapes comes from hashes of file names without their folders, or of
their content where those are the same, and no record or batch holds a label of a shape.
"""

import hashlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from data_pipelines.dataset import (
    Faults,
    all_problems,
    bad_file_choice,
    check_options,
    fingerprint,
    one_of,
    share,
    split_of,
    unknown_names,
)
from data_pipelines.domain_adaptation.dataset import DomainDataset, PhotoFile, ShapeFiles, empty_parts, matched
from data_pipelines.domain_adaptation.mi3dor_folders import list_meshes, list_photos, list_views
from data_pipelines.domain_adaptation.mi3dor_labels import label_faults
from data_pipelines.domain_adaptation.mi3dor_lists import listed_photos, listed_views, read_class_names
from data_pipelines.file_checks import FileChecks, Wrong, is_wrong, signature, wrong_ones
from data_pipelines.folders import open_folder
from data_pipelines.splits import hold_out
from jaxret.errors import Problem, refused

Item = TypeVar('Item', PhotoFile, ShapeFiles)
PAPER_COUNTS = {  # classes: (train photos, test photos, train shapes, test shapes)
    21: (10500, 10500, 3842, 3848),
    40: (19294, 400, 3182, 800),
}
_LAYOUT = "MI3DOR's layout (image/{train,test}/<class>, and view or model)"


def read_mi3dor(
    data_dir: Path | str,
    *,
    shapes_dir: Path | str = '',
    photo_lists: Sequence[str] = (),
    view_lists: Sequence[str] = (),
    class_names: str = '',
    classes: Sequence[str] = (),
    views: int = 12,
    val_fraction: float = 0.1,
    seed: int = 0,
    train_shapes: str = 'train',
    gallery: str = 'test',
    unmatched_classes: str = 'drop',
    on_bad_file: str = 'error',
    all_photos_but: Collection[str] | None = None,
    required_splits: Sequence[str] = ('train', 'test'),
    up_axis: str = 'z',
    cache_dir: Path | str | None = None,
    check_processes: int = 2,
    progress: bool = True,
) -> DomainDataset:
    """Read and check photos and shapes. Filters come first; only files that are used are looked at.

    Args:
      data_dir: the folder.
      shapes_dir: folder of meshes in ModelNet's layout; '' takes <data_dir>/view, or <data_dir>/model without it.
      photo_lists: train and test list of photos, below data_dir; empty for the folders.
      view_lists: train and test list of views, below data_dir; empty for the folders.
      class_names: file below data_dir with one class name a line, in the order of the lists' labels; '' names classes
        by their number.
      classes: those to use; empty for all.
      views: pictures V that every shape must have, where shapes are pictures.
      val_fraction: share of the train photos held out as val, by hash, never the last one of a class.
      seed: of that choice.
      train_shapes: shapes that training may use, unlabelled: 'train', or 'all' (transductive).
      gallery: shapes that are searched: 'test' or 'all'.
      unmatched_classes: 'drop' leaves out, and lists, the classes that do not have train and test photos and gallery
        shapes; 'error' refuses them.
      on_bad_file: 'error', or 'skip': bad photos and shapes, and classes that then lack one domain, are left out and
        listed. Faults of the lists themselves are errors in either case.
      all_photos_but: names of photos to leave out; all others are test photos. None leaves photos their splits.
      required_splits: splits that must not be empty; ('test',) for an evaluation.
      up_axis: axis that points up in the mesh files.
      cache_dir, check_processes, progress: as `FileChecks`.

    Raises:
      DataError: with everything that is wrong.
      ConfigError: an option has no such value.
    """
    check_options(
        photo_lists=(photo_lists, len(photo_lists) in (0, 2), 'a train and a test list, or none'),
        view_lists=(view_lists, len(view_lists) in (0, 2), 'a train and a test list, or none'),
        class_names=(class_names, any((not class_names, photo_lists, view_lists)), "'', where there are no lists"),
        shapes_dir=(shapes_dir, not all((shapes_dir, view_lists)), 'shapes_dir or view_lists, not both'),
        views=(views, views >= 1, 'at least 1'),
        val_fraction=share(val_fraction),
        train_shapes=one_of(train_shapes, 'train', 'all'),
        gallery=one_of(gallery, 'test', 'all'),
        unmatched_classes=one_of(unmatched_classes, 'drop', 'error'),
        on_bad_file=bad_file_choice(on_bad_file),
        up_axis=one_of(up_axis, 'y', 'z'),
    )
    root = open_folder(data_dir, layout=_LAYOUT)
    shape_root = open_folder(shapes_dir, layout="ModelNet's layout", key='shapes_dir') if shapes_dir else root
    names = read_class_names(root, class_names)
    faults = Faults(on_bad_file == 'skip')
    photos = _list_photos(root, photo_lists, names, faults)
    shapes = _list_shapes(root, shape_root, view_lists, names, faults, views=views)
    lists = {'photo_lists': photo_lists, 'view_lists': view_lists}
    faults.problems[:0] = label_faults(root, photos, shapes, names=names, **lists)  # may explain the others
    present = [item.category for item in (*photos, *shapes)]
    faults.problems += unknown_names(classes, present, root, 'photo or shape of class')
    photos, shapes = _wanted(photos, classes), _wanted(shapes, classes)
    if all_photos_but is not None:
        photos = [replace(photo, split='test') for photo in photos if photo.name not in all_photos_but]
    if 'train' not in required_splits:
        photos = [photo for photo in photos if photo.split == 'test']
        shapes = [shape for shape in shapes if gallery in ('all', shape.split)]
    readable = not faults.problems
    matching = {'required': required_splits, 'gallery': gallery, 'where': root}
    photos, shapes, unmatched = matched(photos, shapes, **matching)
    (faults.skipped if unmatched_classes == 'drop' else faults.problems).extend(unmatched)
    checks = FileChecks(root, cache_dir, check_processes, progress)
    bad, grey = _bad_files(root, photos, shapes, checks, views=views, up_axis=up_axis)
    faults.of_files(all_problems(bad))
    if faults.skip:
        photos, shapes, lost = matched(*_without(photos, shapes, bad), **matching)
        faults.of_files(lost)
    if not faults.problems:  # what is already wrong may be why a part is empty
        where = {'train_shapes': train_shapes, 'where': root}
        faults.problems += empty_parts(photos, shapes, required=required_splits, **where)
    if not readable:  # classes seem unmatched where a list or folder could not be read
        faults.skipped.clear()
    faults.refuse()
    photos = _divided(photos, val_fraction=val_fraction, seed=seed)
    shapes = class_free_order(shapes)
    rendered = any(shape.mesh is not None for shape in shapes)
    return DomainDataset(
        root=root,
        photos=photos,
        shapes=shapes,
        categories=_in_order_of({photo.category for photo in photos}, names),
        skipped=tuple(faults.skipped),
        required_splits=tuple(required_splits),
        train_shapes=train_shapes,
        gallery=gallery,
        rendered=rendered,
        views=0 if rendered else views,
        channels=_channels(shapes, grey),
        up_axis=up_axis,
        fingerprint=_fingerprint([root, shape_root], photos, shapes, up_axis),
    )


def class_free_order(shapes: Sequence[ShapeFiles]) -> tuple[ShapeFiles, ...]:
    """Shapes sorted by the hash of their key; by their content where keys are the same.

    Which class a shape's folder names changes nothing in it: shapes that stay tied have the same pixels.
    """
    keys = [hashlib.sha256(shape.key.encode(errors='surrogateescape')).hexdigest() for shape in shapes]
    count = Counter(keys)
    rank = [
        (key, _content(shape) if count[key] > 1 else '', shape.name) for key, shape in zip(keys, shapes, strict=True)
    ]
    return tuple(shapes[i] for i in sorted(range(len(shapes)), key=rank.__getitem__))


def paper_note(dataset: DomainDataset) -> str | None:
    """The counts beside the published ones, where the data set has as many classes and the counts differ."""
    published = PAPER_COUNTS.get(len(dataset.categories))
    test, test_shapes = len(dataset.split_photos('test')), sum(shape.split == 'test' for shape in dataset.shapes)
    found = (len(dataset.photos) - test, test, len(dataset.shapes) - test_shapes, test_shapes)
    if published is None or found == published:
        return None
    words = ('train photos', 'test photos', 'train shapes', 'test shapes')
    pairs = ', '.join(f'{word} {here} ({there})' for word, here, there in zip(words, found, published, strict=True))
    return f'counts here (in the HIFA paper): {pairs}'


def _list_photos(root: Path, lists: Sequence[str], names: Sequence[str], faults: Faults) -> list[PhotoFile]:
    photos, problems = listed_photos(root, lists, names) if lists else list_photos(root)
    faults.problems += problems
    if not photos and not lists:
        action = f'name a folder in {_LAYOUT}, or give photo_lists'
        faults.problems.append(Problem(str(root / 'image'), 'no photos', action))
    return photos


def _list_shapes(
    root: Path, shape_root: Path, lists: Sequence[str], names: Sequence[str], faults: Faults, *, views: int
) -> list[ShapeFiles]:
    if lists:
        shapes, problems = listed_views(root, lists, names, views=views)
    elif shape_root is not root:
        shapes, problems = list_meshes(shape_root, '{category}/{split}')
    elif (root / 'view').is_dir():
        shapes, problems = list_views(root)
    else:
        shapes, problems = list_meshes(root, 'model/{split}/{category}')
    faults.problems += problems
    if not shapes and not lists:
        action = 'put shapes into view or model, or name data.shapes_dir or data.view_lists'
        faults.problems.append(Problem(str(shape_root), 'no shapes', action))
    return shapes


def _wanted(items: Sequence[Item], classes: Sequence[str]) -> list[Item]:
    return [item for item in items if not classes or item.category in classes]


def _divided(photos: Sequence[PhotoFile], *, val_fraction: float, seed: int) -> tuple[PhotoFile, ...]:
    """The photos by name, a part of train held out."""
    class_of = {photo.name: photo.category for photo in photos}
    split = hold_out(split_of(photos), class_of, val_fraction=val_fraction, seed=seed)
    photos = [replace(photo, split=split[photo.name]) for photo in photos]
    return tuple(sorted(photos, key=lambda photo: photo.name))


def _channels(shapes: Sequence[ShapeFiles], grey: Mapping[Path, bool]) -> int:
    """Of the views: 1 where all that are read are grey; rendered ones are."""
    return 1 if all(grey[file] for shape in shapes for file in shape.views) else 3


def _in_order_of(categories: Collection[str], names: Sequence[str]) -> tuple[str, ...]:
    """Categories in the order of a list's labels, else by name."""
    return tuple(name for name in names if name in categories) or tuple(sorted(categories))


def _without(
    photos: Sequence[PhotoFile], shapes: Sequence[ShapeFiles], bad: Collection[Path | str]
) -> tuple[list[PhotoFile], list[ShapeFiles]]:
    sound = [shape for shape in shapes if not any(file in bad for file in (shape.name, *shape.files))]
    return [photo for photo in photos if photo.path not in bad], sound


def _bad_files(
    root: Path,
    photos: Sequence[PhotoFile],
    shapes: Sequence[ShapeFiles],
    checks: FileChecks,
    *,
    views: int,
    up_axis: str,
) -> tuple[dict[Path | str, Wrong], dict[Path, bool]]:
    """What is wrong, by file or by the name of a shape; and whether each sound picture is grey."""
    bad = _wrong_counts(root, shapes, views)
    facts: dict[Path, tuple] = {}
    for kind, paths in (
        ('photos', [photo.path for photo in photos]),
        ('views', [file for shape in shapes for file in shape.views]),
    ):
        facts |= zip(paths, checks.pictures(paths, kind=kind), strict=True)
    bad |= wrong_ones(facts, facts.values())
    meshes = [shape.mesh for shape in shapes if shape.mesh is not None]
    bad |= wrong_ones(meshes, checks.meshes(meshes, up_axis=up_axis))
    return bad, {path: found[2] for path, found in facts.items() if not is_wrong(found)}


def _wrong_counts(root: Path, shapes: Sequence[ShapeFiles], views: int) -> dict[Path | str, Wrong]:
    """Shapes that are pictures and not as many as wanted, by name. Raises DataError where all have another number."""
    counts = {shape.name: len(shape.views) for shape in shapes if shape.mesh is None}
    if len(set(counts.values())) == 1 and views not in counts.values():
        count = next(iter(counts.values()))
        found = f'{count} views of every shape, where {views} are wanted'
        raise refused(str(root), found, f'set --config.render.views={count}')
    action = f'give {views} views of every shape'
    return {
        name: (Problem(str(root / name), f'{count} views of shape {name}, where {views} are wanted', action),)
        for name, count in counts.items()
        if count != views
    }


def _fingerprint(roots: Sequence[Path], photos: Sequence[PhotoFile], shapes: Sequence[ShapeFiles], up_axis: str) -> str:
    photo_rows = [(photo.name, photo.category, photo.split, signature(photo.path)) for photo in photos]
    shape_rows = [(shape.name, shape.split, [(str(file), signature(file)) for file in shape.files]) for shape in shapes]
    return fingerprint(*map(str, roots), up_axis, photo_rows, shape_rows)


def _content(shape: ShapeFiles) -> str:
    digest = hashlib.sha256()
    for file in shape.files:
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()
