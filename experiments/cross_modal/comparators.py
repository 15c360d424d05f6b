"""What the frozen image features of a run reach without training."""

from collections.abc import Callable, Mapping

import numpy as np
from cross_modal.data import ObjectData

from data_pipelines.cross_modal.prepare import ObjectTable
from jaxret.losses.scores import l2_normalize
from jaxret.metrics.cross_modal import cross_modal_metrics
from jaxret.search.references import reference_probabilities


def untrained_metrics(
    data: ObjectData, features_of: Callable[[ObjectTable, str], np.ndarray]
) -> dict[str, Mapping[str, float | None]]:
    """mAP of test objects from image to image, the only direction that nobody has to train.

    'zero_shot' compares means of the views' features of length 1; 'references' class probabilities, which soft nearest
    neighbours among the training objects give them, and is left out where there are none (`--mode=eval`).

    Args:
      data: of the run.
      features_of: of a table and the name of its split the frozen features of the views, [N, V, ..., F].
    """

    def pooled(split: str) -> np.ndarray:
        """Unit vectors [N, F] of the objects."""
        features = features_of(data.tables[split], split)
        views = l2_normalize(features.mean(axis=tuple(range(2, features.ndim - 1))))
        return np.asarray(l2_normalize(views.mean(axis=1)))

    test, known = data.tables['test'], data.tables.get('train')
    rows = {'zero_shot': pooled('test')}
    if known is not None and len(known):
        found = reference_probabilities(rows['zero_shot'], pooled('train'), known.label, len(test.categories))
        rows['references'] = found.astype(np.float32)
    return {
        name: {
            key: value
            for key, value in cross_modal_metrics({'image': vectors}, test.label, test.categories).items()
            if key.startswith('map_image_image')
        }
        for name, vectors in rows.items()
    }
