"""The sample of cars: its two layouts, its truth, determinism, and the difference between its shapes."""

import json
import pickle
import pickletools
from itertools import combinations

import numpy as np
import pytest
import trimesh
from PIL import Image
from scipy.spatial import cKDTree

from data_pipelines.photo_to_shape.car_annotations import CarPose, read_annotations
from data_pipelines.photo_to_shape.car_masks import WIDTH, silhouette
from data_pipelines.photo_to_shape.cars import read_cars
from data_pipelines.photo_to_shape.sample_car_photos import photograph_car, pose_camera, project
from data_pipelines.photo_to_shape.sample_cars import LAYOUTS, write_car_sample
from data_pipelines.synthetic.photos.lighting import Stage
from data_pipelines.synthetic.photos.scene import Item
from data_pipelines.synthetic.shapes.cars import MAX_CARS, make_car
from jaxret.errors import ConfigError, StorageError
from jaxret.geometry.rays import build_scene

TINY = {'shapes': 2, 'photos_per_shape': 3, 'processes': 1, 'progress': False}


def contents(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob('*')) if path.is_file()}


@pytest.fixture(scope='module')
def samples(tmp_path_factory):
    root = tmp_path_factory.mktemp('sample')
    return {name: write_car_sample(root / name, layout=name, **TINY) for name in LAYOUTS}


@pytest.mark.parametrize('layout', LAYOUTS)
def test_the_reader_finds_photos_models_and_splits(samples, tmp_path, layout):
    dataset = read_cars(
        samples[layout],
        layout=layout,
        val_fraction=0,
        cache_dir=tmp_path,
        check_processes=1,
        progress=False,
        crop='mask',
    )
    assert len(dataset.photos) == 6 and len(dataset.shapes) == 2 and dataset.skipped == ()
    assert dataset.masks == ('files', 'files')
    for shape in dataset.shapes:
        assert {photo.split for photo in dataset.photos if photo.model == shape.model} == {'train', 'test'}
    for photo in dataset.photos:
        with Image.open(photo.image) as picture, Image.open(photo.mask) as mask:
            assert picture.format == 'JPEG' and picture.mode == 'RGB' and picture.size == mask.size
            assert 0.05 < (np.asarray(mask) > 0).mean() < 0.9
    marker = json.loads((samples[layout] / 'complete.json').read_text())
    assert marker['synthetic'] is True and marker['photos'] == 6 and marker['layout'] == layout
    assert sorted(path.name for path in samples[layout].parent.iterdir()) == sorted(LAYOUTS)


def test_layouts_are_those_of_the_published_sets(samples):
    stanford, comp = samples['stanford_cars'], samples['comp_cars']
    assert sorted(path.name for path in (stanford / 'cars_train').iterdir()) == [f'{i:05d}.jpg' for i in (1, 2, 3, 4)]
    assert sorted(path.name for path in (stanford / 'cars_test').iterdir()) == ['00001.jpg', '00002.jpg']
    assert len(list((stanford / '02958343').glob('*/model.obj'))) == 2
    assert len(list((comp / 'image').glob('*/*/*/*.jpg'))) == 6
    assert len(list((comp / '02958343').glob('*/models/model_normalized.obj'))) == 2
    for root in samples.values():
        for split in ('train', 'test'):
            opcodes = {opcode.name for opcode, _, _ in pickletools.genops((root / f'{split}_anno.pkl').read_bytes())}
            assert opcodes == {'MARK', 'DICT', 'STRING', 'FLOAT', 'SETITEM', 'STOP'}
            assert len(pickle.loads((root / f'{split}_anno.pkl').read_bytes())) in (2, 4)
            assert read_annotations(root / f'{split}_anno.pkl')[1] == []


def test_the_same_seed_gives_the_same_bytes(samples, tmp_path):
    again = write_car_sample(tmp_path / 'again', layout='comp_cars', **TINY)
    assert contents(again) == contents(samples['comp_cars'])
    stamp = (again / 'complete.json').stat().st_mtime_ns
    write_car_sample(again, layout='comp_cars', **TINY)
    assert (again / 'complete.json').stat().st_mtime_ns == stamp
    car = make_car(0, seed=0)
    assert not np.array_equal(make_car(0, seed=1).vertices, car.vertices)
    assert not np.array_equal(photograph_car(car, seed=(0, 1))[0].mean(), photograph_car(car, seed=(0, 2))[0].mean())


def test_cars_are_closed_alike_on_both_sides_and_different():
    cars = [make_car(index, seed=0) for index in range(24)]
    assert len({tuple(make_car(index, seed=0).structure.values()) for index in range(MAX_CARS)}) == MAX_CARS
    masks = []
    for car in cars:
        low, high = car.vertices.min(axis=0), car.vertices.max(axis=0)
        np.testing.assert_allclose(low + high, 0, atol=1e-9)
        assert np.linalg.norm(high - low) == pytest.approx(1)
        length, height, width = high - low
        assert length > 1.8 * width and length > 1.8 * height
        mesh = trimesh.Trimesh(car.vertices, car.faces, process=False)
        assert mesh.is_watertight and mesh.is_winding_consistent and mesh.volume > 0
        assert cKDTree(car.vertices).query(car.vertices * [1, 1, -1])[0].max() < 1e-9
        scene = build_scene(car.vertices, car.faces, watertight=False)
        poses = [CarPose(azimuth, 0.1, 0.0, 2.0, 0.0, 0.0, 500.0) for azimuth in (0.0, 0.8, 1.6)]
        masks.append(np.stack([silhouette(scene, pose, width=150, height=100) > 0 for pose in poses]))
    overlaps = [(one & other).sum() / (one | other).sum() for one, other in combinations(masks, 2)]
    assert max(overlaps) < 0.97


def test_the_camera_of_a_photo_is_the_one_of_its_annotation():
    """The photo's own camera against the annotations' projection, of points and of silhouettes."""
    car = make_car(5, seed=3)
    for number in range(3):
        image, drawn, pose = photograph_car(car, seed=(number,))
        height, width = image.shape[:2]
        camera = pose_camera(pose, width=width, height=height)
        shift = np.array([pose.u, pose.v]) * width / WIDTH
        mirrored = car.vertices * [1, 1, -1]
        expected = project(mirrored, pose, aspect=height / width) * width / WIDTH
        np.testing.assert_allclose(camera.project(car.vertices) + shift, expected, atol=1e-6)
        rows, columns = np.mgrid[:height, :width] + 0.5
        rays = camera.rays(columns.ravel() - shift[0], rows.ravel() - shift[1])
        seen = Stage([Item(car.vertices, car.faces, car.face_parts, ())]).cast(camera.position, rays).item == 0
        mask = silhouette(build_scene(car.vertices, car.faces, watertight=False), pose, width=width, height=height) > 0
        seen = seen.reshape(height, width)
        assert (seen & mask).sum() / (seen | mask).sum() > 0.97
        assert drawn.dtype == np.uint8 and set(np.unique(drawn)) == {0, 255}
        assert (seen & (drawn > 0)).sum() / (seen | (drawn > 0)).sum() > 0.97
        assert 0.5 < np.ptp(np.flatnonzero(mask.any(axis=0))) / width <= 0.95


def test_poses_are_plain_numbers():
    _, _, pose = photograph_car(make_car(0, seed=0), seed=(0,))
    assert isinstance(pose, CarPose) and all(type(value) is float for value in vars(pose).values())


def test_what_is_refused(tmp_path):
    for name, value in (
        ('layout', 'aircraft'),
        ('shapes', 0),
        ('shapes', MAX_CARS + 1),
        ('photos_per_shape', 1),
        ('seed', -1),
        ('processes', 0),
    ):
        wrong = {name: value}
        with pytest.raises(ConfigError, match=f'(needs {name} of|is one of) .*, not {value}'):
            write_car_sample(tmp_path / 'new', **({'layout': 'comp_cars'} | TINY | wrong))
    assert not (tmp_path / 'new').exists()
    (tmp_path / 'mine').mkdir()
    (tmp_path / 'mine' / 'photo.jpg').write_text('')
    with pytest.raises(StorageError, match='something other than a sample'):
        write_car_sample(tmp_path / 'mine', layout='comp_cars', **TINY)
