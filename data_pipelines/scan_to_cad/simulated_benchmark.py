"""What makes simulated scans a benchmark: two ways to hold scans out, and pools of models ranked by overlap.

Letters: R voxels a side. The key of a model is '<category>_<id>'; scan names end with it.
"""

import functools
import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from data_pipelines.scan_to_cad.scan_cad_annotations import POOL, RANKED
from jaxret.geometry.distances import voxel_iou

# A model of a pool is ranked if it overlaps the scanned one at least this much, in parts of the best overlap.
_SIMILAR = 0.6


def split_by_viewpoint(names: Sequence[str], *, scans_per_model: int, seed: int) -> dict[str, str]:
    """Split by scan name: of each model one random scan is test, from four scans on another is validation.

    Args:
      names: of scans; the second part is the scan's number among those of its model.
      scans_per_model: numbers that there are.
      seed: decides which.
    """
    split = {}
    for name in names:
        number, key = int(name.split('_')[1]), key_of(name)
        order = list(generator(seed, 'viewpoint', key).permutation(scans_per_model))
        place = order.index(number)
        split[name] = 'test' if place == 0 else 'validation' if place == 1 and scans_per_model >= 4 else 'train'
    return split


def split_by_model(names: Sequence[str], keys: Sequence[str], *, seed: int) -> dict[str, str]:
    """Split by scan name: of each category about a fifth of the models is test, from five on a tenth validation.

    Args:
      names: of scans.
      keys: of all models.
      seed: decides which.
    """
    members = defaultdict(list)
    for key in keys:
        members[key.split('_')[0]].append(key)
    split = {}
    for own in members.values():
        own.sort(key=lambda key: stable_hash(f'{seed} model {key}'))
        test = max(1, round(len(own) / 5)) if len(own) > 1 else 0
        val = max(1, round(len(own) / 10)) if len(own) >= 5 else 0
        for place, key in enumerate(own):
            split[key] = 'test' if place < test else 'validation' if place < test + val else 'train'
    return {name: split[key_of(name)] for name in names}


def rank_pools(scans: Sequence[str], grids: Mapping[str, np.ndarray], *, seed: int) -> list[dict[str, Any]]:
    """Annotations by geometry: pools of 6 other models of the scanned model's category, drawn at random.

    Ranked are the up to 3 that overlap most (intersection over union of the occupancies), if they overlap at least 0.6
    times as much as the best one. A category with fewer than 7 models has no pools.

    Args:
      scans: names of scans.
      grids: bool [R, R, R] of every model by its key.
      seed: decides the pools.

    Returns:
      'samples' of the similarity file.
    """
    members = defaultdict(list)
    for key in sorted(grids):
        members[key.split('_')[0]].append(key)
    overlap = functools.cache(lambda first, second: voxel_iou(grids[first], grids[second]))
    samples = []
    for name in scans:
        own = key_of(name)
        others = [key for key in members[own.split('_')[0]] if key != own]
        if len(others) < POOL:
            continue
        pool = [others[i] for i in generator(seed, 'pool', name).permutation(len(others))[:POOL]]
        score = {key: overlap(*sorted((own, key))) for key in pool}
        best = sorted(pool, key=lambda key: (-score[key], key))[:RANKED]
        ranked = [key for key in best if score[key] >= _SIMILAR * score[best[0]]]
        samples.append({
            'reference': {'name': f'/scan/{name}'},
            'pool': [{'name': f'/cad/{key}'} for key in pool],
            'ranked': [{'name': f'/cad/{key}'} for key in ranked],
        })  # fmt: skip
    return samples


def key_of(name: str) -> str:
    """Key of the model that a scan shows."""
    return '_'.join(name.split('_')[-2:])


def generator(seed: int, purpose: str, name: str) -> np.random.Generator:
    """Random numbers for one purpose and one name, whatever other names there are."""
    return np.random.default_rng([seed, stable_hash(f'{purpose} {name}')])


def stable_hash(text: str) -> int:
    """64 bits that are the same in every process."""
    return int(hashlib.sha256(text.encode(errors='surrogateescape')).hexdigest()[:16], 16)
