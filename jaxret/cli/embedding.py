"""Files that are asked with, as embeddings."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxret.errors import DataError, Problem
from jaxret.files import printable
from jaxret.inference.query_files import QueryFile, query_arrays
from jaxret.preprocessing.photos import Box

Question = tuple[QueryFile | None, str | Path | None]  # and its mask; no file where the words alone are asked with


def embed_queries(
    model: Any, questions: Sequence[Question], box: Box | None, axes: Mapping[QueryFile, str]
) -> tuple[dict[int, np.ndarray], list[Problem]]:
    """Embeddings [D] or [V, D] by the number of the query, in order, and what is wrong with the other queries.

    Queries of one kind are embedded together. Raises DataError if none is left.
    """
    arrays, problems, told = {}, [], {}
    for number, (query, mask) in enumerate(questions):
        try:
            inputs = model.query_inputs(query.kind)
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter('always', UserWarning)
                arrays[number] = query_arrays(
                    query.path, kind=query.kind, inputs=inputs, mask=mask, box=box, up_axis=axes.get(query)
                )
            for warning in caught:
                told.setdefault(str(warning.message), []).append(query.path)
        except DataError as error:
            problems += error.problems
    for message, paths in told.items():
        more = f' and {len(paths) - 1} more' if len(paths) > 1 else ''
        warnings.warn(printable(f'{message} ({paths[0]}{more})'), stacklevel=1)
    if not arrays:
        raise DataError(problems)
    kinds: dict[str, list[int]] = {}
    for number in arrays:
        kinds.setdefault(questions[number][0].kind, []).append(number)
    embeddings = {}
    for kind, numbers in kinds.items():
        rows = model.embed_query_arrays([arrays[number] for number in numbers], kind)
        embeddings |= dict(zip(numbers, rows, strict=True))
    return dict(sorted(embeddings.items())), problems
