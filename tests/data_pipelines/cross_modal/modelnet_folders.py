"""Small collections in ModelNet's layout, and in those of its published preprocessed files."""

import io
import json

import h5py
import numpy as np
import trimesh
from PIL import Image

CLASSES = ('ball', 'box', 'cone')
BODIES = {
    'ball': lambda: trimesh.creation.icosphere(subdivisions=1),
    'box': lambda: trimesh.creation.box(),
    'cone': lambda: trimesh.creation.cone(1.0, 2.0, sections=8),
}


def body(category, number):
    """A body of the class, longer along z with its number."""
    mesh = BODIES[category]()
    mesh.apply_scale([1.0, 1.0, 1.0 + 0.3 * number])
    return mesh


def write_collection(root, *, train=3, test=2, classes=CLASSES, suffix='.off'):
    """<class>/{train,test}/<class>_<number>.off; returns the names."""
    names = []
    for category in classes:
        for number in range(train + test):
            name = f'{category}/{"train" if number < train else "test"}/{category}_{number:04d}{suffix}'
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            body(category, number).export(root / name)
            names.append(name)
    return names


def published_faces(category, number):
    """MeshNet's values with absolute corners, and neighbours, z up."""
    mesh = body(category, number)
    corners = np.asarray(mesh.triangles)
    faces = np.concatenate([corners.mean(1), corners.reshape(-1, 9), mesh.face_normals], axis=1)
    neighbors = np.stack([np.sort(np.where((mesh.face_adjacency == face).any(1))[0])[:3] for face in range(len(faces))])
    pairs = mesh.face_adjacency[neighbors]
    other = pairs.sum(-1) - np.arange(len(faces))[:, None]
    return faces.astype(np.float32), other


def picture(value, size=16):
    pixels = np.full((size, size, 3), value, np.uint8)
    pixels[: size // 2] = 255 - value
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, 'PNG')
    return buffer.getvalue()


def write_published(root, *, train=3, test=2, views=3, points=32, classes=CLASSES, keys=('face', 'neighbor_index')):
    """images/, points/ and meshes/ below root; returns the ids by class."""
    ids = {category: [f'{category}_{number:04d}' for number in range(train + test)] for category in classes}
    (root / 'points').mkdir(parents=True)
    (root / 'points' / 'shape_names.txt').write_text('\n'.join(classes) + '\n')
    for split, first, last in (('train', 0, train), ('test', train, train + test)):
        rows = [(label, number) for number in range(first, last) for label in range(len(classes))]
        clouds = np.stack([np.random.default_rng([label, number]).normal(size=(points, 3)) for label, number in rows])
        with h5py.File(root / 'points' / f'ply_data_{split}0.h5', 'w') as file:
            file['data'] = clouds.astype(np.float32)
            file['label'] = np.array([[label] for label, _ in rows], np.uint8)
        listed = [f'{classes[label]}/{ids[classes[label]][number]}.ply' for label, number in rows]
        (root / 'points' / f'ply_data_{split}_0_id2file.json').write_text(json.dumps(listed))
    for label, category in enumerate(classes):
        for number, name in enumerate(ids[category]):
            folder = root / 'images' / category / name
            folder.mkdir(parents=True)
            for view in range(views):
                (folder / f'{name}.{view}.png').write_bytes(picture(50 * label + 10 * number + view))
            mesh = root / 'meshes' / category / ('train' if number < train else 'test') / f'{name}.npz'
            mesh.parent.mkdir(parents=True, exist_ok=True)
            np.savez(mesh, **dict(zip(keys, published_faces(category, number), strict=True)))
    return ids
