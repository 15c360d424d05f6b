"""A run of scans and CAD models that starts from the weights of another one."""

from pathlib import Path

from jaxret.errors import CheckpointError
from jaxret.runs.config import read_run_config, selection_metric
from jaxret.runs.finished import start_variables
from jaxret.systems.base import Variables
from jaxret.systems.scan_completion import NETWORKS, with_frozen, without_frozen

SELECT = ('last', 'category_top1', 'exact_top1', 'instance_top1', 'ranking_quality')


def variables_from(other: Path, variables: Variables, *, frozen: bool) -> Variables:
    """The variables of another run's best checkpoint, by the metric that it chose itself.

    An embedding that the other run did not train starts as it would without that run.

    Args:
      other: its work directory.
      variables: as initialised.
      frozen: whether the hourglasses stay as they are.
    """
    stored = read_run_config(other / 'config.json')
    if stored.experiment != 'scan_to_cad' or stored.select not in SELECT:
        raise CheckpointError(f'{other}: a run of {stored.experiment}; give the work directory of a scan_to_cad run')
    there = stored.model.train == 'embedding'
    needed, move = variables, there != frozen and (frozen or NETWORKS[0] in variables['params'])
    if move:
        needed = with_frozen(variables) if there else without_frozen(variables)
    found = start_variables(needed, other, metric=selection_metric(stored))
    if move:
        found = without_frozen(found) if there else with_frozen(found)
    if stored.loss.metric != 'none':
        return found
    own = {name: {**found[name], 'embedding': variables[name]['embedding']} for name in ('params', 'batch_stats')}
    return {**found, **own}
