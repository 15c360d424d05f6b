"""Words and pictures in one space: CLIP, OpenCLIP and SigLIP from a local folder.

    text = jaxret.load_text('clip-vit-base-patch32')
    words = text.embed(['round table with one leg'])      # [Q, D]
    pictures = text.embed_pictures([picture])             # [B, D]; words @ pictures.T are cosines

Letters: Q texts, B pictures, D features of the space.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxret.errors import refused
from jaxret.inference.batches import padded_batches
from jaxret.platforms import check_platforms
from jaxret.pretrained.network_configs import ImageInput
from jaxret.pretrained.pictures import network_picture
from jaxret.pretrained.text_files import read_text_transformer
from jaxret.pretrained.tokenizer import Tokenizer
from jaxret.pretrained.vit_files import read_vision_transformer

_LARGEST = 16  # texts or pictures at a time


@dataclass(frozen=True, eq=False)
class TextEncoder:
    """Embeds texts in the space that they share with pictures; `load_text_encoder` makes it.

    Attributes:
      folder: of the weights.
      sha256: of the files of weights, hexadecimal.
      dimensions: D.
      logit_scale, logit_bias: the network's logit of a text and a picture is logit_scale x cosine + logit_bias (a
        softmax over texts or pictures for CLIP, a sigmoid for SigLIP).
    """

    folder: Path
    sha256: str
    dimensions: int
    logit_scale: float
    logit_bias: float
    _tokenizer: Tokenizer = field(repr=False)
    _of_tokens: Callable[[np.ndarray], jax.Array] = field(repr=False)

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """float32 [Q, D], of unit length.

        Texts with more tokens than the network takes are cut, with a warning.

        Raises:
          DataError: texts without a letter or sign, all of them.
        """
        if isinstance(texts, str):
            raise ValueError(f'{texts!r} is one text: give a list, such as [{texts!r}]')
        return _embed(self._of_tokens, self._tokenizer.encode(texts))


@dataclass(frozen=True, eq=False)
class TextModel(TextEncoder):
    """Embeds texts and pictures so that what belongs together is close; `load_text` makes it.

    Attributes:
      images: how a picture is prepared.
    """

    images: ImageInput
    _of_pictures: Callable[[np.ndarray], jax.Array] = field(repr=False)

    def embed_pictures(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        """Pictures uint8 [H, W, 3], each of its own size -> float32 [B, D], of unit length."""
        return _embed(self._of_pictures, [network_picture(picture, self.images) for picture in pictures])


def load_text(folder: str | Path) -> TextModel:
    """A network of images and texts with its tokenizer (extra `text`). Nothing is downloaded, and nothing is run.

    Args:
      folder: CLIP, SigLIP or SigLIP 2 (fixed size of images) as Hugging Face stores them, or OpenCLIP's own layout,
        with tokenizer.json (of CLIP also vocab.json and merges.txt).

    Raises:
      ConfigError: the library of tokenizers is not installed, or the environment asks JAX for devices that are not
        there.
      DataError: no such weights, no text part, no tokenizer, or files that do not fit each other.
    """
    text, image = load_text_encoder(folder), read_vision_transformer(Path(folder))
    check_one_space(folder, image.module.projection or image.module.width, text.dimensions)
    own = {entry.name: getattr(text, entry.name) for entry in fields(text)}
    return TextModel(**own, images=image.input, _of_pictures=_compiled(image.module, image.variables))


def load_text_encoder(folder: str | Path) -> TextEncoder:
    """The text part alone of what `load_text` takes.

    Raises:
      ConfigError, DataError: as `load_text`.
    """
    check_platforms()
    text = read_text_transformer(Path(folder))
    return TextEncoder(
        folder=Path(folder),
        sha256=text.sha256,
        dimensions=text.module.projection,
        logit_scale=text.logit_scale,
        logit_bias=text.logit_bias,
        _tokenizer=text.tokenizer,
        _of_tokens=_compiled(text.module, text.variables),
    )


def check_one_space(folder: str | Path, pictures: int, texts: int) -> None:
    """Raises DataError where pictures have other features than texts, by the numbers of them."""
    if pictures != texts:
        found = f'pictures of {pictures} features and texts of {texts}, so no space of both'
        raise refused(str(folder), found, 'use the weights of CLIP or SigLIP, images and texts in one')


def _compiled(module: Any, variables: Any) -> Callable[[np.ndarray], jax.Array]:
    """The network with its variables on the device."""
    apply, variables = jax.jit(module.apply), jax.device_put(variables)
    return lambda batch: apply(variables, batch)


def _embed(network: Callable[[np.ndarray], jax.Array], rows: Sequence[np.ndarray]) -> np.ndarray:
    """Features of unit length of any number of rows, in batches of sizes that are compiled once."""
    if not len(rows):
        raise ValueError('nothing to embed')
    found = []
    for start, count, size in padded_batches(len(rows), _LARGEST):
        part = rows[start : start + count]
        batch = np.stack([*part, *[part[-1]] * (size - count)])
        found.append(np.asarray(network(batch), np.float32)[:count])
    features = np.concatenate(found)
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
