"""Reading a folder in Pix3D's layout: filters, gallery, and every kind of bad input, reported together."""

import copy
import json
import os

import numpy as np
import pytest
import trimesh
from PIL import Image
from pix3d_folders import write_box, write_folder, write_json, write_mask

from data_pipelines import file_checks
from data_pipelines.photo_to_shape.pix3d import paper_note, read_pix3d
from jaxret.errors import ConfigError, DataError, StorageError


def read(root, **options):
    return read_pix3d(root, **({'check_processes': 1, 'progress': False} | options))


def problems_of(root, **options):
    with pytest.raises(DataError) as caught:
        read(root, **options)
    assert all(problem.where and problem.found and problem.action for problem in caught.value.problems)
    return caught.value.problems


def test_whole_folder(tmp_path):
    write_folder(tmp_path)
    dataset = read(tmp_path, val_fraction=0.2)
    assert dataset.categories == ('bed', 'chair', 'sofa') and dataset.skipped == ()
    assert [shape.model for shape in dataset.shapes] == [
        'model/bed/shape0/model.obj', 'model/bed/shape2/model.obj', 'model/chair/shape1/model.obj',
        'model/sofa/spare0/model.obj',
    ]  # fmt: skip
    assert [len(dataset.split_photos(split)) for split in ('train', 'val', 'test')] == [5, 1, 3]
    photo = dataset.photos[0]
    assert photo.name == 'img/bed/0_0.png' and photo.image == tmp_path / photo.name and photo.mask.is_file()
    assert (photo.category, photo.model, photo.bbox) == ('bed', 'model/bed/shape0/model.obj', (6, 4, 21, 13))


def test_filters_come_before_file_checks(tmp_path):
    entries = write_folder(tmp_path)
    entries[1]['occluded'] = True
    entries[3]['truncated'] = True
    entries[2]['slightly_occluded'] = True
    write_json(tmp_path, entries)
    (tmp_path / entries[1]['img']).unlink()
    (tmp_path / entries[3]['mask']).write_bytes(b'')
    names = {photo.name for photo in read(tmp_path, val_fraction=0, required_splits=()).photos}
    assert names == {entry['img'] for entry in entries} - {entries[1]['img'], entries[3]['img']}
    assert len(problems_of(tmp_path, exclude_occluded=False, exclude_truncated=False)) == 2
    beds = read(tmp_path, categories=('bed',))
    assert beds.categories == ('bed',) and len(beds.shapes) == 2
    assert {photo.category for photo in beds.photos} == {'bed'}
    assert [problem.found for problem in problems_of(tmp_path, categories=('bed', 'piano'))] == [
        "no photo or shape of category 'piano'"
    ]


def test_galleries(tmp_path):
    entries = write_folder(tmp_path, spare=2)
    for name in ('notes.txt', 'model.mtl', '.hidden.obj', 'scan_raw.obj'):
        (tmp_path / 'model/sofa/spare0' / name).write_text('nothing')
    write_box(tmp_path / 'model/bed/shape0/scan.obj', (1, 1, 1))
    entries[0]['model_raw'] = 'model/bed/shape0/scan.obj'
    write_json(tmp_path, entries)
    assert len(read(tmp_path).shapes) == 5
    referenced = read(tmp_path, gallery='referenced')
    assert len(referenced.shapes) == 3 and referenced.categories == ('bed', 'chair')
    assert [problem.found for problem in problems_of(tmp_path, min_shapes=6)] == ['5 usable shapes where 6 are needed']


def test_missing_folder_and_json(tmp_path):
    assert 'does not exist' in problems_of(tmp_path / 'none')[0].found
    (tmp_path / 'file').write_text('x')
    assert 'not a folder' in problems_of(tmp_path / 'file')[0].found
    (tmp_path / 'data').mkdir()
    assert problems_of(tmp_path / 'data')[0].found == 'missing'
    (tmp_path / 'data/pix3d.json').mkdir()
    assert problems_of(tmp_path / 'data')[0].found == 'not a regular file'


@pytest.mark.parametrize(
    ('text', 'found'),
    [
        (b'', 'empty file'), (b'[{"img": ', 'malformed JSON'), (b'{"img": 1}', 'not a list'), (b'[]', 'an empty list'),
        (b'null', 'null, not a list'), (b'\xff\xfe[', 'not UTF-8'), (b'[' * 100000, 'malformed JSON'),
        (b'[' + b'1' * 5000 + b']', 'malformed JSON'),
    ],
)  # fmt: skip
def test_broken_json(tmp_path, text, found):
    (tmp_path / 'pix3d.json').write_bytes(text)
    for mode in ('error', 'skip'):
        (problem,) = problems_of(tmp_path, on_bad_file=mode)
        assert problem.where == str(tmp_path / 'pix3d.json') and found in problem.found


BAD_ENTRIES = {
    'no_img': ({'img': None}, 'pix3d.json[0].img', 'null, not a string'),
    'number': ({'mask': 3}, 'pix3d.json[0].mask', 'a number, not a string'),
    'empty': ({'model': ' '}, 'pix3d.json[0].model', 'empty string'),
    'list': ({'category': ['bed']}, 'pix3d.json[0].category', 'a list, not a string'),
    'parent': ({'img': 'img/../../secret.png'}, 'pix3d.json[0].img', 'leaves the folder'),
    'absolute': ({'mask': '/etc/passwd'}, 'pix3d.json[0].mask', 'leaves the folder'),
    'null_byte': ({'img': 'img/a\0.png'}, 'pix3d.json[0].img', 'no file name can hold'),
    'surrogate': ({'img': 'img/\ud800.png'}, 'pix3d.json[0].img', 'no file name can hold'),
    'outside_model': ({'model': 'shapes/bed/a.obj'}, 'pix3d.json[0].model', 'not below model/'),
    'category': ({'category': 'chair'}, 'pix3d.json[0].category', "for a shape of category 'bed'"),
    'flag': ({'occluded': 'false'}, 'pix3d.json[0].occluded', 'a string, not true or false'),
    'flag_number': ({'truncated': 1}, 'pix3d.json[0].truncated', 'a number, not true or false'),
    'box_short': ({'bbox': [1, 2, 3]}, 'pix3d.json[0].bbox', 'not four numbers'),
    'box_nan': ({'bbox': [1, 2, float('nan'), 4]}, 'pix3d.json[0].bbox', 'not four numbers'),
    'box_flat': ({'bbox': [5, 2, 5, 4]}, 'pix3d.json[0].bbox', 'no area'),
    'split': ({'split': 'dev'}, 'pix3d.json[0].split', "'dev'"),
}


@pytest.mark.parametrize('kind', BAD_ENTRIES)
def test_bad_entries(tmp_path, kind):
    change, where, found = BAD_ENTRIES[kind]
    entries = write_folder(tmp_path)
    entries[0] |= change
    write_json(tmp_path, entries)
    for mode in ('error', 'skip'):
        matching = [problem for problem in problems_of(tmp_path, on_bad_file=mode) if problem.where == where]
        assert len(matching) == 1 and found in matching[0].found


def test_missing_keys_duplicates_and_other_things_in_the_list(tmp_path):
    entries = write_folder(tmp_path)
    for key in ('img', 'mask', 'model', 'category'):
        broken = copy.deepcopy(entries)
        del broken[4][key]
        write_json(tmp_path, broken)
        assert (f'pix3d.json[4].{key}', 'missing key') in [(p.where, p.found) for p in problems_of(tmp_path)]
    write_json(tmp_path, [*entries, 'photo', entries[2]])
    assert [(p.where, p.found) for p in problems_of(tmp_path)][:2] == [
        ('pix3d.json[9]', 'a string, not an object'),
        ('pix3d.json[10].img', f'{entries[2]["img"]} is already entry 2'),
    ]
    write_json(tmp_path, [*entries[:-1], {key: value for key, value in entries[-1].items() if key != 'split'}])
    assert [problem.found for problem in problems_of(tmp_path)] == ['8 of 9 entries have the key split']


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


def test_nothing_follows_from_a_list_without_a_sound_entry(tmp_path):
    entries = write_folder(tmp_path)
    write_json(tmp_path, [entry | {'model': 3} for entry in entries])
    for gallery in ('folder', 'referenced'):
        problems = problems_of(tmp_path, gallery=gallery)
        assert [problem.found for problem in problems] == ['a number, not a string'] * len(entries)


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


@pytest.mark.parametrize('encoding', ['utf-8-sig', 'utf-16', 'utf-16-le'])
def test_encodings_of_the_list(tmp_path, encoding):
    write_folder(tmp_path)
    plain = read(tmp_path)
    path = tmp_path / 'pix3d.json'
    path.write_text(path.read_text(), encoding=encoding)
    assert read(tmp_path).photos == plain.photos


def test_fingerprint_follows_folder_files_and_options(tmp_path):
    write_folder(tmp_path / 'a')
    write_folder(tmp_path / 'b')
    first = read(tmp_path / 'a')
    assert read(tmp_path / 'a').fingerprint == first.fingerprint
    others = [
        read(tmp_path / 'b'), read(tmp_path / 'a', gallery='referenced'), read(tmp_path / 'a', val_fraction=0.4),
        read(tmp_path / 'a', up_axis='z'),
    ]  # fmt: skip
    os.utime(first.photos[0].image, ns=(1, 1))
    others.append(read(tmp_path / 'a'))
    assert len({dataset.fingerprint for dataset in (first, *others)}) == 6


def test_a_change_of_a_gltf_buffer_is_noticed(tmp_path):
    write_folder(tmp_path / 'data')
    files = trimesh.creation.box((1, 2, 3)).export(file_type='gltf', merge_buffers=True)
    header = json.loads(files['model.gltf'])
    header['buffers'][0]['uri'] = 'parts/my%20buffer.bin'
    folder = tmp_path / 'data/model/sofa/spare0'
    (folder / 'parts').mkdir()
    (folder / 'parts/my buffer.bin').write_bytes(files['gltf_buffer.bin'])
    (folder / 'model.obj').unlink()
    (folder / 'model.gltf').write_text(json.dumps(header))
    options = {'cache_dir': tmp_path / 'cache'}
    first = read(tmp_path / 'data', **options)
    assert read(tmp_path / 'data', **options).fingerprint == first.fingerprint
    os.utime(folder / 'parts/my buffer.bin', ns=(1, 1))
    assert read(tmp_path / 'data', **options).fingerprint != first.fingerprint
    (folder / 'parts/my buffer.bin').write_bytes(b'cut')
    assert len(problems_of(tmp_path / 'data', **options)) == 1


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


def test_options_are_checked(tmp_path):
    wrong = {'gallery': 'all', 'on_bad_file': 'ignore', 'crop': 'face', 'up_axis': 'x', 'val_fraction': 1}
    for name, value in wrong.items():
        with pytest.raises(ConfigError, match=name):
            read(tmp_path, **{name: value})
    for category in ('/etc', '..', 'bed/shape0', '', '.', 'a\0'):
        with pytest.raises(ConfigError, match='categories'):
            read(tmp_path, categories=('bed', category))


def test_paper_note_compares_counts(tmp_path):
    entries = write_folder(tmp_path, photos_of=(2, 2), spare=0)
    for category in ('sofa', 'table'):
        write_box(tmp_path / f'model/{category}/one/model.obj', (1, 1, 1))
    write_json(tmp_path, json.loads(json.dumps(entries)))
    assert paper_note(read(tmp_path, categories=('bed',))) is None
    assert 'photos 4 (5118)' in paper_note(read(tmp_path))
