"""The train loop on arrays: it learns, resumes bit for bit, stops at signals and at bad losses, keeps good files."""

import json
import os
import signal

import chex
import jax
import numpy as np
import pytest
from run_command import logged
from small_cmic import optimizer_config, random_batch, small_cmic
from training_process import Matching, global_batch

from jaxret.errors import CheckpointError, NonFiniteError, StorageError
from jaxret.training import loop
from jaxret.training.checkpoints import Checkpoints
from jaxret.training.logging import read_history
from jaxret.training.loop import fit
from jaxret.training.optimizers import make_optimizer, make_schedule
from jaxret.training.parallel import make_parallel
from jaxret.training.state import create_state
from jaxret.training.step import make_train_step

BATCH, STEPS = 8, 12


class Run:
    """A training run in a folder, of CMIC or what compiles at once; every instance is what a fresh process builds."""

    def __init__(self, workdir, *, cmic=False, mode='jit', devices=1):
        config = optimizer_config(name='adam', learning_rate=0.01, schedule='cosine', warmup=0.25, weight_decay=0.01)
        schedule = make_schedule(config, STEPS)
        optimizer = make_optimizer(config, schedule)
        self.parallel = make_parallel(mode, devices=devices, divided={'batch_size': BATCH})
        system = small_cmic(axis_name=self.parallel.axis_name) if cmic else Matching
        self.batch = random_batch if cmic else lambda size, *, seed: global_batch(seed)
        variables = jax.jit(small_cmic().init)(jax.random.key(0), random_batch(BATCH)) if cmic else Matching.init()
        self.state = create_state(variables, optimizer, seed=0, average=True)
        self.step = make_train_step(
            system, optimizer, learning_rate=schedule, average_decay=0.9, axis_name=self.parallel.axis_name
        )
        self.workdir, self.seen = workdir, []

    def batches(self, start, stop):
        for step in range(start, stop):
            self.seen.append(step)
            yield self.batch(BATCH, seed=step)

    def fit(self, steps=STEPS, **changes):
        with Checkpoints(self.workdir / 'checkpoints', metric='top1') as checkpoints:
            arguments = {
                'batches': self.batches,
                'evaluate': lambda state: {'top1': float(state.step % 8)},
                'parallel': self.parallel,
                'checkpoints': checkpoints,
                'workdir': self.workdir,
                'steps': steps,
                'log_every': 2,
                'checkpoint_every': 4,
                'batch_size': BATCH,
            }
            return fit(self.state, self.step, **(arguments | changes))

    def saved(self, step):
        with Checkpoints(self.workdir / 'checkpoints', metric='top1', read_only=True) as checkpoints:
            return jax.device_get(checkpoints.restore(self.state, step=step))


def test_learns_and_logs(tmp_path):
    run = Run(tmp_path, cmic=True)
    assert run.fit(batches=lambda start, stop: (random_batch(BATCH) for _ in range(start, stop)), watched=7)
    history = logged(tmp_path)
    assert [line['step'] for line in history] == [2, 4, 6, 8, 10, 12]
    assert history[-1]['loss'] < 0.8 * history[0]['loss']
    assert all({'gradient_norm', 'learning_rate', 'instance_loss', 'category_loss'} <= line.keys() for line in history)
    assert [line['step'] for line in history if 'top1' in line] == [4, 6, 8, 12]
    assert not (tmp_path / 'checkpoints' / '6').exists()  # the best one, were it saved
    rates = [line['learning_rate'] for line in history]  # means of two steps; three of warm-up, then a cosine
    assert rates[0] < rates[1] and rates[1:] == sorted(rates[1:], reverse=True)


def test_a_share_of_the_steps_is_not_told():
    assert loop._told(4, 0.5, {'progress': 0.25}) == 'step 4: loss 0.5000'
    assert loop._told(4, 0.5, {'progress': 0.25, 'top1': 0.75}) == 'step 4: loss 0.5000, top1 0.750'


@pytest.mark.parametrize('mode,devices', [('jit', 1), ('pmap', 2)])
def test_resumed_run_equals_uninterrupted_one(tmp_path, mode, devices):
    whole, first = (Run(tmp_path / name, mode=mode, devices=devices) for name in ('whole', 'parts'))
    for folder in ('whole', 'parts'):
        (tmp_path / folder).mkdir()
    assert whole.fit()

    class Killed(BaseException):
        pass

    def die(step, line):
        if step == 6:  # after the checkpoint of step 4, with two more steps logged
            raise Killed

    with pytest.raises(Killed):
        first.fit(on_log=die)
    second = Run(tmp_path / 'parts', mode=mode, devices=devices)
    assert second.fit()
    assert second.seen == list(range(4, STEPS))
    chex.assert_trees_all_equal(whole.saved(STEPS), second.saved(STEPS))
    assert logged(tmp_path / 'whole') == logged(tmp_path / 'parts')


def test_no_checkpoint_is_without_its_line(tmp_path, monkeypatch):
    run, save, logged = Run(tmp_path), Checkpoints.save, []

    def save_later(self, state, metrics):
        logged.append(read_history(tmp_path / 'metrics.jsonl')[-1])
        save(self, state, metrics)

    monkeypatch.setattr(Checkpoints, 'save', save_later)
    run.fit(steps=8)
    assert [(line['step'], 'top1' in line) for line in logged] == [(4, True), (8, True)]


def test_newest_and_best_are_kept(tmp_path):
    run = Run(tmp_path)
    run.fit(evaluate=lambda state: {'top1': {4: 0.9, 8: 0.5, 12: 0.7}[int(state.step)]})
    kept = sorted(int(path.name) for path in (tmp_path / 'checkpoints').iterdir() if path.name.isdigit())
    assert kept == [4, 12]
    with Checkpoints(tmp_path / 'checkpoints', metric='top1', read_only=True) as checkpoints:
        assert (checkpoints.best_step, checkpoints.latest_step) == (4, 12)


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_signal_is_answered_at_once_then_saves_and_stops(tmp_path, number, capfd):
    run = Run(tmp_path)
    before = signal.getsignal(number)
    assert not run.fit(on_log=lambda step, line: os.kill(os.getpid(), number) if step == 2 else None)
    assert signal.getsignal(number) == before
    assert int(run.saved(4).step) == 4
    out, err = capfd.readouterr()
    assert 'stops after step 4, with a checkpoint; the same command goes on from there' in err
    assert 'the step was compiled in' in out and 'nan' not in out
    again = Run(tmp_path)
    assert again.fit() and again.seen[0] == 4


def test_a_signal_in_the_last_steps_stops_before_the_evaluation(tmp_path):
    run = Run(tmp_path)
    assert not run.fit(on_log=lambda step, line: os.kill(os.getpid(), signal.SIGTERM) if step == STEPS else None)
    assert int(run.saved(STEPS).step) == STEPS
    again = Run(tmp_path)
    assert again.fit() and again.seen == []


def test_finished_run_does_nothing_more(tmp_path):
    Run(tmp_path).fit()
    again = Run(tmp_path)
    assert again.fit() and again.seen == []


def test_non_finite_loss_names_step_and_checkpoint(tmp_path):
    run = Run(tmp_path)

    def poison(variables, batch, **kwargs):
        loss, aux = Matching.loss(variables, batch, **kwargs)
        return jax.numpy.where(kwargs['step'] == 6, jax.numpy.nan, 1.0) * loss, aux

    class Poisoned:
        loss = staticmethod(poison)

    config = optimizer_config()
    schedule = make_schedule(config, STEPS)
    optimizer = make_optimizer(config, schedule)
    run.state = create_state(Matching.init(), optimizer, seed=0, average=False)
    run.step = make_train_step(Poisoned, optimizer, learning_rate=schedule)
    with pytest.raises(NonFiniteError, match=r'at step 7; the last good checkpoint is .*checkpoints/4;'):
        run.fit()
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(run.saved(4).params))


def test_damaged_checkpoint_is_one_clear_error(tmp_path):
    Run(tmp_path).fit()
    folder = tmp_path / 'checkpoints' / '12'
    for path in folder.rglob('*'):
        if path.is_file() and path.name != '_CHECKPOINT_METADATA' and 'metrics' not in str(path):
            path.write_bytes(b'')
    with pytest.raises(CheckpointError, match='cannot be restored'):
        Run(tmp_path).fit(steps=16)


def test_checkpoint_of_another_model_is_one_clear_error(tmp_path):
    Run(tmp_path).fit()
    other = Run(tmp_path)
    optimizer = make_optimizer(optimizer_config(), make_schedule(optimizer_config(), STEPS))
    variables = Matching.init()
    del variables['params']['shape']
    other.state = create_state(variables, optimizer, seed=0, average=False)
    with pytest.raises(CheckpointError, match='cannot be restored.*delete that folder'):
        other.saved(12)


def test_checkpoint_of_other_sizes_is_not_called_damaged(tmp_path):
    Run(tmp_path).fit()
    other = Run(tmp_path)
    other.state = jax.tree.map(lambda x: np.zeros((*x.shape, 2), x.dtype) if x.ndim else x, other.state)
    with pytest.raises(CheckpointError, match=r'has the shape \(.*\) there and \(.*, 2\) here; leave out the keys'):
        other.saved(12)


def test_unwritable_folder_leaves_the_last_checkpoint(tmp_path, monkeypatch):
    run = Run(tmp_path)
    with Checkpoints(tmp_path / 'checkpoints', metric='top1') as checkpoints:
        checkpoints.save(run.state, {'top1': 0.5})
        checkpoints.wait()

        def full(*args, **kwargs):
            raise OSError(28, 'No space left on device')

        monkeypatch.setattr(checkpoints._manager, 'save', full)
        with pytest.raises(StorageError, match=r'No space left.*last good checkpoint is .*checkpoints/0'):
            checkpoints.save(run.state.replace(step=jax.numpy.int32(4)), {'top1': 0.6})
    chex.assert_trees_all_equal(run.saved(0), jax.device_get(run.state))


@pytest.mark.parametrize('processes', [1, 2])
@pytest.mark.parametrize('method', ['save', 'wait_until_finished', 'restore'])
def test_a_lost_process_is_not_called_a_full_disk_or_a_damaged_file(method, processes, tmp_path, monkeypatch):
    run = Run(tmp_path)
    with Checkpoints(tmp_path / 'checkpoints', metric='top1') as checkpoints:

        def lost(*args, **kwargs):
            raise jax.errors.JaxRuntimeError('UNKNOWN: Gloo AllGather failed: Connection reset by peer')

        calls = {
            'save': lambda: checkpoints.save(run.state, {'top1': 0.5}),
            'wait_until_finished': checkpoints.wait,
            'restore': lambda: checkpoints.restore(run.state, step=0),
        }
        alone = CheckpointError if method == 'restore' else StorageError
        expected = alone if processes == 1 else jax.errors.JaxRuntimeError
        with monkeypatch.context() as patch, pytest.raises(expected, match='UNKNOWN: Gloo'):
            patch.setattr(checkpoints._manager, method, lost)
            patch.setattr(jax, 'process_count', lambda: processes)
            calls[method]()


def test_unfinished_last_line_is_dropped(tmp_path):
    path = tmp_path / 'metrics.jsonl'
    path.write_text(json.dumps({'step': 2, 'loss': 1.0}) + '\n{"step": 4, "lo')
    assert read_history(path) == [{'step': 2, 'loss': 1.0}]
