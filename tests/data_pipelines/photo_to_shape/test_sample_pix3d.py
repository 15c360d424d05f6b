"""The embedded sample: its layout, truth, determinism, and the difference between its shapes."""

import json
import os
import signal
import subprocess
import sys
import time
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image, ImageDraw

from data_pipelines.photo_to_shape import sample_pix3d as pix3d_layout
from data_pipelines.photo_to_shape.sample_pix3d import write_pix3d_sample
from data_pipelines.synthetic.photos.camera import Camera, look_at
from data_pipelines.synthetic.photos.photograph import take_photo
from data_pipelines.synthetic.shapes.furniture import CATEGORIES, MAX_SHAPES, choose_structures, make_furniture
from jaxret.errors import ConfigError, StorageError

SMALL = {'shapes_per_category': 3, 'photos_per_shape': 2, 'progress': False}
TINY = {'shapes_per_category': 1, 'photos_per_shape': 1, 'progress': False, 'processes': 1}


@pytest.fixture(scope='module')
def sample(tmp_path_factory) -> Path:
    return write_pix3d_sample(tmp_path_factory.mktemp('sample') / 'pix3d', processes=1, **SMALL)


@pytest.fixture(scope='module')
def entries(sample) -> list[dict]:
    return json.loads((sample / 'pix3d.json').read_text())


def _contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob('*')) if path.is_file()}


def _mask(root: Path, entry: dict) -> np.ndarray:
    return np.asarray(Image.open(root / entry['mask']))


def test_every_entry_has_its_files_sizes_and_box(sample, entries):
    assert len(entries) == 4 * (3 * 2 + 2)
    assert len({entry['img'] for entry in entries}) == len(entries)
    for entry in entries:
        with Image.open(sample / entry['img']) as photo:
            assert photo.format == 'JPEG' and photo.mode == 'RGB' and list(photo.size) == entry['img_size']
        mask = _mask(sample, entry)
        assert list(mask.shape[::-1]) == entry['img_size']
        assert set(np.unique(mask)) == {0, 255}
        rows, columns = np.nonzero(mask)
        assert entry['bbox'] == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert (sample / entry['model']).is_file()
        assert entry['img'].split('/')[:2] == ['img', entry['category']]
        assert entry['model'].split('/')[:2] == ['model', entry['category']]
        assert 'split' not in entry


def test_all_categories_and_enough_usable_photos_of_every_shape(entries):
    assert {entry['category'] for entry in entries} == set(CATEGORIES)
    usable: dict[str, int] = {}
    for entry in entries:
        assert not (entry['occluded'] and entry['slightly_occluded'])
        usable[entry['model']] = usable.get(entry['model'], 0) + (not entry['occluded'] and not entry['truncated'])
    assert len(usable) == 12 and set(usable.values()) == {2}
    assert sum(entry['occluded'] for entry in entries) == sum(entry['truncated'] for entry in entries) == 4


def test_marker_is_complete(sample, entries):
    marker = json.loads((sample / 'complete.json').read_text())
    assert marker['seed'] == 0 and marker['generator_version'] == pix3d_layout.GENERATOR_VERSION
    assert marker['photos'] == len(entries) and marker['shapes'] == 12 and marker['synthetic'] is True
    assert sorted(path.name for path in sample.parent.iterdir()) == ['pix3d']  # nothing temporary is left


def test_the_pose_projects_the_written_model_onto_the_mask(sample, entries):
    """The formula of camera.py, written out again, and a raster that knows nothing of rays."""
    overlaps = []
    for entry in entries:
        if entry['occluded'] or entry['slightly_occluded']:
            continue
        mesh = trimesh.load(sample / entry['model'], force='mesh', process=False)
        seen = np.asarray(mesh.vertices) @ np.array(entry['rot_mat']).T + np.array(entry['trans_mat'])
        assert seen[:, 2].min() > 0
        (w, h), zoom = entry['img_size'], 4
        focal = entry['focal_length'] / 32 * w
        u, v = w / 2 - focal * seen[:, 0] / seen[:, 2], h / 2 - focal * seen[:, 1] / seen[:, 2]
        raster = Image.new('L', (zoom * w, zoom * h))
        draw = ImageDraw.Draw(raster)
        for face in mesh.faces:
            draw.polygon([(zoom * u[i], zoom * v[i]) for i in face], fill=255)
        drawn = np.asarray(raster).reshape(h, zoom, w, zoom).mean((1, 3)) > 127
        mask = _mask(sample, entry) > 0
        overlaps.append((drawn & mask).sum() / (drawn | mask).sum())
    assert len(overlaps) >= 20
    assert min(overlaps) > 0.9 and np.mean(overlaps) > 0.96


def test_an_occluder_only_removes_pixels_from_the_silhouette():
    shape, *others = make_furniture('sofa', 2, seed=0)
    photo = take_photo(shape, others, kind='occluded', seed=[5])
    u, v = np.meshgrid(np.arange(photo.camera.width) + 0.5, np.arange(photo.camera.height) + 0.5)
    mesh = trimesh.Trimesh(shape.vertices, shape.faces, process=False)
    rays = photo.camera.rays(u.ravel(), v.ravel())
    alone = mesh.ray.intersects_any(np.tile(photo.camera.position, (len(rays), 1)), rays).reshape(photo.mask.shape)
    visible = photo.mask > 0
    assert (visible & ~alone).sum() < 0.03 * alone.sum()  # half-covered pixels at the edges
    assert 0.3 < 1 - visible.sum() / alone.sum() < 0.9
    assert abs(photo.hidden - (1 - visible.sum() / alone.sum())) < 0.1


def test_same_seed_same_bytes_whatever_the_processes(sample, tmp_path):
    again = write_pix3d_sample(tmp_path / 'again', processes=2, **SMALL)
    assert _contents(again) == _contents(sample)


def test_another_seed_gives_other_shapes_and_photos(tmp_path):
    first = _contents(write_pix3d_sample(tmp_path / 'a', seed=0, **TINY))
    second = _contents(write_pix3d_sample(tmp_path / 'b', seed=1, **TINY))
    shared = {name for name in first if name in second and first[name] == second[name]}
    assert shared == set()


def test_a_complete_sample_is_kept_and_one_of_another_seed_replaced(tmp_path):
    root = write_pix3d_sample(tmp_path / 's', seed=0, **TINY)
    before = (root / 'pix3d.json').stat().st_mtime_ns
    assert write_pix3d_sample(root, seed=0, **TINY) == root
    assert (root / 'pix3d.json').stat().st_mtime_ns == before
    write_pix3d_sample(root, seed=3, **TINY)
    assert json.loads((root / 'complete.json').read_text())['seed'] == 3
    assert [path.name for path in tmp_path.iterdir()] == ['s']


def test_foreign_folders_are_refused_and_left_alone(tmp_path):
    root = tmp_path / 'mine'
    root.mkdir()
    (root / 'thesis.tex').write_text('precious')
    with pytest.raises(StorageError, match='mine'):
        write_pix3d_sample(root, **TINY)
    assert (root / 'thesis.tex').read_text() == 'precious'
    blocker = tmp_path / 'file'
    blocker.write_text('x')
    with pytest.raises(StorageError):
        write_pix3d_sample(blocker / 'below', **TINY)
    with pytest.raises(StorageError):
        write_pix3d_sample(blocker, **TINY)


def test_a_full_disk_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(pix3d_layout, '_render', full)
    with pytest.raises(StorageError, match='No space left'):
        write_pix3d_sample(tmp_path / 's', **TINY)
    assert list(tmp_path.iterdir()) == []


def test_bad_counts_are_refused(tmp_path):
    for wrong in ({'shapes_per_category': MAX_SHAPES + 1}, {'photos_per_shape': 0}, {'seed': -1}, {'processes': 0}):
        with pytest.raises(ConfigError):
            write_pix3d_sample(tmp_path / 's', **{**TINY, **wrong})
    with pytest.raises(ConfigError, match='lamp'):
        choose_structures('lamp', 3, seed=0)
    assert not (tmp_path / 's').exists()


def test_a_killed_run_leaves_no_half_sample_and_no_process(tmp_path):
    code = (
        'from pathlib import Path\n'
        'from data_pipelines.photo_to_shape.sample_pix3d import write_pix3d_sample\n'
        "if __name__ == '__main__':\n"
        f'    write_pix3d_sample(Path({str(tmp_path / "s")!r}), processes=2, progress=False)\n'
    )
    script = tmp_path / 'main.py'
    script.write_text(code)
    run = subprocess.Popen([sys.executable, str(script)], env={**os.environ, 'PYTHONPATH': os.getcwd()})
    deadline = time.monotonic() + 30
    while not list(tmp_path.glob('.s.*/img/*/*.jpg')) and time.monotonic() < deadline:
        time.sleep(0.05)
    run.send_signal(signal.SIGKILL)
    run.wait()
    assert not (tmp_path / 's').exists()
    time.sleep(1.0)
    left = len(list(tmp_path.glob('.s.*/img/*/*.jpg')))
    assert left > 0
    time.sleep(1.0)
    assert len(list(tmp_path.glob('.s.*/img/*/*.jpg'))) == left  # the workers are gone too


@pytest.mark.parametrize('category', CATEGORIES)
def test_shapes_differ_from_one_another_in_shape(category):
    """Surfaces in a 24^3 grid, after the normalisation that removes scale, overlap little for any pair."""
    shapes = make_furniture(category, 12, seed=0)
    grids = [_surface_cells(shape) for shape in shapes]
    overlap = max(len(a & b) / len(a | b) for a, b in combinations(grids, 2))
    same = len(grids[0] & _surface_cells(shapes[0], seed=1)) / len(grids[0] | _surface_cells(shapes[0], seed=1))
    assert overlap < 0.8 < 0.95 < same
    structures = [tuple(shape.structure.values()) for shape in shapes]
    assert min(sum(x != y for x, y in zip(a, b, strict=True)) for a, b in combinations(structures, 2)) >= 2


def _surface_cells(shape, *, seed: int = 0, cells: int = 24, count: int = 60_000) -> set[int]:
    rng = np.random.default_rng(seed)
    corners = shape.vertices[shape.faces]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    face = rng.choice(len(area), count, p=area / area.sum())
    s, t = np.sqrt(rng.random(count))[:, None], rng.random(count)[:, None]
    points = (1 - s) * corners[face, 0] + s * (1 - t) * corners[face, 1] + s * t * corners[face, 2]
    index = np.clip(((points + 0.5) * cells).astype(int), 0, cells - 1)
    return set((index @ [cells * cells, cells, 1]).tolist())


@pytest.mark.parametrize('category', CATEGORIES)
def test_meshes_are_normalised_closed_and_outward(category):
    for seed in (0, 1):
        shapes = make_furniture(category, 12, seed=seed)
        assert len({shape.name for shape in shapes}) == 12
        for shape in shapes:
            low, high = shape.vertices.min(0), shape.vertices.max(0)
            np.testing.assert_allclose(low + high, 0, atol=1e-12)
            assert (high - low).max() == pytest.approx(1)
            assert len(shape.face_parts) == len(shape.faces) and shape.face_parts.max() < len(shape.part_names)
            mesh = trimesh.Trimesh(shape.vertices, shape.faces, process=False)
            assert mesh.is_watertight and mesh.is_winding_consistent and mesh.volume > 0
            assert mesh.area_faces.min() > 0


def test_the_written_mesh_is_the_shape(sample, entries):
    entry = next(entry for entry in entries if entry['category'] == 'chair')
    shape = next(s for s in make_furniture('chair', 3, seed=0) if s.name == Path(entry['model']).parent.name)
    mesh = trimesh.load(sample / entry['model'], force='mesh', process=False)
    assert len(mesh.faces) == len(shape.faces)
    assert mesh.volume == pytest.approx(trimesh.Trimesh(shape.vertices, shape.faces).volume, rel=1e-3)
    np.testing.assert_allclose(mesh.bounds, [shape.vertices.min(0), shape.vertices.max(0)], atol=1e-6)


def test_camera_numbers_agree_with_one_another():
    position, roll = np.array([1.2, 0.8, -1.5]), 0.07
    camera = Camera(160, 120, 35.0, look_at(position, np.zeros(3), roll=roll), position)
    np.testing.assert_allclose(camera.rotation @ camera.rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(camera.rotation) == pytest.approx(1)
    np.testing.assert_allclose(camera.project(np.zeros((1, 3))), [[80, 60]], atol=1e-9)
    assert camera.inplane_rotation == pytest.approx(roll)
    level = Camera(160, 120, 35.0, look_at(position, np.zeros(3)), position)
    up, right = level.project(np.array([[0, 0.1, 0], -0.1 * level.rotation[0]]))
    assert up[1] < 60 and right[0] > 80
    points = np.random.default_rng(0).uniform(-0.4, 0.4, (9, 3))
    pixels = camera.project(points)
    rays = camera.rays(pixels[:, 0], pixels[:, 1])
    toward = (points - position) / np.linalg.norm(points - position, axis=1, keepdims=True)
    np.testing.assert_allclose(rays, toward, atol=1e-9)
