"""The built-in model: its embeddings against loops over its network, and an index of it, asked with every kind."""

import json
import re
from pathlib import Path

import jax
import numpy as np
import pytest
import trimesh
from PIL import Image
from small_pretrained import NETWORK, RINGS, SIDE, small_pretrained, small_settings

import jaxret
from jaxret.cli.main import main
from jaxret.encoders.vit import STATISTICS
from jaxret.errors import CheckpointError, ConfigError
from jaxret.geometry.distance_grids import write_distances
from jaxret.geometry.grid_meshes import grid_from_mesh
from jaxret.geometry.mesh import load_mesh
from jaxret.index.build import update_index
from jaxret.index.loading import load_for_index
from jaxret.inference import pretrained_model
from jaxret.inference.export import export_query_encoder
from jaxret.preprocessing.shapes import shape_arrays

pytestmark = pytest.mark.usefixtures('kept_programs')
PARTS = {'instance': slice(0, 72), 'class': slice(72, 80), 'outline': slice(80, 224), 'shading': slice(224, 368)}


@pytest.fixture(scope='module')
def model():
    return small_pretrained()


def unit(x):
    return x / np.linalg.norm(x)


def picture(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)


def plain_parts(model, photo):
    """Instance map and features of a photo [S, S, 3], from two runs of the network."""
    mean, spread = STATISTICS['half']
    image = ((photo / 255 - mean) / spread).astype(np.float32)[None]
    variables = model._variables['network']
    tokens = np.asarray(jax.jit(NETWORK.clone(last=2).apply)(variables, image))[0, 1:].reshape(4, 4, 8)
    cells = np.zeros((3, 3, 8))
    fine = tokens.repeat(3, axis=0).repeat(3, axis=1)  # 12 x 12: cells of 4 x 4
    for i in range(3):
        for j in range(3):
            cells[i, j] = fine[4 * i : 4 * i + 4, 4 * j : 4 * j + 4].mean(axis=(0, 1))
    return cells.ravel(), np.asarray(jax.jit(NETWORK.apply)(variables, image))[0]


def test_parts_have_unit_length_and_queries_are_weighted(model):
    photo, mask = picture(), np.zeros((SIDE, SIDE), np.uint8)
    mask[5:20, 8:30] = 1
    plain = model.embed_photos([photo])[0]
    instance, classes = plain_parts(model, photo)
    weights = small_settings().weights['mixed']['without mask']
    total = sum(weights)
    np.testing.assert_allclose(plain[PARTS['instance']], weights[0] / total * unit(instance), atol=1e-5)
    np.testing.assert_allclose(plain[PARTS['class']], weights[1] / total * unit(classes), atol=1e-5)
    assert plain.shape == (368,) and not plain[PARTS['outline']].any() and not plain[PARTS['shading']].any()
    for purpose, by_mask in small_settings().weights.items():
        masked = model.embed_photos([photo], masks=[mask], purpose=purpose)[0]
        lengths = [np.linalg.norm(masked[part]) for part in PARTS.values()]
        wanted = np.array(by_mask['with mask']) / sum(by_mask['with mask'])
        np.testing.assert_allclose(lengths, wanted, atol=1e-5)
    with pytest.raises(ConfigError, match="purpose 'shape': choose one of mixed, instance, class"):
        model.embed_photos([photo], purpose='shape')


def test_centres_are_subtracted_before_the_scaling_and_change_the_fingerprint(model):
    views = picture(1)[None, :, :, :1]

    def centres(features):
        assert features(views)['instance'].shape == (1, 72)
        return {'class': np.full(8, 2.0)}

    other, photo = small_pretrained(centres=centres), picture()
    found = other.embed_photos([photo])[0][PARTS['class']]
    weights = small_settings().weights['mixed']['without mask']
    np.testing.assert_allclose(found, weights[1] / sum(weights) * unit(plain_parts(model, photo)[1] - 2), atol=1e-5)
    prints = [m.fingerprint for m in (model, other, small_pretrained(photo_margin=0.1), small_pretrained())]
    assert len(set(prints)) == 3 and prints[0] == prints[3]
    assert small_pretrained(weights=dict.fromkeys(pretrained_model.PURPOSES, {
        'without mask': (1, 0, 0, 0), 'with mask': (0, 0, 0, 1)})).fingerprint == prints[0]  # fmt: skip


def write_models(folder):
    """Shapes without symmetry: a block with a bar on one side, in several proportions."""
    folder.mkdir()
    for number in range(5):
        block = trimesh.creation.box((1.0, 0.5 + 0.4 * number, 0.7))
        bar = trimesh.creation.box((0.3, 0.2, 1.5 - 0.2 * number))
        bar.apply_translation((0.6, 0.1 * number, 0.5))
        trimesh.util.concatenate([block, bar]).export(folder / f'{number}.obj')


@pytest.fixture(scope='module')
def indexed(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp('built-in')
    write_models(folder / 'models')
    update_index(folder / 'index', model, folder / 'models', processes=1, progress=False)
    return folder


def first(index, queries, **options):
    return [(hits[0].id, hits[0].azimuth, hits[0].elevation) for hits in index.search(queries, **options)]


def test_every_kind_of_query_finds_its_model(model, indexed):
    with jaxret.Index.open(indexed / 'index') as index:
        assert index.gallery.embeddings.shape == (5, 6, 368) and index.gallery.embeddings.dtype == np.float16
        assert index.manifest.query_kinds == ['photo', 'mesh', 'points', 'scan'] == list(model.query_kinds)
        poses = [(0, 10), (90, 10), (180, 10), (270, 10), (45, 40), (225, 40)]
        assert [(index._inputs.azimuth(v), index._inputs.elevation(v)) for v in range(6)] == poses
        path = indexed / 'models' / '3.obj'
        views = shape_arrays(path, inputs=model.shape_inputs, up_axis='y')['views']
        photos, masks = views.repeat(3, axis=-1), [view[..., 0] < 255 for view in views]
        hits = index.search(model.embed_photos(photos, masks=masks), top_k=1)
        assert [(hit.id, hit.azimuth, hit.elevation) for (hit,) in hits] == [('3.obj', *pose) for pose in poses]
        assert first(index, model.embed_meshes([path])) == [('3.obj', 0, 10)]
        for degrees, azimuth in ((90, 270), (17, 0), (195, 180)):
            turned = trimesh.load(path)
            turned.apply_transform(trimesh.transformations.rotation_matrix(np.radians(degrees), (0, 1, 0)))
            turned.export(indexed / 'turned.ply')
            assert first(index, model.embed_meshes([indexed / 'turned.ply'])) == [('3.obj', azimuth, 10)]
        points = trimesh.sample.sample_surface(trimesh.load(path), 4000, seed=0)[0]
        write_distances(indexed / 'scan.df', grid_from_mesh(load_mesh(path)))
        assert first(index, model.embed_points([points])) == [('3.obj', 0, 10)]
        assert first(index, model.embed_scans([indexed / 'scan.df'], purpose='instance')) == [('3.obj', 0, 10)]


def test_an_index_is_of_one_model_with_its_settings(model, indexed, monkeypatch):
    with jaxret.Index.open(indexed / 'index') as index:
        manifest = index.manifest
    assert (manifest.system, manifest.workdir) == ('pretrained', 'efficientnet-lite0')
    monkeypatch.setattr(pretrained_model, 'load_pretrained', lambda name: model)
    assert load_for_index(manifest) is model
    for changed in (small_pretrained(photo_margin=0.1), small_pretrained(rings=RINGS[:1])):
        with pytest.raises(CheckpointError, match='built-in model of efficientnet-lite0 .*--rebuild'):
            update_index(indexed / 'index', changed, processes=1, progress=False)
        monkeypatch.setattr(pretrained_model, 'load_pretrained', lambda name, changed=changed: changed)
        with pytest.raises(CheckpointError, match='other weights or settings'):
            load_for_index(manifest)


def test_commands_need_no_checkpoint(model, indexed, tmp_path, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(pretrained_model, 'load_pretrained', lambda name: asked.append(str(name)) or model)
    index, path = str(tmp_path / 'models.index'), indexed / 'models' / '2.obj'
    common = ['index', '--out', index, '--processes', '1']
    assert main([*common, '--models', str(path.parent), '--up-axis', 'z']) == 0
    assert main(common) == 0  # with the model that it has
    assert main([*common, '--model', 'efficientnet-lite1']) == 0
    assert asked == ['efficientnet-lite0', 'efficientnet-lite0', 'efficientnet-lite1']
    assert '5 shapes: 0 embedded, 5 as before' in capsys.readouterr().out
    picture_of = jaxret.Index.open(index).thumbnail('2.obj')
    (tmp_path / 'photo.png').write_bytes(picture_of)
    assert main(['search', '--index', index, str(tmp_path / 'photo.png'), str(path), '--json', '--for', 'class']) == 0
    photo, mesh = json.loads(capsys.readouterr().out)
    assert (photo['kind'], len(photo['hits']), mesh['hits'][0]['id']) == ('photo', 5, '2.obj')
    assert mesh['hits'][0]['score'] == pytest.approx(1, abs=0.01)  # rendered with the index's up axis
    assert {'azimuth', 'elevation'} <= mesh['hits'][0].keys()


def test_the_example_of_the_readme(model, indexed, tmp_path, monkeypatch, capsys):
    """README's ten lines of Python, run as they stand in a folder that has what they name."""
    text = (Path(__file__).parents[2] / 'README.md').read_text()
    example = next(block for block in re.findall(r'```python\n(.*?)```', text, re.DOTALL) if 'load_pretrained' in block)
    assert len(example.strip().splitlines()) <= 10
    monkeypatch.setattr(pretrained_model, 'load_pretrained', lambda: model)
    monkeypatch.chdir(tmp_path)
    Path('models.index').symlink_to(indexed / 'index')
    Image.fromarray(picture()).save('chair.jpg')
    Image.fromarray(np.eye(SIDE, dtype=np.uint8) * 255).save('chair-mask.png')
    exec(compile(example, 'README.md', 'exec'), {'__name__': 'example'})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6 and lines[0].startswith('1 ') and lines[-1].endswith('.obj')
    assert Path('best.png').read_bytes().startswith(b'\x89PNG')


@pytest.mark.filterwarnings('ignore::UserWarning')
def test_exported_encoder_embeds_as_the_model(model, tmp_path):
    done = export_query_encoder(model, 'photo', tmp_path / 'encoder')
    assert done.difference < 1e-4
    assert json.loads(done.description.read_text())['arrays'].keys() == {'photo', 'mask'}


def test_names_and_folders():
    with pytest.raises(ConfigError, match="model 'resnet': neither one of efficientnet-lite0"):
        jaxret.load_pretrained('resnet')
    with pytest.raises(ConfigError, match='segment 3 of a network with segments 0 to 3'):
        small_pretrained(segment=3)
    with pytest.raises(ConfigError, match='give 4 numbers'):
        small_settings(weights=dict.fromkeys(pretrained_model.PURPOSES, {'with mask': (1, 1)}))
    packaged = jaxret.load_pretrained()
    assert packaged.query_kinds == ('photo', 'mesh', 'points', 'scan') and packaged.purposes[0] == 'mixed'
