"""The benchmarks of the built-in model on a few solids: they run, and their rows are right where that is known."""

import importlib
import json
import os

import numpy as np
import pytest
import trimesh
from PIL import Image
from small_pretrained import small_pretrained

SOLIDS = {
    'box': trimesh.creation.box((1, 0.2, 0.5)),
    'tower': trimesh.creation.box((0.2, 1, 0.2)),
    'twin': trimesh.creation.box((0.2, 1, 0.2)),
    'ball': trimesh.creation.icosphere(subdivisions=1),
}


@pytest.fixture
def benchmark(written, monkeypatch):
    """Runs a script with a small model; returns what it wrote, and its rows by name."""
    monkeypatch.setattr(importlib.import_module('built_in_index'), 'load_pretrained', lambda name: small_pretrained())

    def run(name, *arguments):
        found = written(name, *arguments, '--threads=1')
        return found, {row['row']: row for row in found['rows']}

    cores = os.sched_getaffinity(0)
    yield run
    os.sched_setaffinity(0, cores)  # which --threads limits


def write_models(folder, place='{0}/{0}.ply'):
    for name, solid in SOLIDS.items():
        path = folder / place.format(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        solid.export(path)
    return folder


def test_screenshots(benchmark, tmp_path):
    written, rows = benchmark('screenshots', f'--models={write_models(tmp_path / "models")}', '--queries=3', '--seed=1')
    assert written['facts']['embedded'] == 4 and written['facts']['twins'] == 1
    assert list(rows) == [
        'built-in, mask', 'built-in, no mask', 'instance, mask', 'outlines alone', 'silhouettes and greys', 'chance',
    ]  # fmt: skip
    assert rows['outlines alone']['top1_twins'] == 1 and rows['silhouettes and greys']['top10'] == 1
    assert rows['chance']['top1'] == 1 / 4


def test_classes_of_photos(benchmark, tmp_path):
    for split in ('train', 'test'):
        (tmp_path / 'image' / split / 'ball').mkdir(parents=True)
        Image.new('RGB', (40, 40), 'red').save(tmp_path / 'image' / split / 'ball' / 'one.png')
    models = write_models(tmp_path / 'models')
    _, rows = benchmark('class_photos', f'--photos={tmp_path}', f'--models={models}', '--queries=1')
    assert list(rows) == ['mixed', 'instance', 'class', 'chance'] and rows['mixed']['queries'] == 1
    assert rows['chance']['nn'] == 1 / 4 and rows['class']['precision'] == 1 / 4  # of all four answers


def test_known_photos(benchmark, tmp_path):
    entries, generator = [], np.random.default_rng(0)
    for number, name in enumerate([*SOLIDS] * 2):
        entry = {'img': f'img/{number}.png', 'mask': f'mask/{number}.png', 'model': f'model/{name}/{name}.ply'}
        entries.append({**entry, 'category': name, 'split': 'train' if number < 4 else 'test'})
        for key, shape in (('img', (40, 40, 3)), ('mask', (40, 40))):
            picture = generator.integers(0, 256, shape) if key == 'img' else np.full(shape, 255)
            (tmp_path / key).mkdir(exist_ok=True)
            Image.fromarray(picture.astype(np.uint8)).save(tmp_path / entry[key])
    (tmp_path / 'pix3d.json').write_text(json.dumps(entries))
    write_models(tmp_path, 'model/{0}/{0}.ply')
    written, rows = benchmark('known_photos', f'--data_dir={tmp_path}', '--seeds=2')
    assert written['facts']['known_photos'] == 4 and len(rows) == 16
    assert rows['prior']['top1'] == 1 / 4 and rows['zero-shot, mixed']['top10'] == 1
    everything = rows['views + references']
    assert rows['4 photos a model']['top1'] == everything['top1']  # each has one photo
    assert rows['half taught, these']['queries'] == 2
