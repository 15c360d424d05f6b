"""Files of a folder in Pix3D's layout: links, damage, what is left out and what is remembered."""

import os

import numpy as np
import pytest
from PIL import Image
from pix3d_folders import problems_of, read, write_box, write_folder, write_json, write_mask

from data_pipelines import file_checks
from jaxret.errors import StorageError


def test_links_are_followed_wherever_they_lead(tmp_path):
    root = tmp_path / 'data'
    entries = write_folder(root)
    names = [photo.name for photo in read(root).photos]
    (root / 'img').rename(tmp_path / 'disk')
    (root / 'img').symlink_to(tmp_path / 'disk')  # a folder as a whole
    (tmp_path / 'masks').mkdir()
    for number, entry in enumerate(entries):  # single files, as git-annex has them
        (root / entry['mask']).rename(tmp_path / 'masks' / str(number))
        (root / entry['mask']).symlink_to(tmp_path / 'masks' / str(number))
    write_box(tmp_path / 'outside.obj', (1, 1, 1))
    (root / 'model/sofa/link.obj').symlink_to(tmp_path / 'outside.obj')
    dataset = read(root)
    assert [photo.name for photo in dataset.photos] == names
    assert 'model/sofa/link.obj' in [shape.model for shape in dataset.shapes]
    for number, entry in enumerate(entries):
        (root / entry['mask']).unlink()
        (root / entry['mask']).symlink_to('none.png' if number else '0_0.png')
    found = [problem.found for problem in problems_of(root)]
    assert 'Too many levels of symbolic links' in found[0] and found[1:] == ['a link to nothing'] * (len(entries) - 1)


def test_links_to_folders_are_followed_and_loops_end(tmp_path):
    root = tmp_path / 'data'
    write_folder(root, spare=2)
    (root / 'model/sofa').rename(root / 'store')
    (root / 'model/sofa').symlink_to('../store')
    for name, target in (('all', '..'), ('again', '../model'), ('twice', 'spare0'), ('a', 'spare0'), ('self', '.')):
        (root / 'store' / name).symlink_to(target)
    for options in ({}, {'categories': ('bed', 'chair', 'sofa')}):
        shapes = read(root, **options).shapes
        sofas = [shape.model for shape in shapes if shape.category == 'sofa']
        assert sofas == ['model/sofa/spare0/model.obj', 'model/sofa/spare1/model.obj'] and len(shapes) == 5
    write_box(tmp_path / 'outside/desk/model.obj', (1, 1, 1))
    (root / 'model/table').symlink_to(tmp_path / 'outside')
    (root / 'model/lamp').symlink_to(tmp_path)  # the data lies below it: a loop
    (root / 'model/none').symlink_to('none')
    assert [shape.model for shape in read(root).shapes if shape not in shapes] == ['model/table/desk/model.obj']


def test_names_that_are_not_utf_8(tmp_path):
    root = tmp_path / os.fsdecode(b'data\xe9')
    write_folder(root)
    assert len(read(root, cache_dir=tmp_path / 'cache').shapes) == 4
    write_box(root / os.fsdecode(b'model/bed/B\xe9b\xe9.obj'), (1, 1, 1))
    (root / os.fsdecode(b'model/bed/\xe9.txt')).write_text('no mesh')
    (problem,) = problems_of(root)
    assert problem.where.endswith('model/bed/B\ufffdb\ufffd.obj') and 'not UTF-8' in problem.found
    assert str(problem).encode()


def damage(root, entries) -> list[str]:
    """Damage five photos' files and three shapes; returns what is to be found, in the order of reporting."""
    (root / entries[0]['img']).unlink()
    (root / entries[1]['img']).write_bytes(b'')
    whole = (root / entries[2]['img']).read_bytes()
    (root / entries[2]['img']).write_bytes(whole[: len(whole) // 2])
    write_mask(root / entries[5]['mask'], size=(18, 24))
    (root / entries[6]['mask']).write_bytes(b'not an image')
    (root / entries[3]['model']).write_text('v 0 0 0\nv 1 0 0\nv 0 nan 0\nf 1 2 3\n')
    (root / 'model/sofa/spare0/model.obj').write_text('v 0 0 0\n')
    return ['missing', 'empty file', 'truncated', 'mask of 18 x 24', 'not an image', 'not finite', 'no triangles']


def test_bad_files_are_reported_together(tmp_path):
    entries = write_folder(tmp_path)
    expected = damage(tmp_path, entries)
    entries[8]['bbox'] = 'everywhere'
    write_json(tmp_path, entries)
    problems = problems_of(tmp_path)
    assert problems[0].where == 'pix3d.json[8].bbox'
    assert len(problems) == 1 + len(expected)
    for problem, found in zip(problems[1:], expected, strict=True):
        assert found in problem.found and str(tmp_path) in problem.where


def test_skip_leaves_out_and_lists(tmp_path):
    entries = write_folder(tmp_path)
    expected = damage(tmp_path, entries)
    dataset = read(tmp_path, on_bad_file='skip', required_splits=('train',), val_fraction=0)
    assert [shape.model for shape in dataset.shapes] == ['model/bed/shape0/model.obj', 'model/bed/shape2/model.obj']
    # 0-2: own files; 3, 4: their shape; 5, 6: their masks
    assert [photo.name for photo in dataset.photos] == [entries[7]['img'], entries[8]['img']]
    assert len(dataset.skipped) == len(expected) + 2
    for problem, found in zip(dataset.skipped, expected, strict=False):
        assert found in problem.found
    assert [problem.where for problem in dataset.skipped[-2:]] == [entries[3]['img'], entries[4]['img']]
    # nothing left, or nothing in a split, is an error in either mode
    assert any('split test' in problem.found for problem in problems_of(tmp_path, on_bad_file='skip'))


def test_empty_masks_and_boxes_beside_the_object(tmp_path):
    entries = write_folder(tmp_path)
    Image.fromarray(np.zeros((18, 24), np.uint8)).save(tmp_path / entries[1]['mask'])
    mask = np.zeros((18, 24), np.uint8)
    mask[:4, :4] = 255
    Image.fromarray(mask).save(tmp_path / entries[3]['mask'])
    entries[2]['bbox'] = [100, 100, 120, 120]
    entries[3]['bbox'] = [5, 5, 20, 15]
    del entries[4]['bbox']
    write_json(tmp_path, entries)
    empty, boxes = str(tmp_path / entries[1]['mask']), [f'pix3d.json[{index}].bbox' for index in (2, 3, 4)]
    for options, expected in (
        ({}, [empty]),
        ({'crop': 'mask', 'empty_masks': True}, [empty]),
        ({'crop': 'bbox'}, [empty, *boxes]),
        ({'crop': 'bbox', 'empty_masks': True}, boxes),
    ):
        assert [problem.where for problem in problems_of(tmp_path, **options)] == expected, options
    read(tmp_path, empty_masks=True)
    assert len(read(tmp_path, crop='bbox', on_bad_file='skip').skipped) == 4


def test_orientations_of_photos(tmp_path):
    entries = write_folder(tmp_path)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise; photo, mask and bbox are all of the stored pixels
    with Image.open(tmp_path / entries[1]['img']) as photo:
        photo.save(tmp_path / entries[1]['img'], exif=exif)
    exif[0x0112] = 3
    with Image.open(tmp_path / entries[2]['img']) as photo:
        photo.save(tmp_path / entries[2]['img'], exif=exif)
    dataset = read(tmp_path, crop='bbox')
    boxes = {photo.name: photo.bbox for photo in dataset.photos}
    assert boxes[entries[1]['img']] == (5, 6, 14, 21)  # of 18 x 24 pixels
    assert boxes[entries[2]['img']] == (6, 4, 21, 13)
    assert dataset.unsure == (entries[2]['img'],)


def test_sound_files_are_remembered_and_changed_ones_looked_at_again(tmp_path, monkeypatch):
    entries = write_folder(tmp_path / 'data')
    looked_at = []
    check_pair, check_mesh = file_checks._check_pair, file_checks._check_mesh
    monkeypatch.setattr(file_checks, '_check_pair', lambda pair: looked_at.append(pair[0]) or check_pair(pair))
    monkeypatch.setattr(file_checks, '_check_mesh', lambda item: looked_at.append(item[0]) or check_mesh(item))
    first = read(tmp_path / 'data', cache_dir=tmp_path / 'cache')
    assert len(looked_at) == 9 + 4
    looked_at.clear()
    assert read(tmp_path / 'data', cache_dir=tmp_path / 'cache') == first and looked_at == []
    bad = tmp_path / 'data' / entries[3]['img']
    bad.write_bytes(bad.read_bytes()[:100])
    for _ in range(2):  # bad files are looked at each time
        assert len(problems_of(tmp_path / 'data', cache_dir=tmp_path / 'cache')) == 1
        assert looked_at == [bad]
        looked_at.clear()
    for file in (tmp_path / 'cache/checked').iterdir():
        file.write_text('damaged {')
    problems_of(tmp_path / 'data', cache_dir=tmp_path / 'cache')
    assert len(looked_at) == 9 + 4
    (tmp_path / 'file').write_text('')
    with pytest.raises(StorageError, match='cannot be written'):
        read(tmp_path / 'data', cache_dir=tmp_path / 'file')


def test_worker_processes_find_the_same(tmp_path, monkeypatch):
    entries = write_folder(tmp_path)
    damage(tmp_path, entries)
    serial = problems_of(tmp_path)
    monkeypatch.setattr(file_checks, 'SERIAL_BELOW', 1)
    assert problems_of(tmp_path, check_processes=2) == serial
