"""Small files: text in any usual encoding, files that are never half written, locks, storage faults as errors."""

import codecs
import contextlib
import errno
import fcntl
import io
import json
import os
import re
import secrets
import stat
import sys
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from jaxret.errors import StorageError, refused

_MOST_JSON = 2**30


@contextlib.contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turns an OSError raised within into a StorageError that names `path` and the reason."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise StorageError(f'{path}: cannot be written ({reason}); {storage_advice(reason)}') from error


def storage_advice(reason: str) -> str:
    """What to do where writing failed, by the reason in the system's words: a full disk, or what may not be written."""
    full = any(os.strerror(code) in reason for code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG))
    return f'{"free some space" if full else "make it writable"}, or name another folder'


def check_regular(path: Path, *, most: int | None = None) -> None:
    """Checks a file that is about to be opened: a pipe would wait for a writer for ever, a device may never end.

    Args:
      path: the file, or a link to one.
      most: bytes that it may have; None for any number.

    Raises:
      OSError: it is missing, no regular file, or larger.
    """
    state = path.stat()
    if not stat.S_ISREG(state.st_mode):
        raise OSError('not a regular file')
    if most is not None and state.st_size > most:
        raise OSError(f'{state.st_size:,} bytes, the limit is {most:,}')


def read_json(path: Path) -> Any:
    """What a JSON file of our own holds.

    Raises:
      OSError: it is missing, no regular file, larger than 1 GiB, or may not be read.
      ValueError: it holds no JSON, or lists in lists that are too deep.
    """
    check_regular(path, most=_MOST_JSON)
    try:
        return json.loads(path.read_bytes())
    except RecursionError:
        raise ValueError('nested too deeply') from None


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


def unwritable(folder: Path) -> str:
    """Why a folder cannot be made, or written into; '' where it seems it can. Makes nothing."""
    there = next((path for path in (folder.absolute(), *folder.absolute().parents) if path.exists()), Path('/'))
    if not there.is_dir():
        return f'{there} is not a folder'
    return '' if os.access(there, os.W_OK | os.X_OK) else f'{there} is read-only'


def remove_temporaries(folder: Path, names: str) -> None:
    """Removes what killed processes left of files that they wrote with `replaced_atomically`.

    Args:
      folder: of the files, which no other process writes now. Links stay, and files of other names.
      names: a regular expression of the files' names.
    """
    pattern = re.compile(rf'\.(?:{names})\.[0-9a-f]{{16}}')
    with storage_errors(folder):
        for path in folder.iterdir() if folder.is_dir() else ():
            if pattern.fullmatch(path.name) and path.is_file() and not path.is_symlink():
                path.unlink(missing_ok=True)


@contextlib.contextmanager
def exclusive(path: Path, *, refuse: Callable[[str], Exception] | None = None, leave: bool = True) -> Iterator[None]:
    """Only one process at a time is within the `with` block. The lock ends with its process, however it ends.

    Args:
      path: of the lock file, which holds the number of the process; its folder is made.
      refuse: the error where another process is within, from its number ('unknown' where it has none); None waits.
      leave: whether the file stays; else it is removed at the end.

    Raises:
      StorageError: the folder cannot be written.
    """
    while True:
        with storage_errors(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
            # Not behind a link, which would have another file emptied below.
            file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o666), 'a+')
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | (0 if refuse is None else fcntl.LOCK_NB))
            except BlockingIOError:
                file.seek(0)
                raise refuse(file.read().strip() or 'unknown') from None
            except OSError:  # a file system without locks
                pass
            if not leave and not same_file(file.fileno(), path):  # removed by the one who held it
                continue
            with storage_errors(path.parent):
                file.truncate(0)
                file.write(str(os.getpid()))
                file.flush()
            try:
                yield
            finally:
                if not leave:
                    path.unlink(missing_ok=True)
            return


def same_file(descriptor: int, path: Path) -> bool:
    """Whether a path still leads to the file that is open."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def escape_missing_letters() -> None:
    """Has standard output and error show what their encoding lacks as escapes such as \\xf6, on an ASCII terminal."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors='backslashreplace')


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
