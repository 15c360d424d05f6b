"""The built-in model: its embeddings against loops over its network, and an index of it, asked with every kind."""

import json
import re
from pathlib import Path

import jax
import numpy as np
import pytest
import trimesh
from PIL import Image
from small_pretrained import NETWORK, RINGS, SIDE, small_pretrained

import jaxret
from jaxret.cli.main import main
from jaxret.encoders.vit import STATISTICS
from jaxret.errors import CheckpointError, ConfigError
from jaxret.geometry.distance_grids import write_distances
from jaxret.geometry.grid_meshes import grid_from_mesh
from jaxret.geometry.mesh import load_mesh
from jaxret.geometry.render import render_views
from jaxret.geometry.view_ring import ViewRing
from jaxret.index.build import update_index
from jaxret.index.loading import load_for_index
from jaxret.inference import pretrained_model
from jaxret.inference.export import export_query_encoder
from jaxret.preprocessing.photos import photo_arrays

PARTS = {'middle': slice(0, 72), 'late': slice(72, 144), 'class': slice(144, 152)}
WIDTH, CELLS = 152, 32 * 32


@pytest.fixture(scope='module')
def model():
    return small_pretrained()


def unit(x):
    return x / np.linalg.norm(x)


def picture(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)


def plain_parts(model, photo):
    """Both maps and the features of a photo [S, S, 3], from runs of the whole network up to each."""
    mean, spread = STATISTICS['half']
    image = ((photo / 255 - mean) / spread).astype(np.float32)[None]
    parts = []
    for last in (2, 3):
        tokens = np.asarray(jax.jit(NETWORK.clone(last=last).apply)(model._variables, image))[0, 1:].reshape(4, 4, 8)
        fine = tokens.repeat(3, axis=0).repeat(3, axis=1)  # 12 x 12: cells of 4 x 4
        cells = [fine[4 * i : 4 * i + 4, 4 * j : 4 * j + 4].mean(axis=(0, 1)) for i in range(3) for j in range(3)]
        parts.append(np.concatenate(cells))
    return [*parts, np.asarray(jax.jit(NETWORK.apply)(model._variables, image))[0]]


def test_photos_are_parts_of_unit_length_and_a_silhouette(model):
    photo, mask = picture(), np.zeros((SIDE, SIDE), np.uint8)
    mask[5:21, 8:24] = 1
    plain, masked = model.embed_photos([photo] * 2, masks=[None, mask])
    arrays = photo_arrays(photo, inputs=model.query_inputs('photo'))
    for part, values in zip(PARTS.values(), plain_parts(model, arrays['photo']), strict=True):
        np.testing.assert_allclose(plain[part], unit(values), atol=1e-5)
    assert plain.shape == (WIDTH + CELLS,) and not plain[WIDTH:].any() and (masked[WIDTH:] == 1).all()  # a square
    for part in PARTS.values():
        assert np.linalg.norm(masked[part]) == pytest.approx(1, abs=1e-5)
    assert {name: slice(*place) for name, place in model.parts.slices.items()} == PARTS
    assert (model.parts.cells, model.parts.purposes) == (CELLS, ('mixed', 'instance', 'class'))


def test_what_decides_embeddings_changes_the_fingerprint_and_weights_do_not(model):
    prints = [made.fingerprint for made in (model, small_pretrained(margin=0.1), small_pretrained(segments=(1, 3)))]
    weights = {'mixed': dict.fromkeys(PARTS, 1.0)}
    same = small_pretrained(weights=weights, references=weights['mixed'], outline=0.5)
    assert len(set(prints)) == 3 and same.fingerprint == prints[0] and same.parts.outline == 0.5


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
    update_index(folder / 'index', model, folder / 'models', up_axis='y', processes=1, progress=False)
    return folder


def first(index, queries, **options):
    return [(hits[0].id, hits[0].azimuth, hits[0].elevation) for hits in index.search(queries, **options)]


def test_every_kind_of_query_finds_its_model(model, indexed):
    with jaxret.Index.open(indexed / 'index') as index:
        assert index.gallery.embeddings.shape == (5, 6, WIDTH) and index.stored == np.float16
        assert index.manifest.query_kinds == ['photo', 'mesh', 'points', 'scan'] == list(model.query_kinds)
        poses = [(0, 10), (90, 10), (180, 10), (270, 10), (45, 40), (225, 40)]
        assert [(index._inputs.azimuth(v), index._inputs.elevation(v)) for v in range(6)] == poses
        path = indexed / 'models' / '3.obj'
        views = render_views(load_mesh(path), ViewRing.of(RINGS, size=96))
        photos, masks = views[..., None].repeat(3, axis=-1), list(views < 255)
        hits = index.search(model.embed_photos(photos, masks=masks), top_k=1)
        for (hit,), (azimuth, elevation) in zip(hits, poses, strict=True):  # refined among cameras 20 degrees apart
            off = (hit.azimuth - azimuth + 180) % 360 - 180
            assert hit.id == '3.obj' and abs(off) < 5 and abs(hit.elevation - elevation) < 5
        assert first(index, model.embed_meshes([path])) == [('3.obj', 0, 10)]
        for degrees, azimuth in ((90, 270), (17, 0), (195, 180)):
            turned = trimesh.load(path)
            turned.apply_transform(trimesh.transformations.rotation_matrix(np.radians(degrees), (0, 1, 0)))
            turned.export(indexed / 'turned.ply')
            assert first(index, model.embed_meshes([indexed / 'turned.ply'])) == [('3.obj', azimuth, 10)]
        points = trimesh.sample.sample_surface(trimesh.load(path), 4000, seed=0)[0]
        write_distances(indexed / 'scan.df', grid_from_mesh(load_mesh(path)))
        assert first(index, model.embed_points([points])) == [('3.obj', 0, 10)]
        assert first(index, model.embed_scans([indexed / 'scan.df']), purpose='instance') == [('3.obj', 0, 10)]


def test_an_index_is_of_one_model_with_its_settings(model, indexed, monkeypatch):
    with jaxret.Index.open(indexed / 'index') as index:
        manifest = index.manifest
    assert (manifest.system, manifest.workdir) == ('pretrained', 'efficientnet-lite0')
    monkeypatch.setattr(pretrained_model, 'load_pretrained', lambda name: model)
    assert load_for_index(manifest) is model
    for changed in (small_pretrained(margin=0.1), small_pretrained(segments=(1, 3))):
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
    Path('demo').mkdir()  # by `jaxret demo demo` in its place
    Image.fromarray(picture()).save('demo/chair.jpg')
    Image.fromarray(np.eye(SIDE, dtype=np.uint8) * 255).save('demo/chair-mask.png')
    exec(compile(example, 'README.md', 'exec'), {'__name__': 'example'})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6 and lines[0].startswith('1 ') and lines[-1].endswith('.obj')
    assert Path('best.png').read_bytes().startswith(b'\x89PNG')


@pytest.mark.filterwarnings('ignore::UserWarning')
def test_exported_encoder_embeds_as_the_model(model, tmp_path):
    done = export_query_encoder(model, 'photo', tmp_path / 'encoder')
    assert done.difference < 1e-4
    assert json.loads(done.description.read_text())['arrays'].keys() == {'photo', 'outline'}


def test_names_and_folders():
    with pytest.raises(ConfigError, match="model 'resnet': neither one of efficientnet-lite0"):
        jaxret.load_pretrained('resnet')
    with pytest.raises(ConfigError, match=r'segments \(1, 4\) of a network with segments 0 to 4'):
        small_pretrained(segments=(1, 4))
    packaged = jaxret.load_pretrained()
    assert packaged.query_kinds == ('photo', 'mesh', 'points', 'scan') and packaged.parts.purposes[0] == 'mixed'
