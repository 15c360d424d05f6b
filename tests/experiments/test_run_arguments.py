"""What `run.py` refuses before any training, and how it says so. In this process."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import run
from overrides import config_names, load_config

from data_pipelines.photo_to_shape.sample_pix3d import write_pix3d_sample
from jaxret.runs.config import flatten


@pytest.fixture(scope='module')
def sample(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp('sample') / 'data'
    return write_pix3d_sample(root, shapes_per_category=1, photos_per_shape=3, processes=1, progress=False)


@pytest.fixture
def refused(tmp_path, capsys):
    """Runs a command that must fail before training; returns its message."""

    def check(*arguments: str, config: str = 'pix3d.py:smoke') -> str:
        workdir = tmp_path / 'workdir'
        common = [f'--workdir={workdir}', f'--config.cache_dir={tmp_path / "cache"}', '--config.processes=1']
        assert run.main([f'--config={config}', *common, *arguments]) == 1
        out, err = capsys.readouterr()
        assert 'Traceback' not in out + err
        assert not (workdir / 'checkpoints').exists()
        assert not (workdir / 'metrics.jsonl').exists()
        return err[f'\n{err}'.index('\nerror: ') :]  # progress bars may stand above it

    return check


def test_help_explains_everything(capsys):
    assert run.main(['--help']) == run.main(['-h']) == 0
    out = capsys.readouterr().out
    for text in (
        '--config',
        '--workdir',
        '--mode',
        '--config.KEY=VALUE',
        'PRESET',
        'data_dir',
        *config_names(),
        'small',
        'paper_triplet',
        'smoke',
        'eval can override: data_dir, on_bad_file',
        'data, render, simulate, sample, parallel, evaluation',
    ):
        assert text in out


@pytest.mark.parametrize(('arguments', 'message'), [
    ([], f'--config is missing; use --config=NAME with one of {", ".join(config_names())}'),
    (['--config=pix3d.py', '--verbose'], '--verbose: unknown argument; use --config'),
    (['--config=pix3d.py', 'word'], 'word: unknown argument'),
    (['word'], '--workdir, --mode, --report, --coordinator, --num_processes, --process_id or --help'),
    (['--config=pix3d.py', '--conf.seed=1'], '--conf.seed=1: unknown argument'),
    (['--config=pix3d.py', '--mode=test'], '--mode=test: use train or eval'),
    (['--config=pix3d.py', '--workdir'], '--workdir: expected one argument'),
    (['--config=pix4d.py'], 'no such config. Did you mean pix3d? Use one of'),
    (['--config=ovum.py'], f'no such config. Use one of {", ".join(config_names())}'),
    (['--config=pix3d.py:tiny'], 'pix3d.py has small, random_start'),
    (['--config=pix3d.py:smal'], "no preset 'smal'. Did you mean small"),
    (['--config=scan_cad.py', '--config.data_dir=.'], 'scan2cad_objects.json: missing; name a folder that has it'),
    (['--config=pix3d.py', '--config.sede=1'], 'unknown key. Did you mean seed'),
    (['--config=pix3d.py', '--config.seed=one'], 'not a whole number'),
    (['--config=pix3d.py', '--config.seed'], '--config.seed: no value'),
    (['--mode=eval'], '--mode=eval needs --workdir=DIR'),
    (['--config=pix3d.py', '--num_processes=2'], 'need --coordinator=HOST:PORT'),
    (['--config=pix3d.py', '--coordinator=host:1', '--num_processes=2'], '--process_id=0 .. N - 1'),
    (['--config=pix3d.py', '--coordinator=host:1', '--num_processes=2', '--process_id=2'], '--process_id=0 .. N - 1'),
    (['--config=pix3d.py', '--coordinator=host', '--num_processes=2', '--process_id=0'], 'give HOST:PORT'),
    (['--config=pix3d.py', '--coordinator=auto', '--process_id=0'], '--coordinator=auto finds'),
    (['--mode=eval', '--workdir=nowhere', '--coordinator=auto'], '--mode=eval runs in one process'),
    (['--mode=eval', '--workdir=nowhere'], 'nowhere/config.json: no such file'),
])  # fmt: skip
def test_wrong_arguments_are_one_line(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run.main(arguments) == 1
    out, err = capsys.readouterr()
    assert err.startswith('error: ')
    assert message in err
    assert out == ''
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(('override', 'message'), [
    ('--config.experiment=os', "'os' is not one of cross_modal"),
    ('--config.select=loss', "'loss' is not one of mean_reciprocal_rank, top1, top10"),
    ('--config.parallel.mode=tpu', "'tpu' is not one of jit, pmap"),
    ('--config.parallel.devices=99', 'config.parallel.devices: 99'),
    ('--config.on_bad_file=ignore', "'ignore'"),
    ('--config.data.up_axis=x', "'x'"),
    ('--config.processes=-1', 'config.processes: -1 must be 0 or above'),
    ('--config.seed=2147483648', 'config.seed: 2147483648 must be a number of 32 bits'),
    ('--config.loss.margin=-1', 'config.loss.margin: -1.0 must be 0 or above'),
    ('--config.loss.category_weight=-1', 'config.loss.category_weight'),
    ('--config.loss.temperature=0', 'config.loss.temperature: 0.0 must be above 0'),
    ('--config.color.probability=1.1', 'config.color.probability: 1.1 must be from 0 to 1'),
    ('--config.color.hsv_range=0.1,-0.1,0', 'config.color.hsv_range'),
    ('--config.optimizer.average_decay=1', 'config.optimizer.average_decay: 1.0 must be at least 0 and below 1'),
    ('--config.optimizer.b1=1', 'config.optimizer.b1'),
    ('--config.optimizer.b2=-0.1', 'config.optimizer.b2'),
    ('--config.data.margin=-0.1', 'config.data.margin'),
    ('--config.render.field_of_view=-1', 'config.render.field_of_view: must lie in [1, 150], not -1'),
    ('--config.model.query_encoder=bogus', "config.model.query_encoder: 'bogus' is not one of resnet18, resnet34"),
    ('--config.model.view_encoder=bogus', "config.model.view_encoder: 'bogus' is not one of resnet18, resnet34"),
    ('--config.data.val_fraction=1', 'config.data.val_fraction'),
    ('--config.data.fit=crop', "config.data.fit: 'crop' is not one of pad, stretch"),
    ('--config.data.crop=box', "config.data.crop: 'box' is not one of mask, bbox, none"),
    ('--config.data.gallery=all', "config.data.gallery: 'all' is not one of folder, referenced"),
    ('--config.data.views_per_step=5', 'config.data.views_per_step: 5, but config.render.views is 4'),
    ('--config.data.categories=lamp', "no photo or shape of category 'lamp'; choose from: bed, chair, sofa, table"),
])  # fmt: skip
def test_wrong_values_are_found_before_training(refused, sample, override, message):
    assert message in refused(f'--config.data_dir={sample}', override)


def test_without_the_packages_of_training(refused, monkeypatch):
    for name in ('tensorflow', 'h5py'):
        monkeypatch.setitem(sys.modules, name, None)
    assert refused() == "error: training needs tensorflow, h5py: pip install -e '.[train]'\n"


def test_a_missing_data_folder(refused, tmp_path):
    message = refused(f'--config.data_dir={tmp_path / "none"}')
    assert str(tmp_path / 'none') in message
    assert 'does not exist' in message
    assert 'the layout that the first lines of the config file describe' in message and 'tensorflow' not in message


def test_a_folder_without_the_layout(refused, tmp_path):
    assert 'pix3d.json: missing' in refused(f'--config.data_dir={tmp_path}')
    assert not (tmp_path / 'workdir').exists()


@pytest.mark.parametrize(('text', 'found'), [
    ('[{"img": ', 'malformed JSON: Expecting value at line 1, column 10'),
    ('{}', 'an object, not a list'),
    ('[]', 'an empty list'),
    ('', 'empty file'),
])  # fmt: skip
def test_a_malformed_list_of_photos(refused, tmp_path, text, found):
    (tmp_path / 'pix3d.json').write_text(text)
    message = refused(f'--config.data_dir={tmp_path}')
    assert 'pix3d.json' in message
    assert found in message


def test_all_that_is_wrong_is_reported_together(refused, sample, tmp_path):
    root = tmp_path / 'data'
    shutil.copytree(sample, root)
    entries = json.loads((root / 'pix3d.json').read_text())
    used = [entry for entry in entries if not entry['occluded'] and not entry['truncated']]
    photo, mask, mesh, gone = used[0]['img'], used[1]['mask'], used[4]['model'], used[7]['img']
    (root / photo).write_bytes((root / photo).read_bytes()[:300])
    (root / mask).write_bytes(b'')
    (root / mesh).write_text('v nan 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n')
    (root / gone).unlink()
    del used[10]['mask']
    used[11]['model'] = '../outside.obj'
    (root / 'pix3d.json').write_text(json.dumps(entries))
    message = refused(f'--config.data_dir={root}', '--config.batch_size=99')
    for part in (
        photo,
        mask,
        mesh,
        gone,
        f'[{entries.index(used[10])}].mask: missing key',
        "path '../outside.obj' leaves the folder",
        '4 usable shapes where 99 are needed',
    ):
        assert part in message


def test_a_batch_larger_than_the_gallery(refused, sample):
    message = refused(f'--config.data_dir={sample}', '--config.batch_size=5')
    assert '4 usable shapes where 5 are needed' in message


def test_a_split_without_photos(refused, sample, tmp_path):
    root = tmp_path / 'data'
    shutil.copytree(sample, root)
    entries = json.loads((root / 'pix3d.json').read_text())
    (root / 'pix3d.json').write_text(json.dumps([entry | {'split': 'train'} for entry in entries]))
    assert 'no photos in split test' in refused(f'--config.data_dir={root}')


def test_folders_that_cannot_be_written(tmp_path, sample, capsys):
    (tmp_path / 'file').write_text('')
    for workdir, cache in (('file/workdir', 'cache'), ('workdir', 'file/cache')):
        assert (
            run.main(
                [
                    '--config=pix3d.py:smoke',
                    f'--workdir={tmp_path / workdir}',
                    '--config.processes=1',
                    f'--config.cache_dir={tmp_path / cache}',
                ]
            )
            == 1
        )
        err = capsys.readouterr().err
        assert err.startswith(f'error: {tmp_path / "file"}')
        assert 'cannot be written' in err


def test_a_run_that_never_saved_can_take_another_config(tmp_path, capsys):
    """A mistyped value must not lock the work directory."""
    arguments = [
        '--config=pix3d.py:smoke',
        f'--workdir={tmp_path / "workdir"}',
        f'--config.data_dir={tmp_path / "none"}',
    ]
    for value in ('contrastive', 'triplet'):
        assert run.main([*arguments, f'--config.loss.kind={value}']) == 1
        assert 'does not exist' in capsys.readouterr().err
        assert not (tmp_path / 'workdir').exists()


@pytest.mark.parametrize('text', ['', '{', '[]', '{}', '"text"'])
@pytest.mark.parametrize('mode', ['train', 'eval'])
def test_a_damaged_stored_config(tmp_path, capsys, text, mode):
    (tmp_path / 'config.json').write_text(text)
    assert run.main(['--config=pix3d.py:smoke', f'--workdir={tmp_path}', f'--mode={mode}']) == 1
    assert f'error: {tmp_path / "config.json"}: ' in capsys.readouterr().err
    assert (tmp_path / 'config.json').read_text() == text


def test_only_what_is_evaluated_can_change_in_evaluation(tmp_path, capsys):
    (tmp_path / 'config.json').write_text(json.dumps(flatten(load_config('pix3d.py:smoke')[0])))
    for key in ('model.embedding_dim', 'seed', 'loss.temperature', 'experiment'):
        assert run.main(['--mode=eval', f'--workdir={tmp_path}', f'--config.{key}=3']) == 1
        assert f'--config.{key}: cannot change in --mode=eval; these, and the keys of' in capsys.readouterr().err
    assert run.main(['--mode=eval', f'--workdir={tmp_path}', '--config.sede=3']) == 1
    assert 'unknown key' in capsys.readouterr().err


def test_a_stored_config_cannot_name_other_code(tmp_path, capsys):
    (tmp_path / 'config.json').write_text(json.dumps({'experiment': 'antigravity'}))
    assert run.main(['--mode=eval', f'--workdir={tmp_path}']) == 1
    assert "config.experiment: 'antigravity' is not one of cross_modal" in capsys.readouterr().err
