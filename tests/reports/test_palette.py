"""The palette: its colours stay apart with every kind of colour vision, and text in them can be read."""

import itertools

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from jaxret.reports.palette import COLOURS, HIT, MISS, PAGE, class_colours

# What the three kinds of dichromats see, of linear RGB: Machado et al., IEEE TVCG 15 (2009), table 1, severity 1.
VISION = {
    'normal': np.eye(3),
    'protan': [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    'deutan': [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    'tritan': [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def linear(colour):
    value = np.array(to_rgb(colour))
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def lab(colour, kind):
    x = XYZ @ np.clip(np.array(VISION[kind]) @ linear(colour), 0, 1) / XYZ.sum(axis=1)
    f = np.where(x > 0.008856, np.cbrt(x), 7.787 * x + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def contrast(one, other):
    low, high = sorted(XYZ[1] @ linear(colour) + 0.05 for colour in (one, other))
    return high / low


@pytest.mark.parametrize('kind', VISION)
@pytest.mark.parametrize('colours', [COLOURS, (HIT, MISS), [PAGE['hit'][1], PAGE['miss'][1]]])
def test_colours_stay_apart(colours, kind):
    for one, other in itertools.combinations(colours, 2):
        assert np.linalg.norm(lab(one, kind) - lab(other, kind)) > 20  # CIE 1976; 2.3 is just seen


def test_text_can_be_read_on_both_grounds():
    for name in ('ink', 'muted', 'hit', 'miss'):
        for ground in ('paper', 'soft'):
            for text, under in zip(PAGE[name], PAGE[ground], strict=True):
                assert contrast(text, under) > 4.5, (name, ground)


def test_classes():
    for count in (0, 1, 6, 7, 70):
        assert len(set(class_colours(count))) == count
    brightness = [np.dot(XYZ[1], linear(colour)) for colour in class_colours(40)]
    assert (np.diff(brightness) > 0).all()  # told apart in grey, too
