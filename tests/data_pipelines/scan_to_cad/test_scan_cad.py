"""The reader of scans and CAD models: what it finds, and everything that can be wrong, reported at once."""

import os

import numpy as np
import pytest
from scan_cad_folders import SIDE, SYNSETS, ball, read_json, scan_name, write_collection, write_json

from data_pipelines import file_checks
from data_pipelines.scan_to_cad.scan_cad import read_scan_cad
from data_pipelines.scan_to_cad.scan_cad_annotations import model_key
from jaxret.errors import ConfigError, DataError
from jaxret.geometry.distance_grids import DistanceGrid, read_distances, write_distances, write_mask


def read(root, **options):
    return read_scan_cad(root, **{'resolution': SIDE, 'check_processes': 1, 'progress': False} | options)


def problems(root, **options):
    with pytest.raises(DataError) as caught:
        read(root, **options)
    return [(problem.where, problem.found) for problem in caught.value.problems]


def change(path, function):
    content = read_json(path)
    function(content)
    write_json(path, content)


def test_pairs_gallery_and_annotations(tmp_path):
    names = write_collection(tmp_path)
    dataset = read(tmp_path)
    assert [entry.name for entry in dataset.scans] == names and len(names) == 42
    assert {split: len(dataset.split_scans(split)) for split in ('train', 'val', 'test')} == dict(
        train=14, val=14, test=14)  # fmt: skip
    assert dataset.categories == SYNSETS and dataset.category_names == ('chair', 'table')
    assert [entry.model for entry in dataset.cads] == sorted(f'{s}_m{i}' for s in SYNSETS for i in range(7))
    assert all(entry.path.name == f'{entry.model}__0__.df' for entry in dataset.cads)
    entry = dataset.scans[4]
    assert (entry.category, entry.model) == (SYNSETS[0], f'{SYNSETS[0]}_m1') and entry.split == 'val'
    assert [path.name for path in (entry.scan, entry.mask, entry.cad)] == [
        f'{entry.name}.sdf', f'{entry.name}.mask', f'{entry.name}.df']  # fmt: skip
    annotation = dataset.annotations[3]
    assert annotation.scan == names[3] and len(annotation.pool) == 6 and annotation.ranked == annotation.pool[1:4]
    assert dataset.split_table()[names[3]] == 'train' and dataset.skipped == ()


def test_without_annotations_the_gallery_is_the_scans_models(tmp_path):
    write_collection(tmp_path)
    dataset = read(tmp_path, similarity='')
    assert dataset.annotations == () and len(dataset.cads) == 14
    assert [entry.path.name for entry in dataset.cads[:1]] == [f'{dataset.scans[0].name}.df']
    assert read(tmp_path).fingerprint != dataset.fingerprint
    first, second, _ = (entry for entry in dataset.scans if entry.model == dataset.cads[0].model)
    change(
        tmp_path / 'scan2cad_objects.json',
        lambda content: content['scan2cad_objects'].update({first.name: 'test', second.name: 'train'}),
    )  # a held-out scan does not give its own pose to the gallery
    assert read(tmp_path, similarity='').cads[0].path == second.cad
    other = tmp_path / 'by_model.json'
    write_json(other, {'scan2cad_objects': {name: 'test' for name in dataset.split_table()}})
    tested = read(tmp_path, pairs='by_model.json', required_splits=('test',))
    assert len(tested.split_scans('test')) == 42


def test_names_of_models():
    for name in ('03001627_abc', '03001627/abc', 'x/03001627_abc'):
        assert model_key(name) == ('03001627', 'abc')
    assert model_key('abc') is None and model_key('_abc') is None


def break_everything(root, names):
    """One file of each kind of fault; returns what the reader must say of it."""
    scan, cad = root / 'scan', root / 'cad'
    found = {}

    def note(path, text):
        found[str(path)] = text

    note(scan / f'{names[0]}.sdf', 'cut off')
    (scan / f'{names[0]}.sdf').write_bytes((scan / f'{names[0]}.sdf').read_bytes()[:-1])
    note(scan / f'{names[1]}.mask', 'mask of another grid')
    write_mask(scan / f'{names[1]}.mask', np.ones((SIDE, SIDE, 4), bool), ball(1, SIDE).__class__(
        np.zeros((SIDE, SIDE, 4), np.float32), 0.5, np.eye(4, dtype=np.float32)))  # fmt: skip
    note(scan / f'{names[2]}.mask', 'nothing of the object')
    write_mask(scan / f'{names[2]}.mask', np.zeros((SIDE,) * 3, bool), ball(1))
    note(cad / f'{names[3]}.df', 'NaN')
    grid = ball(2)
    grid.values[1, 1, 1] = np.nan
    write_distances(cad / f'{names[3]}.df', grid)
    note(scan / f'{names[4]}.sdf', 'does not exist')
    (scan / f'{names[4]}.sdf').unlink()
    note(cad / f'{names[5]}.df', '4 x 4 x 4 voxels')
    write_distances(cad / f'{names[5]}.df', ball(1, 4))
    note(scan / f'{names[6]}.sdf', 'too long')
    with (scan / f'{names[6]}.sdf').open('ab') as file:
        file.write(b'12')
    note(cad / f'{names[7]}.df', 'no voxel is near')
    write_distances(cad / f'{names[7]}.df', DistanceGrid(ball(2).values + 9, 0.5, np.eye(4, dtype=np.float32)))
    note(cad / f'{SYNSETS[0]}_m6__0__.df', 'does not exist')
    (cad / f'{SYNSETS[0]}_m6__0__.df').unlink()
    return found


@pytest.mark.parametrize('processes', [1, 2])
def test_all_bad_files_are_reported_together(tmp_path, processes):
    names = write_collection(tmp_path)
    expected = break_everything(tmp_path, names)
    wrong = dict(problems(tmp_path, check_processes=processes))
    assert set(wrong) == set(expected)
    for where, text in expected.items():
        assert text in wrong[where]


def test_skipping_leaves_out_what_is_bad_and_keeps_the_rest(tmp_path):
    names = write_collection(tmp_path)
    break_everything(tmp_path, names)
    dataset = read(tmp_path, on_bad_file='skip')
    assert [entry.name for entry in dataset.scans] == names[8:] and len(dataset.skipped) == 9
    assert {annotation.scan for annotation in dataset.annotations} == set(names[8:])
    gone = f'{SYNSETS[0]}_m6'
    hit = [entry for entry in dataset.annotations if None in entry.pool]
    assert hit and all(len(entry.pool) == 6 and gone not in entry.ranked for entry in dataset.annotations)
    # its pool file is missing, but its scans bring it
    cad = next(entry for entry in dataset.cads if entry.model == gone)
    assert cad.path.name == next(entry.name for entry in dataset.scans if entry.model == gone) + '.df'


@pytest.mark.parametrize(('edit', 'found'), [
    (lambda s: s['ranked'].extend(s['pool'][4:6]), '5 ranked CAD models, at most 3'),
    (lambda s: s['ranked'].__setitem__(0, {'name': '/cad/03001627_strange'}), 'is ranked, but not in the pool'),
    (lambda s: s['pool'].append(s['pool'][0]), '7 CAD models in the pool'),
    (lambda s: s['pool'].__setitem__(5, s['pool'][0]), 'named twice'),
    (lambda s: s.__setitem__('pool', []), '0 CAD models in the pool'),
    (lambda s: s.pop('ranked'), 'not an annotation'),
    (lambda s: s.__setitem__('ranked', 'm1'), 'not an annotation'),
    (lambda s: s['pool'][0].__setitem__('name', '/cad/../../secret_a'), 'no plain name'),
    (lambda s: s['pool'][0].__setitem__('name', '/cad/nothing'), 'names no <synset>_<id>'),
    (lambda s: s['reference'].__setitem__('name', '/scan/unknown'), 'is not in the pair list'),
])  # fmt: skip
def test_bad_annotations(tmp_path, edit, found):
    write_collection(tmp_path)
    change(tmp_path / 'similarity.json', lambda content: edit(content['samples'][2]))
    ((where, text),) = problems(tmp_path)
    assert where == 'similarity.json[2]' and found in text
    dataset = read(tmp_path, on_bad_file='skip')
    assert len(dataset.annotations) == 41 and len(dataset.scans) == 42 and len(dataset.skipped) == 1


def test_annotations_with_fewer_than_three_ranked_are_sound(tmp_path):
    write_collection(tmp_path)

    def fewer(content):
        for count in range(3):
            del content['samples'][count]['ranked'][count:]

    change(tmp_path / 'similarity.json', fewer)
    assert [len(entry.ranked) for entry in read(tmp_path).annotations[:4]] == [0, 1, 2, 3]


def test_no_annotation_at_all(tmp_path):
    write_collection(tmp_path)
    change(tmp_path / 'similarity.json', lambda content: content['samples'].clear())
    assert not read(tmp_path).annotations


@pytest.mark.parametrize(('name', 'content', 'found'), [
    ('scan2cad_objects.json', None, 'missing'), ('scan2cad_objects.json', '{', 'cannot be read as JSON'),
    ('scan2cad_objects.json', '[]', "no 'scan2cad_objects'"),
    ('scan2cad_objects.json', '{"scan2cad_objects": {}}', 'is empty'),
    ('similarity.json', '{"samples": {}}', "no 'samples'"), ('similarity.json', None, 'missing'),
])  # fmt: skip
def test_bad_json(tmp_path, name, content, found):
    write_collection(tmp_path, models=1, scans=1)
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_text(content)
    assert any(found in text for _, text in problems(tmp_path))
    (tmp_path / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / name)
    assert any('not a regular file' in text for _, text in problems(tmp_path))
    (tmp_path / name).unlink()
    (tmp_path / name).write_text('[' * 100_000)
    assert any('cannot be read as JSON' in text for _, text in problems(tmp_path))


def test_bad_lines_of_the_pair_list(tmp_path):
    names = write_collection(tmp_path)

    def edit(content):
        pairs = content['scan2cad_objects']
        pairs |= {'a_b_c_d_e': 'train', '../x_1_2_3_4_5': 'train', names[0]: 'training', names[1]: ['test']}
        pairs['a_b_c_d__'] = 'test'

    change(tmp_path / 'scan2cad_objects.json', edit)
    change(tmp_path / 'similarity.json', lambda content: content.__setitem__('samples', content['samples'][2:]))
    wrong = problems(tmp_path)
    assert len(wrong) == 5 and sum('not 6 parts' in text for _, text in wrong) == 3
    assert sum('unknown split' in text for _, text in wrong) == 2
    assert len(read(tmp_path, on_bad_file='skip').scans) == 40


def test_empty_splits_links_and_options(tmp_path):
    write_collection(tmp_path / 'data', scans=1)  # train only
    assert problems(tmp_path / 'data')[0][1] == 'no scans in split test'
    assert len(read(tmp_path / 'data', required_splits=('train',)).scans) == 14
    assert 'does not exist' in problems(tmp_path / 'nowhere')[0][1]
    for wrong in ({'on_bad_file': 'ignore'}, {'resolution': 0}):
        with pytest.raises(ConfigError):
            read(tmp_path / 'data', **wrong)
    outside, link = tmp_path / 'outside.df', tmp_path / 'data' / 'cad' / f'{scan_name(0, SYNSETS[0], "m0")}.df'
    link.rename(outside)
    link.symlink_to(outside)
    pooled = tmp_path / 'data' / 'cad' / f'{SYNSETS[0]}_m2__0__.df'
    pooled.unlink()
    pooled.symlink_to(outside)
    dataset = read(tmp_path / 'data', required_splits=('train',))
    assert len(dataset.scans) == 14 and not any(None in annotation.pool for annotation in dataset.annotations)


def test_sound_files_are_remembered_until_they_change(tmp_path, monkeypatch):
    names = write_collection(tmp_path / 'data', models=2)
    write_json(tmp_path / 'data' / 'similarity.json', {'samples': [
        {'reference': {'name': names[0]}, 'pool': [{'name': f'{SYNSETS[0]}_m1'}], 'ranked': []}]})  # fmt: skip
    dataset = read(tmp_path / 'data', cache_dir=tmp_path / 'cache')
    reads = []
    monkeypatch.setattr(
        file_checks.distance_grids, 'read_distances', lambda path: reads.append(path) or read_distances(path)
    )  # fmt: skip
    assert read(tmp_path / 'data', cache_dir=tmp_path / 'cache').fingerprint == dataset.fingerprint and not reads
    path = tmp_path / 'data' / 'scan' / f'{names[2]}.sdf'
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match='cut off'):
        read(tmp_path / 'data', cache_dir=tmp_path / 'cache')
    assert reads and {found.name for found in reads} == {f'{names[2]}.sdf', f'{names[2]}.df'}
