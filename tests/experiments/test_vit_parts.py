"""Vision transformers whole, and cut between their blocks: features of the frozen part take the place of pictures."""

import importlib
from functools import partial
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from overrides import apply_overrides, load_config

from jaxret.systems.by_task import system_classes

# Config -> keys of its networks, options of its system, {modality: name of its pictures in a batch}.
SYSTEMS = {
    'pix3d.py': (('query_encoder', 'view_encoder'), {'shapes': 3}, {'photo': 'photo', 'views': 'views'}),
    'mi3dor.py': (('backbone',), {'classes': 3, 'steps': 9}, {'photo': 'photo', 'shape': 'views'}),
    'modelnet40.py': (('image_encoder',), {'classes': 3}, {'image': 'image'}),
}
GALLERY = SimpleNamespace(views_encoded=np.zeros((1, 2)), channels=1)


@pytest.mark.parametrize('train', ['all', 'heads', 'last_blocks'])
@pytest.mark.parametrize('name', SYSTEMS)
def test_every_system_takes_a_vision_transformer_in_parts(name, train):
    keys, options, modalities = SYSTEMS[name]
    config, _ = load_config(name)
    networks = {f'model.{key}': 'vit_s14' for key in keys} | ({'model.taps': ''} if 'taps' in config.model else {})
    apply_overrides(config, networks | {'model.train': train, 'data.image_size': '28'})
    task = importlib.import_module(f'{config.experiment}.task').TASK.from_config(config)
    system = system_classes()[config.experiment].from_config(config, **options)
    batch = task.example(SimpleNamespace(shapes={'gallery': GALLERY}) if name == 'mi3dor.py' else None)
    variables = jax.eval_shape(system.init, jax.random.key(0), batch)
    assert ('frozen' in variables) == (train != 'all')
    embedded = {
        modality: jax.eval_shape(partial(system.embed, modality=modality), variables, batch).shape
        for modality in modalities
    }
    if train == 'all':
        return
    features = {
        f'{part}_features': jax.eval_shape(partial(system.features, modality=modality), variables, batch)
        for modality, part in modalities.items()
    }
    for modality, shape in embedded.items():
        assert jax.eval_shape(partial(system.embed, modality=modality), variables, features).shape == shape
    loss = partial(system.loss, rng=jax.random.key(0), step=np.int32(0), train=True)
    if name == 'mi3dor.py':
        names = ('label', 'valid', 'shape_valid')
        assert jax.eval_shape(loss, variables, {key: batch[key] for key in names} | features)[0].shape == ()
