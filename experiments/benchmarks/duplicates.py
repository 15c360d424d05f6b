"""Does `jaxret duplicates` tell equal shapes from mirrored and changed ones, and how does its time grow?

  python experiments/benchmarks/duplicates.py --models=DIR [--count=200]
  python experiments/benchmarks/duplicates.py --models=DIR --growth

Makes its own truth of any folder of models. Of each model: turned and moved; scaled; with each triangle in four;
decimated to half its triangles (the same shape only where the result, which was not moved, lies within the tolerance);
as OBJ, STL, PLY and GLB; mirrored (the same shape where a turn does it as well); with a blind hole, 1 % of the size
wide, in its largest triangle. Models that are alike from the start count once. --growth makes 1,000 to 10,000 models by
stretching and bending them, and times what comes after their signatures.
"""

import argparse
import itertools
import json
import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from changed_models import OTHER, SAME, deformed, family

from jaxret.errors import DataError
from jaxret.index.duplicates import ModelEntry, find_duplicates, folder_models
from jaxret.preprocessing.shape_pairs import MIRRORED, NEAR
from jaxret.workers import map_parallel


def main() -> int:
    """Prints recall and precision, or times, as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--models', required=True, metavar='DIR')
    parser.add_argument('--count', type=int, default=200, help='models that are taken (default: 200)')
    parser.add_argument('--growth', action='store_true')
    parser.add_argument('--sizes', default='1000,2000,5000,10000', help='of --growth')
    parser.add_argument('--processes', type=int)
    options = parser.parse_args()
    entries = folder_models(options.models)[0]
    chosen = entries[:: max(1, len(entries) // options.count)][: options.count]
    with tempfile.TemporaryDirectory() as folder:
        if options.growth:
            sizes = [int(size) for size in options.sizes.split(',')]
            result = growth(chosen, Path(folder), sizes, options.processes)
        else:
            result = truth(chosen, Path(folder), options.processes)
    print(json.dumps(result, indent=1))
    return 0


def truth(chosen: list[ModelEntry], folder: Path, processes: int | None) -> dict:
    """Recall and precision on variants of models."""
    alike = find_duplicates(chosen, processes=processes)
    again = {id for group in alike.groups for id in group.members[1:]}
    bases = [entry for entry in alike.models if entry.id not in again]
    expected: dict[tuple[str, str], str] = {}
    families = list(map_parallel(family, [(e.path, folder / f'{n:04d}') for n, e in enumerate(bases)], raises=True))
    for number, kinds in families:
        names = {name: f'{number:04d}/{name}' for name in kinds}
        for one, other in itertools.combinations(kinds, 2):
            expected[tuple(sorted((names[one], names[other])))] = _between(kinds[one], kinds[other])
    entries = folder_models(folder)[0]
    started = time.perf_counter()
    found = find_duplicates(entries, processes=processes)
    seconds = time.perf_counter() - started
    return {
        'models': len(entries),
        'bases': len(bases),
        'seconds': round(seconds, 1),
        **_scored(expected, found.groups),
    }


def _between(one: str, other: str) -> str:
    """What two variants of one model are to each other: `SAME`, `MIRRORED`, `NEAR`, or `OTHER` for not judged."""
    kinds = {one, other}
    if len(kinds) == 1:
        return SAME if kinds == {SAME} else OTHER
    return (kinds - {SAME}).pop() if SAME in kinds else OTHER


def _scored(expected: dict[tuple[str, str], str], groups: list) -> dict:
    same = {
        tuple(sorted(pair))
        for group in groups
        if group.kind not in (MIRRORED, NEAR)
        for pair in itertools.combinations(group.members, 2)
    }
    group_of = {id: group for group in groups if group.kind not in (MIRRORED, NEAR) for id in group.members}

    def all_of(id: str) -> list[str]:
        return group_of[id].members if id in group_of else [id]

    linked = {kind: set() for kind in (MIRRORED, NEAR)}
    for group in groups:
        if group.kind in linked:
            for one, other in itertools.product(all_of(group.members[0]), group.members[1:]):
                linked[group.kind] |= {tuple(sorted((one, last))) for last in all_of(other)}
    truly = Counter(expected.values())
    wrong = [pair for pair in same if expected.get(pair) not in (SAME, OTHER)]
    missed = [pair for pair, kind in expected.items() if kind == SAME and pair not in same]
    result = {
        'same': {
            'pairs': truly[SAME],
            'recall': 1 - len(missed) / max(1, truly[SAME]),
            'precision': 1 - len(wrong) / max(1, len(same)),
            'missed': missed[:20],
            'wrong': wrong[:20],
        }
    }
    for kind in (MIRRORED, NEAR):
        pairs = [pair for pair, of in expected.items() if of == kind]
        result[kind] = {
            'pairs': len(pairs),
            'called so': sum(pair in linked[kind] for pair in pairs),
            'called same': sum(pair in same for pair in pairs),
            'missed': [pair for pair in pairs if pair not in linked[kind] and pair not in same][:20],
        }
    return result


def growth(chosen: list[ModelEntry], folder: Path, sizes: list[int], processes: int | None) -> dict:
    """Seconds for collections of several sizes, signatures not counted."""
    models: list[ModelEntry] = []
    result = {}
    for size in sizes:
        items = [(chosen[n % len(chosen)].path, folder / f'{n:06d}.ply') for n in range(len(models), size)]
        for number, signature in map_parallel(deformed, items, processes=processes, ordered=True, progress='Making'):
            if not isinstance(signature, DataError):
                path = items[number][1]
                models.append(ModelEntry(path.name, path, 'y', *signature))
        started, used = time.perf_counter(), sum(os.times()[:4])
        found = find_duplicates(models, processes=processes)
        seconds = {'seconds': time.perf_counter() - started, 'processor_seconds': sum(os.times()[:4]) - used}
        result[size] = {name: round(value, 1) for name, value in seconds.items()} | {'groups': len(found.groups)}
        print(json.dumps({size: result[size]}), file=sys.stderr)
    return result


if __name__ == '__main__':
    sys.exit(main())
