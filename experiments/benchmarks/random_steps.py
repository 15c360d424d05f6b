"""Any system's train step on random arrays: what a run does between two batches, without data or TensorFlow."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from measuring import compiled_memory, gigaflops  # before JAX: see there

# isort: split
import jax
import numpy as np
import optax
from ml_collections import ConfigDict
from overrides import apply_overrides, check_keys, load_config

from jaxret.errors import ConfigError
from jaxret.runs.config import flatten
from jaxret.systems.base import System
from jaxret.systems.cmic import CMIC
from jaxret.systems.cross_modal_center import CrossModalCenter
from jaxret.systems.hifa import Hifa
from jaxret.systems.scan_cad import ScanCad
from jaxret.training.optimizers import make_grouped_optimizer
from jaxret.training.parallel import Parallel, divided_batch, make_parallel
from jaxret.training.state import TrainState, count_parameters, create_state
from jaxret.training.step import make_train_step

STEPS = 1000  # length of the run whose schedules the step follows
POSITIVE = ('batch_size', 'shapes_per_step', 'data.image_size', 'data.points', 'data.faces', 'render.views')
Batch = dict[str, np.ndarray]


@dataclass(frozen=True)
class Experiment:
    """What a step needs to know of an experiment.

    Attributes:
      name: of the system.
      make: (config, classes) -> system.
      batch: (config, classes) -> random batch.
      classes: of the published data set (Pix3D's four in the paper).
      items: what a step's throughput counts.
      groups: config group of the optimizer by top-level parameters that have one of their own.
    """

    name: str
    make: Callable[[ConfigDict, int], System]
    batch: Callable[[ConfigDict, int], Batch]
    classes: int
    items: str
    groups: dict[str, str]


def photos_and_views(config: ConfigDict, classes: int) -> Batch:
    """A batch of CMIC."""
    rng = np.random.default_rng(0)
    count, size = config.batch_size, config.data.image_size
    views = config.data.views_per_step or config.render.views
    category = rng.integers(classes, size=count).astype(np.int32)
    return {
        'image': _bytes(rng, count, size, size, 3),
        'mask': _bytes(rng, count, size, size, 1),
        'views': _bytes(rng, count, views, size, size, 3 if config.render.shading == 'textured' else 1),
        'positive': np.arange(count, dtype=np.int32),
        'shape_index': np.arange(count, dtype=np.int32),
        'query_category': category,
        'shape_category': category,
        'query_valid': np.ones(count, bool),
        'shape_valid': np.ones(count, bool),
        'shape_inclusion': np.full(count, 0.5, np.float32),
    }


def objects(config: ConfigDict, classes: int) -> Batch:
    """A batch of cross-modal centers."""
    rng = np.random.default_rng(0)
    count, data, size = config.batch_size, config.data, config.data.image_size
    views = data.views_per_step or config.render.views
    return {
        'image': _bytes(rng, count, views, size, size, 1),
        'points': rng.uniform(-1, 1, (count, data.points, 3)).astype(np.float32),
        'faces': rng.uniform(-1, 1, (count, data.faces, 15)).astype(np.float32),
        'neighbors': rng.integers(data.faces, size=(count, data.faces, 3)).astype(np.int32),
        'label': rng.integers(classes, size=count).astype(np.int32),
        'valid': np.ones(count, bool),
    }


def photos_and_shapes(config: ConfigDict, classes: int) -> Batch:
    """A batch of HIFA."""
    rng = np.random.default_rng(0)
    count, shapes, size = config.batch_size, config.shapes_per_step, config.data.image_size
    views = config.data.views_per_step or config.render.views
    return {
        'photo': _bytes(rng, count, size, size, 3),
        'views': _bytes(rng, shapes, views, size, size, 1),
        'label': rng.integers(classes, size=count).astype(np.int32),
        'valid': np.ones(count, bool),
        'shape_valid': np.ones(shapes, bool),
    }


def grids(config: ConfigDict, classes: int) -> Batch:
    """A batch of scans and CAD models, a tenth of whose cells are occupied."""
    rng = np.random.default_rng(0)
    count = config.batch_size
    scan, mask, cad = ((rng.random((count, 32, 32, 32)) < 0.1).astype(np.uint8) for _ in range(3))
    return {
        'scan': scan,
        'mask': scan & mask,
        'cad': cad,
        'valid': np.ones(count, bool),
        'category': rng.integers(classes, size=count).astype(np.int32),
        'instance': np.arange(count, dtype=np.int32),
    }


EXPERIMENTS = {
    'photo_to_shape': Experiment(
        'cmic',
        lambda config, classes: CMIC.from_config(config, shapes=config.batch_size, chunk=config.model.chunk),
        photos_and_views,
        4,
        'photos',
        {},
    ),
    'cross_modal': Experiment(
        'cross_modal_center',
        lambda config, classes: CrossModalCenter.from_config(config, classes=classes),
        objects,
        40,
        'objects',
        {'centers': 'center_optimizer'},
    ),
    'domain_adaptation': Experiment(
        'hifa',
        lambda config, classes: Hifa.from_config(config, classes=classes, steps=STEPS),
        photos_and_shapes,
        21,
        'photos',
        {'backbone': 'backbone_optimizer'},
    ),
    'scan_to_cad': Experiment('scan_cad', lambda config, classes: ScanCad.from_config(config), grids, 6, 'scans', {}),
}


def read_config(name: str, overrides: Mapping[str, str], *, experiment: str = '') -> tuple[ConfigDict, str]:
    """A config and its short name.

    Args:
      name: and preset, as of run.py.
      overrides: {'key': 'value'}.
      experiment: the only one whose configs will do; '' for all.

    Raises:
      ConfigError: it is bad, or of another experiment.
    """
    config, short = load_config(name)
    check_keys(flatten(config), f'--config={name}')
    apply_overrides(config, overrides)
    if config.experiment not in ([experiment] if experiment else EXPERIMENTS):
        raise ConfigError(
            f'--config={name}: its experiment is {config.experiment}; this benchmark is for '
            f'{experiment or ", ".join(EXPERIMENTS)}'
        )
    check_config(config)
    return config, short


def check_config(config: ConfigDict) -> None:
    """Raises ConfigError for values with which no step can be made; compiles nothing and touches no device."""
    flat = flatten(config)
    for rule, least, keys in (('above 0', 1, POSITIVE), ('0 or above', 0, ('data.views_per_step',))):
        for key in keys:
            if flat.get(key, least) < least:
                raise ConfigError(f'config.{key}: {flat[key]} must be {rule}')
    _parts(config)


def _parts(config: ConfigDict) -> tuple[System, optax.GradientTransformation, optax.Schedule]:
    """System, optimizer and learning rate of a config. Raises ConfigError: a bad value of theirs."""
    experiment = EXPERIMENTS[config.experiment]
    groups = {name: config[group] for name, group in experiment.groups.items()}
    return experiment.make(config, experiment.classes), *make_grouped_optimizer(config.optimizer, STEPS, groups)


class RandomStep:
    """One compiled train step, which starts from random variables, with its state and a batch on the device.

    Attributes:
      experiment: of the config.
      batch: as made, in host memory.
      parameters: number of trainable scalars.
      memory: of `compiled_memory`.
      place: puts a batch on the device.
    """

    def __init__(self, config: ConfigDict, batch: Batch | None = None) -> None:
        """Compiles a config's step; makes no array of its state.

        Args:
          config: of experiments/configs.
          batch: such as all will be; None draws one.
        """
        self.experiment = EXPERIMENTS[config.experiment]
        self.batch = self.experiment.batch(config, self.experiment.classes) if batch is None else batch
        self._system, optimizer, schedule = _parts(config)
        average = config.optimizer.average_decay
        self._parallel = parallel_of(config)
        self._step = make_train_step(self._system, optimizer, learning_rate=schedule, average_decay=average)
        self._initial = jax.jit(partial(create_state, optimizer=optimizer, seed=0, average=average > 0))
        self._variables = jax.eval_shape(self._system.init, jax.random.key(0), self.batch)
        self._shapes = jax.eval_shape(self._initial, self._variables)
        self._compiled = self._parallel.compile(self._step).lower(self._shapes, self.batch).compile()
        self._state: TrainState | None = None
        self.parameters = count_parameters(self._shapes.params)
        self.memory = compiled_memory(self._compiled)
        self.place = self._parallel.place_batch

    def start(self, *, own: bool = False) -> None:
        """Makes the state. With `own` it is the system's own start, as of a run, and not `random_variables`."""
        if own:
            variables = jax.jit(self._system.init)(jax.random.key(0), self.batch)
        else:
            variables = random_variables(self._variables)
        self._state, self._placed = self._parallel.place_state(self._initial(variables)), self.place(self.batch)

    def __call__(self) -> dict[str, jax.Array]:
        """One step on the batch; waits for it, and returns its metrics."""
        if self._state is None:
            self.start()
        return jax.block_until_ready((self.advance(self._placed), self._state))[0]

    def advance(self, placed: Any) -> dict[str, jax.Array]:
        """One step on a batch that is on the device; waits for nothing."""
        self._state, metrics = self._compiled(self._state, placed)
        return metrics

    def wait(self) -> None:
        """Until all steps are done."""
        jax.block_until_ready(self._state)

    @property
    def program(self) -> str:
        """Text of the compiled step."""
        return self._compiled.as_text()

    def gigaflops(self) -> tuple[float | None, float | None]:
        """Of the loss alone, and of the whole step, as written (for CPUs 3D convolutions are written with more)."""
        loss = partial(self._system.loss, rng=jax.random.key(0), step=np.int32(0), train=True)
        return gigaflops(loss, self._shapes.variables, self.batch), gigaflops(self._step, self._shapes, self.batch)


def random_variables(shapes: Any) -> Any:
    """Variables of given shapes, drawn by NumPy: to compile a system's own start takes longer than a step.

    Args:
      shapes: of `System.init`.

    Returns:
      Scales and variances of 1, other vectors of 0, all else of variance 1 / (inputs of an output).
    """
    rng = np.random.default_rng(0)

    def draw(path: tuple[Any, ...], shape: jax.ShapeDtypeStruct) -> np.ndarray:
        if path[-1].key in ('scale', 'var'):
            return np.ones(shape.shape, shape.dtype)
        if len(shape.shape) < 2 or path[0].key != 'params':
            return np.zeros(shape.shape, shape.dtype)
        spread = np.prod(shape.shape[:-1]) ** -0.5
        return (spread * rng.standard_normal(shape.shape, np.float32)).astype(shape.dtype)

    return jax.tree_util.tree_map_with_path(draw, shapes)


def parallel_of(config: ConfigDict) -> Parallel:
    """Devices of a step. Raises ConfigError: devices that are not there, or a batch or chunk that does not divide."""
    chunk = config.model.chunk if 'chunk' in config.model else 0
    divided = divided_batch(config.batch_size, chunk)
    return make_parallel('jit', devices=config.parallel.devices, divided=divided)


def _bytes(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.integers(256, size=shape, dtype=np.uint8)
