"""A folder in ShapeNetCore's layout: CAD models by category (a WordNet synset) and id. No TensorFlow here.

    <folder>/<synset>/<id>/models/model_normalized.obj    version 2
    <folder>/<synset>/<id>/model.obj                      version 1

Chang et al., ShapeNet, 2015. The folder of one synset can be named too. Both versions have +y up. A shape's name is
'<synset>/<id>' in either, so a gallery keeps its names when the version changes.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from data_pipelines.dataset import Faults, bad_file_choice, check_options
from data_pipelines.file_checks import FileChecks, wrong_ones
from data_pipelines.folders import names_in, open_folder
from data_pipelines.photo_to_shape.dataset import PhotoDataset, ShapeEntry, few_shapes, photo_dataset, without_bad
from data_pipelines.photo_to_shape.pix3d_gallery import printable
from jaxret.errors import Problem

MODEL_FILES = ('models/model_normalized.obj', 'model.obj')  # where both are there, the first
SYNSETS = {
    '02691156': 'airplane', '02818832': 'bed', '02828884': 'bench', '02871439': 'bookshelf', '02933112': 'cabinet',
    '02958343': 'car', '03001627': 'chair', '03211117': 'display', '03636649': 'lamp', '03691459': 'loudspeaker',
    '04090263': 'rifle', '04256520': 'sofa', '04379243': 'table', '04401088': 'telephone', '04530566': 'watercraft',
}  # fmt: skip
_SYNSET = re.compile(r'\d{8}')
_LAYOUT = "ShapeNetCore's layout (<synset>/<id>/models/model_normalized.obj, or <synset>/<id>/model.obj)"


def read_shapenet(
    folder: Path | str,
    *,
    categories: Sequence[str] = (),
    on_bad_file: str = 'error',
    min_shapes: int = 1,
    cache_dir: Path | str | None = None,
    check_processes: int = 2,
    progress: bool = True,
) -> PhotoDataset:
    """Read and check a gallery of CAD models: a data set without photos, which `prepare` renders.

    Args:
      folder: with one folder a synset, or the folder of one synset.
      categories: names of `SYNSETS` or synsets; empty for all that are there. A category without a name is its synset.
      on_bad_file: 'error', or 'skip': ids without a model, and models that cannot be used, are left out and listed.
      min_shapes: smallest gallery that is accepted.
      cache_dir, check_processes, progress: as `FileChecks`.

    Returns:
      the data set; `photos` is empty.

    Raises:
      DataError: with everything that is wrong.
      ConfigError: an option has no such value.
    """
    check_options(on_bad_file=bad_file_choice(on_bad_file))
    root = open_folder(folder, layout=_LAYOUT)
    faults = Faults(on_bad_file == 'skip')
    root, present = _synsets(root, faults)
    chosen = [synset for synset in present if not categories or {synset, category_name(synset)} & set(categories)]
    faults.problems += _unknown(root, categories, present)
    nothing_chosen = not chosen and bool(faults.problems)

    shapes, bad = [], {}
    for synset in chosen:
        ids = [name for name in names_in(root / synset, faults.problems) if (root / synset / name).is_dir()]
        found, missing = find_models(root, synset, ids)
        shapes += found
        bad |= {name: (problem,) for name, problem in missing.items()}
    checks = FileChecks(root, cache_dir, check_processes, progress)
    names, files = [shape.model for shape in shapes], [shape.path for shape in shapes]
    bad |= wrong_ones(names, checks.meshes(files, up_axis='y'))
    _, shapes = without_bad((), shapes, bad, faults)
    if not nothing_chosen:
        faults.problems += few_shapes(shapes, min_shapes, root, 'add shapes, or widen the choice of categories')
    return photo_dataset(root, (), shapes, faults)


def _synsets(folder: Path, faults: Faults) -> tuple[Path, list[str]]:
    """The folder that holds synsets, and those in it; of a synset's own folder that one."""
    if _SYNSET.fullmatch(folder.name):
        return folder.parent, [folder.name]
    names = names_in(folder, faults.problems)
    present = [name for name in names if _SYNSET.fullmatch(name) and (folder / name).is_dir()]
    if not present and not faults.problems:
        found = 'no folder of a synset (eight digits)'
        faults.problems.append(Problem(str(folder), found, f'name a folder in {_LAYOUT}'))
    return folder, present


def _unknown(root: Path, categories: Sequence[str], present: Sequence[str]) -> list[Problem]:
    known = {*present, *map(category_name, present)}
    action = f'choose from: {", ".join(map(category_name, present)) or "none"}'
    return [Problem(str(root), f'no category {name!r}', action) for name in categories if name not in known]


def find_models(root: Path, synset: str, ids: Iterable[str]) -> tuple[list[ShapeEntry], dict[str, Problem]]:
    """Model files by id; whether they can be read is not looked at.

    Args:
      root: folder with one folder a synset, links resolved.
      synset: category.
      ids: of the models wanted.

    Returns:
      shapes in the order of `ids`, and by name what is wrong with the other ids.
    """
    shapes, missing = [], {}
    for model_id in ids:
        name = f'{synset}/{model_id}'
        where = printable(root / name)
        path = next((root / name / file for file in MODEL_FILES if (root / name / file).exists()), None)
        if printable(name) != name:
            missing[name] = Problem(where, 'a name that is not UTF-8', 'rename it')
        elif path is None:
            found = 'missing' if not (root / name).exists() else f'neither {" nor ".join(MODEL_FILES)} in it'
            missing[name] = Problem(where, found, 'restore the CAD model, or leave it out with on_bad_file=skip')
        else:
            shapes.append(ShapeEntry(name, path, category_name(synset)))
    return shapes, missing


def category_name(synset: str) -> str:
    """'chair' of '03001627'; the synset itself where it has no name in `SYNSETS`."""
    return SYNSETS.get(synset, synset)
