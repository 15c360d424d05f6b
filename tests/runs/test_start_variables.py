"""Starting from the checkpoint of another run."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxret.errors import CheckpointError
from jaxret.runs.finished import start_variables
from jaxret.training.checkpoints import Checkpoints
from jaxret.training.state import create_state


def make_variables(value=0.0, width=3, **more):
    params = {'encoder': {'kernel': jnp.full((2, width), value), 'bias': jnp.full((width,), value)}, **more}
    return {'params': params, 'batch_stats': {'encoder': {'mean': jnp.full((width,), value)}}}


def save(workdir, *steps, average=False):
    """Checkpoints (step, its score, the value of all its variables)."""
    with Checkpoints(workdir / 'checkpoints', metric='score') as checkpoints:
        for step, score, value in steps:
            state = create_state(make_variables(value), optax.sgd(0.1), seed=0, average=average)
            state = state.replace(step=jnp.asarray(step))
            if average:  # what is evaluated is not what is trained
                state = state.replace(params=jax.tree.map(lambda x: x + 100, state.params))
            checkpoints.save(state, {'score': score})
        checkpoints.wait()
    return workdir


@pytest.mark.parametrize('average', [False, True])
def test_the_best_checkpoint_is_taken_as_it_is_evaluated(tmp_path, average):
    save(tmp_path, (1, 0.1, 1.0), (2, 0.9, 2.0), (3, 0.2, 3.0), average=average)
    found = start_variables(make_variables(), tmp_path, metric='score')
    assert jax.tree.structure(found) == jax.tree.structure(make_variables())
    for leaf in jax.tree.leaves(found):
        np.testing.assert_array_equal(leaf, np.full(leaf.shape, 2.0))


def test_all_arrays_that_differ_are_listed(tmp_path):
    save(tmp_path, (1, 0.1, 1.0))
    with pytest.raises(CheckpointError) as error:
        start_variables(make_variables(width=4, head={'kernel': jnp.ones((4, 2))}), tmp_path, metric='score')
    for line in (
        '4 arrays differ',
        'params/encoder/kernel: [2, 3] there, [2, 4] here',
        'params/encoder/bias: [3] there, [4] here',
        'batch_stats/encoder/mean: [3] there, [4] here',
        'params/head/kernel: absent there, [4, 2] here',
    ):
        assert line in str(error.value)


def test_a_folder_without_checkpoints_is_named(tmp_path):
    with pytest.raises(CheckpointError, match='no such folder'):
        start_variables(make_variables(), tmp_path / 'nowhere', metric='score')
    (tmp_path / 'checkpoints').mkdir()
    with pytest.raises(CheckpointError, match='no checkpoint'):
        start_variables(make_variables(), tmp_path, metric='score')


def test_a_damaged_checkpoint_is_named(tmp_path):
    save(tmp_path, (1, 0.1, 1.0))
    for path in (tmp_path / 'checkpoints' / '1').rglob('*'):
        if path.is_file() and path.name != '_CHECKPOINT_METADATA' and 'metrics' not in str(path):
            path.write_bytes(b'')
    with pytest.raises(CheckpointError, match='1: cannot be read'):
        start_variables(make_variables(), tmp_path, metric='score')
