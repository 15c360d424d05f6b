"""JAX's strict switches, eight simulated devices, quick compilation, and warnings as errors, for every test."""

import gc
import os

from quick_compilation import quick_compilation

for name, value in quick_compilation(devices=8).items():
    os.environ.setdefault(name, value)
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
os.environ.setdefault('NO_GCE_CHECK', 'true')

import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache

jax.config.update('jax_numpy_rank_promotion', 'raise')

# The files that take longest, the longest first.
SLOW = (
    'test_run',
    'test_paper_presets',
    'test_several_processes',
    'test_cross_modal_run',
    'test_parallel',
    'test_model',
    'test_old_version',
    'test_benchmarks',
    'test_blind_photos',
    'test_runs',
    'test_cmic',
    'test_processes',
    'test_cross_modal_center',
    'test_cmic_chunks',
    'test_domain_adaptation_run',
    'test_blind_queries',
    'test_scan_to_cad_run',
)


def pytest_collection_modifyitems(items):
    """Starts with the slow files: one that begins last would leave the other workers idle."""
    order = {name: place for place, name in enumerate(SLOW)}
    items.sort(key=lambda item: order.get(item.path.stem, len(order)))
    gc.freeze()  # what is imported by now stays: Python's collector need not walk it every time,
    gc.set_threshold(700, 10, 100)  # and goes through everything else less often; a session has millions of objects


@pytest.fixture(scope='module')
def kept_programs(tmp_path_factory):
    """A program that several tests make anew is compiled once: JAX keeps it in a folder of all workers."""
    folder = tmp_path_factory.getbasetemp()
    if 'PYTEST_XDIST_WORKER' in os.environ:
        folder = folder.parent
    options = {'jax_compilation_cache_dir': str(folder / 'compiled'), 'jax_persistent_cache_min_compile_time_secs': 0.0}
    before = {name: getattr(jax.config, name) for name in options}
    for name, value in options.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()
    yield
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()
