"""Photos that were searched for lately, so that they can be shown and taught without being sent again."""

import secrets
import threading
from collections import OrderedDict
from dataclasses import dataclass

from jaxret.preprocessing.reference_pictures import ReferencePicture


@dataclass(frozen=True)
class KeptPhoto:
    """A photo that was searched for.

    Attributes:
      name: the client's.
      sha256: of the photo, its mask and box.
      picture: what was searched for in it.
      mask: PNG file that darkens what is not its object; None without a mask.
    """

    name: str
    sha256: str
    picture: ReferencePicture
    mask: bytes | None = None


class KeptQueries:
    """The last queries by a name that only their clients know. For several threads.

    Args:
      most: how many are kept; then the one that was searched for longest ago goes.
    """

    def __init__(self, most: int):
        self._most, self._lock = most, threading.Lock()
        self._queries: OrderedDict[str, tuple[KeptPhoto, ...]] = OrderedDict()

    def keep(self, photos: tuple[KeptPhoto, ...]) -> str:
        """Keeps the photos of a query; returns its name."""
        name = secrets.token_urlsafe(16)
        with self._lock:
            self._queries[name] = photos
            while len(self._queries) > self._most:
                self._queries.popitem(last=False)
        return name

    def photos(self, name: str) -> tuple[KeptPhoto, ...]:
        """Photos of a query. Raises KeyError where it is not kept (any more)."""
        with self._lock:
            return self._queries[name]
