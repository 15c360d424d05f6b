"""The options of `jaxret search`, apart from its code, which imports what other commands do not need."""

import argparse
from collections.abc import Callable

from jaxret.cli.descriptions import QUERY_UP_AXIS


def add_search_options(parser: argparse.ArgumentParser, positive: Callable[[str], int]) -> None:
    """Adds them to its parser; `positive` reads a whole number from 1."""
    parser.add_argument('--index', required=True, metavar='INDEX')
    parser.add_argument('queries', nargs='*', metavar='QUERY', help='file, or folder of files')
    parser.add_argument('--text', metavar='WORDS', help='what is wanted in words: alone, or with every photo')
    parser.add_argument('--text-weight', type=float, metavar='W', help='0 to 1, beside a photo (default: 0.5)')
    parser.add_argument(
        '--mask',
        default='',
        metavar='FILE|DIR|auto',
        help='of the photo; a folder with one for each photo, of its name; or auto',
    )
    parser.add_argument(
        '--box',
        metavar='X0,Y0,X1,Y1',
        help='around the object, in pixels; for every photo (--box=-5,0,90,80 where it starts with a minus)',
    )
    parser.add_argument('--together', action='store_true', help='all queries are photos of one object: one answer')
    parser.add_argument('--top', type=positive, default=10, metavar='K', help='results a query (default: 10)')
    parser.add_argument(
        '--for',
        dest='purpose',
        choices=('mixed', 'instance', 'class'),
        help='built-in model: find this very model, its category, or both (default: mixed)',
    )
    parser.add_argument('--category', action='append', metavar='NAME', help='only models of it; may be repeated')
    parser.add_argument(
        '--where',
        action='append',
        metavar='EXPR',
        help="only models that measure so, such as 'size<200mm and watertight'; may be repeated",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument('--json', action='store_true', help='print JSON')
    form.add_argument('--csv', action='store_true', help='print CSV')
    parser.add_argument('--sheet', metavar='PNG', help='also write a picture of queries and results')
    parser.add_argument('--up-axis', choices=('auto', 'y', 'z'), help=QUERY_UP_AXIS)
    parser.add_argument(
        '--no-align',
        action='store_true',
        help='mesh queries: do not lay the first models on the query, which gives distances and the order',
    )
    parser.add_argument('--checkpoint', metavar='WORKDIR', help='where the run of the index is now, if it was moved')
    parser.add_argument('--database', metavar='DB', help='take candidates from this vector database')
    parser.add_argument('--collection', metavar='NAME', help='in the database (default: jaxret)')
    parser.add_argument(
        '--candidates', type=positive, metavar='N', help='shapes from the database a query (default: 100, at least K)'
    )
