"""What the command prints where the terminal's encoding lacks letters of ids, categories and paths."""

import io
import json
import sys
from pathlib import Path

import pytest

from jaxret.cli import main as cli
from jaxret.cli import search as cli_search
from jaxret.cli.answers import Answer, print_csv, print_json, print_tables
from jaxret.index.index import Hit
from jaxret.inference.query_files import QueryFile

HITS = [Hit(1, 'stühle-椅子/\udcffbös.obj', 'stühle-椅子', 0.5, 3, 90.0, 30.0)]
ANSWERS = [Answer(QueryFile(Path('phöto\udce9.png'), 'photo'), 'whole frame', HITS, True)]


@pytest.mark.parametrize('encoding', ['ascii', 'latin-1', 'cp1252', 'utf-8'])
@pytest.mark.parametrize('show', [print_tables, print_csv, print_json])
def test_letters_that_cannot_be_shown_are_escapes(monkeypatch, encoding, show):
    buffer = io.BytesIO()
    monkeypatch.setattr(sys, 'stdout', io.TextIOWrapper(buffer, encoding=encoding))
    monkeypatch.setattr(cli_search, 'run_search', lambda options, before_jax: show(ANSWERS) or 0)
    assert cli.main(['search', '--index', 'index', 'photo.png']) == 0
    out = buffer.getvalue().decode(encoding)
    if show is print_json:
        assert json.loads(out)[0]['hits'][0]['id'] == HITS[0].id
        return
    assert 'rank' in out and '0.5' in out and '\\udcff' in out
    assert ('st\\xfchle-' if encoding == 'ascii' else 'stühle-') in out
    assert ('椅子' if encoding == 'utf-8' else '\\u6905\\u5b50') in out
