"""Where PyTorch and torchvision are installed (extra `torch`): that the committed files are what they give now."""

import sys
from pathlib import Path

import numpy as np
import pytest

from jaxret.pretrained.weight_files import read_weights

FIXTURES = Path(__file__).parents[1] / 'fixtures'
torch = pytest.importorskip('torch')
pytest.importorskip('torchvision')
sys.path.insert(0, str(FIXTURES))
make = pytest.importorskip('make_pretrained')


@pytest.mark.parametrize('name', ['resnet18', 'alexnet'])
def test_outputs_are_the_committed_ones(name):
    stored = np.load(FIXTURES / 'pretrained.npz', allow_pickle=False)
    found = make.run_network(name, list(make.NETWORKS).index(name))
    assert found.keys() == {key for key in stored if key.startswith(f'{name}/')}
    for key, value in found.items():
        if value.dtype.kind == 'U':
            assert str(value) == str(stored[key])
        else:
            np.testing.assert_allclose(value, stored[key], atol=1e-6, rtol=0)


@pytest.mark.parametrize('name', ['tensors.pth', 'tensors.safetensors', 'layers.pth', 'checkpoint.pth'])
def test_files_are_read_as_the_committed_ones(tmp_path, name):
    make.write_files(tmp_path / 'new')
    found, stored = read_weights(tmp_path / 'new' / name).arrays, read_weights(FIXTURES / 'torch_files' / name).arrays
    assert found.keys() == stored.keys()
    for key, value in found.items():
        assert value.dtype == stored[key].dtype
        np.testing.assert_array_equal(np.asarray(value), np.asarray(stored[key]))
