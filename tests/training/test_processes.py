"""Two real processes train together on loopback: the numbers of one, one share each, stopped, killed and resumed."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import chex
import jax
import numpy as np
import pytest
import training_process
from quick_compilation import quick_compilation
from run_command import logged
from training_process import HEARTBEAT, STEPS, Training

from jaxret.errors import ConfigError, ProcessError
from jaxret.training import processes
from jaxret.training.checkpoints import Checkpoints
from jaxret.training.parallel import make_parallel

PATIENCE = 900  # seconds, on a busy machine


@pytest.fixture(scope='module')
def start(tmp_path_factory):
    """Starts two processes of four devices each on a work directory."""
    compiled = tmp_path_factory.mktemp('compiled')

    def start(workdir: Path, *, pause: float = 0.0) -> list[subprocess.Popen]:
        workdir.mkdir(exist_ok=True)
        with socket.socket() as free:
            free.bind(('127.0.0.1', 0))
            address = f'127.0.0.1:{free.getsockname()[1]}'
        env = (
            os.environ
            | quick_compilation(devices=4)
            | {
                'PYTHONPATH': str(Path(training_process.__file__).parent),
                'JAX_COMPILATION_CACHE_DIR': str(compiled),
                'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
            }
        )
        return [
            subprocess.Popen(
                [sys.executable, training_process.__file__, str(workdir), address, '2', str(index), str(pause)],
                env=env,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for index in range(2)
        ]

    return start


def finish(pair):
    """What each of two processes reported; both must succeed."""
    ended = [process.communicate(timeout=PATIENCE) for process in pair]
    assert [process.returncode for process in pair] == [0, 0], ended
    assert not any('ended from outside' in err for _, err in ended), ended
    return [json.loads(out.strip().splitlines()[-1]) for out, _ in ended]


def steps(workdir):
    return sorted(int(path.name) for path in (workdir / 'checkpoints').glob('*') if path.name.isdigit())


def wait_for_checkpoint(pair, workdir, *, after):
    """Returns as soon as there is a checkpoint of a later step; both processes must still be running."""
    deadline = time.monotonic() + PATIENCE
    while max(steps(workdir), default=0) <= after:
        assert [process.poll() for process in pair] == [None, None], [process.communicate() for process in pair]
        assert time.monotonic() < deadline
        time.sleep(0.01)


def dumped(workdir, index):
    """The last state, as a process had it."""
    with np.load(workdir / f'state-{index}.npz') as stored:
        return [stored[name] for name in stored.files]


@pytest.fixture(scope='module')
def together(start, tmp_path_factory):
    """The work directory of two processes that nothing disturbed, and what they reported."""
    workdir = tmp_path_factory.mktemp('together')
    return workdir, finish(start(workdir))


@pytest.fixture(scope='module')
def alone(tmp_path_factory):
    """The work directory and the last state of the same training in this process."""
    workdir = tmp_path_factory.mktemp('alone')
    finished, step, state = Training(workdir, devices=8).run()
    assert finished and step == STEPS
    return workdir, state


def test_two_processes_give_the_numbers_of_one(together, alone):
    workdir, reports = together
    # Eight rows of sixteen in each; the second finds the file of the first.
    assert reports == [
        {'finished': True, 'step': STEPS, 'rows': [8], 'found': bool(index), 'devices': 8} for index in range(2)
    ]
    chex.assert_trees_all_equal(dumped(workdir, 0), dumped(workdir, 1))
    chex.assert_trees_all_close(dumped(workdir, 0), jax.tree.leaves(alone[1]), rtol=1e-4, atol=1e-6)
    found, expected = logged(workdir), logged(alone[0])
    assert [line['step'] for line in found] == list(range(2, STEPS + 1, 2))
    assert found[0]['loss'] != found[-1]['loss']
    chex.assert_trees_all_close(found, expected, rtol=1e-4, atol=1e-6)


def test_process_0_alone_measures(together):
    workdir, _ = together
    assert (workdir / 'evaluated-0').read_text().split() == [str(step) for step in range(4, STEPS + 1, 4)]
    assert not (workdir / 'evaluated-1').exists()


def test_checkpoints_go_from_two_processes_to_one_device_and_back(together, alone, start, tmp_path):
    training = Training(tmp_path, devices=1)
    with Checkpoints(together[0] / 'checkpoints', metric='top1', read_only=True) as checkpoints:
        state = checkpoints.restore(training.state, step=STEPS)
    assert all(len(x.devices()) == 1 for x in jax.tree.leaves(state))
    chex.assert_trees_all_equal(jax.tree.leaves(jax.device_get(state)), dumped(together[0], 0))
    shutil.copytree(alone[0], tmp_path / 'back')
    assert [report['step'] for report in finish(start(tmp_path / 'back'))] == [STEPS, STEPS]
    for index in range(2):
        chex.assert_trees_all_equal(dumped(tmp_path / 'back', index), jax.tree.leaves(alone[1]))


def test_stopped_and_killed_processes_resume_bit_exactly(together, start, tmp_path):
    pair = start(tmp_path, pause=0.25)
    wait_for_checkpoint(pair, tmp_path, after=0)
    pair[1].send_signal(signal.SIGTERM)
    reports = finish(pair)
    assert [report['finished'] for report in reports] == [False, False]
    assert 0 < reports[0]['step'] == reports[1]['step'] == steps(tmp_path)[-1] < STEPS
    for victim in (1, 0):
        reached = steps(tmp_path)[-1]
        pair = start(tmp_path, pause=0.25)
        wait_for_checkpoint(pair, tmp_path, after=reached)
        assert [process.poll() for process in pair] == [None, None]
        pair[victim].kill()
        killed = time.monotonic()
        out, err = pair[1 - victim].communicate(timeout=PATIENCE)
        assert time.monotonic() - killed < HEARTBEAT + 60  # of a busy machine
        assert pair[1 - victim].returncode not in (0, -signal.SIGKILL)
        # In an exception, or after an abort by the coordination service or gloo.
        assert 'another process of this run has ended or cannot be reached' in err, err
        pair[victim].communicate()
        assert steps(tmp_path)[-1] < STEPS
    assert [report['finished'] for report in finish(start(tmp_path))] == [True, True]
    chex.assert_trees_all_equal(dumped(tmp_path, 0), dumped(together[0], 0))
    assert logged(tmp_path) == logged(together[0])


def test_one_process_alone_exchanges_with_itself():
    assert processes.exchange({'a': 1.5}) == [{'a': 1.5}]
    assert processes.from_first(lambda: 3) == 3
    assert processes.is_first()


def test_devices_are_shared_evenly(monkeypatch):
    class Device:
        def __init__(self, process_index):
            self.process_index = process_index

    devices = [Device(index) for index in (0, 0, 0, 1, 1)]
    monkeypatch.setattr(jax, 'process_count', lambda: 2)
    chosen = make_parallel('jit', devices=0, divided={'batch_size': 12}, available=devices).devices
    assert [device.process_index for device in chosen] == [0, 0, 1, 1]
    with pytest.raises(ConfigError, match='parallel.devices: 3, but as many of each of 2 processes'):
        make_parallel('jit', devices=3, divided={'batch_size': 12}, available=devices)
    with pytest.raises(ConfigError, match='batch_size: 5 does not divide over 2'):
        make_parallel('jit', devices=0, divided={'batch_size': 5}, available=devices)
    with pytest.raises(ConfigError, match='pmap is for one process'):
        make_parallel('pmap', devices=0, divided={'batch_size': 12}, available=devices)


WORDS = 'ended from outside Python: it was killed (out of memory, say), or another process of this run'


@pytest.mark.parametrize('last', ['os.abort()', 'os.kill(os.getpid(), 9)'])
def test_an_abort_has_a_last_word(last):
    code = f'import os\nfrom jaxret.training import processes\nwith processes._last_words():\n    {last}'
    ended = subprocess.run([sys.executable, '-c', code], stderr=subprocess.PIPE, text=True, timeout=PATIENCE)
    assert WORDS in ended.stderr and ended.returncode < 0


def test_an_end_of_its_own_has_no_last_word(capfd):
    with processes._last_words():
        pass
    with pytest.raises(ValueError), processes._last_words():
        raise ValueError
    assert WORDS not in capfd.readouterr().err


@pytest.mark.parametrize(
    ('error', 'expected'),
    [
        ('UNKNOWN: Gloo all-reduce failed: Connection reset by peer', ProcessError),
        ('RESOURCE_EXHAUSTED: out of memory', jax.errors.JaxRuntimeError),
    ],
)
def test_only_lost_processes_are_called_lost(error, expected, monkeypatch):
    monkeypatch.setattr(jax.distributed, 'initialize', lambda **_: None)
    monkeypatch.setattr(processes.multihost_utils, 'sync_global_devices', lambda name: None)
    before = jax.config.jax_enable_preemption_service
    try:
        with pytest.raises(expected, match=error.split()[0]), processes.several_processes('localhost:1', 2, 0):
            raise jax.errors.JaxRuntimeError(error)
    finally:
        jax.config.update('jax_enable_preemption_service', before)
