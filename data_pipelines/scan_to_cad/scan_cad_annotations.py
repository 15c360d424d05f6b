"""The two JSON files of the scan-CAD layout: which scans there are, and which CAD models people found similar.

    pair list     {"scan2cad_objects": {"<scan name>": "train" | "validation" | "test"}}
    similarity    {"samples": [{"reference": {"name": "/scan/<scan name>"},
                                "pool": [{"name": "/cad/<model>"}, ... 6],
                                "ranked": [{"name": "/cad/<model>"}, ... at most 3]}]}

A scan name has six parts between underscores; the fifth is the ShapeNet synset of its CAD model, the sixth the model's
id. A model in the similarity file is '<synset>_<id>' or '<synset>/<id>'. Layout: Dahnert et al., ICCV 2019, from its
public code.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from jaxret.errors import Problem, refused
from jaxret.files import check_regular

POOL = 6  # CAD models of an annotation, at most
RANKED = 3  # of them that people ranked, at most
_SPLITS = {'train': 'train', 'validation': 'val', 'val': 'val', 'test': 'test'}
_PARTS = 6


@dataclass(frozen=True)
class Pair:
    """One line of the pair list: a scan, its split, and the synset and id of its CAD model."""

    name: str
    split: str
    synset: str
    model: str


@dataclass(frozen=True)
class Sample:
    """One annotation: the scan's name, the names of its pool as in the file, and those ranked, best first."""

    index: int
    scan: str
    pool: tuple[str, ...]
    ranked: tuple[str, ...]


def read_pairs(path: Path) -> tuple[list[Pair], list[Problem]]:
    """Sound lines of a pair list by name, and what is wrong with the others.

    Raises:
      DataError: the file is missing, not JSON, or holds no pair list.
    """
    wanted = 'an object with the split of every scan'
    objects = _load(path, 'scan2cad_objects', dict, wanted)
    if not objects:
        raise refused(str(path), "'scan2cad_objects' is empty", f"give a JSON object with 'scan2cad_objects': {wanted}")
    pairs, problems = [], []
    for name in sorted(objects):
        where, parts = f'{path.name}[{name!r}]', name.split('_')
        if len(parts) != _PARTS or not all(parts[-2:]) or not _plain(name):
            found = f'not {_PARTS} parts between underscores, the last two the synset and id of the CAD model'
            problems.append(Problem(where, found, 'correct the name'))
        elif not isinstance(objects[name], str) or objects[name] not in _SPLITS:
            problems.append(Problem(where, f'unknown split {objects[name]!r}', 'use train, validation or test'))
        else:
            pairs.append(Pair(name, _SPLITS[objects[name]], parts[-2], parts[-1]))
    return pairs, problems


def read_similarity(path: Path) -> tuple[list[Sample], list[Problem]]:
    """Sound annotations in the file's order, and what is wrong with the others.

    An annotation with fewer than 3 ranked models, even none, is sound: the annotators found no more. So is a file
    without any, as of simulated scans where no category has models enough for a pool.

    Raises:
      DataError: the file is missing, not JSON, or has no list of annotations.
    """
    samples, problems = [], []
    for index, value in enumerate(_load(path, 'samples', list, 'a list of annotations')):
        where = f'{path.name}[{index}]'
        try:
            scan, pool = _name(value['reference'], '/scan/'), _names(value['pool'])
            ranked = _names(value['ranked'])
        except (KeyError, TypeError, ValueError) as error:
            found = f'not an annotation with reference, pool and ranked ({type(error).__name__}: {error})'
            problems.append(Problem(where, found, 'correct it'))
            continue
        wrong = _fault(pool, ranked)
        if wrong:
            problems.append(Problem(where, wrong, 'correct the annotation'))
        else:
            samples.append(Sample(index, scan, pool, ranked))
    return samples, problems


def model_key(name: str) -> tuple[str, str] | None:
    """(synset, id) of a CAD model by its name in the similarity file; None where it names none."""
    synset, _, model = name.replace('/', '_').rpartition('_')
    synset = synset.rpartition('_')[2]
    return (synset, model) if synset and model else None


def _fault(pool: Sequence[str], ranked: Sequence[str]) -> str | None:
    if not 1 <= len(pool) <= POOL:
        return f'{len(pool)} CAD models in the pool, not 1 to {POOL}'
    if len(set(pool)) < len(pool) or len(set(ranked)) < len(ranked):
        return 'a CAD model named twice'
    if len(ranked) > RANKED:
        return f'{len(ranked)} ranked CAD models, at most {RANKED} are'
    strange = [name for name in ranked if name not in pool]
    if strange:
        return f'{strange[0]} is ranked, but not in the pool'
    odd = [name for name in pool if model_key(name) is None]
    return f'{odd[0]!r} names no <synset>_<id>' if odd else None


def _names(values: Any) -> tuple[str, ...]:
    if not isinstance(values, list):
        raise TypeError('pool or ranked is not a list')
    return tuple(_name(value, '/cad/') for value in values)


def _name(value: Any, prefix: str) -> str:
    name = value['name']
    if not isinstance(name, str):
        raise TypeError('a name is not a text')
    name = name.removeprefix(prefix)
    if not _plain(name):
        raise ValueError(f'{name!r} is no plain name')
    return name


def _plain(name: str) -> bool:
    """Whether a name, put below a folder, stays there."""
    path = PurePosixPath(name)
    return bool(name) and '\0' not in name and not path.is_absolute() and '..' not in path.parts


def _load(path: Path, key: str, kind: type, wanted: str) -> Any:
    action = f'give a JSON object with {key!r}: {wanted}'
    try:
        check_regular(path)
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        wanted = 'name a folder that has it, with scan/ and cad/, or one of CAD grids <synset>/<id>.vox'
        raise refused(str(path), 'missing', wanted) from None
    except (OSError, ValueError, RecursionError) as error:
        raise refused(str(path), f'cannot be read as JSON ({error})', action) from None
    if not isinstance(content, dict) or not isinstance(content.get(key), kind):
        raise refused(str(path), f'no {key!r} in it', action)
    return content[key]
