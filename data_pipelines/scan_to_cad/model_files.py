"""The CAD models that scans are simulated from: <folder>/<category>/<id>, distance grids or meshes."""

from dataclasses import dataclass
from pathlib import Path

from data_pipelines.folders import names_in
from jaxret.errors import Problem
from jaxret.geometry.formats import MESH_SUFFIXES

SOURCES = {'grids': ('.vox', '.df', '.sdf'), 'meshes': MESH_SUFFIXES}


@dataclass(frozen=True)
class ModelFile:
    """A CAD model: category (a ShapeNet synset, or any name) and id, both without underscores, and its file."""

    category: str
    model: str
    path: Path

    @property
    def key(self) -> str:
        """Its name in the layout."""
        return f'{self.category}_{self.model}'


def find_models(root: Path, source: str) -> tuple[list[ModelFile], list[Problem]]:
    """Models below a folder by category and id, and what is wrong. An underscore in a name becomes a hyphen."""
    files: dict[str, ModelFile] = {}
    problems: list[Problem] = []
    for category in names_in(root, problems):
        for name in names_in(root / category, problems):
            path = Path(name)
            if path.suffix.lower() not in SOURCES[source]:
                continue
            file = ModelFile(category.replace('_', '-'), path.stem.replace('_', '-'), root / category / name)
            if file.key in files:
                found = f'has the same name as {files[file.key].path}'
                problems.append(Problem(str(file.path), found, 'rename one of them'))
            else:
                files[file.key] = file
    if not files:
        action = f'name a folder with <category>/<id> files of {", ".join(SOURCES[source])}'
        problems.append(Problem(str(root), 'no CAD models in category folders', action))
    return [files[key] for key in sorted(files)], problems
