"""A stand-in model, and an index that it makes below tmp_path."""

import pytest
from small_index import PlainModel

from jaxret.index.build import update_index


@pytest.fixture
def model():
    return PlainModel()


@pytest.fixture
def update(model, tmp_path):
    def run(models='models', model=model, **options):
        model.embedded = 0
        return update_index(
            tmp_path / 'index',
            model,
            None if models is None else tmp_path / models,
            **({'processes': 1, 'progress': False} | options),
        )

    return run
