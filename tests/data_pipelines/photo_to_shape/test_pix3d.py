"""Reading a folder in Pix3D's layout: filters, gallery, and every kind of bad input, reported together."""

import copy
import json
import os

import pytest
import trimesh
from pix3d_folders import problems_of, read, write_box, write_folder, write_json

from data_pipelines.photo_to_shape.pix3d import paper_note
from jaxret.errors import ConfigError


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


def test_nothing_follows_from_a_list_without_a_sound_entry(tmp_path):
    entries = write_folder(tmp_path)
    write_json(tmp_path, [entry | {'model': 3} for entry in entries])
    for gallery in ('folder', 'referenced'):
        problems = problems_of(tmp_path, gallery=gallery)
        assert [problem.found for problem in problems] == ['a number, not a string'] * len(entries)


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
