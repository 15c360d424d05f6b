"""The one command in two processes on loopback: the files and the numbers of one process."""

import json
import socket

import numpy as np
import pytest
import run
from run_command import NUMBERS, ONE, SERIAL, Place, checkpoint_steps, finish, logged

# Batches of four and batch norm: with Adam's first steps rounding would soon be seen. The coarse network compiles fast.
GENTLE = (
    '--config.optimizer.name=sgd',
    '--config.optimizer.learning_rate=1e-5',
    '--config.model.query_encoder=resnet_coarse',
    '--config.epochs=1',
    '--config.evaluation.shape_metrics=False',
    SERIAL,
)


@pytest.fixture(scope='module')
def place(tmp_path_factory, cache, kept_programs):
    return Place(tmp_path_factory.mktemp('several'), cache, compiled=kept_programs)


@pytest.fixture(scope='module')
def alone(place):
    """The work directory of this process alone."""
    workdir = place.root / 'alone'
    command = ['--config=pix3d.py:smoke', f'--workdir={workdir}', f'--config.cache_dir={place.cache}', ONE, *GENTLE]
    assert run.main(command) == 0
    return workdir


@pytest.fixture(scope='module')
def together(place, alone):
    """The work directory of two processes, and what each printed."""
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        address = f'127.0.0.1:{free.getsockname()[1]}'
    workdir = place.root / 'together'
    pair = [
        place.start(workdir, *GENTLE, f'--coordinator={address}', '--num_processes=2', f'--process_id={index}')
        for index in range(2)
    ]
    ended = [finish(process) for process in pair]
    assert [status for status, _, _ in ended] == [0, 0], ended
    return workdir, [out for _, out, _ in ended]


def test_the_numbers_are_those_of_one_process(alone, together):
    workdir, _ = together
    found, expected = logged(workdir), logged(alone)
    assert [line.keys() for line in found] == [line.keys() for line in expected]
    for name in ('loss', 'gradient_norm', 'instance_loss', 'category_loss'):
        np.testing.assert_allclose([line[name] for line in found], [line[name] for line in expected], rtol=1e-3)
    assert [line['step'] for line in found] == [line['step'] for line in expected]


def test_process_0_alone_writes_and_speaks(place, alone, together):
    workdir, (first, second) = together
    assert {path.name for path in workdir.iterdir()} == {path.name for path in alone.iterdir()}
    assert len(list((workdir / 'tensorboard').iterdir())) == 2  # of the training, of its results
    assert json.loads((workdir / 'metrics.json').read_text()).keys() == (
        json.loads((alone / 'metrics.json').read_text()).keys()
    )
    assert checkpoint_steps(workdir)[-1] == checkpoint_steps(alone)[-1]
    assert '2 x cpu (jit, 2 processes)' in first and 'report: ' in first
    assert all(line.startswith('[Gloo]') for line in second.splitlines()), second
    place.assert_untouched()


def test_one_process_evaluates_what_two_trained(place, together):
    workdir = together[0]
    before = json.loads((workdir / 'metrics.json').read_text())
    assert run.main(['--mode=eval', f'--workdir={workdir}', f'--config.cache_dir={place.cache}', ONE, NUMBERS]) == 0
    assert json.loads((workdir / 'metrics.json').read_text()) == before
