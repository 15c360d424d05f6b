"""Small files: text in any usual encoding, files that are never half written, locks, storage faults as errors."""

import codecs
import contextlib
import fcntl
import os
import secrets
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

from jaxret.errors import StorageError, refused


@contextlib.contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turns an OSError raised within into a StorageError that names `path` and the reason."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f'{path}: cannot be written ({error.strerror or error}); free some space or name another folder'
        ) from error


def write_atomically(path: Path, content: str | bytes) -> None:
    """Replaces a file in one step, so that a reader or a killed run never sees half of it; makes its folder.

    Raises:
      StorageError: the folder cannot be written or the disk is full.
    """
    with replaced_atomically(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


@contextlib.contextmanager
def replaced_atomically(path: Path) -> Iterator[Path]:
    """Gives a path to write to, which takes the place of `path` at the end of the `with` block; makes its folder.

    Raises:
      StorageError: the folder cannot be written or the disk is full.
    """
    # A name of its own, as two processes may write the same file; the last one wins.
    temporary = path.with_name(f'.{path.name}.{secrets.token_hex(8)}')
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise


@contextlib.contextmanager
def exclusive(path: Path, *, refuse: Callable[[str], Exception] | None = None) -> Iterator[None]:
    """Only one process at a time is within the `with` block. The lock ends with its process, however it ends.

    Args:
      path: of the lock file, which stays and holds the number of the process; its folder is made.
      refuse: the error where another process is within, from its number ('unknown' where it has none); None waits.

    Raises:
      StorageError: the folder cannot be written.
    """
    with storage_errors(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open('a+')
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if refuse is None else fcntl.LOCK_NB))
        except BlockingIOError:
            file.seek(0)
            raise refuse(file.read().strip() or 'unknown') from None
        except OSError:  # a file system without locks
            pass
        with storage_errors(path.parent):
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
        yield


def read_text(path: Path) -> str:
    """Text of a file that people edit: UTF-8, also with a byte order mark, or UTF-16 with one; its lines end with \\n.

    Raises:
      DataError: missing, not a regular file, unreadable, or in another encoding.
    """
    action = 'name a text file in UTF-8'
    try:
        if not path.is_file():
            raise refused(str(path), 'not a regular file' if path.exists() else 'missing', action)
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        raise refused(str(path), f'cannot be read ({error})', action) from error
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = data.decode('utf-16' if wide else 'utf-8-sig')
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b'\n') + 1
        found = f'not {"UTF-16" if wide else "UTF-8"} (byte 0x{data[error.start]:02x})'
        raise refused(f'{path}, line {line}', found, 'save it as UTF-8') from None
    if '\0' in text:
        raise refused(str(path), 'zero bytes, so another encoding than UTF-8', 'save it as UTF-8')
    return text.replace('\r\n', '\n').replace('\r', '\n')


def printable(text: str) -> str:
    """The text with control characters, line breaks, marks of direction and lone surrogates as escapes such as \\n."""
    return ''.join(
        char if char.isprintable() or unicodedata.category(char) == 'Zs' else char.encode('unicode_escape').decode()
        for char in text
    )


def printable_lines(text: str) -> str:
    """As `printable`, line breaks left as they are: for messages of several lines."""
    return '\n'.join(map(printable, text.split('\n')))
