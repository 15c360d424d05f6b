"""Small folders in the scan-CAD layout, written without the simulator."""

import json

import numpy as np

from jaxret.geometry.distance_grids import DistanceGrid, write_distances, write_mask

SIDE = 8
SYNSETS = ('03001627', '04379243')


def ball(radius, side=SIDE, centre=None):
    """Distances to a sphere in a grid of voxels of size 0.5."""
    centre = np.full(3, (side - 1) / 2) if centre is None else np.asarray(centre)
    steps = np.stack(np.meshgrid(*[np.arange(side)] * 3, indexing='ij'), axis=-1)
    distance = np.abs(np.linalg.norm(steps - centre, axis=-1) - radius) * 0.5
    return DistanceGrid(distance.astype(np.float32), 0.5, np.eye(4, dtype=np.float32))


def scan_name(number, synset, model):
    return f'scene{number:04d}_00__{number}_{synset}_{model}'


def write_collection(root, *, models=7, scans=3, side=SIDE, ranked=3):
    """Two categories of spheres; every model has `scans` scans (train, val, test in turn). Returns the scan names."""
    (root / 'scan').mkdir(parents=True)
    (root / 'cad').mkdir()
    pairs, samples, number = {}, [], 0
    for row, synset in enumerate(SYNSETS):
        keys = [f'{synset}_m{index}' for index in range(models)]
        for index, key in enumerate(keys):
            model = ball(1.2 + 0.25 * index, side, [3.5, 3.5 + 0.3 * row, 3])
            write_distances(root / 'cad' / f'{key}__0__.df', model)
            for part in range(scans):
                name = scan_name(number, synset, f'm{index}')
                number += 1
                grid = ball(1.2 + 0.25 * index, side, [3.5, 3.5 + 0.3 * row, 3 + 0.2 * part])
                grid.values[:, :, : 1 + part] = 5
                write_distances(root / 'scan' / f'{name}.sdf', grid)
                mask = grid.occupancy()
                mask[0] = False
                write_mask(root / 'scan' / f'{name}.mask', mask, grid)
                write_distances(root / 'cad' / f'{name}.df', model)
                pairs[name] = ('train', 'validation', 'test')[part % 3]
                pool = [other for other in keys if other != key][:6]
                samples.append({
                    'reference': {'name': f'/scan/{name}'}, 'pool': [{'name': f'/cad/{other}'} for other in pool],
                    'ranked': [{'name': f'/cad/{other}'} for other in pool[1 : 1 + ranked]],
                })  # fmt: skip
    write_json(root / 'scan2cad_objects.json', {'scan2cad_objects': pairs})
    write_json(root / 'similarity.json', {'samples': samples})
    return sorted(pairs)


def write_json(path, value):
    path.write_text(json.dumps(value))


def read_json(path):
    return json.loads(path.read_text())
