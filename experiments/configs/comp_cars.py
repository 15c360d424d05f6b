"""CMIC on CompCars 3D, otherwise as stanford_cars.py (same presets).

  python experiments/run.py --config=comp_cars.py --config.data_dir=DIR

DIR holds image/<make>/<model>/<year>/ (CompCars), train_anno.pkl, test_anno.pkl and 02958343/. The paper has 3,798
train and 1,898 test photos of 94 shapes; the published annotations name 98.
"""

from configs import stanford_cars
from ml_collections import ConfigDict

PRESETS = stanford_cars.PRESETS


def get_config(preset: str = 'small') -> ConfigDict:
    """The config of a preset."""
    config = stanford_cars.get_config(preset)
    config.data.layout = 'comp_cars'
    if preset.startswith('paper'):
        config.checkpoint_every = 630  # ten epochs of 3,798 training photos
    return config
