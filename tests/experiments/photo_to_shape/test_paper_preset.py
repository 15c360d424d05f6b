"""Every key of pix3d.py:paper: a change of the published setting is a change of this list."""

import pytest
from overrides import load_config

from data_pipelines.photo_to_shape.pix3d import PAPER_COUNTS
from data_pipelines.splits import hold_out, split_photos
from jaxret.runs.config import flatten

SETTING = {
    'batch_size': 60,
    'cache_dir': '',
    'checkpoint_every': 440,
    'color.hsv_range': (0.1, 0.3, 0.3),
    'color.mode': 'lab',
    'color.probability': 1.0,
    'color.ratio': 'style_over_content',
    'color.source': 'other',
    'data.categories': ('bed', 'chair', 'sofa', 'table'),
    'data.crop': 'none',
    'data.exclude_occluded': True,
    'data.exclude_truncated': True,
    'data.fit': 'stretch',
    'data.gallery': 'referenced',
    'data.image_size': 224,
    'data.layout': 'pix3d',
    'data.margin': 0.1,
    'data.mask_dir': '',
    'data.masks': 'auto',
    'data.shapenet_dir': '',
    'data.split_file': '',
    'data.test_fraction': 2470 / 5118,
    'data.up_axis': 'y',
    'data.val_fraction': 0.0,
    'data.views_per_step': 0,
    'data_dir': '',
    'epochs': 500,
    'evaluation.batch_size': 32,
    'evaluation.photos': 'test',
    'evaluation.points': 10000,
    'evaluation.reference_temperature': 0.05,
    'evaluation.references': 0.0,
    'evaluation.shape_metrics': True,
    'evaluation.unseen_categories': 'own',
    'evaluation.unseen_dir': '',
    'evaluation.voxels': 128,
    'experiment': 'photo_to_shape',
    'frozen.photo_copies': 0,
    'frozen.view_copies': 0,
    'log_every': 10,
    'loss.alignment_weight': 0.1,
    'loss.category_weight': 0.2,
    'loss.center_weight': 10.0,
    'loss.kind': 'contrastive',
    'loss.label_weight': 1.0,
    'loss.margin': 0.2,
    'loss.mining': 'all',
    'loss.reduction': 'mean',
    'loss.sampling_correction': False,
    'loss.temperature': 0.1,
    'loss.true_shape': 'included',
    'model.chunk': 0,
    'model.dtype': 'float32',
    'model.embedding_dim': 128,
    'model.last_blocks': 4,
    'model.mask': 'channel',
    'model.normalization': 'symmetric',
    'model.pooling': 'attention',
    'model.query_encoder': 'resnet50',
    'model.taps': '',
    'model.train': 'all',
    'model.view_encoder': 'resnet34',
    'on_bad_file': 'error',
    'optimizer.average_decay': 0.0,
    'optimizer.b1': 0.5,
    'optimizer.b2': 0.999,
    'optimizer.clip_norm': 0.0,
    'optimizer.decay_every': 20000,
    'optimizer.decay_factor': 0.1,
    'optimizer.learning_rate': 5e-05,
    'optimizer.momentum': 0.9,
    'optimizer.name': 'adam',
    'optimizer.nesterov': False,
    'optimizer.pretrained_factor': 1.0,
    'optimizer.schedule': 'constant',
    'optimizer.warmup': 0.0,
    'optimizer.weight_decay': 0.0,
    'parallel.devices': 0,
    'parallel.mode': 'jit',
    'photo_augmentation.area': (0.85, 0.95),
    'photo_augmentation.aspect': (0.75, 1.3333333333),
    'photo_augmentation.fill': 0,
    'photo_augmentation.flip': 0.5,
    'photo_augmentation.translate': 0.05,
    'pretrained.first_convolution': 'random',
    'pretrained.gallery': 'published',
    'pretrained.query': 'published',
    'processes': 0,
    'render.ambient': 0.2,
    'render.background': 255,
    'render.diffuse': 0.65,
    'render.elevation': 30.0,
    'render.field_of_view': 40.0,
    'render.first_azimuth': 0.0,
    'render.light_azimuth': -25.0,
    'render.light_elevation': 25.0,
    'render.shading': 'grey',
    'render.supersample': 2,
    'render.views': 12,
    'sample.photos_per_shape': 30,
    'sample.shapes_per_category': 10,
    'seed': 0,
    'select': 'last',
    'view_augmentation.area': (0.65, 0.9),
    'view_augmentation.aspect': (0.75, 1.3333333333),
    'view_augmentation.fill': 255,
    'view_augmentation.flip': 0.5,
    'view_augmentation.translate': 0.0,
}
CARS = {'data.gallery': 'referenced', 'data.categories': (), 'loss.category_weight': 0.0}


@pytest.mark.parametrize(('name', 'changes'), [
    ('pix3d', {}),
    ('stanford_cars', {**CARS, 'data.layout': 'stanford_cars', 'checkpoint_every': 1350}),
    ('comp_cars', {**CARS, 'data.layout': 'comp_cars', 'checkpoint_every': 630}),
])  # fmt: skip
def test_every_key(name, changes):
    assert flatten(load_config(f'{name}.py:paper')[0]) == {**SETTING, **changes}


def test_the_published_counts_and_steps():
    config, _ = load_config('pix3d.py:paper')
    of_shape = [1 + (7 * shape) % 29 for shape in range(PAPER_COUNTS['shapes'])]
    of_shape[0] += PAPER_COUNTS['photos'] - sum(of_shape)
    assert min(of_shape) > 0 and 1 in of_shape
    shape_of = {f'{shape}/{photo}.jpg': f'{shape}' for shape, count in enumerate(of_shape) for photo in range(count)}
    for seed in range(3):
        split = split_photos(shape_of, test_fraction=config.data.test_fraction, seed=seed)
        split = hold_out(split, shape_of, val_fraction=config.data.val_fraction, seed=seed)
        counts = {part: list(split.values()).count(part) for part in ('train', 'val', 'test')}
        assert counts == {'train': PAPER_COUNTS['train'], 'val': 0, 'test': PAPER_COUNTS['test']}
    for name, photos in (('pix3d', PAPER_COUNTS['train']), ('stanford_cars', 8144), ('comp_cars', 3798)):
        config, _ = load_config(f'{name}.py:paper')
        assert config.checkpoint_every == 10 * (photos // config.batch_size)
