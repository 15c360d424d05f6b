"""Words and numbers of text files, found and read as whole arrays. Letters: n words, L lines."""

import numpy as np

from jaxret.quiet import QUIET

_POWERS = np.array([float(f'1e{k}') for k in range(23)])  # all exact
_EXACT = 2**53  # whole numbers below it are


class Words:
    """The words of a text, parted by blanks and ends of lines.

    Args:
      text: ASCII; lines end with \\n.

    Attributes:
      starts, ends: int64 [n], where each begins, and one behind where it stops.
    """

    def __init__(self, text: bytes):
        self.text, self._bytes = text, np.frombuffer(text, np.uint8)
        inside = np.zeros(len(text) + 2, bool)
        np.greater(self._bytes, 32, out=inside[1:-1])
        self.starts, self.ends = np.flatnonzero(inside[1:] != inside[:-1]).reshape(-1, 2).T

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, number: int) -> bytes:
        return self.text[self.starts[number] : self.ends[number]]

    def a_line(self) -> np.ndarray:
        """How many words each line has: int64 [L]; a text behind the last \\n is a line, too."""
        breaks = np.flatnonzero(self._bytes == 10)
        if self.text and not self.text.endswith(b'\n'):
            breaks = np.append(breaks, len(self.text))
        return np.diff(np.searchsorted(self.starts, breaks), prepend=0)

    def integers(self) -> np.ndarray | None:
        """int64 [n] of the words; None where one of them is no whole number, or has a plus sign."""
        if self.text.translate(None, b'0123456789- \t\r\n') or not self._signed_in_front():
            return None
        return self._whole(self.text)

    def numbers(self) -> np.ndarray:
        """float64 [n] of the words, each the one nearest to what is written.

        Plain decimals are a quotient of two numbers that are exact, which is rounded once (W. D. Clinger, "How to Read
        Floating Point Numbers Accurately", PLDI 1990); NumPy reads all others.

        Raises:
          ValueError: a word is no number.
        """
        values = self._decimals() if len(self) else np.zeros(0)
        if values is None:
            values = _parsed(self.text, np.float64)
        if len(values) != len(self):
            word = next((word for word in self.text.split() if not _is_number(word)), self.text)
            raise ValueError(f'{word[:60].decode("ascii", "replace")!r} is no number')
        return values

    def _decimals(self) -> np.ndarray | None:
        """The numbers; None where some are not digits with a point, or more digits than are exact."""
        if self.text.translate(None, b'0123456789.- \t\r\n') or not self._signed_in_front():
            return None
        whole = self._whole(self.text.translate(None, b'.'))
        if whole is None or (whole >= _EXACT).any() or (whole <= -_EXACT).any():
            return None
        points = np.flatnonzero(self._bytes == ord('.'))
        owners = np.arange(len(self))
        if len(points) != len(self) or (points < self.starts).any() or (points >= self.ends).any():
            owners = np.searchsorted(self.starts, points, 'right') - 1
        if (owners[1:] == owners[:-1]).any():
            return None
        places = np.zeros(len(self), np.int64)
        places[owners] = self.ends[owners] - points - 1
        if places.max(initial=0) >= len(_POWERS):
            return None
        values = whole / _POWERS[places]
        values[(whole == 0) & (self._bytes[self.starts] == ord('-'))] = -0.0
        return values

    def _signed_in_front(self) -> bool:
        """Whether each minus sign is the first letter of a word."""
        return self.text.count(b'-') == np.count_nonzero(self._bytes[self.starts] == ord('-'))

    def _whole(self, text: bytes) -> np.ndarray | None:
        if any(b'-' + blank in text for blank in (b' ', b'\n', b'\t', b'\r')) or text.endswith(b'-'):
            return None  # NumPy takes a sign alone as 0
        values = _parsed(text, np.int64)
        return values if len(values) == len(self) else None


def _parsed(text: bytes, kind: type) -> np.ndarray:
    """The numbers of a text; fewer than it has words where one is no number."""
    with QUIET:  # before version 2.4 NumPy warns, and gives what comes first
        try:
            return np.fromstring(text, kind, sep=' ')
        except ValueError:
            return np.zeros(0, kind)


def _is_number(word: bytes) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return b'_' not in word
