"""The scan-to-CAD experiment end to end on small balls: trained, fine-tuned, evaluated, reported; and its checks."""

import re
import shutil
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import run
from overrides import load_config, presets
from run_command import NUMBERS, evaluation_of, metrics_of
from scan_cad_folders import read_json, write_collection, write_json
from scan_to_cad import data as scan_data
from scan_to_cad import pictures as scan_pictures
from scan_to_cad import task as scan_to_cad
from scipy.spatial.distance import cdist

from jaxret.systems.scan_cad import ScanCad
from jaxret.systems.scan_cells import ScanCells

# The plain 3D CNN compiles in seconds.
SMALL = (
    '--config.model.variant=cnn3d',
    '--config.model.width=0.04',
    '--config.parallel.devices=1',
    '--config.processes=1',
)


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """A folder for data, cache and work directories."""
    root = tmp_path_factory.mktemp('scan_to_cad')
    write_collection(root / 'data', side=32)
    return root


def command(place, workdir, *arguments, data='data'):
    """Exit status of the command in this process, on one device."""
    return run.main(
        [
            '--config=scan_cad.py:smoke',
            f'--config.data_dir={place / data}',
            *SMALL,
            f'--config.cache_dir={place}/cache',
            f'--workdir={place / workdir}',
            *arguments,
        ]
    )


def evaluate(place, workdir, *arguments):
    return run.main(['--mode=eval', f'--workdir={place / workdir}', *arguments])


@pytest.fixture(scope='module')
def trained(place):
    assert command(place, 'trained') == 0
    return place / 'trained'


def test_metrics_of_every_split_and_a_report(place, trained, capsys):
    metrics = metrics_of(trained)
    assert metrics['step'] == 2 and metrics['synthetic'] is False and metrics['seed'] == 0
    assert (metrics['scans'], metrics['gallery'], metrics['val_scans'], metrics['train_scans']) == (14, 14, 14, 14)
    assert metrics['all_annotations'] == sum(metrics[f'{split}annotations'] for split in ('', 'val_', 'train_')) == 42
    for prefix in ('', 'val_', 'train_'):
        assert metrics[f'{prefix}category_top1_chance'] == 0.5
        assert metrics[f'{prefix}exact_top1_chance'] == pytest.approx(1 / 7)
    for prefix in ('', 'val_', 'train_', 'all_'):
        for name, chance in (('instance_top1', 0.5), ('ranking_quality', 1 / 6), ('ranking_overlap', 0.5)):
            key = prefix + name
            assert metrics[f'{key}_chance'] == pytest.approx(chance)
            assert metrics[f'{key}_low'] <= metrics[key] <= metrics[f'{key}_high']
    page = (trained / 'report' / 'index.html').read_text()
    shown = set(re.findall(r'src="([^"]+)"', page))
    assert len(shown) > 10 and all((trained / 'report' / name).stat().st_size > 0 for name in shown)
    assert 'nearest of one grid of every CAD model' in page and 'http' not in page
    untrained = metrics['comparators']['overlap']
    assert untrained.keys() >= {'category_top1', 'exact_top1', 'instance_top1'} and 0 <= untrained['exact_top1'] <= 1
    assert f'not trained {100 * untrained["exact_top1"]:.1f} %' in page
    assert all(f'<th scope="row">{name}</th>' in page for name in ('Command', 'Code', 'Date', 'Time'))


def test_evaluation_gives_the_same_numbers_and_prints_them(place, trained, capsys):
    shutil.copytree(trained, place / 'again', ignore=shutil.ignore_patterns('report', 'tensorboard'))
    assert evaluate(place, 'again', NUMBERS) == 0
    out = capsys.readouterr().out
    folder = evaluation_of(place / 'again', 'data')
    assert metrics_of(folder) == metrics_of(trained) == metrics_of(place / 'again')
    rows = read_json(folder / 'predictions.json')
    assert rows == read_json(trained / 'predictions.json') and len(rows) == 3 * 14
    mine = [row for row in rows if row['search'] == 'test scans']
    assert metrics_of(trained)['scans'] == len(mine) and all(row['results'][0]['score'] <= 0 for row in mine)
    assert all((row['rank_of_truth'] == 1) <= (row['results'][0]['id'] == row['truth']) for row in mine)
    assert 'ranking quality filtered' in out and 'domain confusion' in out and 'those of training scans too' in out


def test_without_annotations_nothing_is_said_about_pools(place, trained):
    shutil.copytree(trained, place / 'plain', ignore=shutil.ignore_patterns('report', 'tensorboard'))
    assert evaluate(place, 'plain', '--config.data.similarity=') == 0
    folder = evaluation_of(place / 'plain')
    metrics = metrics_of(folder)
    assert 'instance_top1' not in metrics and 'all_annotations' not in metrics
    assert metrics['exact_top1'] == metrics_of(trained)['exact_top1']
    assert 'no annotations' in (folder / 'report' / 'index.html').read_text()


def test_scans_of_the_training_cannot_be_tested_with(place, trained, capsys):
    shutil.copytree(place / 'data', place / 'moved')
    pairs = read_json(place / 'moved' / 'scan2cad_objects.json')
    names = sorted(pairs['scan2cad_objects'])
    write_json(
        place / 'moved' / 'scan2cad_objects.json',
        {'scan2cad_objects': {name: 'test' if place % 2 else 'train' for place, name in enumerate(names)}},
    )
    assert evaluate(place, 'trained', f'--config.data_dir={place / "moved"}') == 1
    assert 'was trained on 7 scans that are held out here' in capsys.readouterr().err
    assert command(place, 'never', f'--config.start_from={trained}', data='moved') == 1
    assert 'was trained on 7 scans that are held out here' in capsys.readouterr().err
    assert command(place, 'trained', data='moved') == 1
    assert 'another config' in capsys.readouterr().err


def test_fine_tuning_starts_from_the_weights_of_another_run(place, trained, capsys):
    more = (
        '--config.loss.metric=contrastive',
        '--config.loss.finetune=push_pull',
        f'--config.start_from={trained}',
        '--config.batch_size=6',
    )
    assert command(place, 'tuned', *more, '--config.epochs=0.5', NUMBERS) == 0
    assert 'fine-tuning on annotations' in capsys.readouterr().out
    assert metrics_of(place / 'tuned')['step'] == 1
    assert command(place, 'unlike', *more, '--config.model.embedding_dim=8', '--config.data.classes_per_batch=0') == 1
    message = capsys.readouterr().err
    assert 'params/embedding/head' in message and '16] there' in message and '8] here' in message
    assert (
        command(
            place,
            'nowhere',
            '--config.loss.metric=contrastive',
            '--config.loss.finetune=push',
            f'--config.start_from={place}/missing',
        )
        == 1
    )
    assert f'config.start_from: {place}/missing has no checkpoints' in capsys.readouterr().err


def test_fpfh_needs_no_training(place, monkeypatch, capsys):
    rng = np.random.default_rng(0)
    monkeypatch.setattr(scan_to_cad, 'open3d', lambda: None)
    monkeypatch.setattr(scan_to_cad, 'fpfh_descriptors', lambda grids, processes: rng.random((len(grids), 33)))
    assert command(place, 'fpfh', '--config.method=fpfh', NUMBERS) == 0
    assert 'nothing is trained' in capsys.readouterr().out
    assert metrics_of(place / 'fpfh')['step'] == 0 and not (place / 'fpfh' / 'checkpoints').exists()
    assert evaluate(place, 'fpfh') == 0


def test_overlap_needs_no_training(place, capsys):
    assert command(place, 'overlap', '--config.method=overlap', NUMBERS) == 0
    assert 'by overlap of the occupied cells' in capsys.readouterr().out
    assert metrics_of(place / 'overlap')['exact_top1'] > 0.5  # scans stand where their models stand


def test_scans_are_compared_cell_by_cell_in_the_best_heading(place, capsys):
    more = ('--config.model.variant=cells', '--config.epochs=4', '--config.optimizer.learning_rate=0.3')
    assert command(place, 'cells', *more, NUMBERS) == 0
    standing = metrics_of(place / 'cells')
    assert standing['exact_top1'] > 0.3 and 'parameters  │ 28,' in capsys.readouterr().out  # chance is 1 of 7
    assert evaluate(place, 'cells', '--config.evaluation.headings=2') == 0
    turned = evaluation_of(place / 'cells', 'data')
    assert 'Of 2 turns of a scan' in (turned / 'report' / 'index.html').read_text()
    found, wanted = (read_json(folder / 'predictions.json') for folder in (turned, place / 'cells'))
    assert len(found) == len(wanted) == 3 * 14
    for row, before in zip(found, wanted, strict=True):
        assert row['results'][0]['score'] >= before['results'][0]['score']


def test_a_folder_of_cad_grids_is_simulated_once_for_all_seeds(place, monkeypatch, capsys):
    calls = []
    monkeypatch.setattr(scan_data, 'simulate_layout', lambda *arguments, **options: calls.append((arguments, options)))
    (place / 'grids' / '03001627').mkdir(parents=True)
    (place / 'grids' / '03001627' / 'm0.vox').write_bytes(b'')
    config, _ = load_config('scan_cad.py')
    config.data_dir, config.cache_dir, config.seed = str(place / 'grids'), str(place / 'cache'), 7
    folder, synthetic = scan_data._folder(config)
    assert not synthetic and folder.parent == place / 'cache'
    ((arguments, options),) = calls
    assert arguments == (place / 'grids', folder) and (options['scans_per_model'], options['seed']) == (8, 0)
    assert 'SIMULATED' in capsys.readouterr().out
    config.data_dir = str(place / 'data')
    assert scan_data._folder(config) == (place / 'data', False) and len(calls) == 1


@pytest.mark.parametrize(
    'argument,message',
    [
        ('select=best', 'is not one of last, category_top1'),
        ('method=shot', 'learned, fpfh, overlap'),
        ('data.placement=half', 'published, centered'),
        (
            'select=exact_top1 --config.loss.metric=contrastive --config.loss.finetune=push '
            '--config.data.finetune_on=train_val',
            'config.select: exact_top1 is measured on validation scans, which teach here',
        ),
        ('data.classes_per_batch=4', 'does not divide'),
        ('model.variant=dgcnn', 'config.model.variant'),
        ('loss.margin_negative=-1', 'config.loss.margin_negative'),
        ('simulate.scans_per_model=0 --config.data_dir=.', 'config.simulate.scans_per_model: 0 must be above 0'),
        ('batch_size=0', 'config.batch_size'),
        ('optimizer.schedule=step', 'constant, cosine, steps'),
        ('start_from=bogus', 'config.start_from: bogus has no checkpoints; give the work directory of a trained run'),
    ],
)
def test_bad_values_are_refused_before_the_data_is_touched(tmp_path, capsys, argument, message):
    (tmp_path / 'data').mkdir()
    assert command(tmp_path, 'never', *f'--config.{argument}'.split(' ')) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / 'cache').exists()


@pytest.mark.parametrize(
    'argument,message',
    [
        ('batch_size=16', 'there are 14 training scans; set --config.batch_size to at most 14'),
        (
            'loss.finetune=push --config.loss.metric=contrastive --config.batch_size=15',
            'there are 14 annotated training scans',
        ),
        ('select=instance_top1 --config.data.similarity=', 'use last or exact_top1'),
        (
            'loss.finetune=push --config.loss.metric=contrastive --config.data.similarity=',
            'push is trained on annotated training scans, of which',
        ),
    ],
)
def test_what_the_data_does_not_have_is_refused_before_training(place, capsys, argument, message):
    assert command(place, 'never', *f'--config.{argument}'.split(' ')) == 1
    assert message in capsys.readouterr().err
    assert not (place / 'never' / 'checkpoints').exists()


def test_annotations_that_rank_nothing_are_no_part_of_an_epoch():
    pools = SimpleNamespace(rank=np.array([[0, 1, 0], [0, 0, 0], [2, 1, 0]]))
    parts = {'pools': {'train': pools}, 'scans': {'train': range(5)}, 'cads': (), 'facts': {}}
    data = partial(scan_data.ScanData, Path(), False, SimpleNamespace(skipped=()), **parts)
    assert data(finetuned=(range(5), pools)).units == 2 and data(finetuned=None).units == 5


@pytest.mark.parametrize('preset', presets('scan_cad.py'))
def test_every_preset_is_a_system(preset):
    config, _ = load_config(f'scan_cad.py:{preset}')
    if config.model.variant == 'cells':
        assert isinstance(ScanCad.from_config(config), ScanCells)
    else:
        assert ScanCad.from_config(config).metric.metric == config.loss.metric
    assert config.model.stem == ('fine' if preset.startswith('paper') else 'coarse')
    if 'finetune' in preset:
        assert (config.batch_size, config.loss.finetune) == (64, 'push_pull')
    if preset.startswith('paper'):
        assert dict(config.augmentation) == {'rotations': 12, 'flip': 0.0, 'jitter': 0}
        splits = ('train', 'val') if preset == 'paper_finetune' else ('train',)
        assert scan_data.taught_splits(config) == splits


def test_cards_show_both_stages_and_the_nearest_cads(place):
    class Stages:
        completes = True

        def segment_and_complete(self, variables, scans):
            return (scans > 0) * 0.9, 1.0 - scans

    config, _ = load_config('scan_cad.py:smoke')
    config.data_dir, config.cache_dir, config.processes = str(place / 'data'), str(place / 'cache'), 1
    data = scan_data.load_scan_data(config, place / 'nowhere', train=False)
    cads = np.random.default_rng(0).random((14, 3))
    test = data.scans['test']
    distances = cdist(cads[test.instance], cads)
    sections = scan_pictures.scan_cards(data, distances, system=Stages(), variables={})
    cards = [card for group in sections.values() for card in group]
    assert all(card.hit and card.rank == 1 and len(card.results) == 5 for card in cards)
    assert all(list(card.stages) == ['scan', 'foreground', 'completion', 'own CAD'] for card in cards)
    np.testing.assert_array_equal(cards[0].stages['scan'], cards[0].stages['foreground'])
    assert (cards[0].stages['completion'] != cards[0].stages['scan']).any()
    for card in cards:
        for _, name, _, kind in card.results:
            assert (kind == 'other') == (
                name.split('_')[0] != data.dataset.categories[test.category[test.names.index(card.name)]]
            )
    plain = scan_pictures.scan_cards(data, distances, system=None, variables=None)
    assert list(next(iter(plain.values()))[0].stages) == ['scan', 'own CAD']
