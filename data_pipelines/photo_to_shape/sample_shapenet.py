"""Writes a synthetic gallery in ShapeNetCore's layout: furniture that the sample in Pix3D's layout does not have.

<synset>/<id>/models/model_normalized.obj, .mtl
complete.json                                    seed, generator version and counts; written last
"""

import hashlib
from pathlib import Path

from data_pipelines.atomic_folder import complete_sample
from data_pipelines.photo_to_shape.shapenet import SYNSETS
from data_pipelines.synthetic.shapes.furniture import CATEGORIES, make_furniture, part_colors, write_obj

GENERATOR_VERSION = 1
_SEED = 2_000_003  # added to the seed: other structures and proportions than the photographed ones


def write_shapenet_sample(root: Path, *, seed: int = 0, shapes_per_category: int = 24) -> Path:
    """Writes the sample to `root` once, as `complete_sample` does.

    Args:
      root: the folder to write; never half written (`complete_sample`).
      seed: decides the shapes.
      shapes_per_category: 1 .. 24, for each of bed, chair, sofa and table.

    Returns:
      `root`, absolute.

    Raises:
      ConfigError: a count out of range.
      StorageError: as `complete_sample`.
    """
    shapes = {category: make_furniture(category, shapes_per_category, seed=seed + _SEED) for category in CATEGORIES}
    synset_of = {name: synset for synset, name in SYNSETS.items()}

    def write(folder: Path) -> dict[str, int]:
        for category, group in shapes.items():
            for index, shape in enumerate(group):
                name = hashlib.sha256(f'{seed} {shape.name}'.encode()).hexdigest()[:32]
                path = folder / synset_of[category] / name / 'models' / 'model_normalized.obj'
                path.parent.mkdir(parents=True)
                write_obj(path, shape, colors=part_colors(shape, seed=(seed, CATEGORIES.index(category), 5, index)))
        return {'shapes': len(CATEGORIES) * shapes_per_category}

    wanted = {'generator_version': GENERATOR_VERSION, 'seed': seed, 'shapes_per_category': shapes_per_category}
    return complete_sample(root, wanted, write)
