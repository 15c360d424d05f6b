"""Rules that choose negatives against loops; chance by its key alone."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references_metric_learning as ref

from jaxret.errors import ConfigError
from jaxret.losses import negatives

KEY = jax.random.key(3)
# Class 4 has one CAD model, twice; row 6 is padding.
CATEGORY = np.array([0, 0, 1, 1, 4, 4, 0, 0], np.int32)
INSTANCE = np.array([10, 11, 20, 21, 40, 40, 12, 10], np.int32)
VALID = np.array([True] * 6 + [False, True])
OTHER, SAME = ref.kinds(CATEGORY, INSTANCE, VALID)


def distances_of(seed=0, size=8):
    """On a grid of 1/8, so that ties and exact margins occur."""
    return np.random.default_rng(seed).integers(0, 17, size=(size, size)).astype(np.float32) / 8


@functools.cache  # compiled once for all tests of a rule
def selector(rule, margin, margin_same_class, relative):
    function = functools.partial(
        negatives.select_negatives, rule=rule, margin=margin, relative=relative, margin_same_class=margin_same_class
    )
    return jax.jit(
        lambda distances, positive, other, same, keys: jax.vmap(
            lambda key: function(distances, positive, other, same, key=key)
        )(keys)
    )


def select(rule, distances, *, seeds=(3,), margin=1.25, margin_same_class=0.25, relative=False, kinds=None):
    """Chosen pairs and margins for each seed."""
    other, same = (ref.mask_of(pairs, distances.shape) for pairs in (OTHER, SAME)) if kinds is None else kinds
    keys = jax.vmap(jax.random.key)(jnp.array(seeds))
    run = selector(rule, margin, margin_same_class, relative)
    return jax.device_get(run(distances, np.diagonal(distances), other, same, keys))


def test_kinds_leave_out_padding_and_the_same_model():
    other, same = jax.jit(negatives.negative_kinds)(CATEGORY, INSTANCE, VALID)
    np.testing.assert_array_equal(other, ref.mask_of(OTHER, (8, 8)))
    np.testing.assert_array_equal(same, ref.mask_of(SAME, (8, 8)))
    assert not other[4, 5] and not same[4, 5] and not same[0, 7]  # the same CAD model twice
    assert same[0, 1] and other[0, 4] and not same[0, 6]


@pytest.mark.parametrize('relative', [False, True])
@pytest.mark.parametrize('margin_same_class', [0.0, 0.25])
@pytest.mark.parametrize('rule', ['all', 'semi_hard', 'hardest'])
def test_rules_without_chance(rule, margin_same_class, relative):
    for seed in range(3):
        distances = distances_of(seed)
        options = {'margin': 1.25, 'margin_same_class': margin_same_class, 'relative': relative}
        expected = ref.fitting(rule, distances, np.diagonal(distances), OTHER, SAME, **options)
        (chosen,), (margins,) = select(rule, distances, **options)
        np.testing.assert_array_equal(chosen, ref.mask_of(expected, (8, 8)))
        for pair, margin in expected.items():
            assert margins[pair] == pytest.approx(margin)
        assert expected


@pytest.mark.parametrize('rule', ['random', 'same_class', 'adaptive'])
def test_rules_of_chance_choose_one_of_their_pairs(rule):
    seen = {}
    for seed, (chosen, margins) in enumerate(zip(*select(rule, distances_of(), seeds=tuple(range(60))), strict=True)):
        for i in range(8):
            own = [pair for pair in SAME if pair[0] == i]
            others = [pair for pair in OTHER if pair[0] == i]
            allowed = {'random': others, 'same_class': own, 'adaptive': own or others}[rule]
            found = [pair for pair in ref.pairs_of(chosen) if pair[0] == i]
            assert len(found) == bool(allowed) and set(found) <= set(allowed)
            seen.setdefault(i, set()).update(found)
            for pair in found:
                assert margins[pair] == pytest.approx(0.25 if pair in SAME else 1.25)
            assert seed < 59 or seen[i] == set(allowed)  # each sooner or later


def test_draws_are_even_and_padding_changes_none():
    candidates = np.zeros((300, 5), bool)
    candidates[:, [0, 2, 3]] = True
    choose = jax.jit(negatives.choose_random)
    chosen = np.asarray(choose(KEY, candidates))
    counts = chosen.sum(axis=0)
    assert counts.sum() == 300 and not counts[[1, 4]].any() and counts[[0, 2, 3]].min() > 75
    padded = np.zeros((310, 9), bool)
    padded[:300, :5] = candidates
    found = np.asarray(choose(KEY, padded))
    np.testing.assert_array_equal(found[:300, :5], chosen)
    assert not found[300:].any()
    np.testing.assert_array_equal(choose(KEY, candidates), chosen)
    assert (np.asarray(choose(jax.random.key(4), candidates)) != chosen).any()


@pytest.mark.parametrize('rule', negatives.RULES)
def test_one_class_or_one_model(rule):
    distances, none, every = 1 - np.eye(4, dtype=np.float32), np.zeros((4, 4), bool), ~np.eye(4, dtype=bool)
    for same in (none, every):  # one CAD model, one class
        (chosen,), (margins,) = select(rule, distances, kinds=(none, same), relative=True, margin_same_class=2.0)
        assert chosen.any() == (same.any() and rule != 'random')
        np.testing.assert_allclose(margins[same], 2.0)


def test_second_negatives_are_of_a_third_class():
    chosen, _ = select('random', distances_of(), seeds=tuple(range(20)))
    keys = jax.vmap(jax.random.key)(jnp.arange(20))
    find = jax.jit(jax.vmap(negatives.second_negatives, in_axes=(0, None, 0, None)))
    for first, second in zip(chosen, np.asarray(find(keys, CATEGORY, chosen, VALID)), strict=True):
        for i in range(8):
            found = np.flatnonzero(second[i])
            if not VALID[i]:
                assert not len(found)
                continue
            (j,), (k,) = np.flatnonzero(first[i]), found
            assert len({CATEGORY[i], CATEGORY[j], CATEGORY[k]}) == 3 and VALID[k]
    pairs = np.roll(np.eye(4, dtype=bool), 2, axis=1)
    find = jax.jit(negatives.second_negatives)
    assert not np.any(find(KEY, CATEGORY[:4], pairs, VALID[:4]))  # two classes have no third


def test_ranked_pools():
    rank = np.array([[1, 0, 3, 2], [0, 0, 0, 0], [0, 2, 1, 0], [0, 1, 0, 0]], np.int32)
    there = np.array([[True, True, False, True], [True] * 4, [True, True, True, False], [True] * 4])
    valid = np.array([True, True, True, False])
    ranked, unranked = negatives.ranked_pool(rank, there, valid)
    assert ref.pairs_of(ranked) == [(0, 0), (0, 3), (2, 1), (2, 2)]
    assert ref.pairs_of(unranked) == [(0, 1), (2, 0)]  # none where nothing is ranked, missing ones never


def test_nearest_positive():
    distances = np.array([[3.0, 1.0, 2.0], [1.0, 1.0, 0.0], [1.0, 2.0, 3.0]], np.float32)
    positives = np.array([[True, False, True], [True, True, False], [False] * 3])
    assert ref.pairs_of(jax.jit(negatives.nearest_positives)(distances, positives)) == [(0, 2), (1, 0)]


def test_no_gradient_through_the_choice():
    def total(distances):
        other, same = (ref.mask_of(pairs, (8, 8)) for pairs in (OTHER, SAME))
        chosen, margins = negatives.select_negatives(
            distances,
            jnp.diagonal(distances),
            other,
            same,
            rule='semi_hard',
            margin=1.0,
            margin_same_class=0.5,
            relative=True,
            key=KEY,
        )
        return jnp.sum(chosen * margins)

    assert not np.any(jax.jit(jax.grad(total))(jnp.asarray(distances_of())))


def test_wrong_arguments_are_refused():
    with pytest.raises(ConfigError, match='easy'):
        select('easy', distances_of())
    with pytest.raises(ConfigError, match='margin is -1'):
        select('all', distances_of(), margin=-1.0)
    with pytest.raises(ConfigError, match='margin_same_class'):
        select('all', distances_of(), margin_same_class=-0.1)
    with pytest.raises(AssertionError):
        negatives.negative_kinds(CATEGORY, INSTANCE[:3], VALID)
