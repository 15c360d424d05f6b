"""Writes the synthetic sample in ModelNet's on-disk layout, so that one code path reads both.

<class>/train/<class>_0001.off    +z up, arbitrary units; numbers go on in test
<class>/test/<class>_0013.off
complete.json                     seed, generator version and counts; written last
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_pipelines.atomic_folder import complete_sample, make_all
from data_pipelines.dataset import ANY, check_ranges
from data_pipelines.synthetic.shapes.furniture import write_off
from data_pipelines.synthetic.shapes.solids import SOLIDS, make_solid

GENERATOR_VERSION = 1
_FEW = 400  # meshes that are made faster than a process starts


@dataclass(frozen=True)
class _Job:
    """One file; `index` counts over train and test of its class."""

    folder: Path
    seed: int
    category: str
    split: str
    index: int


def write_modelnet_sample(
    root: Path | str,
    *,
    seed: int = 0,
    train_per_class: int = 12,
    test_per_class: int = 6,
    processes: int | None = None,
    progress: bool = True,
) -> Path:
    """Writes the sample to `root` once, as `complete_sample` does.

    Args:
      root: the folder to write.
      seed: decides all shapes, whatever the number of processes.
      train_per_class: training meshes for each of the twelve classes.
      test_per_class: test meshes of each class.
      processes: worker processes; None takes what is fastest.
      progress: show a progress bar.

    Returns:
      `root`, absolute.

    Raises:
      ConfigError: a count below 1, or a negative seed.
      StorageError: as `complete_sample`.
    """
    check_ranges(
        seed=(seed, 0, ANY),
        train_per_class=(train_per_class, 1, ANY),
        test_per_class=(test_per_class, 1, ANY),
        processes=(processes, 1, ANY),
    )
    wanted = {
        'layout': 'ModelNet',
        'generator_version': GENERATOR_VERSION,
        'seed': seed,
        'train_per_class': train_per_class,
        'test_per_class': test_per_class,
    }

    def write(folder: Path) -> dict[str, int]:
        jobs = []
        for category in SOLIDS:
            for split in ('train', 'test'):
                (folder / category / split).mkdir(parents=True)
            for index in range(train_per_class + test_per_class):
                jobs.append(_Job(folder, seed, category, 'train' if index < train_per_class else 'test', index))
        make_all(_write_solid, jobs, processes=processes, progress=progress, serial_below=_FEW)
        return {'classes': len(SOLIDS), 'meshes': len(jobs)}

    return complete_sample(root, wanted, write)


def _write_solid(job: _Job) -> None:
    rng = np.random.default_rng([job.seed, list(SOLIDS).index(job.category), job.index])
    vertices, faces = make_solid(job.category, rng)
    path = job.folder / job.category / job.split / f'{job.category}_{job.index + 1:04d}.off'
    write_off(path, vertices, faces)
