"""Where the parts of the car data sets lie: annotated photos and their CAD models. No TensorFlow here."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from data_pipelines.file_checks import FileChecks, Wrong, wrong_ones
from data_pipelines.folders import names_in, outside
from data_pipelines.photo_to_shape.car_annotations import CarAnnotation, read_annotations
from data_pipelines.photo_to_shape.dataset import ShapeEntry
from data_pipelines.photo_to_shape.shapenet import find_models
from jaxret.errors import DataError, Problem

SYNSET = '02958343'  # car
SETS = {'stanford_cars': 'StanfordCars', 'comp_cars': 'CompCars'}
PHOTO_FOLDERS = {  # folder of the photos of a split
    'stanford_cars': {'train': 'cars_train', 'test': 'cars_test'}, 'comp_cars': {'train': 'image', 'test': 'image'},
}  # fmt: skip


@dataclass(frozen=True)
class CarPhoto:
    """An annotated photo: its name (folder of the photos and path below it), file, mask if there is one, split."""

    name: str
    image: Path
    mask: Path | None
    split: str
    annotation: CarAnnotation
    where: str

    @property
    def model(self) -> str:
        return f'{SYNSET}/{self.annotation.model_id}'


def read_photos(root: Path, layout: str) -> tuple[list[CarPhoto], list[Problem]]:
    """Annotated photos of both splits, and what is wrong with the annotations and the folders."""
    used: dict[str, CarPhoto] = {}
    problems: list[Problem] = []
    for split, folder_name in PHOTO_FOLDERS[layout].items():
        path = _place(root, f'{split}_anno.pkl', f'Anno3D/{SETS[layout]}', problems)
        folder = _place(root, folder_name, f'Image/{SETS[layout]}', problems)
        if path is None:
            continue
        try:
            annotations, wrong = read_annotations(path)
        except DataError as error:
            problems += error.problems
            continue
        problems += wrong
        if folder is None:
            continue
        for annotation in annotations:
            name = f'{folder_name}/{annotation.photo}'
            where = f'{path.name}[{annotation.photo!r}]'
            if name in used:
                problems.append(Problem(where, f'is in {split} and in {used[name].split}', 'list each photo once'))
            used[name] = CarPhoto(name, folder / annotation.photo, None, split, annotation, where)
        problems += outside(folder, [annotation.photo for annotation in annotations])
    return list(used.values()), list(dict.fromkeys(problems))


def _place(root: Path, name: str, elsewhere: str, problems: list[Problem]) -> Path | None:
    """Where one part of the data lies; adds to `problems` where it is in neither place."""
    for path in (root / name, root / elsewhere / name):
        if path.exists():
            return path
    problems.append(Problem(str(root / name), 'missing', f'put it there, or into {elsewhere}/'))
    return None


def read_shapes(
    root: Path,
    shapenet_dir: Path | str,
    used: Sequence[CarPhoto],
    *,
    whole_folder: bool,
    cache_dir: Path | str,
    processes: int,
    progress: bool,
) -> tuple[list[ShapeEntry], dict[str, Wrong], list[Problem]]:
    """Shapes, what is wrong with some by name, and what is wrong with the folder."""
    problems: list[Problem] = []
    folder = Path(shapenet_dir) / SYNSET if shapenet_dir else _place(root, SYNSET, 'CAD', problems)
    if folder is None or not folder.is_dir():
        action = f'put the ShapeNet cars there, or name the folder that holds {SYNSET}/ (data.shapenet_dir)'
        return [], {}, [Problem(str(folder or root / SYNSET), 'missing', action)]
    ids = {photo.annotation.model_id for photo in used}
    if whole_folder:
        ids |= {name for name in names_in(folder, problems) if (folder / name).is_dir()}
    shapes, missing = find_models(folder.parent.resolve(), SYNSET, sorted(ids))
    found = FileChecks(folder, cache_dir, processes, progress).meshes([shape.path for shape in shapes], up_axis='y')
    bad = {name: (problem,) for name, problem in missing.items()}
    return shapes, bad | wrong_ones([shape.model for shape in shapes], found), problems
