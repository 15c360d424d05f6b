"""What the frozen parts of image networks make of pictures: computed once, kept on disk, and used in training and
evaluation in place of the pictures."""

import hashlib
import json
import zipfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from console import console
from ml_collections import ConfigDict
from overrides import cache_folder
from rich.progress import track

from jaxret.files import exclusive, replaced_atomically
from jaxret.runs.config import flatten
from jaxret.systems.base import Batch, Variables
from jaxret.training.embedder import Embedder
from jaxret.training.processes import is_first

# Config keys that say what a frozen part makes of a picture; `config.model.<tower>` are there too.
_KEYS = ('train', 'last_blocks', 'taps', 'mask', 'normalization', 'dtype')
CHANGED_AT_ONCE = 32
Pictures = Callable[[np.ndarray, int], Iterable[Batch]]


def items_at_once(config: ConfigDict, copy: int) -> int:
    """Photos in a batch of features: of pictures as they are what evaluations take, of changed copies always as many.

    Changes are drawn batch by batch, and runs are trained on them: `evaluation.batch_size` has no part in that.
    """
    return CHANGED_AT_ONCE if copy else config.evaluation.batch_size


class FrozenFeatures:
    """Features of a run's pictures by the frozen parts of its system.

    Changed copies are the same for every seed of a run, so that runs share them; its seed decides which copy it sees.
    Files lie in <cache_dir>/features, one for each network with its weights, preprocessing, number of views and copy;
    they hold features by the SHA-256 of what the picture is made of, so new pictures alone are encoded.

    Args:
      config: of the run.
      networks: keys of `config.model` that name the image networks.
      embedder: of the system.
      variables: with the weights.
    """

    def __init__(self, config: ConfigDict, networks: Sequence[str], embedder: Embedder, variables: Variables):
        model = flatten(config.model)
        facts = {key: model[key] for key in (*networks, *_KEYS) if key in model}
        if 'image_size' in config.data:
            facts['image_size'] = config.data.image_size  # stored pictures may be larger
        self._folder = cache_folder(config) / 'features'
        self._embedder = embedder
        self._variables = {'frozen': jax.device_get(variables['frozen'])}  # the step donates its own
        self._network = digest(json.dumps(facts).encode(), *_bytes(self._variables))
        self._found: dict[tuple[str, str], np.ndarray] = {}

    def features(
        self,
        modality: str,
        table: str,
        sources: Sequence[bytes],
        pictures: Pictures,
        *,
        valid: str,
        copies: int = 1,
        how: str = '',
        views: int = 0,
    ) -> np.ndarray:
        """Features [N, copies, ...] of N items; the first copy is of the pictures as they are.

        Args:
          modality: of the items, for `System.features`.
          table: name of the items among those of this run.
          sources: what each item's pictures are made of.
          pictures: (rows, copy) -> batches of those rows; copy 0 unchanged, others changed at random. Of the others a
            whole number of batches is asked, rows in a random order, some twice.
          valid: name of the boolean array of a batch that tells items from padding.
          copies: at least 1.
          how: pictures are changed, in words.
          views: pictures of an item, of which a file has one number; 0 for items that are a picture.
        """
        key = (modality, table)
        found = self._found.get(key)
        if found is None or found.shape[1] < copies:
            rows = [hashlib.sha256(source).hexdigest() for source in sources]
            parts = [self._copy(modality, rows, pictures, valid, copy, how, views) for copy in range(copies)]
            self._found[key] = found = np.stack(parts, axis=1)
        return found[:, :copies]

    def _copy(
        self, modality: str, rows: Sequence[str], pictures: Pictures, valid: str, copy: int, how: str, views: int
    ) -> np.ndarray:
        """Features [N, ...] of one copy, by row."""
        # A changed copy depends on its neighbours in a batch, too: they lend it their colours.
        changed = (copy, how, *rows) if copy else ()
        named = [self._network, modality, *([views] if views else []), *changed]
        path = self._folder / f'{digest(json.dumps(named).encode())}.npz'

        def encoded(missing: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            order = np.random.default_rng(copy).permutation(missing) if copy else missing
            batches = pictures(order, copy)
            label = f'{modality}: frozen features' + (f', changed copy {copy}' if copy else '')
            shown = track(batches, label, console=console, transient=True, disable=not is_first())
            return order, self._embedder.features(self._variables, shown, modality, valid=valid, seed=copy or None)

        return kept_rows(path, rows, encoded)


def kept_rows(
    path: Path, rows: Sequence[str], encoded: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
) -> np.ndarray:
    """Features [N, ...] of items, from a file where they are there; else encoded and added to it.

    Args:
      path: of the file, .npz.
      rows: name of each item's content.
      encoded: from the numbers of items to numbers in any order, some perhaps more than once, and their features.
    """
    known = _read(path)
    if not known.keys() >= set(rows):
        # Of several runs or processes at once, each would encode what the others do, and the last one's file would
        # stay. No process waits for all others: the first one evaluates alone.
        with exclusive(path.with_suffix('.lock'), leave=False):
            known = _read(path)
            missing = [number for number, row in enumerate(rows) if row not in known]
            if missing:
                order, values = encoded(np.array(missing))
                known |= {rows[number]: value for number, value in zip(order, values, strict=False)}
                _write(path, known)
    return np.stack([known[row] for row in rows])


def _read(path: Path) -> dict[str, np.ndarray]:
    """Features by row; {} where there are none yet, or the file is damaged."""
    try:
        # np.load leaves a damaged file open that it opened itself.
        with path.open('rb') as file, np.load(file, allow_pickle=False) as stored:
            features = stored['features']
            if features.dtype.kind == 'V':  # NumPy's files do not know bfloat16, and keep its bits alone
                features = features.view(jnp.bfloat16)
            return dict(zip(stored['rows'].tolist(), features, strict=True))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        console.print(f'{path}: damaged; its features are computed anew', style='yellow', soft_wrap=True)
        return {}


def _write(path: Path, known: dict[str, np.ndarray]) -> None:
    with replaced_atomically(path) as temporary, temporary.open('wb') as file:
        np.savez(file, rows=np.array(list(known)), features=np.stack(list(known.values())))


def _bytes(tree: Variables) -> list[bytes]:
    """Names and values of all leaves."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return [part for path, leaf in leaves for part in (str(path).encode(), np.asarray(leaf).tobytes())]


def digest(*parts: bytes) -> str:
    """SHA-256 of some bytes, one after the other."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
