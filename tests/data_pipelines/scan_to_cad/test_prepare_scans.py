"""Prepared scans, gallery and pools, and batches of them."""

import numpy as np
import pytest
from scan_cad_folders import SIDE, SYNSETS, read_json, write_collection, write_json

from data_pipelines import records
from data_pipelines.batching import Share
from data_pipelines.scan_to_cad.batches import cad_batches, finetuning_batches, scan_batches, training_batches
from data_pipelines.scan_to_cad.grids import joined, pack, unpack
from data_pipelines.scan_to_cad.prepare import load_cads, load_pools, load_scans, prepare_scan_cad
from data_pipelines.scan_to_cad.scan_cad import read_scan_cad
from jaxret.errors import ConfigError, DataError, StorageError
from jaxret.geometry.distance_grids import read_distances, read_mask


def read(root, **options):
    return read_scan_cad(root, **{'resolution': SIDE, 'check_processes': 1, 'progress': False} | options)


def prepare(dataset, cache, **options):
    return prepare_scan_cad(dataset, cache_dir=cache, **{'processes': 1, 'progress': False} | options)


@pytest.fixture(scope='module')
def prepared(tmp_path_factory):
    root = tmp_path_factory.mktemp('scans')
    write_collection(root / 'data', scans=4)
    content = read_json(root / 'data' / 'similarity.json')
    content['samples'][0]['ranked'] = []
    content['samples'][4]['pool'] = content['samples'][4]['pool'][:5]
    write_json(root / 'data' / 'similarity.json', content)
    return prepare(read(root / 'data'), root / 'cache')


@pytest.fixture(scope='module')
def tables(prepared):
    return load_scans(prepared, 'train'), load_cads(prepared), load_pools(prepared, 'train')


@pytest.mark.parametrize('side', [3, 8])
def test_bits_come_back(side):
    grids = np.random.default_rng(0).random((2, 5, side, side, side)) < 0.3
    bits = pack(grids)
    assert bits.shape == (2, 5, -(-(side**3) // 8)) and bits.dtype == np.uint8
    np.testing.assert_array_equal(unpack(bits, side), grids)
    assert unpack(bits, side).dtype == np.uint8


def test_tables_hold_what_the_files_say(prepared, capfd):
    dataset, total = prepared.dataset, 0
    cads = load_cads(prepared)
    for split in ('train', 'val', 'test'):
        table, entries = load_scans(prepared, split), dataset.split_scans(split)
        assert table.names == [entry.name for entry in entries] and len(table) == len(entries) > 0
        rows = np.arange(len(table))
        for row, entry in enumerate(entries):
            scan = read_distances(entry.scan)
            np.testing.assert_array_equal(table.scans([row])[0], scan.occupancy())
            np.testing.assert_array_equal(table.seen([row])[0], scan.seen())
            np.testing.assert_array_equal(table.masks([row])[0], read_mask(entry.mask, like=scan))
            np.testing.assert_array_equal(table.cads([row])[0], read_distances(entry.cad).occupancy())
            assert dataset.categories[table.category[row]] == entry.category
            assert cads.names[table.instance[row]] == entry.model
        assert table.scans(rows).shape == (len(table), SIDE, SIDE, SIDE) and table.scans(rows).dtype == np.uint8
        total += len(table)
    assert total == 56 and len(cads) == 14
    for row, entry in enumerate(dataset.cads):
        np.testing.assert_array_equal(cads.cads([row])[0], read_distances(entry.path).occupancy())
        assert dataset.categories[cads.category[row]] == entry.category and cads.instance[row] == row
    assert capfd.readouterr() == ('', '')


def test_pools_are_rows_of_the_gallery(prepared):
    dataset, cads, seen = prepared.dataset, load_cads(prepared), 0
    for split in ('train', 'val', 'test'):
        pools, scans = load_pools(prepared, split), load_scans(prepared, split)
        chosen = [entry for entry in dataset.annotations if dataset.split_table()[entry.scan] == split]
        assert len(pools) == len(chosen) > 0
        for row, annotation in enumerate(chosen):
            assert scans.names[pools.scan[row]] == annotation.scan
            assert pools.category[row] == scans.category[pools.scan[row]]
            models = [cads.names[i] for i in pools.pool[row][pools.pool_valid[row]]]
            assert tuple(models) == annotation.pool
            ranks = dict(zip(models, pools.rank[row], strict=False))
            assert [ranks[model] for model in annotation.ranked] == list(range(1, len(annotation.ranked) + 1))
            assert (pools.rank[row] > 0).sum() == len(annotation.ranked)
            seen += 1
        assert pools.pool.shape == (len(pools), 6) and pools.pool.dtype == pools.rank.dtype == np.int32
    assert seen == 56
    first = load_pools(prepared, 'train')
    assert not (first.rank[0] > 0).any() and not first.pool_valid[np.flatnonzero(first.scan >= 0)].all()


def test_made_once_in_any_number_of_processes(tmp_path, prepared, monkeypatch):
    monkeypatch.setattr(records, 'SERIAL_BELOW', 1)
    other = prepare(prepared.dataset, tmp_path, processes=2)
    for split in ('train', 'test'):
        one, two = load_scans(prepared, split), load_scans(other, split)
        for key in ('scan_bits', 'near_bits', 'free_bits', 'mask_bits', 'cad_bits', 'category', 'instance'):
            np.testing.assert_array_equal(getattr(one, key), getattr(two, key))
    np.testing.assert_array_equal(load_cads(prepared).cad_bits, load_cads(other).cad_bits)
    stamp = (other.folder / 'prepared.json').stat().st_mtime_ns
    assert prepare(prepared.dataset, tmp_path).folder == other.folder
    assert (other.folder / 'prepared.json').stat().st_mtime_ns == stamp


def test_files_that_change_after_the_check(tmp_path):
    names = write_collection(tmp_path / 'data')
    dataset = read(tmp_path / 'data')
    for name in names[:2]:
        (tmp_path / 'data' / 'scan' / f'{name}.sdf').write_bytes(b'')
    with pytest.raises(DataError) as caught:
        prepare(dataset, tmp_path / 'cache')
    assert len(caught.value.problems) == 2
    for _ in range(2):  # written, and found again
        left = prepare(dataset, tmp_path / 'cache', on_bad_file='skip')
        assert [entry.name for entry in left.dataset.scans] == names[2:] and len(left.dataset.skipped) == 2
        assert len(load_scans(left, 'train')) == 13 and len(load_pools(left, 'train')) == 13
    (tmp_path / 'data' / 'cad' / f'{SYNSETS[0]}_m3__0__.df').unlink()
    with pytest.raises(DataError, match='does not exist'):
        prepare(dataset, tmp_path / 'other', on_bad_file='skip')


def test_empty_and_unknown_splits_and_damage(tmp_path):
    write_collection(tmp_path / 'data', scans=1)
    prepared = prepare(read(tmp_path / 'data', required_splits=('train',)), tmp_path / 'cache')
    empty = load_scans(prepared, 'test')
    assert len(empty) == 0 and empty.scans([]).shape == (0, SIDE, SIDE, SIDE) and len(load_pools(prepared, 'val')) == 0
    for function in (load_scans, load_pools):
        with pytest.raises(ValueError, match='dev'):
            function(prepared, 'dev')
    (records,) = prepared.folder.glob('scan_cad_scans/*/*-train.array_record*')
    records.write_bytes(records.read_bytes()[:50])
    with pytest.raises(StorageError, match='delete'):
        load_scans(prepared, 'train')


def batches(scans, **options):
    options = {'batch_size': 6, 'seed': 3, 'start': 0, 'stop': 6} | options
    return list(training_batches(scans, **options))


def test_an_epoch_shows_every_scan_once(tables):
    scans, _, _ = tables
    assert len(scans) == 28
    made = batches(scans, batch_size=7, stop=8)
    for epoch in (made[:4], made[4:]):
        assert sorted(np.concatenate([batch['index'] for batch in epoch])) == list(range(28))
    assert (made[0]['index'] != made[4]['index']).any()
    for batch in made[:2]:
        np.testing.assert_array_equal(batch['scan'], scans.seen(batch['index']))
        np.testing.assert_array_equal(batch['mask'], scans.masks(batch['index']))
        np.testing.assert_array_equal(batch['cad'], scans.cads(batch['index']))
        np.testing.assert_array_equal(batch['category'], scans.category[batch['index']])
        np.testing.assert_array_equal(batch['instance'], scans.instance[batch['index']])
        assert batch['valid'].all() and batch['index'].dtype == batch['category'].dtype == np.int32


@pytest.mark.parametrize('classes', [0, 2])
def test_a_batch_depends_on_seed_and_step_alone(tables, classes):
    scans, _, pools = tables
    whole = batches(scans, classes_per_batch=classes)
    for step, batch in enumerate(whole):
        (again,) = batches(scans, classes_per_batch=classes, start=step, stop=step + 1)
        assert all((again[key] == batch[key]).all() for key in batch)
    others = batches(scans, classes_per_batch=classes, seed=-4)
    assert any((one['index'] != two['index']).any() for one, two in zip(whole, others, strict=True))


def test_balanced_batches_have_different_models_of_a_category(tables):
    scans, _, _ = tables
    for batch in batches(scans, batch_size=11, classes_per_batch=2, stop=20):
        counts = np.bincount(batch['category'], minlength=2)
        assert sorted(counts) == [5, 6] and len(set(batch['instance'])) == 11
    used = np.concatenate([batch['index'] for batch in batches(scans, batch_size=11, classes_per_batch=2, stop=60)])
    assert set(used) == set(range(28))
    for batch in batches(scans, batch_size=10, classes_per_batch=1, stop=10):
        assert len(set(batch['category'])) == 1 and len(set(batch['instance'])) == 7 and len(set(batch['index'])) == 10
    assert {int(batch['category'][0]) for batch in batches(scans, classes_per_batch=1, stop=20)} == {0, 1}
    more = batches(scans, batch_size=20, classes_per_batch=5, stop=1)[0]  # there are only two
    assert np.bincount(more['category']).tolist() == [10, 10]
    repeated = batches(scans, batch_size=28, classes_per_batch=1, stop=1)[0]  # of 14 scans
    assert np.bincount(repeated['index'], minlength=28).max() == 2


def test_finetuning_batches_bring_the_pools(tables):
    scans, cads, pools = tables
    made = list(finetuning_batches(scans, cads, pools, batch_size=9, seed=0, start=0, stop=6))
    usable = np.flatnonzero((pools.rank > 0).any(axis=1))
    assert len(usable) == 27
    for epoch in (made[:3], made[3:]):
        assert sorted(np.concatenate([batch['index'] for batch in epoch])) == sorted(pools.scan[usable])
    row_of = {int(scan): row for row, scan in enumerate(pools.scan)}
    incomplete = 0
    for batch in made:
        for place, scan in enumerate(batch['index']):
            row = row_of[int(scan)]
            np.testing.assert_array_equal(batch['rank'][place], pools.rank[row])
            np.testing.assert_array_equal(batch['pool_valid'][place], pools.pool_valid[row])
            for p in range(6):
                wanted = cads.cads([pools.pool[row, p]])[0] if pools.pool_valid[row, p] else 0
                np.testing.assert_array_equal(batch['pool'][place, p], wanted + np.zeros_like(batch['pool'][place, p]))
            incomplete += not pools.pool_valid[row].all()
        assert batch['pool'].dtype == np.uint8
    assert incomplete


def test_annotations_of_several_splits_keep_their_scans(tables):
    scans, _, pools = tables
    both, annotated = joined([scans, scans], [pools, pools])
    assert both.names == scans.names * 2 and len(annotated) == 2 * len(pools)
    np.testing.assert_array_equal(both.scans(annotated.scan), np.concatenate([scans.scans(pools.scan)] * 2))
    np.testing.assert_array_equal(annotated.scan[len(pools) :], pools.scan + len(scans))
    for name in ('pool', 'pool_valid', 'rank', 'category'):
        np.testing.assert_array_equal(getattr(annotated, name)[len(pools) :], getattr(pools, name))
    np.testing.assert_array_equal(both.category[annotated.scan], annotated.category)


def test_evaluation_is_in_order_and_padded(tables):
    scans, cads, _ = tables
    made = list(scan_batches(scans, batch_size=5))
    assert len(made) == 6 and made[-1]['valid'].tolist() == [True] * 3 + [False] * 2
    for key, whole in (('scan', scans.seen), ('mask', scans.masks), ('cad', scans.cads)):
        found = np.concatenate([batch[key][batch['valid']] for batch in made])
        np.testing.assert_array_equal(found, whole(np.arange(28)))
        assert made[-1][key].shape == (5, SIDE, SIDE, SIDE) and not made[-1][key][3:].any()
    found = np.concatenate([batch['cad'][batch['valid']] for batch in cad_batches(cads, batch_size=4)])
    np.testing.assert_array_equal(found, cads.cads(np.arange(14)))


def test_refused(tables):
    scans, cads, pools = tables
    for wrong in ({'batch_size': 29}, {'batch_size': 0}, {'classes_per_batch': 7}, {'classes_per_batch': -1},
                  {'seed': 2**31}):  # fmt: skip
        with pytest.raises(ConfigError):
            batches(scans, **wrong)
    with pytest.raises(ConfigError, match='27 annotations'):
        finetuning_batches(scans, cads, pools, batch_size=28, seed=0, start=0, stop=1)
    with pytest.raises(ConfigError, match='evaluation'):
        next(cad_batches(cads, batch_size=0))


def test_shares_together_are_the_batch(tables):
    scans, cads, pools = tables

    def made(share):
        order = {'batch_size': 6, 'seed': 3, 'start': 0, 'stop': 3, 'share': share}
        return [
            *training_batches(scans, **order),
            *training_batches(scans, classes_per_batch=2, **order),
            *finetuning_batches(scans, cads, pools, **order),
        ]

    for whole, *parts in zip(made(Share()), made(Share(0, 2)), made(Share(1, 2)), strict=True):
        assert [len(part['scan']) for part in parts] == [3, 3]
        for name, value in whole.items():
            np.testing.assert_array_equal(np.concatenate([part[name] for part in parts]), value)
