"""A scheduler and three workers in processes of their own, one of which is killed: the index is that of one machine."""

import os
import sys

import jax
import pytest

pytest.importorskip('distributed', reason="needs the extra 'cluster'")


def test_a_worker_that_is_killed_in_the_middle_costs_nothing(written, monkeypatch):
    monkeypatch.setenv('PYTHONPATH', os.pathsep.join(path or os.getcwd() for path in sys.path))
    monkeypatch.setenv('JAX_COMPILATION_CACHE_DIR', jax.config.jax_compilation_cache_dir)
    monkeypatch.setenv('JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS', '0')
    found = written('cluster', '--models=384')
    alone, spread = found['rows']
    assert (alone['shapes'], alone['failed'], alone['groups']) == (374, 10, 3)
    assert spread['lost'] >= 1 and spread == alone | {'row': spread['row'], 'lost': spread['lost']}
