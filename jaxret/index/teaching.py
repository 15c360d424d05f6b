"""From photos to references of an index: cut to their objects, embedded, written; and from these to what search takes.

Letters: N photos, D embedding.
"""

import hashlib
import threading
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from jaxret.errors import CheckpointError, DataError, refused
from jaxret.files import printable
from jaxret.index.comparing import Comparison
from jaxret.index.files import Manifest
from jaxret.index.fit_file import StoredFit, fit_key, fit_state, read_fit
from jaxret.index.references import Photo, References
from jaxret.inference.model import Model
from jaxret.preprocessing.inputs import PhotoInputs
from jaxret.preprocessing.photos import Box, Mask, photo_arrays, read_object
from jaxret.preprocessing.photos import Photo as Picture
from jaxret.preprocessing.reference_pictures import ReferencePicture, decoded, reference_picture
from jaxret.search.parts import photos_centre
from jaxret.search.references import Evidence, Fusion
from jaxret.workers import map_parallel, progress_bar

_BATCH = 64  # photos embedded at a time
_PARALLEL_FROM = 48  # photos; fewer are read in this process

Object = tuple[Picture, Mask, Box | None]  # photo, mask, box, as `photo_arrays` takes them


def kept_photo(item: Object, *, inputs: PhotoInputs) -> tuple[str, ReferencePicture]:
    """SHA-256 of photo, mask and box, and what is kept of the photo.

    Raises:
      DataError: as `photo_arrays`.
    """
    photo, mask, box = item
    read = read_object(photo, inputs=inputs, mask=mask, box=box)
    return photo_checksum(*item), reference_picture(read, whole=inputs.whole_frame)


def photo_checksum(photo: Picture, mask: Mask, box: Box | None) -> str:
    """What makes two photos the same; that of the file alone where there is neither mask nor box."""
    digest = hashlib.sha256(_content(photo))
    if mask is not None or box is not None:
        digest.update(b'auto' if isinstance(mask, str) and mask == 'auto' else _content(mask))
        digest.update(np.asarray(box or (), '<f8').tobytes())
    return digest.hexdigest()


def _content(picture: Picture | None) -> bytes:
    if picture is None:
        return b''
    return Path(picture).read_bytes() if isinstance(picture, str | Path) else np.ascontiguousarray(picture).tobytes()


def embed_pictures(
    model: Model, pictures: Sequence[ReferencePicture], *, names: Sequence[str], title: str | None = None
) -> np.ndarray:
    """Embeddings float32 [N, D] of what is kept of photos, with a progress bar where there is a title.

    The photo itself is not embedded, so that the same model always gives the same embedding.
    """
    inputs, rows = model.query_inputs('photo'), []
    with progress_bar(title, len(pictures)) as advance:
        for start in range(0, len(pictures), _BATCH):
            arrays = []
            for number in range(start, min(start + _BATCH, len(pictures))):
                kept = pictures[number]
                pixels, mask = decoded(kept, where=names[number])
                arrays.append(photo_arrays(pixels, inputs=inputs, mask=mask, box=kept.box))
                advance()
            rows.append(np.asarray(model.embed_query_arrays(arrays, 'photo'), np.float32))
    return np.concatenate(rows)


def prepare_photos(
    model: Model, objects: Sequence[Object], names: Sequence[str], *, processes: int | None = 1, progress: bool = False
) -> list[Photo]:
    """Photos as they are taught: all are read before the first is embedded.

    Args:
      model: of the index.
      objects: photos with their masks and boxes.
      names: of the photos, for people.
      processes: that read many photos; None takes one a core.
      progress: show progress bars.

    Raises:
      DataError: photos that cannot be used, all of them; or the model takes no photos.
    """
    results = map_parallel(
        partial(kept_photo, inputs=model.query_inputs('photo')),
        objects,
        processes=processes,
        serial_below=_PARALLEL_FROM,
        ordered=True,
        progress='Reading photos' if progress else None,
    )
    read = [result for _, result in results]
    problems = [problem for result in read if isinstance(result, DataError) for problem in result.problems]
    if problems:
        raise DataError(problems)
    title = 'Embedding photos' if progress else None
    embeddings = embed_pictures(model, [kept for _, kept in read], names=names, title=title)
    return [
        Photo(printable(name), checksum, kept, embedding)
        for name, (checksum, kept), embedding in zip(names, read, embeddings, strict=True)
    ]


def check_embeds(model: Model, fingerprint: str) -> None:
    """Raises CheckpointError where an index is of another model."""
    if model.fingerprint != fingerprint:
        raise CheckpointError(
            f'the index is of a model with other weights ({fingerprint[:12]}) than this one '
            f'({model.fingerprint[:12]}); teach with the model that made it'
        )


def embed_anew(references: References, model: Model, *, before: str | None, progress: bool) -> None:
    """Embeds references that a model has not embedded yet, from the pictures that are kept; of no effect without any.

    Args:
      references: of an index that is about to be of this model.
      model: where it takes no photos nothing is done: then none counts.
      before: fingerprint of the model that the index is of still, whose embeddings stay for those who read it.
      progress: show a progress bar.

    Raises:
      DataError: the file is damaged.
      StorageError: it cannot be written.
    """
    if 'photo' not in model.query_kinds or not (waiting := references.without_embedding(model.fingerprint)):
        return
    pictures = [references.picture(number) for number in waiting]
    names = [f'{references.path}, photo {number}' for number in waiting]
    title = 'Embedding known photos' if progress else None
    embeddings = embed_pictures(model, pictures, names=names, title=title)
    references.embed(model.fingerprint, dict(zip(waiting, embeddings, strict=True)))
    references.forget_embeddings([key for key in (model.fingerprint, before) if key])


class LiveEvidence:
    """What the references of an index say now, whoever taught them. Safe to use from several threads.

    Args:
      references, manifest, comparison: of the index.
      places: id of each of its models -> row.
    """

    def __init__(self, references: References, manifest: Manifest, places: Mapping[str, int], comparison: Comparison):
        self._references, self._manifest, self._places = references, manifest, places
        self._comparison, self._folder = comparison, references.path.parent
        self._lock = threading.Lock()
        self._state: tuple | None = None
        self._now: tuple[Evidence | None, StoredFit | None] = None, None

    def now(self) -> tuple[Evidence | None, StoredFit | None]:
        """What references say, None where none counts; and what `jaxret fit` learnt of them, None for nothing.

        Raises:
          DataError: a file of these is damaged, or cannot be read.
        """
        state = self._references.state(), fit_state(self._folder)
        with self._lock:
            if state != self._state:
                vectors, owner = self.references()
                fit = read_fit(self._folder)
                if fit is not None and fit.key != fit_key(self._manifest):
                    fit = None
                self._now = (self._made(vectors, owner, fit), fit) if len(owner) else (None, None)
                self._state = state
            return self._now

    def references(self) -> tuple[np.ndarray, np.ndarray]:
        """Embeddings of the references that count [R, D + C], and their shapes [R].

        Raises:
          DataError: as `now`.
        """
        vectors, owner = self._references.active(self._manifest.fingerprint, self._places)
        if len(owner) and vectors.shape[1] != self._comparison.width:
            found = f'embeddings of {vectors.shape[1]} numbers, not {self._comparison.width}'
            raise refused(str(self._references.path), found, 'run `jaxret index` again')
        return vectors, owner

    def _made(self, vectors: np.ndarray, owner: np.ndarray, fit: StoredFit | None) -> Evidence:
        parts, known = self._comparison.parts, {}
        fusion, learnt = (Fusion(**self._manifest.fusion), None) if fit is None else (fit.fusion, fit.whitening)
        if parts is not None:
            centre = photos_centre(self._comparison.centre, vectors)

            def space(embeddings: np.ndarray) -> np.ndarray:
                photos = parts.photo_vectors(embeddings, centre)
                return photos if learnt is None else learnt(photos)

            known = {'centre': centre, 'space': space}
        return Evidence(vectors, owner, len(self._places), fusion, **known)
