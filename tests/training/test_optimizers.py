"""Optimizers against loop-written updates."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from small_cmic import optimizer_config

from jaxret.errors import ConfigError
from jaxret.training.optimizers import make_grouped_optimizer, make_optimizer, make_schedule

STEPS = 20


def run(config, gradients):
    """Parameters {'kernel' [2, 2], 'bias' [2]} after the given gradients."""
    schedule = make_schedule(config, STEPS)
    optimizer = make_optimizer(config, schedule)
    params = {'kernel': jnp.array([[1.0, -2.0], [0.5, 3.0]]), 'bias': jnp.array([1.0, 2.0])}
    state = optimizer.init(params)
    for gradient in gradients:
        updates, state = optimizer.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
    return params


def some_gradients(count):
    rng = np.random.default_rng(0)
    return [
        {
            'kernel': jnp.asarray(rng.normal(size=(2, 2)), jnp.float32),
            'bias': jnp.asarray(rng.normal(size=2), jnp.float32),
        }
        for _ in range(count)
    ]


def test_adam_with_decoupled_weight_decay():
    config = optimizer_config(name='adam', learning_rate=0.1, b1=0.5, b2=0.999, weight_decay=0.2)
    gradients = some_gradients(3)
    params = run(config, gradients)
    for name, start, decay in (('kernel', [[1.0, -2.0], [0.5, 3.0]], 0.2), ('bias', [1.0, 2.0], 0.0)):
        x = np.array(start)
        m, v = np.zeros_like(x), np.zeros_like(x)
        for t, gradient in enumerate(gradients, start=1):
            g = np.asarray(gradient[name], np.float64)
            m, v = 0.5 * m + 0.5 * g, 0.999 * v + 0.001 * g * g
            x = x - 0.1 * (m / (1 - 0.5**t) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8) + decay * x)
        np.testing.assert_allclose(params[name], x, rtol=1e-5)


def test_sgd_with_momentum_decay_and_clipping():
    config = optimizer_config(learning_rate=0.1, momentum=0.9, weight_decay=0.2, clip_norm=0.5)
    gradients = some_gradients(3)
    params = run(config, gradients)
    x = {'kernel': np.array([[1.0, -2.0], [0.5, 3.0]]), 'bias': np.array([1.0, 2.0])}
    buffer = {'kernel': 0.0, 'bias': 0.0}
    for gradient in gradients:
        norm = np.sqrt(sum(np.sum(np.square(np.asarray(g, np.float64))) for g in gradient.values()))
        for name in x:
            decay = 0.2 if name == 'kernel' else 0.0
            g = np.asarray(gradient[name], np.float64) * min(1.0, 0.5 / norm) + decay * x[name]
            buffer[name] = 0.9 * buffer[name] + g
            x[name] = x[name] - 0.1 * buffer[name]
    for name in x:
        np.testing.assert_allclose(params[name], x[name], rtol=1e-5)


def test_schedule_rises_then_falls():
    schedule = make_schedule(optimizer_config(learning_rate=2.0, schedule='cosine', warmup=0.2), STEPS)
    for step in range(STEPS):
        expected = 2.0 * (step + 1) / 4 if step < 4 else 1.0 + np.cos(np.pi * (step - 4) / 16)
        np.testing.assert_allclose(schedule(step), expected, rtol=1e-5)


def test_constant_schedule_without_warmup():
    schedule = make_schedule(optimizer_config(learning_rate=5e-5), STEPS)
    assert [float(schedule(step)) for step in (0, 7, 10_000)] == pytest.approx([5e-5] * 3)


def test_drops_go_on_and_on():
    schedule = make_schedule(optimizer_config(learning_rate=2.0, schedule='steps', decay_every=4), STEPS)
    assert [float(schedule(step)) for step in range(12)] == pytest.approx([2.0] * 4 + [0.2] * 4 + [0.02] * 4)


def test_drops_are_counted_from_the_end_of_the_warm_up():
    config = optimizer_config(learning_rate=2.0, schedule='steps', decay_every=4, decay_factor=0.5, warmup=0.1)
    schedule = make_schedule(config, STEPS)
    assert [float(schedule(step)) for step in range(10)] == pytest.approx([1.0] + [2.0] * 5 + [1.0] * 4)


def test_nesterov_looks_ahead():
    gradients = some_gradients(3)
    params = run(optimizer_config(learning_rate=0.1, momentum=0.9, nesterov=True), gradients)
    x, buffer = np.array([1.0, 2.0]), np.zeros(2)
    for gradient in gradients:
        g = np.asarray(gradient['bias'], np.float64)
        buffer = 0.9 * buffer + g
        x = x - 0.1 * (g + 0.9 * buffer)
    np.testing.assert_allclose(params['bias'], x, rtol=1e-5)


def test_inverse_schedule_falls_with_the_share_of_the_steps():
    schedule = make_schedule(optimizer_config(learning_rate=0.01, schedule='inverse'), 20_000)
    expected = [0.01, 0.01 * 6**-0.75, 0.01 * 11**-0.75, 0.01 * 11**-0.75]
    assert [float(schedule(step)) for step in (0, 10_000, 20_000, 30_000)] == pytest.approx(expected)
    after = make_schedule(optimizer_config(learning_rate=2.0, schedule='inverse', warmup=0.2), STEPS)
    assert [float(after(step)) for step in (0, 3, 4, 12)] == pytest.approx([0.5, 2.0, 2.0, 2 * 6**-0.75])


@pytest.mark.parametrize(
    'changes',
    [
        {'schedule': 'linear'},
        {'name': 'lion'},
        {'warmup': 1.5},
        {'schedule': 'steps', 'decay_every': 0},
        {'schedule': 'steps', 'decay_factor': 1.0},
    ],
)
def test_bad_values_are_refused(changes):
    config = optimizer_config(**changes)
    with pytest.raises(ConfigError, match='config.optimizer'):
        make_optimizer(config, make_schedule(config, STEPS))


@pytest.mark.parametrize('name', ['adam', 'sgd'])
def test_networks_from_published_weights_move_by_a_share(name):
    params = {'query': {'backbone': {'w': jnp.ones((2, 2))}, 'head': {'w': jnp.ones((2, 2))}}, 'centers': jnp.ones(3)}
    gradients = jax.tree.map(lambda x: 0.5 * x, params)
    config = optimizer_config(name=name, weight_decay=0.1)
    own = {'centers': optimizer_config(name=name, learning_rate=0.2)}

    def updates(slower):
        optimizer, _ = make_grouped_optimizer(config, 10, own, slower=slower)
        return optimizer.update(gradients, optimizer.init(params), params)[0]

    plain, slow = updates(None), updates({('query', 'backbone'): 0.25})
    np.testing.assert_allclose(slow['query']['backbone']['w'], 0.25 * plain['query']['backbone']['w'], rtol=1e-6)
    np.testing.assert_array_equal(slow['query']['head']['w'], plain['query']['head']['w'])
    np.testing.assert_array_equal(slow['centers'], plain['centers'])
    assert jnp.all(plain['query']['backbone']['w'] != 0)
