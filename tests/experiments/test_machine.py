"""What a report says of the code that made it."""

import shutil
import subprocess

import machine


def test_the_commit_of_a_checkout_and_the_version_elsewhere(tmp_path, monkeypatch):
    found = machine.source()
    assert found['commit'] is None or len(found['commit']) == 40
    assert machine.code_text({'commit': 'abc', 'dirty': True}) == 'commit abc, with changes'
    shutil.copy(machine.__file__, tmp_path / 'machine.py')
    subprocess.run(['git', 'init', '--quiet', tmp_path], check=True)  # somebody else's
    monkeypatch.setattr(machine, '__file__', str(tmp_path / 'machine.py'))
    assert machine.source() == {'commit': None, 'dirty': None}
    assert machine.code_text(machine.source()).startswith('jaxret ')
