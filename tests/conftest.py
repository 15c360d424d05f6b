"""JAX's strict switches, eight simulated devices, quick compilation, and warnings as errors, for every test."""

import gc
import os
from pathlib import Path

from quick_compilation import quick_compilation

for name, value in quick_compilation(devices=8).items():
    os.environ.setdefault(name, value)

import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache

import data_pipelines  # noqa: F401  TensorFlow's settings, before a test imports TensorFlow
from jaxret.workers import default_processes

jax.config.update('jax_numpy_rank_promotion', 'raise')

# The files that take longest, the longest first.
SLOW = (
    'test_run',
    'test_paper_presets',
    'test_several_processes',
    'test_cross_modal_run',
    'test_benchmarks',
    'test_model',
    'test_old_version',
    'test_frozen_run',
    'test_domain_adaptation_run',
    'test_cli',
    'test_runs',
    'test_processes',
    'test_blind_queries',
    'test_blind_photos',
    'test_simulation',
    'test_networks',
    'test_domain_alignment',
    'test_cross_modal_center',
    'test_image_towers',
    'test_cmic',
    'test_geometry_benchmarks',
    'test_scan_to_cad_run',
    'test_cmic_config',
)


def pytest_xdist_auto_num_workers() -> int:
    """One more than cores: now and then each waits, for a process of its own or for time to pass."""
    return default_processes() + 1


def pytest_collection_modifyitems(items):
    """Starts with the slow files: one that begins last would leave the other workers idle."""
    order = {name: place for place, name in enumerate(SLOW)}
    items.sort(key=lambda item: order.get(item.path.stem, len(order)))
    gc.freeze()  # what is imported by now stays: Python's collector need not walk it every time,
    gc.set_threshold(20_000, 10, 100)  # and goes through everything else less often; a session has millions of objects


@pytest.fixture(scope='session')
def shared_folder(tmp_path_factory) -> Path:
    """A folder of all workers."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if 'PYTEST_XDIST_WORKER' in os.environ else folder


@pytest.fixture(scope='session')
def cache(shared_folder) -> Path:
    """The cache folder of runs that need not start with an empty one: a sample is made and prepared once for all."""
    folder = shared_folder / 'cache'
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope='session', autouse=True)
def kept_programs(shared_folder) -> Path:
    """A program that tests make anew is compiled once: JAX keeps it in this folder of all workers."""
    folder = shared_folder / 'compiled'
    jax.config.update('jax_compilation_cache_dir', str(folder))
    jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.05)
    compilation_cache.reset_cache()  # programs that modules compiled as they were collected made JAX decide on none
    return folder
