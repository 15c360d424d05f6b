"""Cells of scans against distances of models: loops over cells and pairs say what scores, loss and gradient are."""

import itertools
from types import SimpleNamespace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_scan_cad import small_config

from jaxret.geometry.distance_grids import FREE, NEAR, SURFACE
from jaxret.systems.scan_cad import ScanCad
from jaxret.systems.scan_cells import SQUARED_DISTANCES, ScanCells, distance_kinds

SIDE, PAIRS = 8, 5
RNG = np.random.default_rng(0)
KINDS = len(SQUARED_DISTANCES) + 1
CADS = (RNG.random((PAIRS, SIDE, SIDE, SIDE)) < np.array([0.3, 0.02, 0.002, 0.0, 0.3])[:, None, None, None]).astype(
    'u1'
)
CADS[2, 0, 0, 0] = 1
CADS[4] = CADS[0]
SCANS = RNG.choice(np.array([0, SURFACE, NEAR, FREE], np.uint8), size=CADS.shape)
WEIGHTS = {'seen': RNG.normal(size=(3, KINDS)), 'models': RNG.normal(size=KINDS)}
VARIABLES = {'params': jax.tree.map(jnp.float32, WEIGHTS)}
BATCH = {
    'scan': SCANS,
    'cad': CADS,
    'instance': np.array([3, 1, 7, 2, 3], np.int32),  # rows 0 and 4 are of one model
    'valid': np.array([True, True, True, False, True]),
}


def kinds_of(grid):
    """Of every cell, by the nearest of all occupied ones."""
    occupied, found = np.argwhere(grid), np.zeros(grid.shape, int)
    for cell in itertools.product(range(SIDE), repeat=3):
        nearest = np.square(occupied - cell).sum(axis=1).min(initial=10**6)
        found[cell] = sum(nearest > limit for limit in SQUARED_DISTANCES)
    return found


@pytest.fixture(scope='module')
def kinds():
    return [kinds_of(grid) for grid in CADS]


def loop_scores(kinds):
    """Sums over cubes of 2^3 cells: what a scan saw there, counted, times the mean weight of the model there."""
    scores = np.zeros((PAIRS, PAIRS))
    for (q, scan), (g, model) in itertools.product(enumerate(SCANS), enumerate(kinds)):
        scores[q, g] = WEIGHTS['models'][model].sum() / 1000
        for corner in itertools.product(range(0, SIDE, 2), repeat=3):
            cube = tuple(slice(start, start + 2) for start in corner)
            for row, state in enumerate((SURFACE, NEAR, FREE)):
                count = np.count_nonzero(scan[cube] == state) / 1000
                scores[q, g] += count * WEIGHTS['seen'][row][model[cube]].mean()
    return scores


def test_distances_of_cells(kinds):
    np.testing.assert_array_equal(jax.jit(distance_kinds)(jnp.asarray(CADS > 0)), kinds)
    assert set(np.unique(kinds)) == set(range(KINDS))


def test_scores_are_sums_of_weights_of_cells(kinds):
    system = ScanCells()
    embed = jax.jit(system.embed, static_argnums=2)
    scans, cads = (embed(VARIABLES, BATCH, modality) for modality in ('scan', 'cad'))
    assert scans.shape == cads.shape == (PAIRS, 3 * (SIDE // 2) ** 3 + 1)
    np.testing.assert_allclose(system.score(VARIABLES, scans, cads), loop_scores(kinds), rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match='photo'):
        system.embed(VARIABLES, BATCH, 'photo')


def test_the_loss_is_that_of_the_own_model_among_others(kinds):
    system, scores = ScanCells(), loop_scores(kinds)

    @jax.jit
    @jax.value_and_grad
    def run(params):
        loss, (collections, report) = system.loss(
            {'params': params}, BATCH, rng=jax.random.key(0), step=jnp.int32(0), train=True
        )
        assert collections == {} and report.keys() == {'metric_loss', 'active_share'}
        return loss

    rows = []
    for q in np.flatnonzero(BATCH['valid']):
        allowed = [
            g for g in range(PAIRS) if g == q or (BATCH['valid'][g] and BATCH['instance'][g] != BATCH['instance'][q])
        ]
        rows.append(np.log(np.exp(scores[q, allowed] - scores[q, q]).sum()))
    loss, gradient = run(VARIABLES['params'])
    np.testing.assert_allclose(loss, np.mean(rows), rtol=1e-4)
    chex.assert_tree_all_finite(gradient)
    assert np.abs(gradient['seen']).max() > 0


def test_a_scan_of_a_model_finds_it_with_weights_that_any_scan_teaches():
    """Weights by hand: surface on the model, and nothing of it in free space."""
    own = np.zeros((3, SIDE, SIDE, SIDE), np.uint8)
    own[0, 2:6, 2:6, 2:6], own[1, 2:6, 2, 2:6], own[2, 2:6, 2:6, 2] = 1, 1, 1
    seen = np.zeros((3, KINDS))
    seen[:, 0] = 1, -1, -1
    weights = {'params': {'seen': jnp.float32(seen), 'models': jnp.zeros(KINDS)}}
    scan = np.where(own[1:2], SURFACE, FREE)
    scan[:, 4:] = 0  # half of it was not seen
    embed = jax.jit(ScanCells().embed, static_argnums=2)
    scores = embed(weights, {'scan': scan}, 'scan') @ embed(weights, {'cad': own}, 'cad').T
    assert int(scores.argmax()) == 1


def test_runs_are_searched_by_scans_of_any_heading():
    config = small_config(model__variant='cells')
    config.method, config.data = 'learned', {'placement': 'published'}
    system = ScanCad.trained(SimpleNamespace(workdir='a', config=config), 'grid')
    assert system.similarity == 'dot' and set(system.queries) == {'scan'}
    assert system.queries['scan'].inputs.headings == 24 and system.queries['scan'].inputs.placement == 'published'
    found = system.embed(VARIABLES, {'grid': SCANS}, system.queries['scan'].modality)
    np.testing.assert_array_equal(found, ScanCells().embed(VARIABLES, BATCH, 'scan'))


@pytest.mark.parametrize('modality', ['scan', 'cad'])
def test_a_program_for_any_batch(modality):
    def embed(grids):
        return ScanCells().embed(VARIABLES, {modality: grids}, modality)

    (batch,) = jax.export.symbolic_shape('b')
    grids = jax.ShapeDtypeStruct((batch, SIDE, SIDE, SIDE), np.uint8)
    program = jax.export.export(jax.jit(embed))(grids)
    np.testing.assert_allclose(program.call(BATCH[modality]), embed(BATCH[modality]), rtol=1e-6)


def test_the_config_asks_for_it():
    system = ScanCad.from_config(small_config(model__variant='cells'))
    assert isinstance(system, ScanCells) and system.similarity == 'dot' and not system.completes
    start = system.init(jax.random.key(0), {})
    assert all(not value.any() for value in jax.tree.leaves(start)) and start['params']['seen'].shape == (3, KINDS)
