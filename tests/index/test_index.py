"""Arguments of a search that cannot be."""

import numpy as np
import pytest
from small_index import PlainModel, write_models

import jaxret
from jaxret.errors import ConfigError
from jaxret.index.build import update_index


def test_arguments_that_cannot_be(tmp_path):
    write_models(tmp_path / 'models', 2)
    update_index(tmp_path / 'index', PlainModel(), tmp_path / 'models', processes=1, progress=False)
    with jaxret.Index.open(tmp_path / 'index') as index:
        queries = np.ones((1, index.gallery.width), np.float32)
        category = index.categories[0]
        assert {hit.category for hit in index.search(queries, categories=[category])[0]} == {category}
        with pytest.raises(ConfigError, match=rf"categories = '{category}': give a list of names"):
            index.search(queries, categories=category)
        for top_k in (0, -1):
            with pytest.raises(ConfigError, match=f'top_k = {top_k}: top_k must be at least 1'):
                index.search(queries, top_k=top_k)
