"""Photos cut to their object for the built-in model, and views cut likewise."""

import warnings

import numpy as np
import pytest
import trimesh
from PIL import Image

from jaxret.geometry.mesh import Mesh
from jaxret.geometry.render import ViewRing, render_views
from jaxret.preprocessing.inputs import PhotoInputs, ShapeInputs
from jaxret.preprocessing.photos import photo_arrays
from jaxret.preprocessing.shapes import cloud_views, shape_arrays

INPUTS = PhotoInputs('cutout', 26, margin=0.15)


def photo(height=40, width=60):
    """Red at the left border, blue elsewhere; the mask of the red part, 20 high and 10 wide."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[..., 2] = 200
    mask = np.zeros((height, width), np.uint8)
    mask[10:30, :10] = 255
    pixels[mask > 0] = (200, 0, 0)
    return pixels, mask


def test_with_a_mask_the_object_is_on_white_wherever_it_was():
    pixels, mask = photo()
    made = photo_arrays(pixels, inputs=INPUTS, mask=mask)
    assert {name: (array.shape, array.dtype.type) for name, array in made.items()} == dict(INPUTS.arrays)
    red = (made['photo'] == (200, 0, 0)).all(axis=2)
    rows, columns = np.flatnonzero(red.any(axis=1)), np.flatnonzero(red.any(axis=0))
    assert (rows[0], rows[-1], columns[0], columns[-1]) == (3, 22, 8, 17)  # 20 of 26 high, in the middle
    assert (made['photo'][~red] == 255).all()
    filled = np.argwhere(made['outline'])  # 20 by 10: all of the height and half of the width, in the middle
    assert (*filled.min(axis=0), *filled.max(axis=0)) == (0, 8, 31, 23) and len(filled) == 32 * 16


def test_transparency_is_a_mask_unless_one_is_given(tmp_path):
    pixels, mask = photo()
    Image.fromarray(np.dstack([pixels, mask])).save(tmp_path / 'cut.png')
    Image.fromarray(np.dstack([pixels, np.full_like(mask, 255)])).save(tmp_path / 'opaque.png')
    other = np.zeros_like(mask)
    other[20:, 30:] = 255
    same = photo_arrays(pixels, inputs=INPUTS, mask=mask)
    for name, array in photo_arrays(tmp_path / 'cut.png', inputs=INPUTS).items():
        np.testing.assert_array_equal(array, same[name])
    boxed = photo_arrays(tmp_path / 'cut.png', inputs=INPUTS, box=(0, 0, 60, 20))
    halved = np.where(np.arange(40)[:, None] < 20, mask, 0).astype(np.uint8)
    np.testing.assert_array_equal(boxed['outline'], photo_arrays(pixels, inputs=INPUTS, mask=halved)['outline'])
    assert boxed['outline'].any() and not photo_arrays(tmp_path / 'opaque.png', inputs=INPUTS)['outline'].any()
    assert (photo_arrays(tmp_path / 'cut.png', inputs=INPUTS, mask=other)['photo'][..., 0] != 200).all()


@pytest.mark.parametrize('kind', ['masked', 'plain', 'view'])
@pytest.mark.parametrize('suffix', ['png', 'webp', 'avif'])
def test_transparency_is_a_mask_for_every_system(tmp_path, kind, suffix):
    pixels, mask = photo()
    options = {'png': {}, 'webp': {'lossless': True, 'exact': True}, 'avif': {'quality': 100, 'subsampling': '4:4:4'}}
    Image.fromarray(np.dstack([pixels, mask])).save(tmp_path / f'cut.{suffix}', **options[suffix])
    inputs = PhotoInputs(kind, 26, stored_size=26, crop='mask', margin=0.1)
    on_white = np.where(mask[..., None] > 0, pixels, np.uint8(255))
    wanted = photo_arrays(on_white, inputs=inputs, mask=mask)
    for name, array in photo_arrays(tmp_path / f'cut.{suffix}', inputs=inputs).items():
        np.testing.assert_allclose(array.astype(int), wanted[name], atol=4 * (suffix == 'avif'))


def test_a_system_trained_with_masks_asks_for_one_once():
    pixels, mask = photo()
    inputs = PhotoInputs('masked', 26)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter('default')
        photo_arrays(pixels, inputs=inputs, mask=mask)
        photo_arrays(pixels, inputs=inputs, box=(0, 0, 9, 9))
        assert not told
        for _ in range(3):
            photo_arrays(pixels, inputs=inputs)
    assert len(told) == 1 and 'give a mask' in str(told[0].message)


def test_a_box_or_the_frame_says_nothing_of_the_outline():
    pixels, _ = photo()
    boxed = photo_arrays(pixels, inputs=INPUTS, box=(20, 10, 40, 30))
    assert not boxed['outline'].any() and (boxed['photo'] == (0, 0, 200)).all()  # with what is around it
    whole = photo_arrays(pixels, inputs=INPUTS)
    assert not whole['outline'].any()
    for name, array in photo_arrays(pixels, inputs=INPUTS, mask=np.full((40, 60), 255, np.uint8)).items():
        np.testing.assert_array_equal(array, whole[name])
    assert (whole['photo'][:4] == 255).all() and (whole['photo'][5:21, :, 0] != 255).all()  # 17 of 26 high
    framed = photo_arrays(pixels, inputs=PhotoInputs('cutout', 26, frame_margin=0.15))
    assert (framed['photo'][:, :3] == 255).all() and (framed['photo'][13, 3:23, 0] != 255).all()


def test_views_are_placed_as_photos_are():
    ring = ViewRing(views=2, size=50, elevation=0)
    inputs = ShapeInputs('views', ring=ring, view_ids=(0, 1), side=26, margin=0.15)
    assert ShapeInputs.from_json(inputs.to_json()) == inputs and inputs.arrays['views'][0] == (2, 26, 26, 1)
    points = np.argwhere(np.ones((13, 25, 4))).astype(float)  # a board, higher than wide
    for view in cloud_views(points, inputs=inputs, up_axis='y')['views']:
        rows, columns = np.flatnonzero((view < 230).any(axis=(1, 2))), np.flatnonzero((view < 230).any(axis=(0, 2)))
        assert (rows[0], rows[-1]) == (3, 22) and columns[0] + columns[-1] == pytest.approx(25, abs=1)


def test_the_surface_of_a_cloud_looks_like_the_mesh(tmp_path):
    shape = trimesh.creation.torus(1.0, 0.35)  # z up
    points = trimesh.sample.sample_surface(shape, 3000, seed=0)[0]
    ring = ViewRing(views=1, size=40, elevation=20)
    inputs = ShapeInputs('views', ring=ring, view_ids=(0,), side=40)
    np.savetxt(tmp_path / 'torus.xyz', points)
    found = cloud_views(tmp_path / 'torus.xyz', inputs=inputs, up_axis='z')['views'] < 255
    vertices = np.stack([shape.vertices[:, 0], shape.vertices[:, 2], -shape.vertices[:, 1]], axis=1)
    wanted = render_views(Mesh(vertices, shape.faces), ring)[..., None] < 255
    assert (found & wanted).sum() / (found | wanted).sum() > 0.9
    shape.export(tmp_path / 'torus.stl')
    mesh = shape_arrays(tmp_path / 'torus.stl', inputs=inputs, up_axis='z')['views'] < 255
    np.testing.assert_array_equal(mesh, wanted)
