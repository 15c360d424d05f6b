"""Queries and masks that are pipes, devices or links to nothing: named, and never waited for."""

import os

import numpy as np
import pytest

from jaxret.errors import CheckpointError, DataError
from jaxret.inference.query_files import SUFFIXES, find_queries, query_arrays
from jaxret.preprocessing.inputs import PhotoInputs, ShapeInputs
from jaxret.runs.config import read_run_config

KINDS = [(kind, suffix) for kind, suffixes in SUFFIXES.items() for suffix in suffixes]
PHOTOS = PhotoInputs('masked', size=16, crop='mask', margin=0.1, fit='pad')
POINTS = ShapeInputs('points', points=16)
SHAPES = {'mesh': POINTS, 'points': POINTS, 'scan': ShapeInputs('grid')}


@pytest.mark.parametrize(('kind', 'suffix'), KINDS)
@pytest.mark.parametrize('target', ['pipe', '/dev/zero', 'gone'])
def test_no_query_is_waited_for(tmp_path, kind, suffix, target):
    path = tmp_path / f'query{suffix}'
    if target == 'pipe':
        os.mkfifo(path)
    else:
        path.symlink_to(tmp_path / target)
    if target != 'gone':
        find_queries([path], kinds=list(SUFFIXES), system='any')
    (found,) = find_queries([tmp_path], kinds=list(SUFFIXES), system='any')
    assert found.path == path
    what = 'missing|does not exist|No such file|a link to nothing' if target == 'gone' else 'not a regular file'
    with pytest.raises(DataError, match=rf'query\{suffix}: .*({what})'):
        query_arrays(path, kind=kind, inputs=SHAPES.get(kind, PHOTOS))


def test_no_mask_and_no_config_is_waited_for(tmp_path):
    os.mkfifo(tmp_path / 'pipe')
    with pytest.raises(DataError, match='pipe: not a regular file'):
        query_arrays(np.zeros((8, 8, 3), np.uint8), kind='photo', inputs=PHOTOS, mask=tmp_path / 'pipe')
    with pytest.raises(CheckpointError, match='not a regular file'):
        read_run_config(tmp_path / 'pipe')
