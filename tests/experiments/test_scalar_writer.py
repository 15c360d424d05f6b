"""Scalars for TensorBoard where they cannot be written."""

import pytest
from scalar_writer import ScalarWriter
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from jaxret.errors import StorageError


def test_tags_are_grouped_and_the_config_is_kept(tmp_path):
    folder = tmp_path / 'events'
    writer = ScalarWriter(folder, {'seed': 3, 'optimizer.name': 'adam', 'data.axes': (1, 2), 'nesterov': True})
    writer.write_scalars(1, {'loss': 0.5, 'val_top1': 0.25, 'test_top1': 0.1})
    writer.write_results(9, {'top1': 0.5, 'top1_low': 0.4, 'top1_chance': 0.1, 'queries': 8, 'per_category': {}})
    writer.close()
    values = [
        (event.step, value)
        for path in sorted(folder.glob('events.out.tfevents.*'))
        for event in EventFileLoader(str(path)).Load()
        for value in event.summary.value
    ]
    tags = [(step, value.tag) for step, value in values]
    assert tags == [
        (0, '_hparams_/session_start_info'),
        (1, 'train/loss'),
        (1, 'eval/top1'),
        (1, 'eval/test_top1'),
        (9, 'retrieval/top1'),
    ]
    content = HParamsPluginData.FromString(values[0][1].metadata.plugin_data.content).session_start_info.hparams
    assert content['seed'].number_value == 3 and content['nesterov'].bool_value
    assert content['optimizer.name'].string_value == 'adam' and content['data.axes'].string_value == '(1, 2)'


def test_no_folder(tmp_path):
    (tmp_path / 'events').write_text('')
    with pytest.raises(StorageError, match=f'{tmp_path / "events"}: cannot be written'):
        ScalarWriter(tmp_path / 'events').write_scalars(1, {'loss': 0.5})


def test_a_full_disk(tmp_path, monkeypatch):
    writer = ScalarWriter(tmp_path / 'events')

    def full(*arguments):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(writer._writer, 'add_event', full)
    with pytest.raises(StorageError, match='No space left on device'):
        writer.write_scalars(1, {'loss': 0.5})
    writer.close()
