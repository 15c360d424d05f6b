"""What may import what, and that encoders, losses, systems and training need neither TensorFlow nor mesh tools."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Lowest first: a layer imports none that stands behind it in this list.
LAYERS = (
    'errors',
    'files',
    'quiet',
    'optional_packages',
    'compilation_cache',
    'platforms',
    'workers',
    'geometry',
    'preprocessing',
    'augmentation',
    'losses',
    'encoders',
    'systems',
    'pretrained',
    'training',
    'runs',
    'metrics',
    'reports',
    'baselines',
    'search',
    'inference',
    'index',
    'serving',
    'cli',
)
# Folder -> other packages that nothing in it may import.
TASKS = ('photo_to_shape', 'cross_modal', 'domain_adaptation', 'scan_to_cad')
EXPERIMENTS = ('experiments', 'experiment', 'overrides', 'configs', 'paper_tables', *TASKS)
INPUT_TOOLS = ('tensorflow', 'tensorflow_datasets', 'tensorboard', 'array_record', 'h5py')
MESH_TOOLS, WEB = ('trimesh', 'embreex'), ('fastapi', 'uvicorn')
FORBIDDEN = {
    'jaxret': (*INPUT_TOOLS, 'data_pipelines', *EXPERIMENTS),
    **{f'jaxret/{layer}': MESH_TOOLS for layer in ('losses', 'encoders', 'systems', 'pretrained', 'training')},
    'jaxret/search': (*MESH_TOOLS, 'jaxret.systems', 'jaxret.runs', 'jaxret.preprocessing'),
    **{f'jaxret/{layer}': WEB for layer in ('metrics', 'reports', 'index', 'inference')},
    'data_pipelines': (*EXPERIMENTS, 'jaxret.systems', 'jaxret.training', 'flax'),
}
# Code that would load Python objects, and so run code, from a file. (workers.py only talks to its own processes.)
EXECUTING = ('pickle', 'dill', 'cloudpickle', 'marshal', 'shelve', 'joblib')


def modules(folder):
    return sorted((ROOT / folder).rglob('*.py'))


def imported(path):
    """Dotted names that a module imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f'{path}: relative import'
            yield from (f'{node.module}.{alias.name}' for alias in node.names)


def within(name, package):
    return name == package or name.startswith(package + '.')


@pytest.mark.parametrize('folder', FORBIDDEN)
def test_direction_of_imports(folder):
    assert modules(folder)
    found = [
        f'{path.relative_to(ROOT)} imports {name}'
        for path in modules(folder)
        for name in imported(path)
        if any(within(name, package) for package in FORBIDDEN[folder])
    ]
    assert not found


def test_layers_import_downwards():
    found = []
    for path in modules('jaxret'):
        place = path.relative_to(ROOT / 'jaxret').with_suffix('').parts[0]
        if place == '__init__':
            continue
        above = LAYERS[LAYERS.index(place) + 1 :]
        found += [
            f'{path.relative_to(ROOT)} imports {name}'
            for name in imported(path)
            if any(within(name, f'jaxret.{layer}') for layer in above)
        ]
    assert not found


def test_search_needs_no_package_of_training():
    """All that commands, server and index import, wherever in it, is installed without the extra `train`."""
    files = {'.'.join(path.relative_to(ROOT).with_suffix('').parts): path for path in modules('jaxret')}
    todo = [name for name in files if name.split('.')[1] in ('cli', 'serving', 'index', 'inference', 'search')]
    reached, others = set(), set()
    while todo:
        module = todo.pop()
        reached.add(module)
        for name in imported(files[module]):
            inside = [part for part in (name, name.rpartition('.')[0]) if part in files]
            todo += [part for part in inside if part not in reached]
            others |= {name.split('.')[0]} - {'jaxret'}
    project = tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']
    train = {re.split('[<>=]', line)[0] for line in project['optional-dependencies']['train']}
    assert train == {'tensorflow-cpu', 'tensorflow-datasets', 'tensorboard', 'array_record', 'h5py'}
    assert not others & set(INPUT_TOOLS) and {'jax', 'trimesh', 'safetensors'} <= others
    assert 'jaxret.inference.loading' in reached


def test_nothing_that_runs_loaded_code():
    found = [
        f'{path.relative_to(ROOT)} imports {name}'
        for folder in ('jaxret', 'data_pipelines', 'experiments')
        for path in modules(folder)
        for name in imported(path)
        if name.split('.')[0] in EXECUTING
    ]
    assert found in ([], ['jaxret/workers.py imports pickle'])


WITHOUT = """
import importlib, pkgutil, sys
sys.path[:0] = ['tests', 'experiments', '.']
mesh_tools = ['trimesh', 'embreex', 'scipy.spatial', 'matplotlib', 'jinja2']
blocked = ['tensorflow', 'tensorflow_datasets', 'tensorboard', 'array_record', 'h5py', 'data_pipelines', 'experiments']
blocked += mesh_tools

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in blocked:
            raise ImportError(name + ' is blocked')

sys.meta_path.insert(0, Blocker())
import jaxret
names = [module.name for module in pkgutil.walk_packages(jaxret.__path__, 'jaxret.')]
for name in names:
    if name.split('.')[1] in ('encoders', 'losses', 'systems', 'training'):
        importlib.import_module(name)
import jax, numpy
from small_cmic import optimizer_config, random_batch, small_cmic
from jaxret.training.optimizers import make_optimizer, make_schedule
from jaxret.training.parallel import make_parallel
from jaxret.training.state import create_state
from jaxret.training.step import make_train_step

parallel = make_parallel('jit', devices=1, divided={'batch_size': 4})
schedule = make_schedule(optimizer_config(), 2)
optimizer = make_optimizer(optimizer_config(), schedule)
system = small_cmic()
state = create_state(system.init(jax.random.key(0), random_batch(4)), optimizer, seed=0, average=False)
step = parallel.compile(make_train_step(system, optimizer, learning_rate=schedule))
state, metrics = step(parallel.place_state(state), parallel.place_batch(random_batch(4)))
print(bool(numpy.isfinite(metrics['loss'])), int(state.step))

del blocked[-len(mesh_tools):]
for name in names:
    importlib.import_module(name)
print(len(names))
"""


def test_training_without_tensorflow_and_mesh_tools_and_all_else_without_tensorflow():
    done = subprocess.run([sys.executable, '-c', WITHOUT], capture_output=True, text=True, cwd=ROOT, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split() == ['True', '1', str(len(modules('jaxret')) - 1)]  # less jaxret/__init__.py
