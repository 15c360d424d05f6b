"""Several processes that train one model together, on one host or more, each on its own devices.

All run the same code. Process 0 also measures and writes: evaluations, metrics, the work directory's files. What
processes tell each other outside the compiled step goes through the coordination service that process 0 runs, not
through devices: nothing there has a time limit, and the service ends every process soon after one is lost.
"""

import contextlib
import json
import subprocess
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax._src import distributed  # the only door to the service's keys and values
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxret.errors import ProcessError
from jaxret.platforms import check_platforms

HEARTBEAT = 60  # seconds without a sign of life after which a process counts as lost, and all others end
_turns = count()


@contextlib.contextmanager
def several_processes(
    coordinator: str, count: int | None, index: int | None, *, heartbeat: int = HEARTBEAT
) -> Iterator[None]:
    """Joins the processes of a run; within, `jax.devices()` are those of all. Must come before any work on a device.

    At its end each process waits for all others. A process that leaves it by an error must end by `os._exit`: an
    ordinary end would wait for the others, which wait for this process.

    Args:
      coordinator: 'HOST:PORT' of process 0, or 'auto': that, count and index are asked of SLURM, Open MPI or Kubernetes
        (see `jax.distributed.initialize`).
      count: number of processes; None with 'auto'.
      index: of this one, from 0; None with 'auto'.
      heartbeat: seconds, as `HEARTBEAT`.

    Raises:
      ProcessError: the processes do not find each other, or one was lost.
    """
    with _last_words():
        yield from _joined(coordinator, count, index, heartbeat)


def _joined(coordinator: str, count: int | None, index: int | None, heartbeat: int) -> Iterator[None]:
    # Its handler of SIGTERM would take the place of ours; the train loop has its own agreement on when to stop.
    jax.config.update('jax_enable_preemption_service', False)
    given = (
        {}
        if coordinator == 'auto'
        else {
            'coordinator_address': coordinator,
            'num_processes': count,
            'process_id': index,
            'cluster_detection_method': 'deactivate',
        }
    )
    try:
        jax.distributed.initialize(**given, heartbeat_timeout_seconds=heartbeat, shutdown_timeout_seconds=heartbeat)
    except (RuntimeError, ValueError) as error:
        raise ProcessError(
            f'the processes of this run did not find each other ({_first_line(error)}); give each the '
            f'same --coordinator=HOST:PORT and --num_processes=N, and its own --process_id=0 .. N - 1'
        ) from error
    check_platforms()
    try:
        meet(jax.devices())
        multihost_utils.sync_global_devices('jaxret')  # the groups of devices that checkpoints use
        yield
        exchange(None)
    except jax.errors.JaxRuntimeError as error:
        if not any(word in str(error) for word in _LOST):
            raise
        raise ProcessError(f'{_LOST_ONE} ({_first_line(error)}); {_THEN}') from error
    jax.distributed.shutdown()


def meet(devices: Sequence[jax.Device]) -> None:
    """Connects devices of several processes. Before they compute together, as only then they wait for each other.

    The first collective of a group of CPUs gives up after 30 seconds if one has not come, and compilation of the same
    step may take one process so much longer than another; later ones have no such limit.
    """
    if jax.process_count() == 1:
        return
    mesh = Mesh(np.array(devices), ('all',), axis_types=(AxisType.Auto,))
    rows, whole = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in (('all',), ()))
    own = sum(x.process_index == jax.process_index() for x in devices)
    exchange(None)
    jax.jit(jnp.sum, out_shardings=whole)(
        jax.make_array_from_process_local_data(rows, np.zeros(own, np.float32))
    ).block_until_ready()


def exchange(value: Any) -> list[Any]:
    """What every process gave, in order. All must call it equally often; returns once all have.

    Args:
      value: what JSON can hold.
    """
    if jax.process_count() == 1:
        return [value]
    client, turn = distributed.global_state.client, next(_turns)
    client.key_value_set(f'jaxret/{turn}/{jax.process_index()}', json.dumps(value))
    return [json.loads(_wait_for(f'jaxret/{turn}/{index}')) for index in range(jax.process_count())]


def from_first(make: Callable[[], Any]) -> Any:
    """What `make` returns in process 0, which alone calls it; the others wait. JSON must be able to hold it."""
    return exchange(make() if is_first() else None)[0]


@contextlib.contextmanager
def first_before_others() -> Iterator[None]:
    """Process 0 runs the block before the others do, so that they find its files; all leave together."""
    if not is_first():
        exchange(None)
    yield
    if is_first():
        exchange(None)
    exchange(None)


def is_first() -> bool:
    """Whether this is process 0, which measures and writes."""
    return jax.process_index() == 0


_LOST_ONE = 'another process of this run has ended or cannot be reached'
_THEN = 'see what it printed, then start all of them again: they go on from the last checkpoint'
# Of the statuses of the coordination service, and of collectives whose other end is gone.
_LOST = ('UNAVAILABLE', 'ABORTED', 'CANCELLED', 'DEADLINE_EXCEEDED', 'Gloo', 'NCCL')


@contextlib.contextmanager
def _last_words() -> Iterator[None]:
    """Says what to do where this process ends within without a word of its own.

    The coordination service, and gloo, abort it from threads of theirs where another process is lost. A shell waits for
    the end of its input, which comes with this process's end, however it ends.
    """
    words = (
        f'error: this process was ended from outside Python: it was killed (out of memory, say), or {_LOST_ONE}; '
        f'{_THEN}'
    )
    script = 'trap "" INT TERM; read ended || printf "%s\\n" "$0" >&2'
    try:
        shell = subprocess.Popen(['sh', '-c', script, words], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    except OSError:  # no shell here; the run does without
        yield
        return
    try:
        yield
    finally:
        with contextlib.suppress(BrokenPipeError, subprocess.TimeoutExpired):
            shell.communicate(b'an end of its own\n', timeout=10)


def _wait_for(key: str) -> str:
    while True:
        try:
            return distributed.global_state.client.blocking_key_value_get(key, 1000)
        except jax.errors.JaxRuntimeError as error:
            # Short waits, as signals are handled only in between.
            if 'DEADLINE_EXCEEDED' not in str(error):
                raise


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]
