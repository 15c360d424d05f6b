"""Texts to the tokens of a network, by the tokenizer in its folder: `tokenizer.json`, or CLIP's vocabulary and merges.

The library `tokenizers` (extra `text`) reads these files; nothing in them is run. Letters: Q texts, T tokens.
"""

import string
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from jaxret.errors import DataError, Problem, refused
from jaxret.files import printable
from jaxret.optional_packages import need
from jaxret.pretrained.network_configs import Reader
from jaxret.pretrained.weight_folders import read_config

_START, _END = '<|startoftext|>', '<|endoftext|>'  # of CLIP
# How CLIP cuts a text into pieces, which then become tokens one by one: words, single digits, other signs.
_PIECES = r"'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"
_SHOWN = 40  # letters of a text in a message
_NO_PUNCTUATION = str.maketrans('_', ' ', string.punctuation.replace('_', ''))


def _whitespace(text: str) -> str:
    return ' '.join(text.split())


CLEANINGS: dict[str, Callable[[str], str]] = {
    'whitespace': _whitespace,
    'lower': lambda text: _whitespace(text).lower(),
    'canonical': lambda text: _whitespace(text.translate(_NO_PUNCTUATION)).lower(),
}


@dataclass(frozen=True, eq=False)
class Tokenizer:
    """Texts to tokens; `read_tokenizer` makes it.

    Attributes:
      context: T, to which texts are cut or filled up at their ends (SigLIP, which sees what they are filled with,
        learned from such texts, whatever side a file says).
      cleaning: of texts before, a key of `CLEANINGS`.
    """

    context: int
    cleaning: str
    _library: Any = field(repr=False)

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Tokens int32 [Q, T]. A text that has more is cut, with a warning; its last one still ends it.

        Raises:
          DataError: texts without a letter or sign, all of them.
        """
        cleaned = [CLEANINGS[self.cleaning](text) for text in texts]
        problems = [
            Problem(f'text {text!r:.{_SHOWN}}', 'nothing to search for', 'give a few words')
            for text, clean in zip(texts, cleaned, strict=True)
            if not clean
        ]
        if problems:
            raise DataError(problems)
        encodings = self._library.encode_batch(cleaned)
        for text, encoding in zip(texts, encodings, strict=True):
            if encoding.overflowing:
                shown = printable(text[:_SHOWN])
                warnings.warn(f'text {shown}...: only its first {self.context} tokens are read', stacklevel=2)
        return np.array([encoding.ids for encoding in encodings], np.int32)


def read_tokenizer(folder: Path, *, context: int, cleaning: str, filled_seen: bool = True) -> Tokenizer:
    """The tokenizer in a folder.

    Args:
      folder: with `tokenizer.json`, or with `vocab.json` and `merges.txt` of CLIP; `tokenizer_config.json` may say what
        texts are filled up with, and which tokens stand before and behind them.
      context: tokens of every text.
      cleaning: a key of `CLEANINGS`.
      filled_seen: whether the network sees what texts are filled up with; else any token will do.

    Raises:
      ConfigError: the library is not installed.
      DataError: no tokenizer, or one that cannot be read.
    """
    library = need('tokenizers', extra='text', purpose='a search by words')
    config = read_config(folder / 'tokenizer_config.json') or Reader({}, '')
    tokenizer = _read(folder, library)
    _set_ends(tokenizer, config, library)
    padding = tokenizer.padding or {}
    token = _token(config, 'pad_token') or padding.get('pad_token') or ''
    number = tokenizer.token_to_id(token)
    if number is None and not filled_seen:
        number = 0
    if number is None:
        found = f'no token that texts are filled up with ({token!r:.{_SHOWN}})'
        raise refused(str(folder / 'tokenizer_config.json'), found, 'get the file anew: its pad_token says it')
    tokenizer.encode_special_tokens = True  # what a user types is text, "<|endoftext|>", too
    tokenizer.enable_padding(direction='right', pad_id=number, pad_token=token, length=context)
    tokenizer.enable_truncation(context)
    return Tokenizer(context, cleaning, tokenizer)


def _read(folder: Path, library: Any) -> Any:
    """A `tokenizers.Tokenizer`."""
    path, vocabulary, merges = (folder / name for name in ('tokenizer.json', 'vocab.json', 'merges.txt'))
    try:
        if path.is_file():
            return library.Tokenizer.from_file(str(path))
        if vocabulary.is_file() and merges.is_file():
            path = vocabulary
            return _clip(vocabulary, merges, library)
    except Exception as error:  # the library has no class of its own for what it cannot read
        found = f'cannot be read as a tokenizer ({" ".join(str(error).split())[:120]})'
        raise refused(str(path), found, 'get the file anew from its authors') from error
    other = next((name for name in ('spiece.model', 'tokenizer.model', 'vocab.txt') if (folder / name).exists()), '')
    found = 'no tokenizer.json' + (f'; {other} alone is not read' if other else ', and not vocab.json with merges.txt')
    raise refused(str(folder), found, 'put the tokenizer.json there that is published with the weights')


def _clip(vocabulary: Path, merges: Path, library: Any) -> Any:
    """CLIP's tokenizer of its vocabulary and merges."""
    model = library.models.BPE.from_file(str(vocabulary), str(merges), unk_token=_END, end_of_word_suffix='</w>')
    tokenizer = library.Tokenizer(model)
    normalizers, pieces = library.normalizers, library.pre_tokenizers
    spaces = normalizers.Replace(library.Regex(r'\s+'), ' ')
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), spaces, normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pieces.Sequence(
        [pieces.Split(library.Regex(_PIECES), 'removed', invert=True), pieces.ByteLevel(add_prefix_space=False)]
    )
    ends = [(token, model.token_to_id(token)) for token in (_START, _END)]
    tokenizer.post_processor = library.processors.TemplateProcessing(single=f'{_START} $A {_END}', special_tokens=ends)
    tokenizer.enable_padding(pad_id=ends[1][1], pad_token=_END)
    return tokenizer


def _set_ends(tokenizer: Any, config: Reader, library: Any) -> None:
    """Has texts begin and end as tokenizer_config.json says, which prevails over tokenizer.json."""
    wanted = {key: config.value(f'add_{key}_token', bool, None) for key in ('bos', 'eos')}
    if None in wanted.values():
        return
    before, behind = (_token(config, f'{key}_token') if add else '' for key, add in wanted.items())
    special = [(token, tokenizer.token_to_id(token)) for token in (before, behind) if token]
    tokenizer.post_processor = library.processors.TemplateProcessing(
        single=' '.join(part for part in (before, '$A', behind) if part), special_tokens=special
    )


def _token(config: Reader, key: str) -> str:
    """A token that tokenizer_config.json names, as text or as an object with its text; '' for none."""
    value = config.value(key, (str, dict), '')
    return value if isinstance(value, str) else Reader(value, f'{config.where}: {key}').value('content', str, '')
