"""Scans simulated from folders of models, and the sample: complete, honest, the same for the same seed."""

import json

import numpy as np
import pytest
import trimesh
from references_grids import overlap
from simulate_scans import main

from data_pipelines.scan_to_cad import sample as scan_cad_layout
from data_pipelines.scan_to_cad import simulation as scan_simulation
from data_pipelines.scan_to_cad.sample import write_scan_cad_sample
from data_pipelines.scan_to_cad.scan_cad import read_scan_cad
from data_pipelines.scan_to_cad.simulated_benchmark import rank_pools, split_by_model, split_by_viewpoint
from data_pipelines.scan_to_cad.simulation import simulate_layout
from jaxret.errors import ConfigError, DataError, StorageError
from jaxret.geometry.distance_grids import DistanceGrid, read_distances, read_mask, write_distances
from jaxret.geometry.grid_meshes import grid_from_mesh
from jaxret.geometry.mesh import Mesh
from jaxret.geometry.scan import ScanOptions

QUIET = {'processes': 1, 'progress': False}
FAST = ScanOptions(size=48, cameras=(2, 3))


def write_models(root, *, models=2, categories=('03001627', '04379243')):
    for row, category in enumerate(categories):
        (root / category).mkdir(parents=True)
        for index in range(models):
            shape = trimesh.creation.box((1 + index, 2 + row, 2))
            mesh = Mesh(np.asarray(shape.vertices, float), np.asarray(shape.faces, np.int64))
            write_distances(root / category / f'm{index}.vox', grid_from_mesh(mesh))


@pytest.fixture(scope='module')
def scans(tmp_path_factory):
    root = tmp_path_factory.mktemp('simulated')
    write_models(root / 'models')
    return simulate_layout(root / 'models', root / 'out', scans_per_model=4, options=FAST, **QUIET)


def contents(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob('*')) if path.is_file()}


def model_of(name):
    return '_'.join(name.split('_')[-2:])


def test_the_reader_takes_both_pair_lists(scans):
    dataset = read_scan_cad(scans, similarity='', check_processes=1, progress=False)
    assert len(dataset.scans) == 16 and len(dataset.cads) == 4 and dataset.category_names == ('chair', 'table')
    for model in {entry.model for entry in dataset.scans}:  # another viewpoint of every model
        splits = sorted(entry.split for entry in dataset.scans if entry.model == model)
        assert splits == ['test', 'train', 'train', 'val']
    other = read_scan_cad(scans, pairs='scan2cad_objects_models.json', similarity='', check_processes=1, progress=False)
    parts = {split: {entry.model for entry in other.split_scans(split)} for split in ('train', 'test')}
    assert len(parts['train']) == len(parts['test']) == 2 and not parts['train'] & parts['test']
    assert {model.split('_')[0] for model in parts['test']} == set(dataset.categories)


def test_cad_files_are_the_models_and_masks_fit(scans):
    for name, facts in json.loads((scans / 'scans.json').read_text()).items():
        model = read_distances(scans.parent / 'models' / f'{model_of(name).replace("_", "/")}.vox')
        for file in (f'{name}.df', f'{model_of(name)}__0__.df'):
            np.testing.assert_array_equal(read_distances(scans / 'cad' / file).values, model.values)
        scan = read_distances(scans / 'scan' / f'{name}.sdf')
        mask = read_mask(scans / 'scan' / f'{name}.mask', like=scan)
        assert mask.any() and not (mask & ~scan.occupancy()).any()
        assert facts['clutter'] == pytest.approx(1 - mask.sum() / scan.occupancy().sum())
        assert 0 < facts['seen'] <= 1 and facts['noise'] > 0


def test_viewpoints_of_a_model_lie_in_sectors_of_their_own(scans):
    facts = json.loads((scans / 'scans.json').read_text())
    for model in {model_of(name) for name in facts}:
        own = [(facts[name]['azimuth'], facts[name]['arc']) for name in facts if model_of(name) == model]
        for i, (middle, arc) in enumerate(own):
            for other, width in own[:i]:
                assert abs((middle - other + 180) % 360 - 180) >= (arc + width) / 2 - 1e-9


def test_same_seed_same_bytes_whatever_the_processes(scans, tmp_path):
    source = scans.parent / 'models'
    again = simulate_layout(source, tmp_path / 'a', scans_per_model=4, options=FAST, **QUIET | {'processes': 2})
    assert contents(again) == contents(scans)
    stamp = (again / 'complete.json').stat().st_mtime_ns
    assert simulate_layout(source, again, scans_per_model=4, options=FAST, **QUIET) == again
    assert (again / 'complete.json').stat().st_mtime_ns == stamp
    # a model more changes no split of the others
    split = json.loads((scans / 'scan2cad_objects.json').read_text())['scan2cad_objects']
    more = [*split, *(f'sim00009_{number:02d}_arc_0_04379243_z' for number in range(4))]
    assert split.items() <= split_by_viewpoint(more, scans_per_model=4, seed=0).items()


def test_pools_are_ranked_by_overlap():
    rng = np.random.default_rng(0)
    base = rng.random((4, 5, 3)) < 0.5
    alike = {f'1_{i}': base ^ (rng.random(base.shape) < 0.05 * i) for i in range(4)}
    grids = alike | {f'1_{i}': rng.random(base.shape) < 0.5 for i in range(4, 9)} | {'2_0': base}
    names = [f'a_b_c_d_1_{i}' for i in range(9)] + ['a_b_c_d_2_0']
    samples = rank_pools(names, grids, seed=1)
    assert len(samples) == 9  # the other category is too small
    counts, pools = set(), set()
    for name, sample in zip(names, samples, strict=False):
        assert sample['reference'] == {'name': f'/scan/{name}'}
        pool = [entry['name'].removeprefix('/cad/') for entry in sample['pool']]
        ranked = [entry['name'].removeprefix('/cad/') for entry in sample['ranked']]
        assert len(set(pool)) == 6 and model_of(name) not in pool and all(key.startswith('1_') for key in pool)
        score = {key: overlap(grids[key], grids[model_of(name)]) for key in pool}
        best = sorted(pool, key=lambda key, score=score: -score[key])[:3]
        assert ranked == [key for key in best if score[key] >= 0.6 * score[best[0]]]
        counts.add(len(ranked))
        pools.add(frozenset(pool))
    assert len(counts) > 1 and len(pools) > 3
    assert rank_pools(names, grids, seed=1) == samples != rank_pools(names, grids, seed=2)


def test_how_many_are_held_out():
    keys = [f'a_{i}' for i in range(20)] + ['b_0', 'b_1', 'c_0']
    names = [f'sim_{n:02d}_arc_0_{key}' for key in keys for n in range(5)]
    split = split_by_model(names, keys, seed=0)
    counts = {c: [sum(split[f'sim_00_arc_0_{k}'] == part for k in keys if k[0] == c)
                  for part in ('train', 'validation', 'test')] for c in 'abc'}  # fmt: skip
    assert counts == {'a': [14, 2, 4], 'b': [1, 0, 1], 'c': [1, 0, 0]}
    for scans, expected in ((2, [1, 0, 1]), (3, [2, 0, 1]), (5, [3, 1, 1])):
        chosen = [name for name in names if int(name.split('_')[1]) < scans]
        split = split_by_viewpoint(chosen, scans_per_model=scans, seed=0)
        for key in keys:
            own = [split[name] for name in chosen if name.endswith(f'_{key}')]
            assert [own.count(part) for part in ('train', 'validation', 'test')] == expected
    assert len({name.split('_')[1] for name, part in split.items() if part == 'test'}) == 5  # not always the same side
    assert split != split_by_viewpoint(chosen, scans_per_model=5, seed=1)


def test_all_bad_models_are_found_before_anything_is_made(tmp_path):
    root = tmp_path / 'models'
    write_models(root, models=3)
    good = read_distances(root / '03001627' / 'm0.vox')
    (root / '03001627' / 'm0.vox').write_bytes(b'123')
    write_distances(root / '04379243' / 'm1.vox', DistanceGrid(good.values[:16, :16, :16], 0.1, good.grid_to_world))
    (root / '04379243' / 'm-2.vox').write_bytes((root / '04379243' / 'm2.vox').read_bytes())
    (root / '04379243' / 'm_2.vox').write_bytes((root / '04379243' / 'm2.vox').read_bytes())
    with pytest.raises(DataError) as caught:
        simulate_layout(root, tmp_path / 'out', scans_per_model=2, options=FAST, **QUIET)
    found = sorted(problem.found for problem in caught.value.problems)
    assert [text.split()[0] for text in found] == ['16', 'cut', 'has'] and not (tmp_path / 'out').exists()
    out = simulate_layout(root, tmp_path / 'out', scans_per_model=2, options=FAST, on_bad_file='skip', **QUIET)
    done = json.loads((out / 'complete.json').read_text())
    assert (done['models'], done['scans'], len(done['left_out']), done['hidden_scans']) == (5, 10, 3, [])


def test_refused(tmp_path):
    write_models(tmp_path / 'models', models=1)
    for wrong in ({'source': 'clouds'}, {'scans_per_model': 1}, {'seed': -1}, {'on_bad_file': 'ignore'}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            simulate_layout(tmp_path / 'models', tmp_path / 'out', **wrong, **QUIET)
    with pytest.raises(DataError, match='no CAD models'):
        simulate_layout(tmp_path / 'models', tmp_path / 'out', source='meshes', **QUIET)
    (tmp_path / 'mine').mkdir()
    (tmp_path / 'mine' / 'thesis.tex').write_text('precious')
    with pytest.raises(StorageError, match='mine'):
        simulate_layout(tmp_path / 'models', tmp_path / 'mine', **QUIET)
    out = simulate_layout(tmp_path / 'models', tmp_path / 'made', scans_per_model=2, options=FAST, **QUIET)
    with pytest.raises(StorageError, match='scans_per_model differ'):
        simulate_layout(tmp_path / 'models', out, scans_per_model=3, options=FAST, **QUIET)
    with pytest.raises(DataError, match='none of 4 scans'):
        simulate_layout(tmp_path / 'models', tmp_path / 'o', scans_per_model=2,
                        options=ScanOptions(max_depth=0.01, size=16, cameras=(1, 1)), **QUIET)  # fmt: skip


def test_the_command_takes_meshes_and_ranges(tmp_path, capsys):
    for name, extents in (('low', (3, 1, 2)), ('high', (1, 3, 2))):
        (tmp_path / 'models' / 'box').mkdir(parents=True, exist_ok=True)
        trimesh.creation.box(extents).export(tmp_path / 'models' / 'box' / f'{name}.off')
    command = [f'--models={tmp_path / "models"}', f'--out={tmp_path / "out"}', '--source=meshes', '--scans=2',
               '--processes=1', '--size=48', '--floor=1', '--cameras=2,2']  # fmt: skip
    assert main(command) == 0
    assert '4 scans of 2 models' in capsys.readouterr().out
    facts = json.loads((tmp_path / 'out' / 'scans.json').read_text())
    assert len(facts) == 4 and all(row['cameras'] == 2 and row['clutter'] > 0 for row in facts.values())
    assert main([*command, '--distance=3']) == 1 and main([*command, '--noise=loud']) == 1
    shown = capsys.readouterr().out
    assert '--distance=3' in shown and '--noise=loud' in shown
    assert main([*command[:1], f'--out={tmp_path / "other"}']) == 1
    assert 'no CAD models' in capsys.readouterr().out


@pytest.mark.parametrize(('option', 'message'), [
    ('--up_axis=z', '--up_axis=z: is of mesh files'),
    ('--processes=-1', '--processes=-1: use 0 or more'),
    ('--scans=0', '--scans=0: use 2 or more'),
    ('--seed=-1', '--seed=-1: use 0 or more'),
    ('--models=none', '--models=none: no such folder'),
])  # fmt: skip
def test_the_command_names_its_options(tmp_path, capsys, option, message):
    write_models(tmp_path / 'models', models=1)
    assert main([f'--models={tmp_path / "models"}', f'--out={tmp_path / "out"}', option]) == 1
    assert message in capsys.readouterr().out and not (tmp_path / 'out').exists()


def test_the_sample(tmp_path, monkeypatch):
    monkeypatch.setattr(scan_cad_layout, 'ScanOptions', lambda **_: FAST)
    options = {'models_per_class': 1, 'scans_per_model': 2, **QUIET}
    root = write_scan_cad_sample(tmp_path / 'sample', **options)
    dataset = read_scan_cad(root, similarity='', check_processes=1, progress=False)
    assert sorted(dataset.category_names) == sorted(scan_cad_layout.CATEGORIES) and len(dataset.categories) >= 5
    assert len(dataset.split_scans('train')) == len(dataset.split_scans('test')) == 6
    again = contents(write_scan_cad_sample(tmp_path / 'again', **options))
    assert again == contents(root) and json.loads(again['complete.json'])['synthetic'] is True
    assert write_scan_cad_sample(root, **options) == root
    for wrong in ({'models_per_class': 0}, {'models_per_class': 99}, {'scans_per_model': 1}, {'seed': -1}):
        with pytest.raises(ConfigError):
            write_scan_cad_sample(tmp_path / 'x', **options | wrong)


def test_storage_furniture_differs_and_stands_on_the_floor():
    for make in (scan_cad_layout.make_bookshelf, scan_cad_layout.make_cabinet):
        made = [make(np.random.default_rng(seed)).joined()[0] for seed in range(12)]
        assert len({vertices.tobytes() for vertices in made}) == 12
        for vertices in made:
            assert vertices[:, 1].min() == pytest.approx(0, abs=1e-9) and np.isfinite(vertices).all()


def test_only_the_layouts_own_names(scans):
    assert {path.name for path in scans.iterdir()} == {
        'scan', 'cad', 'scans.json', 'scan2cad_objects.json', 'scan2cad_objects_models.json', 'similarity.json',
        'complete.json'}  # fmt: skip
    assert scan_simulation.SOURCES['grids'][0] == '.vox'
