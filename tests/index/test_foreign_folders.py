"""What an index may be written to, and that nothing in it is removed which is not its own."""

import json
import os

import pytest
from small_index import opened, write_models

from jaxret.errors import StorageError
from jaxret.files import remove_temporaries
from jaxret.index.files import writing

HEX16, HEX32 = '0123456789abcdef', '0123456789abcdef' * 2


def snapshot(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob('*')) if path.is_file()}


@pytest.mark.parametrize(
    'content',
    [
        {'notes.txt': 'mine'},
        {'shards/my.safetensors': 'mine'},
        {f'shards/{HEX32}.safetensors': 'mine'},  # without a lock, nobody wrote an index here
        {'tables/people.jsonl': '{}'},
        {'failed.csv': 'path,reason\n'},
        {'index.json': '{"format": "of something else"}'},
        {'index.json': '[]', '.lock': '12'},
        {'index.json': '{', '.lock': '12', 'shards/x.bin': '', 'tables/x.csv': ''},
        {'.lock': '12', 'pyproject.toml': ''},
        {'.hidden': ''},
        {'empty/.keep': ''},
    ],
    ids=str,
)
@pytest.mark.parametrize('rebuild', [False, True])
def test_a_folder_that_is_no_index_is_refused_untouched(update, tmp_path, content, rebuild):
    write_models(tmp_path / 'models', 2)
    for name, text in content.items():
        (tmp_path / 'index' / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / 'index' / name).write_text(text)
    before = snapshot(tmp_path / 'index')
    with pytest.raises(StorageError, match=r'index: not an index, and not empty \(.+\); name a new or an empty folder'):
        update(rebuild=rebuild)
    assert snapshot(tmp_path / 'index') == before


def test_the_folder_of_models_is_no_index(update, tmp_path):
    names = write_models(tmp_path / 'index', 2)
    with pytest.raises(StorageError, match='not an index'):
        update('index')
    assert sorted(map(str, snapshot(tmp_path / 'index'))) == names


@pytest.mark.parametrize('part', ['shards', 'tables'])
@pytest.mark.parametrize('whole', [False, True])
def test_linked_folders_are_refused_and_never_emptied(update, tmp_path, part, whole):
    write_models(tmp_path / 'models', 2)
    elsewhere = tmp_path / 'elsewhere'
    elsewhere.mkdir()
    (tmp_path / 'index').mkdir()
    if whole:
        update()
        if (tmp_path / 'index' / part).exists():
            (tmp_path / 'index' / part).rename(elsewhere / 'moved')
            elsewhere /= 'moved'
    (elsewhere / f'{HEX32}.safetensors').write_text('mine')
    (elsewhere / f'{HEX16}.jsonl').write_text('{}')
    (tmp_path / 'index' / part).symlink_to(elsewhere)
    before = snapshot(elsewhere)
    with pytest.raises(StorageError, match=f'index/{part}: a link'):
        update(rebuild=True)
    assert snapshot(elsewhere) == before


def test_a_linked_lock_empties_nothing(tmp_path):
    (tmp_path / 'mine').write_text('mine')
    (tmp_path / 'index').mkdir()
    (tmp_path / 'index/.lock').symlink_to(tmp_path / 'mine')
    with pytest.raises(StorageError, match='cannot be written'), writing(tmp_path / 'index'):
        pass
    assert (tmp_path / 'mine').read_text() == 'mine'


def test_only_files_of_the_index_are_removed(update, tmp_path):
    write_models(tmp_path / 'models', 2)
    update()
    index, mine = tmp_path / 'index', tmp_path / 'mine'
    mine.write_text('mine')
    others = ['README', 'shards/mine.safetensors', 'shards/notes', f'tables/{HEX16}.csv', 'tables/mine.jsonl']
    others += ['.README.0123456789abcdef', 'shards/.mine.0123456789abcdef', '.index.json.backup']
    for name in others:
        (index / name).write_text('mine')
    (index / f'shards/{HEX32}.safetensors').symlink_to(mine)
    (index / f'tables/{HEX16}.jsonl').mkdir()
    update(rebuild=True)
    update()
    assert all((index / name).read_text() == 'mine' for name in others) and mine.read_text() == 'mine'
    assert (index / f'shards/{HEX32}.safetensors').is_symlink() and (index / f'tables/{HEX16}.jsonl').is_dir()
    assert len(opened(tmp_path)) == 2


def test_temporary_files_of_killed_runs_go_with_the_next_one(update, tmp_path):
    write_models(tmp_path / 'models', 2)
    left = [f'.failed.csv.{HEX16}', f'.index.json.{HEX16}', f'tables/.{HEX16}.jsonl.{HEX16}']
    left += [f'shards/.{HEX32}.safetensors.{HEX16}']
    for begun in (False, True):  # killed before its first index.json, and later
        if not begun:
            (tmp_path / 'index').mkdir()
            (tmp_path / 'index/.lock').write_text('123')
        for name in left:
            (tmp_path / 'index' / name).parent.mkdir(exist_ok=True)
            (tmp_path / 'index' / name).write_text('half')
        update()
        assert not [name for name in left if (tmp_path / 'index' / name).exists()]
    for name in left:
        (tmp_path / 'index' / name).write_text('half')
    (tmp_path / 'models').rename(tmp_path / 'gone')
    with pytest.raises(Exception, match='no longer there'):  # also a run that fails
        update(None)
    assert not [name for name in left if (tmp_path / 'index' / name).exists()]


def test_temporary_files_are_told_by_their_whole_name(tmp_path):
    mine = ['.a.json.0123', '.a.json.0123456789abcdef.x', 'a.json.0123456789abcdef', f'.b.json.{HEX16}', 'a.json']
    for name in (*mine, f'.a.json.{HEX16}'):
        (tmp_path / name).write_text(name)
    os.symlink(tmp_path / 'a.json', tmp_path / f'.a.json.{HEX16[::-1]}')
    remove_temporaries(tmp_path, r'a\.json')
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*mine, f'.a.json.{HEX16[::-1]}'])


def test_an_index_of_another_version_may_be_rebuilt(update, tmp_path):
    write_models(tmp_path / 'models', 2)
    update()
    path = tmp_path / 'index/index.json'
    path.write_text(json.dumps(json.loads(path.read_text()) | {'format': 'jaxret-index-0'}))
    (tmp_path / 'index/README').write_text('mine')
    assert update(rebuild=True).embedded == 2
