"""Deterministic splits: independent of file order, both sides of every shape, val inside train, stored and reused."""

import json
import random
from collections import Counter

import pytest
from pix3d_folders import write_folder, write_json

from data_pipelines.photo_to_shape.pix3d import read_pix3d
from data_pipelines.splits import hold_out, split_photos
from jaxret.errors import DataError


def photos_like_pix3d(seed: int = 0, shapes: int = 322) -> dict[str, str]:
    """Shape of each photo; long-tailed like the published data, some shapes with one photo."""
    draw = random.Random(seed)
    counts = [max(1, round(draw.paretovariate(0.9))) for _ in range(shapes)]
    return {f'img/{s}_{n}.jpg': f'model/{s}.obj' for s, count in enumerate(counts) for n in range(min(count, 300))}


@pytest.mark.parametrize('fraction', [0.2, 2470 / 5118, 0.7])
def test_split_has_both_sides_and_the_share(fraction):
    shape_of = photos_like_pix3d()
    split = split_photos(shape_of, test_fraction=fraction, seed=0)
    assert split.keys() == shape_of.keys() and set(split.values()) == {'train', 'test'}
    sides: dict[str, Counter] = {}
    for photo, shape in shape_of.items():
        sides.setdefault(shape, Counter())[split[photo]] += 1
    for counts in sides.values():
        if counts.total() == 1:
            assert counts['train'] == 1
        else:
            assert counts['train'] and counts['test']
    if fraction > 0.4:  # a small share cannot be had where every pair of photos is divided
        assert abs(list(split.values()).count('test') / len(split) - fraction) < 0.02


def test_split_is_a_function_of_names_and_seed():
    shape_of = photos_like_pix3d()
    split = split_photos(shape_of, test_fraction=0.5, seed=3)
    shuffled = list(shape_of.items())
    random.Random(1).shuffle(shuffled)
    assert split_photos(dict(shuffled), test_fraction=0.5, seed=3) == split
    other = split_photos(shape_of, test_fraction=0.5, seed=4)
    assert sum(split[photo] != other[photo] for photo in split) > 0.2 * len(split)
    assert set(split_photos(shape_of, test_fraction=0, seed=0).values()) == {'train'}
    assert split_photos({'a': 'x'}, test_fraction=0.5, seed=0) == {'a': 'train'}
    assert split_photos({}, test_fraction=0.5, seed=0) == {}


def test_val_is_held_out_of_train_and_leaves_each_shape_a_photo():
    shape_of = photos_like_pix3d()
    split = split_photos(shape_of, test_fraction=0.5, seed=0)
    held = hold_out(split, shape_of, val_fraction=0.1, seed=0)
    shuffled = list(split.items())
    random.Random(1).shuffle(shuffled)
    assert hold_out(dict(shuffled), shape_of, val_fraction=0.1, seed=0) == held
    val = [photo for photo, part in held.items() if part == 'val']
    train = [photo for photo, part in split.items() if part == 'train']
    assert len(val) == round(0.1 * len(train)) and set(val) <= set(train)
    assert all(held[photo] == split[photo] for photo in split if photo not in val)
    still = {shape_of[photo] for photo, part in held.items() if part == 'train'}
    assert still == {shape_of[photo] for photo in train}
    everything = hold_out(split, shape_of, val_fraction=0.99, seed=0)
    assert {shape_of[photo] for photo, part in everything.items() if part == 'train'} == still
    assert 'val' not in hold_out(split, shape_of, val_fraction=0.0, seed=0).values()
    few = {'a': 'x', 'b': 'x', 'c': 'y', 'd': 'z'}
    one = hold_out(dict.fromkeys(few, 'train'), few, val_fraction=0.1, seed=0)
    assert list(one.values()).count('val') == 1 and 'val' in (one['a'], one['b'])


def read(root, **options):
    return read_pix3d(root, check_processes=1, progress=False, **options)


def test_layout_split_does_not_depend_on_the_order_of_the_list(tmp_path):
    entries = write_folder(tmp_path, photos_of=(6, 5, 1), split=False)
    table = read(tmp_path, val_fraction=0.3).split_table()
    assert set(table.values()) == {'train', 'val', 'test'}
    write_json(tmp_path, entries[::-1])
    again = read(tmp_path, val_fraction=0.3)
    assert again.split_table() == table
    assert read(tmp_path, val_fraction=0.3, seed=1).split_table() != table


def test_stored_split_is_used_again(tmp_path):
    entries = write_folder(tmp_path, photos_of=(6, 5, 3), split=False)
    stored = json.loads(json.dumps(read(tmp_path, seed=5).split_table()))
    write_json(tmp_path, entries[:-1])  # one photo fewer: a new split would be another one
    reused = read(tmp_path, split_table=stored, seed=0)
    assert reused.split_table() == {name: stored[name] for name in reused.split_table()} and len(reused.photos) == 13
    name = entries[0]['img']
    del stored[name]
    assert read(tmp_path, split_table=stored).split_table() == reused.split_table() | {name: 'test'}
    marked = [entry | {'split': 'val'} for entry in entries]
    write_json(tmp_path, marked)
    assert read(tmp_path, split_table=stored).split_table()[name] == 'val'


def test_given_splits_are_kept_and_val_comes_from_train(tmp_path):
    entries = write_folder(tmp_path, photos_of=(5, 5, 5))
    table = read(tmp_path, val_fraction=0.25).split_table()
    assert Counter(table.values()) == {'train': 9, 'val': 3, 'test': 3}
    assert all(entry['split'] == 'train' for entry in entries if table[entry['img']] == 'val')
    entries[1]['split'] = 'val'
    write_json(tmp_path, entries)
    assert Counter(read(tmp_path).split_table().values()) == {'train': 11, 'val': 1, 'test': 3}


def test_advice_where_nothing_is_held_out(tmp_path):
    write_folder(tmp_path)
    with pytest.raises(DataError, match='no photos in split val; raise val_fraction'):
        read(tmp_path, val_fraction=0, required_splits=('train', 'val', 'test'))


def test_a_split_without_photos_is_a_problem(tmp_path):
    entries = write_folder(tmp_path)
    write_json(tmp_path, [entry | {'split': 'test'} for entry in entries])
    with pytest.raises(DataError, match='no photos in split train'):
        read(tmp_path)
    assert len(read(tmp_path, required_splits=('test',)).photos) == 9
    write_json(tmp_path, [entry | {'occluded': True} for entry in entries])
    with pytest.raises(DataError) as caught:
        read(tmp_path, gallery='folder')
    found = [problem.found for problem in caught.value.problems]
    assert found == ['no photos in split train', 'no photos in split test']


def test_a_published_split_is_a_file_of_names(tmp_path):
    root = tmp_path / 'data'
    entries = write_folder(root)  # with splits of its own
    names = [entry['img'] for entry in entries]
    test = names[1::3]
    (root / 'test.txt').write_bytes(('\ufeff' + '\r\n'.join(['', *test, ''])).encode())
    lists = {'train': [name for name in names if name not in test], 'test': test}
    (root / 'split.json').write_text(json.dumps(lists))
    wanted = {name: 'test' if name in test else 'train' for name in names}
    for file in ('test.txt', str(root / 'test.txt'), 'split.json'):
        dataset = read(root, split_file=file, val_fraction=0)
        assert dataset.split_table() == wanted and dataset.skipped == ()
    assert Counter(read(root, split_file='test.txt', val_fraction=0.4).split_table().values())['val'] == 2
    lists['val'] = [lists['train'].pop()]
    (root / 'split.json').write_text(json.dumps(lists))
    assert read(root, split_file='split.json').split_table() == wanted | {lists['val'][0]: 'val'}
    left = lists['train'].pop()
    (root / 'split.json').write_text(json.dumps(lists))
    dataset = read(root, split_file='split.json')
    assert left not in dataset.split_table() and len(dataset.photos) == len(names) - 1
    (problem,) = dataset.skipped
    assert problem.found == f'1 photos have no split: {left}'
    stored = dataset.split_table() | {test[0]: 'train'}
    assert read(root, split_file='split.json', split_table=stored).split_table() == stored  # a run keeps its own


@pytest.mark.parametrize(('name', 'content', 'found'), [
    ('none.txt', None, 'missing'), ('folder', None, 'not a regular file'), ('empty.txt', '\n\n', 'no names'),
    ('broken.json', '{', 'cannot be read'), ('list.json', '["img/bed/0_0.png"]', 'no lists of names under'),
    ('other.json', '{"training": []}', 'no lists of names under'), ('text.json', '{"test": "a"}', 'no lists of names'),
    ('twice.json', '{"train": ["img/bed/0_0.png"], "test": ["img/bed/0_0.png"]}', '1 names are there more than once'),
    ('unknown.txt', 'img/bed/0_0.png\nimg/bed/9_9.png\n', '1 of 2 names are no photos in use: img/bed/9_9.png'),
    ('latin.txt', 'caf\u00e9.png'.encode('latin-1'), 'cannot be read'),
    ('occluded.txt', 'img/bed/0_1.png', 'no photos in use'),
])  # fmt: skip
def test_split_files_that_are_none(tmp_path, name, content, found):
    entries = write_folder(tmp_path)
    entries[1]['occluded'] = True
    write_json(tmp_path, entries)
    (tmp_path / 'folder').mkdir()
    if content is not None:
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError) as caught:
        read(tmp_path, split_file=name)
    problem = next(problem for problem in caught.value.problems if problem.where == str(tmp_path / name))
    assert found in problem.found and problem.action


def test_photos_that_a_run_does_not_know_can_all_be_tested(tmp_path):
    entries = write_folder(tmp_path)
    known = {entries[1]['img']: 'train', entries[0]['img']: 'val'}
    table = read(tmp_path, split_table=known, unknown_split='test', required_splits=('test',)).split_table()
    assert table == {entry['img']: known.get(entry['img'], 'test') for entry in entries}
    own = read(tmp_path, split_table=known, required_splits=('test',)).split_table()
    assert own == {entry['img']: known.get(entry['img'], entry['split']) for entry in entries}
