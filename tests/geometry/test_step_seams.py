"""Seams of spheres that are moved off the borders of faces."""

import re

import numpy as np
import pytest
from step_files import StepFile

from jaxret.geometry.mesh import load_mesh
from jaxret.geometry.step_seams import with_free_seams


def half_ball(**sphere):
    file = StepFile()
    file.product('half', [file.half_ball(5.0, **sphere)])
    return file.text().encode()


def x_direction(data):
    """Of the placement of the only sphere."""
    text = data.decode()

    def entity(number):
        return re.search(rf'^#{number}=(.*);$', text, re.MULTILINE).group(1)

    placement = re.search(r"SPHERICAL_SURFACE\('',#(\d+)", text).group(1)
    origin, axis, x = re.findall(r'#(\d+)', entity(placement))
    values = [
        np.array(re.search(r'\(\'\',\((.*)\)\)', entity(number)).group(1).split(','), float) for number in (axis, x)
    ]
    assert entity(origin) == "CARTESIAN_POINT('',(0.0,0.0,0.0))"
    np.testing.assert_array_equal(values[0], (0, 0, 1))
    return values[1]


def test_a_seam_on_a_border_is_moved():
    for x in ((1, 0, 0), (-1, 0, 0)):
        moved = with_free_seams(half_ball(x=x))
        np.testing.assert_array_equal(x_direction(moved), (0, 1, 0))
        assert moved.endswith(b'ENDSEC;\nEND-ISO-10303-21;\n') and with_free_seams(moved) == moved


@pytest.mark.parametrize(
    'data',
    [
        half_ball(x=(0.6, 0.8, 0)),  # a seam inside of the face
        half_ball(x=(1, 0, 0), pole=(0, 1, 0)),  # the border is the equator
        half_ball().replace(b"SPHERICAL_SURFACE('',", b"SPHERICAL_SURFACE('PCURVE',"),
        half_ball().replace(b'5.0', b'?'),
        re.sub(rb'#\d+=CIRCLE', b'#9999=CIRCLE', half_ball()),
        b'SPHERICAL_SURFACE',
    ],
)
def test_what_is_left_as_it_is(data):
    assert with_free_seams(data) == data


@pytest.mark.parametrize('x', [(1, 0, 0), (0, 1, 0)])
def test_half_a_ball_is_half_a_ball(tmp_path, x):
    pytest.importorskip('cascadio')
    (tmp_path / 'half.step').write_bytes(half_ball(x=x))
    mesh = load_mesh(tmp_path / 'half.step')
    corners = mesh.vertices[mesh.faces]
    volume = abs(np.linalg.det(corners).sum()) / 6
    assert volume == pytest.approx(2 / 3 * np.pi * 125, rel=0.02)
    np.testing.assert_allclose(mesh.vertices.min(axis=0), (-5, 0, -5), atol=0.05)
    np.testing.assert_allclose(mesh.vertices.max(axis=0), (5, 5, 5), atol=0.05)
