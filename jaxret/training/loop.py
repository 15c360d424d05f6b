"""The one train loop: steps, logs, evaluates, saves, resumes, and stops cleanly."""

import contextlib
import math
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxret.errors import ConfigError, NonFiniteError
from jaxret.training.checkpoints import Checkpoints
from jaxret.training.logging import MetricsFile, training_progress
from jaxret.training.parallel import Parallel
from jaxret.training.processes import exchange, from_first, is_first, meet
from jaxret.training.state import TrainState
from jaxret.training.step import TrainStep

Metrics = dict[str, float]


def fit(
    state: TrainState,
    train_step: TrainStep,
    *,
    batches: Callable[[int, int], Iterator[Mapping[str, np.ndarray]]],
    evaluate: Callable[[TrainState], Metrics],
    parallel: Parallel,
    checkpoints: Checkpoints,
    workdir: Path,
    steps: int,
    log_every: int,
    checkpoint_every: int,
    batch_size: int,
    watched: int = 0,
    on_log: Callable[[int, Metrics], None] = lambda step, metrics: None,
) -> bool:
    """Trains up to `steps`, from the newest checkpoint where there is one.

    Between two log steps the host never waits for the device. A resumed run sees the batches, draws the numbers and
    logs the metrics of an uninterrupted one (time and rate excepted). Of several processes the first evaluates and
    logs; a signal to any of them stops all at the same log step.

    Args:
      state: the initial state; its structure is also that of the checkpoints.
      train_step: from `make_train_step`.
      batches: (start, stop) -> the batches of those steps, of each this process's share.
      evaluate: metrics of a state on held-out data; must have the checkpoints' metric.
      parallel: placement and compilation.
      checkpoints: where states go.
      workdir: holds metrics.jsonl.
      steps: length of the run.
      log_every: steps averaged in one line of metrics.jsonl.
      checkpoint_every: steps between evaluations and checkpoints, rounded up to a multiple of log_every.
      batch_size: only for the rate shown.
      watched: a step that is evaluated too, without a checkpoint, at the last log step up to it; 0 for none.
      on_log: called with every line.

    Returns:
      True when all steps are done, False when a signal asked the run to stop, after a save.

    Raises:
      NonFiniteError: the loss or its gradient is NaN or infinite.
      ConfigError: log_every or checkpoint_every is below 1.
      StorageError: a checkpoint or the metrics cannot be written.
    """
    _check_steps(log_every=log_every, checkpoint_every=checkpoint_every)
    checkpoint_every = math.ceil(checkpoint_every / log_every) * log_every
    start = checkpoints.latest_step or 0
    if start:
        state = checkpoints.restore(state, step=start)
    metrics_file = MetricsFile(workdir / 'metrics.jsonl', step=start) if is_first() else None
    if start >= steps:
        return True
    meet(parallel.devices)
    state = parallel.place_state(state)
    compiled = parallel.compile(train_step)
    pending: list[Any] = []
    clock, seen = time.monotonic(), start
    stops = StopSignals(log_every=log_every, steps=steps)
    with training_progress(quiet=not is_first()) as progress, stops:
        bar = progress.add_task('train', total=steps, completed=start, told='compiling the step')
        for step, batch in enumerate(batches(start, steps), start=start + 1):
            stops.next_step, begun = step, time.monotonic()
            state, metrics = compiled(state, parallel.place_batch(batch))
            if step == start + 1:  # the host goes on once the program is there
                progress.console.print(f'the step was compiled in {time.monotonic() - begun:.0f} s')
                progress.update(bar, told='')
            pending.append(parallel.single(metrics))
            if step % log_every and step != steps:
                continue
            means = _mean_metrics(pending, step, checkpoints)
            pending = []
            now = time.monotonic()
            rate = (step - seen) * batch_size / max(now - clock, 1e-9)
            line = {**means, 'examples_per_second': rate}
            progress.update(bar, completed=step, told=f'loss {means["loss"]:.3f} {rate:.0f} examples/s')
            due, stop = step == steps or step % checkpoint_every == 0, any(exchange(stops.asked))
            stops.next_step = step + 1
            if due or _is_watched(step, watched, log_every):
                evaluation = from_first(lambda state=state: evaluate(parallel.local(state)))
                line |= evaluation
                progress.console.print(_told(step, means['loss'], evaluation), soft_wrap=True)
            # The line first: a resumed run drops lines later than its checkpoint, but could not add a missing one.
            if metrics_file:
                metrics_file.write(step, line)
                on_log(step, line)
            if due:
                checkpoints.save(parallel.single(state), evaluation)
            elif stop:  # not evaluated, so that the resumed run has the candidates of an uninterrupted one
                checkpoints.save(parallel.single(state), {})
            if stop:
                break
            clock, seen = time.monotonic(), step
        checkpoints.wait()
        return not any(exchange(stops.asked))  # also in the last log step, whose evaluation is a long one


def _told(step: int, loss: float, evaluation: Metrics) -> str:
    measured = [f'{name} {value:.3f}' for name, value in evaluation.items() if name != 'progress']  # of the steps
    return ', '.join([f'step {step}: loss {loss:.4f}', *measured])


def _is_watched(step: int, watched: int, log_every: int) -> bool:
    """Whether a step is the last log step up to the watched one, or the first where none is."""
    return watched > 0 and step == max(watched // log_every, 1) * log_every


def _check_steps(**keys: int) -> None:
    for name, value in keys.items():
        if value < 1:
            raise ConfigError(f'config.{name}: {value} is not a number of steps, 1 or more')


def _mean_metrics(pending: list[dict[str, jax.Array]], step: int, checkpoints: Checkpoints) -> Metrics:
    """Means over the steps since the last log; the only place that waits for the device."""
    fetched = jax.device_get(pending)
    # Also a finite loss can have a gradient that is not, which would be saved in the parameters.
    bad = [
        (i, name)
        for i, metrics in enumerate(fetched)
        for name in ('loss', 'gradient_norm')
        if not np.isfinite(metrics[name])
    ]
    if bad:
        index, name = bad[0]
        checkpoints.wait()
        good = checkpoints.latest_step
        kept = f'the last good checkpoint is {checkpoints.folder / str(good)}' if good else 'there is no checkpoint yet'
        raise NonFiniteError(
            f'the {name.replace("_", " ")} became {fetched[index][name]} at step {step - len(fetched) + 1 + index}; '
            f'{kept}; lower --config.optimizer.learning_rate, or set --config.optimizer.clip_norm'
        )
    return {name: float(np.mean([m[name] for m in fetched], dtype=np.float64)) for name in fetched[0]}


class StopSignals:
    """Collects SIGINT and SIGTERM within, so that the loop saves before it ends; a second SIGINT interrupts at once.

    Args:
      log_every: the loop stops at a multiple of it.
      steps: of the run, or there.

    Attributes:
      asked: whether one came.
      next_step: the next step after which the loop looks at `asked`, or any before it.
    """

    def __init__(self, *, log_every: int, steps: int):
        self.asked, self.next_step = False, 1
        self._log_every, self._steps = log_every, steps
        self._old: dict[int, Any] = {}

    def __enter__(self) -> 'StopSignals':
        with contextlib.suppress(ValueError):  # not the main thread: signals are left alone
            for number in (signal.SIGINT, signal.SIGTERM):
                self._old[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: Any) -> None:
        if self.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.asked = True
        last = min(math.ceil(self.next_step / self._log_every) * self._log_every, self._steps)
        words = f'\nstops after step {last}, with a checkpoint; the same command goes on from there\n'
        with contextlib.suppress(OSError):  # not by a buffered file, in which the signal may have come
            os.write(2, words.encode())
