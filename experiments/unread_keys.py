"""Keys that a run would not read: a command that changes one is refused, instead of going on as if it had not.

What a config file says of them is not asked: one file is for the sample and every layout, as those of this repository.
"""

from collections.abc import Mapping
from typing import Any

from jaxret.errors import ConfigError

# Of each experiment: how the folder data_dir is read. The synthetic sample is what it is.
OF_DATA_DIR = {
    'photo_to_shape': (),  # its samples are folders like any other
    'cross_modal': ('data.classes', 'data.layout', 'data.images_dir', 'data.points_dir', 'data.features_dir',
                    'data.published_views', 'data.up_axis', 'data.points_up_axis'),
    'domain_adaptation': ('data.classes', 'data.shapes_dir', 'data.photo_lists', 'data.view_lists', 'data.class_names',
                          'data.up_axis'),
    'scan_to_cad': ('simulate.scans_per_model', 'simulate.seed'),
}
_OF_PIX3D = ('data.categories', 'data.exclude_occluded', 'data.exclude_truncated', 'data.test_fraction', 'data.up_axis')
# Of each data.layout: keys of the other layouts of its experiment.
OF_OTHER_LAYOUTS = {
    'pix3d': ('data.shapenet_dir', 'data.masks'), 'stanford_cars': _OF_PIX3D, 'comp_cars': _OF_PIX3D,
    'meshes': ('data.images_dir', 'data.points_dir', 'data.features_dir', 'data.published_views',
               'data.points_up_axis'),
    'published': (),
}  # fmt: skip


def check_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuses changes that a run would not see.

    Args:
      before: flattened config of the preset, or of the work directory that is evaluated.
      now: the same with the command's values.

    Raises:
      ConfigError: naming the changed keys with their values, and what reads them.
    """
    def changed(keys: tuple[str, ...]) -> str:
        return ', '.join(f'config.{key}: {now[key]!r}' for key in keys
                         if now.get(key) != before.get(key))

    experiment = now['experiment']
    if experiment not in OF_DATA_DIR:  # refused by its name
        return
    if not now['data_dir'] and (keys := changed(OF_DATA_DIR[experiment])):
        raise ConfigError(f'{keys} needs --config.data_dir=DIR, the folder of the data; without it the synthetic '
                          f'sample is used, which this does not change')
    if keys := changed(OF_OTHER_LAYOUTS.get(now.get('data.layout'), ())):
        raise ConfigError(f'{keys} changes nothing where data.layout is {now["data.layout"]}; leave it out, or give '
                          f'another --config.data.layout')
