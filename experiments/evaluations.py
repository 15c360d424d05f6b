"""Evaluations of a run: how its checkpoint was chosen, and where a later one writes, never over the run's own."""

import json
import os
from itertools import count
from pathlib import Path

from ml_collections import ConfigDict

from jaxret.files import read_json, write_atomically
from jaxret.reports.tables import metric_name
from jaxret.runs.config import chosen_on_test, covers, flatten, selection_metric
from jaxret.training.logging import read_history

FOLDER = 'evaluations'
_SAME_NUMBERS = ('cache_dir', 'processes', 'parallel')


def evaluation_folder(workdir: Path, config: ConfigDict, data: Path) -> Path:
    """evaluations/NAME of a work directory, NAME that of the data's folder; made, with its config.

    The same evaluation again takes the same folder; another one of data of that name has a number behind it.

    Args:
      workdir: of the run.
      config: of the evaluation.
      data: folder that it measures on.

    Raises:
      StorageError: it cannot be written.
    """
    data = Path(os.path.abspath(data))  # '..' has no name of its own
    name, keys = data.name or 'data', flatten(config) | {'data_dir': str(data)}
    content = json.dumps({key: value for key, value in keys.items() if not covers(_SAME_NUMBERS, key)}, indent=2) + '\n'
    for number in count(1):
        folder = workdir / FOLDER / (name if number == 1 else f'{name}-{number}')
        stored = folder / 'config.json'
        if not stored.exists() or stored.read_text() == content:
            break
    write_atomically(stored, content)
    return folder


def checkpoint_note(config: ConfigDict, workdir: Path, step: int, *, held_out: str) -> str:
    """How the evaluated checkpoint was chosen, for the report.

    Args:
      config: of the run.
      workdir: of the run.
      step: of the checkpoint.
      held_out: what the metric that picks it was measured on, of which split.json says how many there are.
    """
    if config.select == 'last':
        return f'Checkpoint of step {step}, the last one.'
    metric = selection_metric(config)
    if chosen_on_test(config):
        held_out = 'the TEST split'
    else:
        stored = read_json(workdir / 'split.json')
        splits = stored['photos' if 'photos' in stored else 'split'].values()  # of two domains, photos are held out
        held_out = f'{list(splits).count("val")} {held_out}'
    if any(line['step'] == step and metric in line for line in read_history(workdir / 'metrics.jsonl')):
        return f'Checkpoint of step {step}, best {metric_name(metric.partition("_")[2])} on {held_out}.'
    return f'Checkpoint of step {step}: the newest checkpoint, not evaluated on {held_out}.'
