"""Models from work directories: restored weights, inputs as training makes them, four systems."""

import io
import shutil
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import trimesh
from absl import logging
from finished_runs import CLASSES, write_run
from PIL import Image
from small_cmic import small_cmic
from small_index import write_box

import jaxret
from data_pipelines.cross_modal.dataset import ObjectEntry
from data_pipelines.cross_modal.objects import object_from_mesh
from data_pipelines.domain_adaptation.dataset import ShapeFiles
from data_pipelines.domain_adaptation.pictures import photo_png, shape_pngs
from jaxret import systems
from jaxret.errors import CheckpointError, ConfigError, DataError
from jaxret.geometry.distance_grids import write_distances
from jaxret.geometry.grid_meshes import grid_from_mesh
from jaxret.geometry.mesh import load_mesh
from jaxret.geometry.render import ViewRing, render_file
from jaxret.inference.export import export_query_encoder, load_query_encoder
from jaxret.inference.query_files import query_arrays
from jaxret.preprocessing.framing import frame_files
from jaxret.preprocessing.photos import photo_arrays
from jaxret.preprocessing.points import point_arrays
from jaxret.preprocessing.shapes import shape_arrays
from jaxret.search.similarity import KINDS, VIEW_KINDS
from jaxret.systems.by_task import system_classes
from jaxret.systems.cmic import CHOICES, CMIC
from jaxret.systems.cross_modal_center import CrossModalCenter
from jaxret.systems.hifa import Hifa
from jaxret.systems.scan_cad import ScanCad

KINDS_OF_QUERIES = ('photo', 'mesh', 'points', 'scan')


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    """Meshes, a scan, points, a photo with its mask."""
    folder = tmp_path_factory.mktemp('files')
    write_box(folder / 'a.obj', 1, 2, 3)
    write_box(folder / 'b.off', 2, 1, 1)
    trimesh.creation.icosphere(subdivisions=2).export(folder / 'c.stl')
    write_distances(folder / 'scan.sdf', grid_from_mesh(load_mesh(folder / 'c.stl')))
    np.save(folder / 'points.npy', np.random.default_rng(0).normal(size=(500, 3)))
    rng = np.random.default_rng(1)
    Image.fromarray(rng.integers(256, size=(40, 50, 3), dtype=np.uint8)).save(folder / 'photo.png')
    mask = np.zeros((40, 50), np.uint8)
    mask[5:30, 10:45] = 255
    Image.fromarray(mask).save(folder / 'mask.png')
    return folder


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
    """(workdir, config, variables) of each system, made when it is asked for."""
    folder, made = tmp_path_factory.mktemp('runs'), {}

    def run(system):
        if system not in made:
            made[system] = (folder / system, *write_run(folder / system, system))
        return made[system]

    return run


def embed(system, *arguments):
    """What the system itself gives, as one program."""
    return jax.jit(system.embed, static_argnums=2)(*arguments)


def pixels(data):
    return np.asarray(Image.open(io.BytesIO(data)))


def meshes(files):
    return [files / name for name in ('a.obj', 'b.off', 'c.stl')]


def test_cmic_embeds_as_training_does(runs, files):
    workdir, config, variables = runs('cmic')
    model = jaxret.load(workdir)
    assert (model.system, model.step, model.query_kinds, model.similarity) == ('cmic', 3, KINDS_OF_QUERIES, 'attention')
    ring = ViewRing(size=config.data.image_size, **config.render.to_dict())
    views = np.stack([render_file(path, ring) for path in meshes(files)])[..., None]
    framing = {'size': config.data.image_size, 'crop': 'mask', 'margin': config.data.margin, 'fit': config.data.fit}
    framed, silhouette = map(pixels, frame_files((files / 'photo.png', files / 'mask.png', None), **framing))
    system = CMIC.from_config(config)
    shapes = model.embed_shapes(meshes(files), processes=1)
    np.testing.assert_allclose(shapes, embed(system, variables, {'views': views}, 'views'), atol=1e-5)
    query = model.embed_photos([files / 'photo.png'], masks=[files / 'mask.png'])
    wanted = embed(system, variables, {'image': framed[None], 'mask': silhouette[None, ..., None]}, 'photo')
    np.testing.assert_allclose(query, wanted, atol=1e-5)
    np.testing.assert_allclose(
        query @ model.projection, system.attention.apply({'params': variables['params']['attention']}, query), atol=1e-5
    )
    assert model.shape_inputs.azimuth(1) == 90


def test_cross_modal_centers_embed_as_training_does(runs, files):
    workdir, config, variables = runs('cross_modal_center')
    data, system = config.data, CrossModalCenter.from_config(config, classes=len(CLASSES))
    ring = ViewRing(size=data.image_size, **config.render.to_dict())
    record = object_from_mesh(
        ObjectEntry(name='b', category='bed', split='test', mesh=files / 'b.off'),
        ring=ring,
        points=2048,
        max_faces=data.faces,
        up_axis='z',
    )
    views = np.stack(list(map(pixels, record.views)))[None, ..., None]
    wanted = {
        'views': embed(system, variables, {'image': views}, 'image'),
        'faces': embed(system, variables, {'faces': record.faces[None], 'neighbors': record.neighbors[None]}, 'mesh'),
    }
    model = jaxret.load(workdir)
    assert (model.similarity, model.query_kinds) == ('dot', KINDS_OF_QUERIES)
    np.testing.assert_allclose(model.embed_shapes([files / 'b.off']), wanted['views'], atol=1e-5)
    np.testing.assert_allclose(model.embed_meshes([files / 'b.off'])[:, 0], wanted['views'], atol=1e-5)
    np.testing.assert_allclose(
        jaxret.load(workdir, gallery='faces').embed_shapes([files / 'b.off']), wanted['faces'], atol=1e-5
    )
    by_points = jaxret.load(workdir, gallery='points')
    points = shape_arrays(files / 'b.off', inputs=by_points.shape_inputs, up_axis='z')['points']
    np.testing.assert_allclose(
        by_points.embed_shapes([files / 'b.off']),
        embed(system, variables, {'points': points[None]}, 'point'),
        atol=1e-5,
    )
    # the same body as a cloud is turned and scaled as its mesh is
    cloud = trimesh.load(files / 'b.off').sample(4000, seed=1) * 7 + 3
    taken = by_points.query_inputs('points')
    assert taken.points == data.points == len(points)
    of_cloud = point_arrays(cloud, count=data.points, up_axis='z')['points']
    np.testing.assert_allclose(np.abs(points).max(axis=0), np.abs(of_cloud).max(axis=0), atol=0.05)
    assert by_points.embed_points([cloud, files / 'points.npy']).shape == (2, 24, config.model.embedding_dim)
    assert model.embed_photos([files / 'photo.png']).shape == (1, config.model.embedding_dim)
    with pytest.raises(ConfigError, match="gallery 'mesh': choose one of views, faces, points"):
        jaxret.load(workdir, gallery='mesh')


def test_nothing_is_noted_of_a_checkpoint(runs, caplog):
    before = logging.get_verbosity()
    with caplog.at_level('WARNING'):
        jaxret.load(runs('cmic')[0])
    assert not caplog.records and logging.get_verbosity() == before


def test_hifa_embeds_as_training_does(runs, files):
    workdir, config, variables = runs('hifa')
    data, system = config.data, Hifa.from_config(config, classes=len(CLASSES), steps=1)
    ring = ViewRing(size=data.stored_size, **config.render.to_dict())
    edge = (data.stored_size - data.image_size) // 2
    middle = np.s_[..., edge : edge + data.image_size, edge : edge + data.image_size]
    views = [
        shape_pngs(
            ShapeFiles(name=path.name, key=path.name, category='bed', split='test', mesh=path),
            ring=ring,
            fit=data.fit,
            channels=1,
            up_axis='z',
        )
        for path in meshes(files)
    ]
    views = np.stack([np.stack(list(map(pixels, pictures)))[middle] for pictures in views])[..., None]
    photo = pixels(photo_png(files / 'photo.png', size=data.stored_size, fit=data.fit))
    photo = np.moveaxis(np.moveaxis(photo, -1, 0)[middle], 0, -1)[None]
    model = jaxret.load(workdir)
    assert (model.similarity, model.query_kinds) == ('cosine', KINDS_OF_QUERIES)
    wanted = embed(system, variables, {'views': views}, 'shape')
    np.testing.assert_allclose(model.embed_shapes(meshes(files), processes=1), wanted, atol=1e-5)
    np.testing.assert_allclose(model.embed_meshes(meshes(files)[:1])[:, 0], wanted[:1], atol=1e-5)
    np.testing.assert_allclose(
        model.embed_photos([files / 'photo.png']), embed(system, variables, {'photo': photo}, 'photo'), atol=1e-5
    )


def test_scan_cad_embeds_as_training_does(runs, files):
    workdir, config, variables = runs('scan_cad')
    system = ScanCad.from_config(config)
    occupancy = grid_from_mesh(load_mesh(files / 'c.stl')).occupancy()[None].astype(np.uint8)
    model = jaxret.load(workdir)
    assert (model.similarity, model.query_kinds) == ('euclidean', KINDS_OF_QUERIES[1:])
    shape = embed(system, variables, {'cad': occupancy}, 'cad')
    np.testing.assert_allclose(model.embed_shapes([files / 'c.stl']), shape, atol=1e-4)
    np.testing.assert_allclose(model.embed_shapes([files / 'scan.sdf']), shape, atol=1e-4)
    np.testing.assert_allclose(model.embed_meshes([files / 'c.stl'])[:, 0], shape, atol=1e-4)
    np.testing.assert_allclose(
        model.embed_scans([files / 'scan.sdf']), embed(system, variables, {'scan': occupancy}, 'scan'), atol=1e-4
    )


@pytest.mark.parametrize(
    'system,kind',
    [('cmic', 'photo'), ('cross_modal_center', 'mesh'), ('cmic', 'points'), ('hifa', 'photo'), ('scan_cad', 'scan')],
)
def test_exported_encoder_gives_the_same_embeddings(runs, files, tmp_path, system, kind):
    model = jaxret.load(runs(system)[0])
    done = export_query_encoder(model, kind, tmp_path / 'encoder')
    assert done.size == (tmp_path / 'encoder').stat().st_size and 0 <= done.difference < 1e-4
    program = load_query_encoder(tmp_path / 'encoder')
    inputs = model.query_inputs(kind)
    if kind == 'photo':
        arrays = photo_arrays(files / 'photo.png', inputs=inputs)
    elif kind == 'points':
        arrays = query_arrays(files / 'points.npy', kind=kind, inputs=inputs)
    else:
        arrays = query_arrays(files / ('scan.sdf' if kind == 'scan' else 'a.obj'), kind=kind, inputs=inputs)
    wanted = model.embed_query_arrays([arrays], kind)
    for count in (1, 3):  # any batch
        found = np.asarray(program(**{name: np.stack([value] * count) for name, value in arrays.items()}))
        np.testing.assert_allclose(found, np.repeat(wanted, count, axis=0), atol=1e-4 * np.abs(wanted).max())
    assert f'"fingerprint": "{model.fingerprint}"' in (tmp_path / 'encoder.json').read_text()


def test_queries_of_another_kind_and_bad_ones_are_named(runs, files):
    with pytest.raises(DataError, match='a scan_cad model cannot embed it; give mesh or points or scan'):
        jaxret.load(runs('scan_cad')[0]).embed_photos([files / 'photo.png'])
    model = jaxret.load(runs('cmic')[0])
    with pytest.raises(DataError, match='2 problems'):
        model.embed_photos([files / 'gone.png', files / 'photo.png', files / 'a.obj'])
    with pytest.raises(ValueError, match='1 photos, 2 masks'):
        model.embed_photos([files / 'photo.png'], masks=[None, None])
    for one in (str(files / 'photo.png'), files / 'photo.png'):
        with pytest.raises(ValueError, match=r'photo.png. is one file: give a list'):
            model.embed_photos(one)
        with pytest.raises(ValueError, match='is one file: give a list'):
            model.embed_shapes(one)
    with pytest.raises(ValueError, match='give a list with one for each photo'):
        model.embed_photos([files / 'photo.png'], masks=files / 'photo.png')
    with pytest.raises(DataError, match=r'gone.obj'):
        model.embed_shapes([files / 'gone.obj'])


def test_batches_do_not_change_embeddings(runs, files):
    model = jaxret.load(runs('cmic')[0])
    rng = np.random.default_rng(0)
    photos = [rng.integers(256, size=(20, 30, 3), dtype=np.uint8) for _ in range(11)]
    together = model.embed_photos(photos)
    apart = np.concatenate([model.embed_photos([photo]) for photo in photos])
    np.testing.assert_allclose(together, apart, atol=1e-5)
    assert together.shape == (11, 16)


def test_fingerprint_is_of_the_evaluated_weights(tmp_path):
    first, same, other, plain = (
        write_run(tmp_path / name, 'cmic', **options)
        for name, options in (('first', {}), ('same', {}), ('other', {'seed': 1}), ('plain', {'average': False}))
    )
    prints = [jaxret.load(tmp_path / name).fingerprint for name in ('first', 'same', 'other', 'plain')]
    assert prints[0] == prints[1] and len(set(prints)) == 3
    del first, same, other, plain


def test_what_is_no_finished_run_is_named(runs, tmp_path):
    with pytest.raises(CheckpointError, match=r'config.json: no such file'):
        jaxret.load(tmp_path)
    shutil.copytree(runs('cmic')[0], tmp_path / 'run')
    stored = (tmp_path / 'run/config.json').read_text()
    for content, found in (
        ('{', 'cannot be read'),
        ('[]', 'not the config of a run'),
        (stored.replace('"model.pooling"', '"model.other"'), 'a key is missing'),
        (stored.replace('photo_to_shape', 'other'), "experiment 'other' is not one of"),
    ):
        (tmp_path / 'run/config.json').write_text(content)
        with pytest.raises(CheckpointError, match=found):
            jaxret.load(tmp_path / 'run')
    (tmp_path / 'run/config.json').write_text(stored)
    metrics = tmp_path / 'run/checkpoints/3/metrics/metrics'
    whole = metrics.read_text()
    metrics.write_text(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match='checkpoints/3/metrics/metrics: metrics that cannot be read'):
        jaxret.load(tmp_path / 'run')
    shutil.move(metrics.parent, tmp_path / 'metrics')
    with pytest.raises(CheckpointError, match='no checkpoint has metrics'):
        jaxret.load(tmp_path / 'run')
    shutil.move(tmp_path / 'metrics', metrics.parent)
    metrics.write_text(whole)
    shutil.rmtree(tmp_path / 'run/checkpoints/3/default')
    with pytest.raises(CheckpointError, match='cannot be read'):
        jaxret.load(tmp_path / 'run')
    shutil.rmtree(tmp_path / 'run/checkpoints')
    with pytest.raises(CheckpointError, match='no checkpoint'):
        jaxret.load(tmp_path / 'run')
    folder = Path(shutil.copytree(runs('hifa')[0], tmp_path / 'hifa'))
    (folder / 'split.json').unlink()
    with pytest.raises(CheckpointError, match='without it the classes of the run are unknown'):
        jaxret.load(folder)


def test_a_run_that_trained_nothing_and_one_that_aligned(tmp_path, runs):
    folder = Path(shutil.copytree(runs('scan_cad')[0], tmp_path / 'scan'))
    text = (folder / 'config.json').read_text()
    (folder / 'config.json').write_text(text.replace('"method": "learned"', '"method": "fpfh"'))
    with pytest.raises(CheckpointError, match="method 'fpfh' trains nothing"):
        jaxret.load(folder)
    folder = Path(shutil.copytree(runs('hifa')[0], tmp_path / 'hifa'))
    assert jaxret.load(folder).notes == ()
    text = (
        (folder / 'config.json')
        .read_text()
        .replace('"evaluation.alignment": "none"', '"evaluation.alignment": "coral"')
    )
    (folder / 'config.json').write_text(text)
    assert 'coral' in jaxret.load(folder).notes[0]


@pytest.mark.parametrize('pooling,similarity', [('mean', 'mean'), ('max', 'max'), ('unit_mean', 'dot')])
def test_cmic_without_attention(tmp_path, files, pooling, similarity):
    _, variables = write_run(tmp_path / 'run', 'cmic', **{'model.pooling': pooling})
    model = jaxret.load(tmp_path / 'run')
    assert model.similarity == similarity and model.projection is None
    system = model._parts.embed.__self__
    shapes = model.embed_shapes(meshes(files), processes=1)
    views = np.stack([shape_arrays(path, inputs=model.shape_inputs, up_axis='y')['views'] for path in meshes(files)])
    wanted = system.score(
        variables, model.embed_photos([files / 'photo.png']), embed(system, variables, {'views': views}, 'views')
    )
    pooled = {'mean': lambda x: x.mean(axis=1), 'max': lambda x: x.max(axis=1), 'unit_mean': lambda x: x}[pooling]
    np.testing.assert_allclose(model.embed_photos([files / 'photo.png']) @ pooled(shapes).T, wanted, atol=1e-5)


def test_every_system_names_its_task_and_its_similarity():
    classes = system_classes()
    assert classes == {
        'photo_to_shape': CMIC,
        'cross_modal': CrossModalCenter,
        'domain_adaptation': Hifa,
        'scan_to_cad': ScanCad,
    }
    for system in (CrossModalCenter, Hifa, ScanCad):
        assert system.similarity in KINDS and system.GALLERIES
    poolings = {small_cmic(pooling=pooling).similarity for pooling in CHOICES['model.pooling']}
    assert poolings == {*VIEW_KINDS, 'dot'} - {'best_views'}


def test_a_system_is_one_module(monkeypatch, tmp_path):
    (tmp_path / 'toy.py').write_text("from jaxret.systems.hifa import Hifa\n\n\nclass Toy(Hifa):\n    TASK = 'toys'\n")
    monkeypatch.setattr(systems, '__path__', [*systems.__path__, str(tmp_path)])
    assert system_classes.__wrapped__()['toys'].__name__ == 'Toy' and len(system_classes.__wrapped__()) == 5
    monkeypatch.delitem(sys.modules, 'jaxret.systems.toy')
