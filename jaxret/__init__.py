"""Cross-modal 3D retrieval in JAX/Flax.

model = jaxret.load_pretrained()              # or jaxret.load(workdir), of a finished run
index = jaxret.Index.open(folder)             # made by `jaxret index`
hits = index.search(model.embed_photos(['chair.jpg']), top_k=5)
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxret.index.index import Hit, Index
    from jaxret.inference.loading import load
    from jaxret.inference.model import Model
    from jaxret.inference.pretrained_model import load_pretrained
    from jaxret.inference.text import TextModel, load_text

__all__ = ['Hit', 'Index', 'Model', 'TextModel', 'load', 'load_pretrained', 'load_text']
_HOMES = {
    'Hit': 'index.index',
    'Index': 'index.index',
    'Model': 'inference.model',
    'load': 'inference.loading',
    'load_pretrained': 'inference.pretrained_model',
    'TextModel': 'inference.text',
    'load_text': 'inference.text',
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:  # imported where it is asked for: worker processes that read files need no JAX
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    import importlib

    return getattr(importlib.import_module(f'jaxret.{_HOMES[name]}'), name)
