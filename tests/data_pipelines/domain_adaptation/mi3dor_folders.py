"""Small data sets in MI3DOR's layout: photos, and shapes as pictures or meshes."""

import re

import numpy as np
import trimesh
from PIL import Image

CLASSES = ('ball', 'box', 'cone')
COLORS = {'ball': (200, 40, 40), 'box': (40, 200, 40), 'cone': (40, 40, 200)}
BODIES = {
    'ball': lambda: trimesh.creation.icosphere(subdivisions=1),
    'box': lambda: trimesh.creation.box(),
    'cone': lambda: trimesh.creation.cone(1.0, 2.0, sections=8),
}


def picture(path, color, *, width=20, height=14):
    """A picture whose left third is half as bright."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((height, width, 3), color, np.uint8)
    pixels[:, : width // 3] //= 2
    Image.fromarray(pixels).save(path)
    return path


def write_photos(root, *, train=4, test=2, classes=CLASSES):
    """image/{train,test}/<class>/photo_NN.png: names are the same in all classes."""
    names = []
    for category in classes:
        for number in range(train + test):
            name = f'image/{"train" if number < train else "test"}/{category}/photo_{number:02d}.png'
            picture(root / name, np.array(COLORS.get(category, (90, 90, 90))) + number)
            names.append(name)
    return names


def view_value(category, number, view):
    """Grey of a view, another for every view there is."""
    return 20 + 70 * CLASSES.index(category) + 8 * number + view


def write_views(root, *, train=3, test=2, views=4, classes=CLASSES, flat='', colored=False):
    """view/{train,test}/<class>/<class>_<number>/NN.png, or flat with a separator; returns the shapes' names."""
    names = []
    for category in classes:
        for number in range(train + test):
            name = f'view/{"train" if number < train else "test"}/{category}/{category}_{number:04d}'
            for view in range(views):
                value = view_value(category, number, view)
                color = (value, value, value // 2) if colored else (value,) * 3
                file = f'{name}{flat}{view + 1}.png' if flat else f'{name}/{view + 1}.png'
                picture(root / file, color, width=16, height=16)
            names.append(name)
    return names


def write_meshes(root, *, train=3, test=2, classes=CLASSES, pattern='model/{split}/{category}', suffix='.off'):
    """Meshes, longer along z with their number; returns their names."""
    names = []
    for category in classes:
        for number in range(train + test):
            folder = pattern.format(split='train' if number < train else 'test', category=category)
            name = f'{folder}/{category}_{number:04d}{suffix}'
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            mesh = BODIES[category]()
            mesh.apply_scale([1.0, 1.0, 1.0 + 0.3 * number])
            mesh.export(root / name)
            names.append(name)
    return names


def write_lists(root, *, classes=CLASSES):
    """list_{source,target}_{train,test}.txt of what stands in the folders; returns (photo lists, view lists)."""
    files = {}
    for domain, top in (('source', 'image'), ('target', 'view')):
        for split in ('train', 'test'):
            lines = []
            for label, category in enumerate(classes):
                paths = (root / top / split / category).rglob('*.png')
                ordered = sorted(paths, key=_natural)
                lines += [f'{path.relative_to(root).as_posix()} {label}' for path in ordered]
            files[domain, split] = f'list_{domain}_{split}.txt'
            (root / files[domain, split]).write_text('\n'.join(lines) + '\n')
    (root / 'names.txt').write_text('\n'.join(classes) + '\n')
    return tuple(tuple(files[domain, split] for split in ('train', 'test')) for domain in ('source', 'target'))


def _natural(path):
    """2 before 10."""
    return [int(part) if part.isdigit() else part for part in re.split(r'(\d+)', path.as_posix())]
