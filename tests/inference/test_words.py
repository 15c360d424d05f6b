"""Words as queries of the built-in model: alone and with photos, in Python and by the command."""

import json
import warnings
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from small_index import write_models
from text_cases import stored_text_cases, write_text_case
from vit_cases import case_weights, vit_weights

import jaxret
from jaxret.cli import main as cli
from jaxret.errors import ConfigError, DataError
from jaxret.index.build import update_index
from jaxret.preprocessing.photo_files import read_photo

pytest.importorskip('tokenizers')
NAME, WIDTH = 'hf_clip_end', 12
CASE, _, STORED, _ = stored_text_cases()[NAME]
PATCHES = 'vision_model.embeddings.patch_embedding.weight'


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """A network with patches of 32 pixels, three models, their index, a photo."""
    folder = tmp_path_factory.mktemp('words')
    weights = case_weights(NAME, CASE) | vit_weights({PATCHES: (24, 3, 32, 32)}, seed=1)
    vision = CASE['configs']['config.json']['vision_config'] | {'patch_size': 32, 'image_size': 160}
    write_text_case(folder / 'clip', NAME, CASE, weights, **{'config.json': {'vision_config': vision}})
    write_models(folder / 'models', 3)
    made = jaxret.load_pretrained(folder / 'clip')
    update_index(folder / 'index', made, folder / 'models', processes=1, progress=False)
    pixels = np.random.default_rng(0).integers(256, size=(40, 50, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / 'photo.png')
    return folder


@pytest.fixture(scope='module')
def model(place):
    return jaxret.load_pretrained(place / 'clip')


def test_words_are_compared_with_the_views(place, model):
    assert model.takes_text
    queries = model.embed_texts(['round table with one leg', 'sofa'])
    start = 2 * 7 * 7 * 24  # behind the two maps
    found = queries[:, start : start + WIDTH]
    expected = STORED[[0, 2]] / np.linalg.norm(STORED[[0, 2]], axis=1, keepdims=True)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert not queries[:, :start].any() and not queries[:, start + WIDTH :].any()
    with jaxret.Index.open(place / 'index') as index:
        for query, hits in zip(queries, index.search(queries, top_k=3), strict=True):
            views = index.gallery.embeddings[:, :, start : start + WIDTH].astype(float)
            np.testing.assert_allclose(np.linalg.norm(views, axis=2), 1, atol=2e-3)  # stored in float16
            cosines = {
                id: np.sort(shape @ query[start : start + WIDTH]) for id, shape in zip(index.ids, views, strict=True)
            }
            assert [hit.id for hit in hits] == sorted(cosines, key=lambda id: -cosines[id][-2:].mean())
            for hit in hits:
                assert hit.score == pytest.approx(cosines[hit.id][-2:].mean(), abs=1e-5)


def test_words_with_a_photo(place, model):
    photo, text = model.embed_photos([place / 'photo.png']), model.embed_texts(['sofa'])

    def scores(index, queries, **options):
        return {hit.id: hit.score for hit in index.search(queries, top_k=3, **options)[0]}

    with jaxret.Index.open(place / 'index') as index:
        one, other = scores(index, photo), scores(index, text)
        ratio = np.std(list(one.values())) / np.std(list(other.values()))
        both = scores(index, photo, texts=text, text_weight=0.3)  # a shape's best views need not be those of either
        for shape in index.ids:
            assert both[shape] <= 0.7 * one[shape] + 0.3 * ratio * other[shape] + 1e-6
        np.testing.assert_allclose(
            *([*s.values()] for s in (scores(index, photo, texts=text, text_weight=0), one)), atol=1e-6
        )
        assert list(scores(index, photo, texts=text, text_weight=1)) == list(other)
        with pytest.raises(ConfigError, match='weight 2 of a text: give 0 to 1'):
            index.search(photo, texts=text, text_weight=2)
        with pytest.raises(DataError, match=r'texts: shape \[1, \d+\]; give \[2, \d+\]'):
            index.search(photo.repeat(2, axis=0), texts=text)
        with pytest.raises(
            ConfigError, match="purpose 'instance': words say nothing of it; choose one of mixed, class"
        ):
            index.search(text, purpose='instance')
        with pytest.raises(DataError, match='texts: given with meshes, clouds or scans'):
            index.search(index.gallery.embeddings[:1], texts=text)


def test_words_beside_photos_with_silhouettes_and_known_photos(place, model):
    """At weight 1 the words alone say which, at 0 the photos alone, with all that they say."""
    mask = np.zeros((40, 50), np.uint8)
    mask[5:30, 10:20] = 255
    text = model.embed_texts(['sofa'])
    with jaxret.Index.open(place / 'index') as index:
        worst = index.search(text, top_k=3)[0][-1].id
        index.teach(model, place / 'photo.png', worst, mask=mask)
        photos = model.embed_photos([place / 'photo.png'] * 2, masks=[mask, None])
        words = index.search(text, top_k=3)[0]
        assert {hit.references for hit in words} == {0}  # known photos do not count for words alone
        for query in (photos[:1], photos):
            hits = [index.search_together(query, top_k=3, texts=text, text_weight=weight) for weight in (0, 0.5, 1)]
            alone = index.search_together(query, top_k=3)
            assert alone[0].id == worst and [hit.id for hit in hits[2]] == [hit.id for hit in words]
            assert [(hit.id, hit.references) for hit in hits[0]] == [(hit.id, hit.references) for hit in alone]
            np.testing.assert_allclose([hit.score for hit in hits[0]], [hit.score for hit in alone], atol=1e-5)
        assert index.undo()


def run(capsys, *arguments):
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        status = cli.main([str(argument) for argument in arguments])
    return status, *capsys.readouterr()


def test_the_command(place, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    base = ['search', '--index', place / 'index', '--top', '2', '--text', 'sofa']
    _, printed, _ = run(capsys, *base, '--json')
    (answer,) = json.loads(printed)
    assert (answer['query'], answer['text'], answer['kind']) == (None, 'sofa', 'text') and len(answer['hits']) == 2
    sheet = tmp_path / 'sheet.png'
    status, printed, error = run(capsys, *base, place / 'photo.png', '--text-weight', '0.3', '--sheet', sheet)
    assert status == 0 and f'{place / "photo.png"} and "sofa" (photo, no mask or box)' in printed, error
    assert read_photo(sheet).shape[1] >= 480


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ([], 'nothing to search for: name a query, or say it with --text'),
        (['--text', ' '], 'nothing to search for; give a few words'),
        (['--text', 'sofa', '--text-weight', '0.3'], '--text-weight goes with --text and a photo'),
        (['--text-weight', '0.3', 'photo.png'], '--text-weight goes with --text and a photo'),
        (['--text', 'a', '--text-weight', '3', 'photo.png'], '--text-weight=3: not from 0 to 1'),
        (['--text', 'a', '--database', 'x.db', 'photo.png'], '--text with a photo is scored by the index itself'),
        (['--text', 'a', 'mesh.obj'], "--text goes alone or with photos; mesh.obj is of kind 'mesh'"),
    ],
)
def test_what_the_command_refuses(place, capsys, tmp_path, monkeypatch, arguments, message):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    monkeypatch.chdir(place)
    (place / 'mesh.obj').touch()
    status, _, error = run(capsys, 'search', '--index', place / 'index', *arguments)
    assert status == 1 and message in error


def test_models_without_words(place, model):
    plain = replace(model, _parts=replace(model._parts, texts=None))
    assert not plain.takes_text
    with pytest.raises(DataError, match='a model without words; index with one of CLIP, OpenCLIP or SigLIP'):
        plain.embed_texts(['sofa'])
    (place / 'clip' / 'tokenizer.json').rename(place / 'clip' / 'away')
    fresh = jaxret.load_pretrained(place / 'clip')
    with pytest.raises(DataError, match='no tokenizer.json, and not vocab.json'):
        fresh.embed_texts(['sofa'])
    (place / 'clip' / 'away').rename(place / 'clip' / 'tokenizer.json')
    np.testing.assert_allclose(fresh.embed_texts(['sofa']), model.embed_texts(['sofa']), atol=1e-6)
