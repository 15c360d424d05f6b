"""What a training run carries from step to step."""

from typing import Any

import flax
import jax
import optax

PyTree = Any


@flax.struct.dataclass
class TrainState:
    """One pytree, saved whole.

    Attributes:
      step: int32 scalar, updates done.
      seed: int32 scalar, the run's: a program compiled for one seed serves all.
      params: trainable parameters.
      collections: other variables of the system (batch statistics, running centroids), by collection name.
      opt_state: the optimizer's state.
      average: exponential moving average of (params, collections that move), or None where it is off.
    """

    step: jax.Array
    seed: jax.Array
    params: PyTree
    collections: dict[str, PyTree]
    opt_state: optax.OptState
    average: tuple[PyTree, dict[str, PyTree]] | None

    @property
    def variables(self) -> dict[str, PyTree]:
        """The variables that training uses."""
        return {'params': self.params, **self.collections}

    @property
    def evaluation_variables(self) -> dict[str, PyTree]:
        """The variables to evaluate: the moving average where there is one."""
        if self.average is None:
            return self.variables
        params, collections = self.average
        return {'params': params, **self.collections, **collections}


def moving(collections: dict[str, PyTree]) -> dict[str, PyTree]:
    """The collections that training may change: all but 'frozen'."""
    return {name: value for name, value in collections.items() if name != 'frozen'}


def create_state(
    variables: dict[str, PyTree], optimizer: optax.GradientTransformation, *, seed: int, average: bool
) -> TrainState:
    """The state before the first step.

    Args:
      variables: what `System.init` returned.
      optimizer: the gradient transformation.
      seed: the run's, of 32 bits.
      average: whether to keep a moving average of the variables.
    """
    collections = {name: value for name, value in variables.items() if name != 'params'}
    params = variables['params']
    moved = (params, moving(collections))
    copy = jax.tree.map(lambda x: x.copy(), moved) if average else None  # donated with the state
    return TrainState(
        step=jax.numpy.zeros((), jax.numpy.int32),
        seed=jax.numpy.asarray(seed, jax.numpy.int32),
        params=params,
        collections=collections,
        opt_state=optimizer.init(params),
        average=copy,
    )


def count_parameters(params: PyTree) -> int:
    """Number of trainable scalars."""
    return sum(x.size for x in jax.tree.leaves(params))
