"""The tables command without run.py."""

import pytest
import tables
from fake_table_runs import PAPER, FakeRuns
from paper_tables import runs

from jaxret.reports import paper_tables as table_report


@pytest.fixture
def fake(monkeypatch):
    """The stand-in; the papers of the command are the one above, and the machine is not asked."""
    runner = FakeRuns()
    for name in ('draw_table', 'draw_claims'):  # which take longer than all the rest
        monkeypatch.setattr(table_report, name, lambda rows: None)
    monkeypatch.setattr(runs, 'Workers', runner)
    monkeypatch.setattr(
        runs,
        'machine',
        lambda: {'hardware': {'cores': 2, 'processor': 'p', 'devices': '1 x cpu'}, 'versions': {'jax': '1'}},
    )
    monkeypatch.setattr(tables, 'load_paper', lambda name: PAPER)
    return runner


@pytest.fixture
def command(tmp_path):
    """Exit status of the command in this process."""
    return lambda *arguments: tables.main(
        ['test', f'--out={tmp_path}/out', f'--config.cache_dir={tmp_path}/cache', '--seeds=2', *arguments]
    )
