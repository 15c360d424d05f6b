"""Where transformers, timm and OpenCLIP are installed (extra `torch`): stored outputs, and files that they write."""

import json
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from vit_cases import IMAGES, stored_cases

from jaxret.pretrained.vit_files import read_vision_transformer

torch = pytest.importorskip('torch')
for package in ('torchvision', 'transformers', 'timm', 'open_clip'):
    pytest.importorskip(package)
sys.path.insert(0, str(Path(__file__).parents[1] / 'fixtures'))
make_vit = pytest.importorskip('make_vit')
CASES = make_vit.cases()


def test_the_stored_cases_are_these():
    assert stored_cases().keys() == CASES.keys()


@pytest.mark.parametrize('name', CASES)
def test_outputs_are_the_stored_ones(name):
    case, features = stored_cases()[name]
    found = make_vit.stored(name, *CASES[name])
    assert json.loads(str(found[f'{name}/case']))['shapes'] == case['shapes']
    for size, expected in features.items():
        np.testing.assert_allclose(found[f'{name}/{size}'], expected, atol=1e-6)


@pytest.mark.parametrize('name', CASES)
def test_what_a_library_stores_gives_what_its_network_gives(tmp_path, name):
    """The library's own random weights and files; where its initial weights are all zeros, nothing much is shown."""
    _, make, load = CASES[name]
    torch.manual_seed(0)
    make(tmp_path)
    network, features = read_vision_transformer(tmp_path), load(tmp_path)
    for images in IMAGES.values():
        with torch.no_grad():
            expected = features(torch.from_numpy(images.transpose(0, 3, 1, 2).copy()).double()).numpy()
        found = jax.jit(network.module.apply)(network.variables, images)
        np.testing.assert_allclose(found, expected, atol=1e-4)
