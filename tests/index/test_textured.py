"""Indexes of textured views: the materials and textures beside a model are part of what it is."""

import os

import numpy as np
import pytest
from PIL import Image
from small_index import SIDE, VIEWS, PlainModel, check_index, opened, write_box

from jaxret.geometry.render import ViewRing
from jaxret.preprocessing.shapes import ShapeInputs, file_checksum

BOX = """mtllib box.mtl
v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nv 0 0 1\nv 1 0 1\nv 1 1 1\nv 0 1 1
vt 0 0\nvt 1 0\nvt 1 1\nvt 0 1
usemtl wood
f 1/1 4/2 3/3 2/4\nf 5/1 6/2 7/3 8/4\nf 1/1 2/2 6/3 5/4\nf 2/1 3/2 7/3 6/4\nf 3/1 4/2 8/3 7/4\nf 4/1 1/2 5/3 8/4
"""


@pytest.fixture
def textured():
    return PlainModel(
        shape_inputs=ShapeInputs(
            'views', ring=ViewRing(views=VIEWS, size=SIDE, shading='textured'), view_ids=tuple(range(VIEWS)), side=SIDE
        )
    )


def write_textured(folder, grey: int):
    """A box, its materials, and a texture of a grey level."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'box.obj').write_text(BOX)
    (folder / 'box.mtl').write_text('newmtl wood\nKd 0.5 0.5 0.5\nmap_Kd wood.png\n')
    Image.fromarray(np.full((4, 4, 3), grey, np.uint8)).save(folder / 'wood.png')


def test_a_changed_texture_is_embedded_again(update, textured, tmp_path):
    names, models = ['a/box.obj', 'b/box.obj', 'plain.obj'], tmp_path / 'models'
    write_textured(models / 'a', 200)
    write_textured(models / 'b', 90)
    write_box(models / 'plain.obj', 1, 2, 3)

    def embedded():
        textured.embedded = 0
        done = update(model=textured)
        check_index(opened(tmp_path), textured, models, names)
        return done.embedded

    assert embedded() == 3 and embedded() == 0
    first = opened(tmp_path).gallery.embeddings
    assert not np.array_equal(first[0], first[1])  # one mesh, two textures
    write_textured(models / 'a', 10)
    assert embedded() == 1
    (models / 'a' / 'wood.png').unlink()
    assert embedded() == 1
    write_textured(models / 'a', 10)
    assert embedded() == 1
    (models / 'b' / 'box.mtl').write_text('newmtl wood\nKd 0.5 0 0\n')
    assert embedded() == 1
    os.utime(models / 'b' / 'box.mtl', ns=(0, 0))
    assert embedded() == 0
    (models / 'b').rename(models / 'c')  # what is the same elsewhere is not embedded
    names[1] = 'c/box.obj'
    assert embedded() == 0


def test_without_textured_views_they_do_not_count(update, model, tmp_path):
    write_textured(tmp_path / 'models' / 'a', 200)
    assert update().embedded == 1
    before = file_checksum(tmp_path / 'models/a/box.obj')
    write_textured(tmp_path / 'models' / 'a', 10)
    os.utime(tmp_path / 'models/a/box.obj', ns=(0, 0))
    assert update().embedded == 0 and file_checksum(tmp_path / 'models/a/box.obj') == before


def test_checksums_with_and_without_colours_differ(textured, tmp_path):
    write_box(tmp_path / 'plain.obj', 1, 2, 3)
    write_box(tmp_path / 'plain.ply', 1, 2, 3)
    (tmp_path / 'alone.obj').write_text(BOX)  # its materials are missing
    for name in ('plain.obj', 'plain.ply', 'alone.obj'):
        assert file_checksum(tmp_path / name, textured=True) != file_checksum(tmp_path / name)


def test_which_of_two_textures_is_there_decides(tmp_path):
    write_textured(tmp_path, 200)
    (tmp_path / 'box.mtl').write_text('newmtl wood\nmap_Kd wood.png\nnewmtl steel\nmap_Kd steel.png\n')
    before = file_checksum(tmp_path / 'box.obj', textured=True)
    (tmp_path / 'wood.png').rename(tmp_path / 'steel.png')
    assert file_checksum(tmp_path / 'box.obj', textured=True) != before
    os.mkfifo(tmp_path / 'wood.png')  # a pipe is not waited for
    file_checksum(tmp_path / 'box.obj', textured=True)


@pytest.mark.parametrize(
    ('inputs', 'textured'),
    [
        (ShapeInputs('views', ring=ViewRing(shading='textured')), True),
        (ShapeInputs('views'), False),
        (ShapeInputs('views', ring=ViewRing(shading='textured'), unit_sphere=True), False),
        (ShapeInputs('points', ring=ViewRing(shading='textured')), False),
    ],
)
def test_only_textured_views_show_materials(inputs, textured):
    assert inputs.textured is textured
