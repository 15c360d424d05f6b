"""What an index learns of its known photos: against loops, on photos where it helps and where it cannot."""

import math

import numpy as np
import pytest
from parts_index import FUSION, PARTS, WIDTH, World, parts_index, teach
from random_index import random_index

from jaxret.errors import ConfigError, DataError
from jaxret.index import fitting
from jaxret.index.fitting import fit_references, told
from jaxret.search.certainty import Certainty
from jaxret.search.parts import unit

SHAPES = 30
OWNER = np.repeat(np.arange(20), 4)


@pytest.fixture(scope='module')
def world():
    return World.of(SHAPES)


@pytest.fixture(scope='module')
def index(world, tmp_path_factory):
    with parts_index(tmp_path_factory.mktemp('fitted'), world) as index:
        yield index


def fitted(index, photos, owner, **options) -> fitting.Fit:
    return fit_references(index._comparison, photos, np.asarray(owner), FUSION, **options)


def test_photos_that_differ_in_shared_directions_teach_a_map(index, world):
    calls = []
    fit = fitted(index, world.photos(OWNER), OWNER, advance=lambda: calls.append(1))
    assert fit.whitening is not None and len(calls) == 10 and fit.references == 80
    assert np.mean(1 / fit.after.known) > np.mean(1 / fit.before.known) + 0.05
    assert len(fit.after.known) == len(fit.after.unknown) == 80
    new_owner = np.arange(20)  # further photos of the same shapes
    photos, known = (PARTS.photo_vectors(world.photos(*a), np.zeros(WIDTH)) for a in ((new_owner,), (OWNER,)))
    found = OWNER[(fit.whitening(photos) @ fit.whitening(known).T).argmax(axis=1)]
    assert np.mean(found == new_owner) > np.mean(OWNER[(photos @ known.T).argmax(axis=1)] == new_owner)
    assert fit.right is not None and fit.present is not None and fit.right.area > 0.7
    lines = told(fit)
    assert lines[0].startswith('80 known photos') and lines[5] == 'learnt map of photos kept'
    again = fitted(index, world.photos(OWNER), OWNER)
    np.testing.assert_array_equal(again.whitening.projection, fit.whitening.projection)
    assert (again.fusion, again.right, again.present) == (fit.fusion, fit.right, fit.present)


def test_noise_teaches_no_map(index):
    rng = np.random.default_rng(0)
    photos = np.concatenate([rng.normal(size=(80, WIDTH)), np.zeros((80, PARTS.cells))], axis=1, dtype=np.float32)
    fit = fitted(index, photos, OWNER)
    assert fit.whitening is None and any('not kept' in line for line in told(fit))


def slow_ranks(index, photos, owner, fold):
    """Ranks with and without photos of the same shape, one photo after the other."""
    comparison = index._comparison
    centre = (10 * comparison.centre + photos[:, :WIDTH].sum(axis=0)) / (10 + len(photos))
    late, views = slice(0, 24), comparison.gallery.embeddings.astype(float)
    parts = (late, slice(24, WIDTH))

    def normal(photo):
        return [unit(photo[part].astype(float) - centre[part]) for part in parts]

    def evidence(photo, shape, number):
        total = 1.0
        for other, own, place in zip(photos, owner, fold, strict=True):
            if own == shape and place != number:
                cosine = sum(float(a @ b) for a, b in zip(normal(photo), normal(other), strict=True)) / 2
                total += math.exp((cosine - FUSION.background) / FUSION.temperature)
        return math.log(total)

    outlines = np.unpackbits(comparison._outlines._words.view(np.uint8), axis=2).astype(bool)
    ranks = []
    for photo, own, number in zip(photos, owner, fold, strict=True):
        query = np.concatenate([x * weight / 1.5 for x, weight in zip(normal(photo), (1.0, 0.5), strict=True)])
        cells, scores = photo[WIDTH:] != 0, []
        for shape in range(len(views)):
            best = sorted(float(query @ view) for view in views[shape])[-2:]
            overlap = max((cells & seen).sum() / (cells | seen).sum() for seen in outlines[shape]) if cells.any() else 0
            scores.append((sum(best) / 2 + 0.5 * overlap) * 0.5 / FUSION.view_temperature)
        said = [0.5 * evidence(photo, shape, number) for shape in range(len(views))]
        with_own = [a + b for a, b in zip(scores, said, strict=True)]
        without = [a + b * (shape != own) for shape, (a, b) in enumerate(zip(scores, said, strict=True))]
        ranks.append([1 + sum(other > each[own] for other in each) for each in (with_own, without)])
    return np.array(ranks)


def test_ranks_against_loops(tmp_path):
    world = World.of(9, seed=3)
    owner = np.array([0, 0, 1, 1, 2, 2, 2, 4, 4, 5, 6, 6, 8])
    photos = world.photos(owner, spread=0.7, outlined=np.arange(13) % 3 > 0)
    with parts_index(tmp_path, world) as index:
        fit = fitted(index, photos, owner)
        case = fitting._case(index._comparison, photos, owner, 0)
        wanted = slow_ranks(index, photos, owner, case.fold)
    several = np.bincount(owner)[owner] > 1
    assert fit.before.unknown.tolist() == wanted[:, 1].tolist()
    assert fit.before.known.tolist() == wanted[several, 0].tolist()
    assert fit.before.value == pytest.approx(np.mean(1 / wanted[several, 0]) * 0.8 + np.mean(1 / wanted[:, 1]) * 0.2)


@pytest.mark.parametrize('counts', [[2] * 5, [1, 1, 1, 2] * 5, [2, 3, 2, 2, 7, 2, 2, 1], [2] * 4 + [12]])
def test_folds_leave_photos_of_one_model_together(index, world, counts):
    owner = np.repeat(np.arange(len(counts)), counts)
    photos = world.photos(owner)
    for seed in range(3):
        case = fitting._case(index._comparison, photos, owner, seed)
        for number in range(fitting.FOLDS):
            left = owner[case.fold != number]
            assert np.bincount(left).max() > 1 and len(left) < len(owner)
        assert all(len(set(case.fold[owner == shape])) == min(5, n) for shape, n in enumerate(counts))
    fitted(index, photos, owner)


def test_photos_that_are_all_the_same(index, world):
    owner = np.repeat(np.arange(6), 2)
    photos = world.photos(np.arange(6)).repeat(2, axis=0)
    assert fitted(index, photos, owner).whitening is None


def test_only_some_are_asked_with(index, world, monkeypatch):
    monkeypatch.setattr(fitting, '_MOST_HELD_OUT', 30)
    fit = fitted(index, world.photos(OWNER), OWNER)
    assert (len(fit.before.known), len(fit.before.unknown), fit.references) == (30, 30, 80)


@pytest.mark.parametrize('outlined', [True, False])
def test_certainty_is_of_photos_with_silhouettes_or_without(index, world, monkeypatch, outlined):
    learnt = []
    known = Certainty((1.0, 1.0, 1.0), 0.9)
    monkeypatch.setattr(fitting, 'learn_certainty', lambda leads, *_, **__: learnt.append(len(leads)) or known)
    photos = world.photos(OWNER, outlined=(np.arange(80) % 4 > 0) == outlined)
    fit = fitted(index, photos, OWNER)
    which = 'with' if outlined else 'without'
    assert fit.outlined is outlined
    assert told(fit)[-1] == f'both only for photos {which} a mask or plain ground, as most are'
    assert learnt == [120, 120]  # 60 of the 80 photos, each with and without its model or its model's photos


def test_too_few_photos(index, world):
    owner = np.array([0, 0, 1, 1, 2, 2, 3, 3, 4, 5, 6])
    with pytest.raises(DataError, match='known photos: 4 models have two or more, .* until 5 models have two'):
        fitted(index, world.photos(owner), owner)
    with pytest.raises(DataError, match='known photos: 0 models'):
        index.fit()  # nothing was taught


def test_an_index_of_a_run_learns_nothing(tmp_path):
    with random_index(tmp_path, 'attention', shapes=6) as index, pytest.raises(ConfigError, match='of a trained run'):
        index.fit()
    assert not (tmp_path / 'fit.safetensors').exists()


def test_what_is_learnt_counts_at_once_and_says_how_sure_the_first_is(world, tmp_path):
    with parts_index(tmp_path, world) as index, parts_index(tmp_path, world) as other:
        teach(index, world.photos(OWNER), OWNER)
        queries = world.photos(np.arange(25), seed=5)
        before = other.search(queries, top_k=3)
        assert all(hit.chance is hit.present is None for row in before for hit in row)
        fit = index.fit()
        for each in (index, other):
            rows = each.search(queries, top_k=3)
            assert np.mean([row[0].id == each.ids[n] for n, row in enumerate(rows)]) >= np.mean(
                [row[0].id == each.ids[n] for n, row in enumerate(before)]
            )
            scores = [hit.score for hit in rows[0]]
            assert rows[0][0].chance == pytest.approx(fit.right(scores), abs=1e-6)
            assert (rows[0][0].present is None) == (fit.present.area < fitting.LEAST_AREA)
            assert all(hit.chance is hit.present is None for row in rows for hit in row[1:])
            assert each.search(queries[:1], top_k=1)[0] == rows[0][:1]
            assert each.search_together(queries[:1], top_k=3) == rows[0]
            assert each.search(queries[:1], purpose='mixed', top_k=3)[0] == rows[0]
            unlike = queries[:1].copy()
            unlike[:, WIDTH:] = 0  # no silhouette, where those learnt of have one
            for hits in (
                each.search(queries[:1], categories=['odd', 'even'])[0],
                each.search(queries[:1], purpose='class')[0],
                each.search(queries[:1], references=False)[0],
                each.search(unlike)[0],
                each.search_together(unlike),
                each.search(queries[:1], texts=queries[:1, :WIDTH], text_weight=0.3)[0],
            ):
                assert hits[0].chance is hits[0].present is None
