"""The ten classes of ModelNet10, otherwise as modelnet40.py (same presets).

  python experiments/run.py --config=modelnet10.py --config.data_dir=DIR

Mean mAP that the baseline's public code reached with 4 views, recomputed from its released features: 90.5.
"""

from configs import modelnet40
from ml_collections import ConfigDict

PRESETS = modelnet40.PRESETS
CLASSES = ('bathtub', 'bed', 'chair', 'desk', 'dresser', 'monitor', 'night_stand', 'sofa', 'table', 'toilet')


def get_config(preset: str = 'small') -> ConfigDict:
    """The config of a preset."""
    config = modelnet40.get_config(preset)
    config.data.classes = CLASSES  # of ModelNet40's
    return config
