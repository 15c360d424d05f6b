"""The command `jaxret duplicates` without its code, which imports what other commands do not need."""

import argparse
from collections.abc import Callable

from jaxret.cli import descriptions


def add_duplicates(command: Callable[..., argparse.ArgumentParser], positive: Callable[[str], int]) -> None:
    """Adds the command by `command`, with its options; `positive` reads a whole number from 1."""
    parser = command(
        'duplicates', 'find models that are the same, mirrored or nearly the same', descriptions.DUPLICATES, _run
    )
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument('--index', metavar='INDEX')
    where.add_argument('--models', metavar='DIR', help='folder of models, without an index')
    parser.add_argument(
        '--up-axis', choices=('y', 'z'), default='y', help='axis that points up in DIR, for the pictures (default: y)'
    )
    parser.add_argument('--out', metavar='DIR', help='folder of a page with the groups in pictures')
    parser.add_argument('--csv', metavar='FILE', help='write the groups, one line a member')
    parser.add_argument('--json', metavar='FILE', help='write the groups with their evidence')
    parser.add_argument('--keep', action='store_true', help='say which member of each group to keep; none is deleted')
    parser.add_argument('--processes', type=positive, metavar='N', help='that read models (default: one a core)')


def _run(options: argparse.Namespace) -> int:
    from jaxret.cli.duplicates import run_duplicates

    return run_duplicates(options)
