"""A tiny training by `fit` for `test_processes.py`: in one process, or as a command that is one of several.

Usage: python tests/training_process.py WORKDIR COORDINATOR COUNT INDEX SECONDS_A_STEP
"""

import json
import os
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from small_cmic import optimizer_config

from jaxret.errors import JaxretError
from jaxret.training.checkpoints import Checkpoints
from jaxret.training.embedder import Embedder
from jaxret.training.loop import fit
from jaxret.training.optimizers import make_optimizer, make_schedule
from jaxret.training.parallel import make_parallel
from jaxret.training.processes import first_before_others, is_first, several_processes
from jaxret.training.state import create_state
from jaxret.training.step import make_train_step

BATCH, STEPS, HEARTBEAT = 16, 28, 20


class Matching:
    """A system that compiles at once: two linear encoders, every other pair of the batch a negative, a running mean."""

    @staticmethod
    def init():
        rng = np.random.default_rng(0)
        params = {name: jnp.asarray(rng.normal(size=(6, 4)), jnp.float32) for name in ('query', 'shape')}
        return {'params': params, 'batch_stats': {'mean': jnp.zeros(4)}}

    @staticmethod
    def loss(variables, batch, *, rng, step, train, axis_name=None):
        queries, shapes = (batch[name] @ variables['params'][name] for name in ('query', 'shape'))
        noise = 0.01 * jax.random.normal(rng, queries.shape)
        loss = -jnp.mean(jnp.diagonal(jax.nn.log_softmax((queries + noise) @ shapes.T)))
        mean = queries.mean(axis=0)
        if axis_name:
            mean = jax.lax.pmean(mean, axis_name)
        mean = 0.9 * variables['batch_stats']['mean'] + 0.1 * mean
        return loss, ({'batch_stats': {'mean': mean}}, {})

    @staticmethod
    def embed(variables, inputs, modality):
        return inputs[modality] @ variables['params'][modality]

    @staticmethod
    def score(variables, queries, gallery):
        return queries @ gallery.T


def global_batch(step):
    """16 queries and their shapes."""
    return {
        name: np.random.default_rng([step, stream]).normal(size=(BATCH, 6)).astype(np.float32)
        for stream, name in enumerate(('query', 'shape'))
    }


class Training:
    """What every process builds: the system, Adam, a moving average; 28 steps, a checkpoint every 4."""

    def __init__(self, workdir: Path, *, devices: int = 0, pause: float = 0.0):
        config = optimizer_config(name='adam', learning_rate=0.01)
        schedule = make_schedule(config, STEPS)
        optimizer = make_optimizer(config, schedule)
        self.parallel = make_parallel('jit', devices=devices, divided={'batch_size': BATCH})
        self.state = create_state(Matching.init(), optimizer, seed=0, average=True)
        self.step = make_train_step(Matching, optimizer, learning_rate=schedule, average_decay=0.9)
        self.workdir, self.pause, self.rows = workdir, pause, set()
        self.embedder = Embedder(Matching, self.parallel)

    def batches(self, start, stop):
        """This process's share; notes how many rows it has."""
        share, index = BATCH // jax.process_count(), jax.process_index()
        for step in range(start, stop):
            time.sleep(self.pause)
            batch = {name: x[index * share : (index + 1) * share] for name, x in global_batch(step).items()}
            self.rows |= {len(x) for x in batch.values()}
            yield batch

    def evaluate(self, state):
        """Counts its calls, and needs the state on this process alone."""
        with (self.workdir / f'evaluated-{jax.process_index()}').open('a') as file:
            file.write(f'{int(state.step)}\n')
        queries, shapes = (
            self.embedder.embed(state.evaluation_variables, self.held_out(name), name, valid='valid')
            for name in ('query', 'shape')
        )
        scores = self.embedder.score(state.evaluation_variables, queries, shapes)
        return {'top1': float(np.mean(scores.argmax(axis=1) == np.arange(len(scores)))), 'score': float(scores.mean())}

    @staticmethod
    def held_out(name):
        """22 items in batches of 8; the last one has 6."""
        items = np.concatenate([global_batch(step)[name] for step in (STEPS, STEPS + 1)])[:24]
        for start in range(0, 24, 8):
            yield {name: items[start : start + 8], 'valid': np.arange(start, start + 8) < 22}

    def run(self):
        with Checkpoints(self.workdir / 'checkpoints', metric='top1') as checkpoints:
            finished = fit(
                self.state,
                self.step,
                batches=self.batches,
                evaluate=self.evaluate,
                parallel=self.parallel,
                checkpoints=checkpoints,
                workdir=self.workdir,
                steps=STEPS,
                log_every=2,
                checkpoint_every=4,
                batch_size=BATCH,
            )
            latest = checkpoints.latest_step
            return finished, latest, jax.device_get(checkpoints.restore(self.state, step=latest))


def main(workdir: str, coordinator: str, count: str, index: str, pause: str) -> int:
    try:
        with several_processes(coordinator, int(count), int(index), heartbeat=HEARTBEAT):
            with first_before_others():  # the file of process 0 is there when the others look
                path = Path(workdir) / 'prepared'
                found = path.exists()
                if is_first():
                    path.touch()
            training = Training(Path(workdir), pause=float(pause))
            finished, latest, state = training.run()
            np.savez(Path(workdir) / f'state-{index}.npz', *jax.tree.leaves(state))
            print(
                json.dumps(
                    {
                        'finished': finished,
                        'step': latest,
                        'rows': sorted(training.rows),
                        'found': found,
                        'devices': len(training.parallel.devices),
                    }
                ),
                flush=True,
            )
        return 0
    except JaxretError as error:
        print(f'error: {error}', file=sys.stderr, flush=True)
        os._exit(1)


if __name__ == '__main__':
    jax.config.update('jax_numpy_rank_promotion', 'raise')
    sys.exit(main(*sys.argv[1:]))
