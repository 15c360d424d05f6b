"""Where timm is installed (extra `torch`): EfficientNet-Lite gives what it gives, and the committed file is that."""

import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from flax.traverse_util import unflatten_dict
from seeded_weights import seeded_images

from jaxret.encoders.efficientnet_lite import efficientnet_lite
from jaxret.errors import ConfigError
from jaxret.pretrained.networks import network_weights
from jaxret.pretrained.packaged import packaged_weights
from jaxret.pretrained.weight_files import read_weights

FIXTURES = Path(__file__).parents[1] / 'fixtures'
torch = pytest.importorskip('torch')
pytest.importorskip('timm')
sys.path.insert(0, str(FIXTURES))
make = pytest.importorskip('make_efficientnet')


@pytest.mark.parametrize('name', make.NETWORKS)
def test_outputs_are_the_committed_ones(name):
    stored = np.load(FIXTURES / 'efficientnet_lite.npz', allow_pickle=False)
    found = make.run_network(name)
    assert found.keys() == {key for key in stored if key.startswith(f'{name}/')}
    for key, value in found.items():
        if value.dtype.kind == 'U':
            assert str(value) == str(stored[key])
        else:
            np.testing.assert_allclose(value, stored[key], atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ('name', 'side'), [('efficientnet_lite0', 224), ('efficientnet_lite1', 240), ('efficientnet_lite2', 260)]
)
def test_logits_on_the_weights_of_the_packages(name, side):
    """Of a smooth image and of noise, at the published sizes."""
    try:
        path = packaged_weights(name)
    except ConfigError as error:
        pytest.skip(str(error))
    x, y = np.meshgrid(*[np.linspace(-1, 1, side, dtype=np.float32)] * 2)
    smooth = np.stack([x * y, (x + y) / 2, np.sin(9 * x)], axis=-1)
    images = np.stack([smooth, seeded_images(1, side, side, seed=9)[0]])
    theirs, _ = make.load_network(name, path)
    with torch.no_grad():
        expected = theirs.eval()(torch.from_numpy(images.transpose(0, 3, 1, 2).copy())).numpy()
    network = efficientnet_lite(name, num_classes=1000)
    shapes = jax.eval_shape(network.init, jax.random.key(0), images)
    variables = unflatten_dict(network_weights(read_weights(path).arrays, shapes, where=str(path)))
    assert np.std(expected) > 0.3
    np.testing.assert_allclose(jax.jit(network.apply)(variables, images), expected, atol=1e-4, rtol=0)
