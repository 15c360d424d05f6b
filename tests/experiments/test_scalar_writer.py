"""Scalars for TensorBoard where they cannot be written."""

import pytest
from scalar_writer import ScalarWriter
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from jaxret.errors import StorageError


def test_scalars_are_written(tmp_path):
    writer = ScalarWriter(tmp_path / 'events')
    writer.write_scalars(1, {'loss': 0.5})
    writer.close()
    (path,) = (tmp_path / 'events').glob('events.out.tfevents.*')
    tags = [value.tag for event in EventFileLoader(str(path)).Load() for value in event.summary.value]
    assert tags == ['loss']


def test_no_folder(tmp_path):
    (tmp_path / 'events').write_text('')
    with pytest.raises(StorageError, match=f'{tmp_path / "events"}: cannot be written'):
        ScalarWriter(tmp_path / 'events').write_scalars(1, {'loss': 0.5})


def test_a_full_disk(tmp_path, monkeypatch):
    writer = ScalarWriter(tmp_path / 'events')

    def full(*arguments):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(writer._writer, 'add_scalar', full)
    with pytest.raises(StorageError, match='No space left on device'):
        writer.write_scalars(1, {'loss': 0.5})
    writer.close()
