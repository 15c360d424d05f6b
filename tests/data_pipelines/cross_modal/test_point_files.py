"""HDF5 files of points that would open other files, unpack without end, or wait for ever."""

import os
from pathlib import Path

import h5py
import pytest
from modelnet_folders import write_published

from data_pipelines.cross_modal.modelnet_published import read_modelnet_files
from data_pipelines.cross_modal.objects import read_row
from jaxret.errors import DataError


def faults(root):
    """What is found wrong with a folder."""
    folders = {f'{kind}_dir': root / kind for kind in ('images', 'points', 'meshes')}
    with pytest.raises(DataError) as caught:
        read_modelnet_files(**folders, view_ids=(0, 1, 2), val_fraction=0, points=32, check_processes=1, progress=False)
    return [problem.found for problem in caught.value.problems]


def rewritten(file, change):
    """The point file with one of its arrays replaced by what `change` makes of the open file and the array."""
    with h5py.File(file, 'a') as opened:
        values = opened['data'][()]
        del opened['data']
        change(opened, values)


def linked(opened, values):
    opened['other'] = values
    opened['data'] = h5py.SoftLink('/other')


def linked_outside(opened, values):
    outside = Path(opened.filename).parents[2] / 'outside.h5'
    with h5py.File(outside, 'w') as other:
        other['data'] = values
    opened['data'] = h5py.ExternalLink(str(outside), 'data')


def linked_to_a_pipe(opened, values):
    os.mkfifo(Path(opened.filename).parents[2] / 'pipe')
    opened['data'] = h5py.ExternalLink(str(Path(opened.filename).parents[2] / 'pipe'), 'data')


def stored_outside(opened, values):
    outside = Path(opened.filename).parents[2] / 'outside.raw'
    outside.write_bytes(values.tobytes())
    opened.create_dataset('data', values.shape, 'f4', external=[(str(outside), 0, values.nbytes)])


def virtual(opened, values):
    linked_outside(opened, values)
    del opened['data']
    layout = h5py.VirtualLayout(values.shape, 'f4')
    layout[:] = h5py.VirtualSource(str(Path(opened.filename).parents[2] / 'outside.h5'), 'data', values.shape)
    opened.create_virtual_dataset('data', layout)


def huge_chunks(opened, values):
    opened.create_dataset('data', (9, 10**7, 3), 'f4', chunks=(9, 10**7, 3), compression='gzip')


@pytest.mark.parametrize(
    ('change', 'expected'),
    [
        (linked, 'data is a link, which is not followed'),
        (linked_outside, 'data is a link, which is not followed'),
        (linked_to_a_pipe, 'data is a link, which is not followed'),
        (stored_outside, 'the values of data lie in other files'),
        (virtual, 'the values of data lie in other files'),
        (huge_chunks, 'too large to unpack'),
        (lambda opened, values: opened.create_group('data'), 'no key data'),
    ],
)
def test_point_files_that_would_open_others_or_unpack_without_end(tmp_path, change, expected):
    folder = tmp_path / 'set'
    write_published(folder)
    file = folder / 'points/ply_data_train0.h5'
    rewritten(file, change)
    assert any(expected in found for found in faults(folder))
    with pytest.raises(DataError, match=expected):
        read_row(file, 0, count=32)


def test_labels_that_claim_more_rows_than_are_listed_are_not_read(tmp_path):
    write_published(tmp_path)
    with h5py.File(tmp_path / 'points/ply_data_train0.h5', 'w') as file:
        file.create_dataset('data', (10**11, 32, 3), 'f4', chunks=(1, 32, 3))
        file.create_dataset('label', (10**11, 1), 'u1', chunks=(1024, 1))
    assert any('100000000000 objects, but its id list has 9' in found for found in faults(tmp_path))


@pytest.mark.parametrize(
    'name', ['points/ply_data_train0.h5', 'points/ply_data_train_0_id2file.json', 'points/shape_names.txt',
             'meshes/ball/test/ball_0003.npz']
)  # fmt: skip
def test_pipes_are_not_opened(tmp_path, name):
    write_published(tmp_path)
    (tmp_path / name).unlink()
    os.mkfifo(tmp_path / name)
    assert any('not a regular file' in found for found in faults(tmp_path))
