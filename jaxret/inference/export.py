"""The encoder of queries as a StableHLO program with its weights inside, which needs neither this library nor Python.

The file is what `jax.export` serialises: a versioned StableHLO module that JAX (`jax.export.deserialize`) or, through
its `mlir_module`, any StableHLO runtime (XLA, IREE, PJRT plug-ins) can run. Letters: B queries, D embedding.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from jaxret.errors import CheckpointError
from jaxret.files import write_atomically
from jaxret.inference.model import Model
from jaxret.preprocessing.inputs import ShapeInputs

PLATFORMS = ('cpu', 'cuda')
_CHECKED = 3  # queries of the check
_TOLERANCE = 1e-4  # of an embedding's largest entry: programs may be compiled differently


@dataclass(frozen=True)
class Exported:
    """What was written: files, bytes of the program, and by how much its embeddings differ after it is read again."""

    program: Path
    description: Path
    size: int
    difference: float


def export_query_encoder(model: Model, kind: str, path: Path | str) -> Exported:
    """Writes the encoder of one kind of query, and `<path>.json`, which says what it takes.

    The program maps named arrays [B, ...] (any B) to embeddings float32 [B, D]. It is read again and compared with the
    model before anything is written under `path`.

    Args:
      model: whose encoder.
      kind: of `model.query_kinds`.
      path: of the program.

    Raises:
      DataError: the model cannot embed this kind.
      CheckpointError: the program's embeddings are not the model's.
      StorageError: the files cannot be written.
    """
    path = Path(path)
    encode, one = model.query_encoder(kind)
    (batch,) = export.symbolic_shape('B')
    arguments = {name: jax.ShapeDtypeStruct((batch, *array.shape[1:]), array.dtype) for name, array in one.items()}
    content = export.export(jax.jit(encode), platforms=PLATFORMS)(**arguments).serialize()
    difference = _difference(export.deserialize(content), model, kind, one)
    description = {
        'kind': kind,
        'system': model.system,
        'fingerprint': model.fingerprint,
        'step': model.step,
        'arrays': {name: {'shape': ['B', *array.shape[1:]], 'type': array.dtype.name} for name, array in one.items()},
        'made_from_files_by': _described(model, kind),
        'platforms': PLATFORMS,
        'jax': jax.__version__,
    }
    write_atomically(path, bytes(content))
    beside = path.with_name(path.name + '.json')
    write_atomically(beside, json.dumps(description, indent=1) + '\n')
    return Exported(path, beside, len(content), difference)


def load_query_encoder(path: Path | str):
    """The program as a function of named arrays [B, ...] to embeddings [B, D]."""
    return export.deserialize(bytearray(Path(path).read_bytes())).call


def _difference(program: export.Exported, model: Model, kind: str, one: dict[str, jax.ShapeDtypeStruct]) -> float:
    """Largest difference of the embeddings of random queries, as a share of the largest entry.

    Raises:
      CheckpointError: it is more than rounding.
    """
    rng = np.random.default_rng(0)
    rows = [{name: _random(rng, array) for name, array in one.items()} for _ in range(_CHECKED)]
    wanted = model.embed_query_arrays(rows, kind)
    found = np.asarray(program.call(**{name: jnp.asarray(np.stack([row[name] for row in rows])) for name in one}))
    difference = float(np.abs(found - wanted).max() / max(np.abs(wanted).max(), 1e-12))
    if not difference <= _TOLERANCE:
        raise CheckpointError(
            f'{model.workdir}: the exported program differs from the model by {difference:.2g} of '
            f'its largest value; nothing was written'
        )
    return difference


def _random(rng: np.random.Generator, array: jax.ShapeDtypeStruct) -> np.ndarray:
    """Random input of one query: coordinates, rows of neighbouring faces, occupied cells, or grey levels."""
    shape = array.shape[1:]
    if array.dtype == np.float32:
        return rng.normal(size=shape).astype(np.float32)
    if array.dtype == np.int32:
        return rng.integers(shape[0], size=shape, dtype=np.int32)
    return rng.integers(2 if shape[-1] == shape[0] else 256, size=shape, dtype=np.uint8)


def _described(model: Model, kind: str) -> dict:
    inputs = model.query_inputs(kind)
    return inputs.to_json() if isinstance(inputs, ShapeInputs) else asdict(inputs)
