"""Every figure in README and docs is one of a file of results that a script of the repository writes."""

import json
import re
from pathlib import Path

import docs_claims
import pytest

from jaxret.errors import ConfigError

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / 'README.md', *sorted((ROOT / 'docs').glob('*.md'))]
FIGURE = re.compile(r'(?<![\w.,:/])(\d*\.\d+|[\d,]*\d(?= (?:%|ms|s|kB|MB|GB|MiB|GiB)\b))(?![\w.]*\d)')
DECIMAL = re.compile(r'(?<![\w.,:/])\d*\.\d+(?![\w.]*\d)')
MARK = re.compile(r'<!-- (figures|claims): ([^>]+?) -->')
SCALES = (1.0, 100.0, 1000.0, 1e6, 1e-3, 1e-6, 1 / 1024, 1 / 1024**2, 1 / 60)


def numbers(value) -> list[float]:
    """All numbers of plain data, however deep they lie."""
    if isinstance(value, dict):
        return [one for part in value.values() for one in numbers(part)]
    if isinstance(value, list):
        return [one for part in value for one in numbers(part)]
    return [float(value)] if isinstance(value, int | float) and not isinstance(value, bool) else []


def shown(text: str, known: list[float]) -> bool:
    """Whether a printed number is one of `known`, rounded to as many digits, in one of the usual units."""
    printed = float(text.replace(',', ''))
    zeros = len(text) - len(text.rstrip('0,')) if ',' in text else 0  # 2,170 may be 2,167
    digits = len(text.partition('.')[2]) - zeros
    tolerance = 0.5000001 * 10**-digits + 5e-4 * abs(printed)  # files keep four significant digits
    return any(abs(abs(value) * scale - printed) <= tolerance for value in known for scale in SCALES)


def without_code(text: str) -> str:
    """A page without blocks and spans of code, and without the targets of links."""
    text = re.sub(r'```.*?```', '', text, flags=re.DOTALL)
    text = re.sub(r'^ {4}.*$', '', text, flags=re.MULTILINE)
    return re.sub(r'`[^`]*`|\]\([^)]*\)', '', text)


def parts(page: Path):
    """Yields (files of results or (), line) of every line outside code; a mark holds for the table that follows it."""
    files, begun, claims = (), False, False
    for line in without_code(page.read_text()).splitlines():
        if mark := MARK.search(line):
            claims = mark[1] == 'claims'  # those tables are compared as a whole
            files, begun = tuple(name.strip() for name in mark[2].split(',')), False
        elif line.startswith('|'):
            begun = begun or bool(files)
            if not claims:
                yield files, line
        else:
            if begun and line.strip():
                files, begun, claims = (), False, False
            yield (), line


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_every_figure_is_of_a_file_of_results(page):
    wrong = []
    for files, line in parts(page):
        if files:
            known = [one for name in files for one in numbers(json.loads((docs_claims.RESULTS / name).read_text()))]
            cells = line.strip('|').split('|')[1:]
            wrong += [
                f'{text}: not in {files}: {line}'
                for cell in cells
                for text in FIGURE.findall(cell)
                if not shown(text, known)
            ]
        else:
            wrong += [f'{text}: no file of results is named: {line}' for text in DECIMAL.findall(line)]
    assert not wrong, '\n'.join(wrong)


def test_a_figure_of_no_file_is_found():
    assert shown('0.145', [0.1453]) and shown('14.5', [0.1453]) and shown('1,017', [1017])
    assert not shown('0.146', [0.1453]) and not shown('0.9', [0.1453])


@pytest.mark.parametrize('page', sorted((ROOT / 'docs').glob('*.md')), ids=lambda page: page.name)
def test_claims_of_the_docs_are_those_of_the_results(page):
    assert docs_claims.filled(page.read_text()) == page.read_text()


def test_claims_table():
    common = {'metric': 'Top-1', 'paper': 2.3, 'n': 10}
    claims = [
        {'text': 'x is better', **common, 'mean': 1.5, 'sd': 0.5},
        {'text': 'y is better', **common, 'mean': -0.5, 'sd': 1.0},
        {'text': 'z is better', **common, 'paper': None, 'n': 1, 'mean': -1.0, 'sd': None},
    ]
    one = {'data': 'A', 'preset': 'small', 'overrides': {}, 'claims_of_paper': 2, 'claims': claims}
    other = {**one, 'data': 'B', 'overrides': {'epochs': '20'}, 'claims': [claims[0] | {'n': 0}]}
    # t of 9 degrees of freedom at 1 - .05 / 3 / 2 is 2.933
    assert docs_claims.claims_table([one, other]).splitlines() == [
        '| claim | the paper | A, small | B, small, 20 epochs |',
        '| --- | --- | --- | --- |',
        '| x is better (Top-1) | +2.3 | **holds**: +1.5 (+1.04 to +1.96), 10 seeds | – |',
        '| y is better (Top-1) | +2.3 | undecided: -0.5 (-1.43 to +0.428), 10 seeds (45 would decide) | – |',
        '| z is better (Top-1) | – | one seed: -1 | – |',
    ]
    more = {**one, 'claims': [{**claims[1], 'text': 'u is better'}]}
    table = docs_claims.claims_table([one, other, more]).splitlines()
    assert table[0] == '| claim | the paper | A, small | B, small, 20 epochs |' and len(table) == 6
    shown = '| u is better (Top-1) | +2.3 | undecided: -0.5 (-1.48 to +0.484)'  # t at .05 / 4 / 2 is 3.111
    assert table[5].startswith(shown)
    table = docs_claims.claims_table([one | {'claims_of_paper': 4}]).splitlines()  # also of those that were not run
    assert table[3].startswith('| y is better (Top-1) | +2.3 | undecided: -0.5 (-1.48 to +0.484)')


def test_results_that_do_not_go_together():
    claim = {'text': 'x is better', 'metric': 'Top-1', 'paper': 2.3, 'n': 10, 'mean': 1.5, 'sd': 0.5}
    one = {'data': 'A', 'preset': 'small', 'overrides': {}, 'claims_of_paper': 1, 'claims': [claim]}
    with pytest.raises(ConfigError, match="A, small: two results differ in 'x is better'; give them tables"):
        docs_claims.claims_table([one, {**one, 'claims': [claim | {'mean': -1.5}]}])
    assert docs_claims.claims_table([one, one]) == docs_claims.claims_table([one])
    with pytest.raises(ConfigError, match="'x is better': the paper has .*1.9"):
        docs_claims.claims_table([one, {**one, 'data': 'cars', 'claims': [claim | {'paper': 1.9}]}])


def test_the_time_of_all_tables():
    results = {'a.json': {'processor_seconds': 90}, 'b.json': {'processor_seconds': 3600}, 'c.json': {}}
    assert docs_claims.time_text(results) == (
        'to run the tables of 2 results again: 1 h 1 min of one processor; not known: c.json'
    )
