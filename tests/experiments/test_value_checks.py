"""Values of a config that every experiment checks the same way."""

import pytest
import value_checks
from overrides import load_config

from jaxret.errors import ConfigError


@pytest.mark.parametrize(
    ('name', 'key'),
    [('size', 'data.image_size'), ('elevation', 'render.elevation'), ('ambient + diffuse', 'render.ambient + diffuse')],
)
def test_a_wrong_ring_names_the_key_whatever_the_message_says(monkeypatch, name, key):
    def refuse(**values):
        raise ConfigError('is 3, which must not be', name=name)

    monkeypatch.setattr(value_checks, 'ViewRing', refuse)
    with pytest.raises(ConfigError) as raised:
        value_checks.checked_view_ring(load_config('pix3d.py:smoke')[0], 'data.image_size')
    assert str(raised.value) == f'config.{key}: is 3, which must not be'
