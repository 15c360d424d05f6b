"""CMIC on Stanford Cars 3D: the car model that matches a photo (Lin et al., ICCV 2021; Wang et al., ECCVW 2018).

  python experiments/run.py --config=stanford_cars.py                              small; embedded synthetic sample
  python experiments/run.py --config=stanford_cars.py --config.data_dir=DIR        the same on real data
  python experiments/run.py --config=stanford_cars.py:paper --config.data_dir=DIR  the published setting, for GPUs
  python experiments/run.py --config=stanford_cars.py:triplet                      a row of Table 2, likewise ROWS
                                                                                   below; paper_triplet, ...
  python experiments/run.py --config=stanford_cars.py:smoke                        seconds

DIR holds cars_train/ and cars_test/ (Stanford Cars), train_anno.pkl and test_anno.pkl (the fine-grained 3D pose
annotations) and 02958343/ (the cars of ShapeNetCore, either version; or --config.data.shapenet_dir); the folders of the
annotations' release (Anno3D/, Image/, CAD/) do too. Masks: DIR/mask/<as the photo>.png, which the data sets lack (keys
data.mask_dir, data.masks). The paper has 8,144 train and 8,041 test photos of 134 shapes. There is one category, so the
category loss is off.
"""

from configs import pix3d
from ml_collections import ConfigDict

ROWS = ('no_references', 'hsv', 'no_color', 'triplet')
PRESETS = ('small', 'random_start', *ROWS, 'paper', *(f'paper_{row}' for row in ROWS), 'smoke')


def get_config(preset: str = 'small') -> ConfigDict:
    """The config of a preset: that of pix3d.py and what differs."""
    if preset not in PRESETS:
        raise ValueError(preset)
    config = pix3d.get_config(preset)
    data, sample = config.data, config.sample
    data.layout, data.gallery, data.categories = 'stanford_cars', 'referenced', ()
    config.loss.category_weight = 0.0
    if preset == 'smoke':
        sample.shapes_per_category, sample.photos_per_shape = 6, 8
    elif preset.startswith('paper'):
        config.checkpoint_every = 1350  # ten epochs of 8,144 training photos
    else:
        config.batch_size = 16
        sample.shapes_per_category, sample.photos_per_shape = 24, 24
    return config
