"""Writes the claims of the papers, with what results say of them, into the pages of docs.

  python experiments/docs_claims.py [--check]

A page names the results (summary.json of tables.py, kept in experiments/results) between two comments:

  <!-- claims: cmic-ikea.json, cmic-sample.json -->
  <!-- end of claims -->

and what lies between them is replaced by a table: a row a claim, a column a data set and preset. --check changes
nothing, and ends with status 1 where a page differs from its results. Either prints how long it takes to run all these
tables again.
"""

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from interruption import run_command, says_errors

from jaxret.errors import ConfigError
from jaxret.metrics.intervals import VERDICTS, judge, seeds_to_decide
from jaxret.reports.tables import duration

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / 'experiments' / 'results'
BLOCK = re.compile(r'(<!-- claims: ([\w., -]+?) -->\n).*?(<!-- end of claims -->)', re.DOTALL)


@says_errors
def main(arguments: list[str]) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument('--check', action='store_true', help='change nothing')
    check = parser.parse_args(arguments).check
    pages = {path: path.read_text() for path in sorted((ROOT / 'docs').glob('*.md'))}
    differing = {path: new for path, text in pages.items() if (new := filled(text)) != text}
    for path, text in differing.items():
        print(f'{path.relative_to(ROOT)}: {"differs from its results" if check else "written"}')
        if not check:
            path.write_text(text)
    print(time_text({name: _read(name) for text in pages.values() for name in _names(text)}))
    return int(check and bool(differing))


def filled(page: str) -> str:
    """A page with its tables of claims made anew."""
    return BLOCK.sub(lambda found: f'{found[1]}\n{_of_files(found[2])}\n{found[3]}', page)


def _of_files(names: str) -> str:
    return claims_table([_read(name) for name in _split(names)])


def _names(page: str) -> list[str]:
    return [name for found in BLOCK.finditer(page) for name in _split(found[2])]


def _split(names: str) -> list[str]:
    return [name.strip() for name in names.split(',')]


def _read(name: str) -> dict[str, Any]:
    if not (RESULTS / name).exists():
        raise ConfigError(f'{RESULTS / name}: no such file, but a page of docs names it; put a summary.json there')
    return json.loads((RESULTS / name).read_text())


def time_text(results: Mapping[str, Mapping[str, Any]]) -> str:
    """What it takes to run tables again: {name of a file: what it holds}; files of earlier versions do not say it."""
    known = {name: one['processor_seconds'] for name, one in results.items() if 'processor_seconds' in one}
    told = f'to run the tables of {len(known)} results again: {duration(sum(known.values()))} of one processor'
    unknown = sorted(results.keys() - known.keys())
    return told + (f'; not known: {", ".join(unknown)}' if unknown else '')


def claims_table(results: Sequence[Mapping[str, Any]]) -> str:
    """The claims of a paper, by the results of several data sets, as a table of Markdown.

    Args:
      results: of `paper_tables.summary.summarize`; those of the same data, preset and length, which have other rows,
        are one column.

    Returns:
      A row a claim in the order of the results, with the paper's own difference (– where it prints none), and a column
      a data set and preset with verdict, mean paired difference, its interval (as of tables.py, for all claims of the
      paper at once) and the number of seeds; – where it has none.

    Raises:
      ConfigError: two results of one column differ in a claim, or the paper prints two values of it: such results need
        tables of their own.
    """
    columns: dict[str, dict[str, Mapping[str, Any]]] = {}
    for result in results:
        column = columns.setdefault(_head(result), {})
        for claim in result['claims']:
            known = column.setdefault(claim['text'], claim)
            if any(known[key] != claim[key] for key in ('n', 'mean', 'sd')):
                raise ConfigError(
                    f'{_head(result)}: two results differ in {claim["text"]!r}; give them tables of their own'
                )
    texts = dict.fromkeys(text for column in columns.values() for text in column)
    count = max(len(texts), *(result['claims_of_paper'] for result in results))
    lines = [_line('claim', 'the paper', *columns), _line(*['---'] * (2 + len(columns)))]
    for text in texts:
        claims = [column.get(text) for column in columns.values()]
        printed = {claim['paper'] for claim in claims if claim}
        if len(printed) > 1:
            raise ConfigError(f'{text!r}: the paper has {printed}; give the data sets tables of their own')
        metric = next(claim['metric'] for claim in claims if claim)
        lines.append(_line(f'{text} ({metric})', _signed(printed.pop()), *(_verdict(claim, count) for claim in claims)))
    return '\n'.join(lines) + '\n'


def _head(result: Mapping[str, Any]) -> str:
    """Of a column: data, preset, and the length of training where it is another."""
    length = f', {result["overrides"]["epochs"]} epochs' if 'epochs' in result['overrides'] else ''
    return f'{result["data"]}, {result["preset"]}{length}'


def _line(*cells: str) -> str:
    return f'| {" | ".join(cells)} |'


def _signed(value: float | None) -> str:
    return '–' if value is None else f'{round(value, 6):+.3g}'  # no 1e-16 of sums


def _verdict(claim: Mapping[str, Any] | None, claims: int) -> str:
    """Words for a claim, one of so many that are judged together, as tables.py says it."""
    if claim is None or not claim['n']:
        return '–'
    n, mean, sd = (claim[key] for key in ('n', 'mean', 'sd'))
    if n < 2:
        return f'one seed: {_signed(mean)}'
    judged, verdict = judge(n, mean, sd, claims=claims)
    needed = seeds_to_decide(mean, sd, claims=claims) if verdict == 'undecided' and sd else None
    mark = '**' if verdict in ('holds', 'opposite') else ''
    interval = f'{_signed(mean)} ({_signed(judged.low)} to {_signed(judged.high)})'
    more = f' ({needed} would decide)' if needed else ''
    return f'{mark}{VERDICTS[verdict]}{mark}: {interval}, {n} seeds{more}'


if __name__ == '__main__':
    sys.exit(run_command(main))
