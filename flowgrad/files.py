"""Writes files that are either whole or not there, reads files up to a bound, and locks folders that one process writes
at a time.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

_fcntl: Any
try:
    import fcntl as _fcntl
except ImportError:  # Windows: nothing is locked there, and leftovers stay
    _fcntl = None

_PART = ".part"
_PIECE = 1 << 20
_FRESH = 5.0
"""Seconds for which a temporary file without a lock may be one that is just being made."""


def write_atomically(path: str | os.PathLike[str], data: bytes) -> None:
    """Write `data` to `path` so that a killed run leaves the old file or the new one, never a part.

    The temporary file stands in the same folder, for a rename is atomic only within a file system; such a file that a
    killed process left there is removed. A link stays a link, and a file that is there keeps its mode.

    Raises:
        OSError: nothing can be written there.
    """
    path = Path(os.path.realpath(path))
    if path.exists() and not path.is_file():  # a device, or a pipe
        with open(path, "wb", opener=without_waiting) as file:
            file.write(data)
        return
    clear_leftovers(path.parent)
    temporary = path.with_name(f".{path.name[:100]}.{secrets.token_hex(4)}{_PART}")
    handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
    try:
        with os.fdopen(handle, "wb") as file:
            _lock(file.fileno(), wait=True)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            with suppress(FileNotFoundError):
                os.chmod(temporary, path.stat().st_mode & 0o7777)
            os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def without_waiting(path: str, flags: int) -> int:
    """Number of the opened file, for `open(opener=...)`: a pipe that nobody reads is refused, and not waited for.

    Raises:
        OSError: nothing can be opened there, ENXIO of such a pipe among it.
    """
    handle = os.open(path, flags | getattr(os, "O_NONBLOCK", 0), 0o666)
    if hasattr(os, "O_NONBLOCK"):
        os.set_blocking(handle, True)
    return handle


def clear_leftovers(folder: Path) -> None:
    """Remove files that `write_atomically` left half-written in a folder when its process was killed."""
    if _fcntl is None:
        return
    with suppress(OSError):
        found = [entry.path for entry in os.scandir(folder) if entry.name[0] == "." and entry.name.endswith(_PART)]
        for name in found:
            with suppress(OSError):
                if time.time() - os.stat(name).st_mtime > _FRESH and _is_free(name):
                    os.unlink(name)


@contextmanager
def temporary_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """Make a temporary folder in `parent`, removed at the end, and by the next process that asks for one with this
    prefix if this one is killed.

    Raises:
        OSError: nothing can be written there.
    """
    clear_folders(parent, prefix)
    with tempfile.TemporaryDirectory(prefix=prefix, dir=parent, ignore_cleanup_errors=True) as name, locked(name):
        yield Path(name)


def clear_folders(parent: Path, prefix: str) -> None:
    """Remove folders that `temporary_folder` left when its process was killed."""
    if _fcntl is None:
        return
    for folder in parent.glob(f"{prefix}*"):
        with suppress(OSError):
            if time.time() - folder.lstat().st_mtime > _FRESH and stat.S_ISDIR(folder.lstat().st_mode):
                with locked(folder) as held:
                    if held is not None:
                        shutil.rmtree(folder, ignore_errors=True)


def _is_free(name: str) -> bool:
    handle = os.open(name, os.O_RDWR | os.O_NOFOLLOW)
    try:
        return _lock(handle, wait=False)
    finally:
        os.close(handle)


@contextmanager
def locked(folder: str | os.PathLike[str], *, wait: bool = False) -> Iterator[int | None]:
    """Hold a folder as long as this lasts, or until the process ends, however that happens.

    Only others that lock it are kept out. No file is left behind.

    Args:
        folder: it is there.
        wait: for another one to let go.

    Yields:
        The lock's descriptor, for a child that is to hold it too; None where somebody else holds the folder.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        yield handle if _lock(handle, wait=wait) else None
    finally:
        os.close(handle)


def _lock(handle: int, *, wait: bool) -> bool:
    """Take the lock and say whether it was taken; true as well on file systems that have none."""
    if _fcntl is None:
        return True
    try:
        _fcntl.flock(handle, _fcntl.LOCK_EX | (0 if wait else _fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


class UnboundedFileError(OSError):
    """A path names no plain file, or a file longer than is read of its kind; `strerror` says which."""


def read_bounded(path: str | os.PathLike[str], most: int) -> bytes:
    """Read the whole of a plain file, or nothing.

    A device, a pipe or a socket is refused before it is read: it may have no end, or wait for a writer for ever.

    Args:
        path: of the file; links are followed.
        most: bytes that it may hold.

    Raises:
        UnboundedFileError: (an OSError) the file is no plain file, or is longer.
        OSError: it cannot be read, a path that no file can have among it.
    """
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except ValueError as error:  # a null byte, or characters that the file system has no bytes for
        raise OSError(errno.EINVAL, f"no path of a file ({error})", os.fspath(path)) from error
    with os.fdopen(handle, "rb", buffering=0) as file:
        status = os.fstat(handle)
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
        if not stat.S_ISREG(status.st_mode):
            raise UnboundedFileError(
                errno.EINVAL, "it is a device or a pipe; write it to a plain file first", os.fspath(path)
            )
        held, size = bytearray(), status.st_size
        # A file may be longer than it says, as those of /proc, or grow meanwhile.
        while size <= most and (piece := file.read(_PIECE)):
            held += piece
            size = max(size, len(held))
    if size > most:
        raise UnboundedFileError(
            errno.EFBIG, f"it is longer than the {told_size(most)} that are read of such a file", os.fspath(path)
        )
    return bytes(held)


def read_text_bounded(path: str | os.PathLike[str], most: int) -> str:
    """Read the whole of a file of UTF-8 text, with line ends as `Path.read_text` gives them.

    Raises:
        OSError: as `read_bounded`.
        UnicodeDecodeError: other bytes.
    """
    return read_bounded(path, most).decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")


def told_size(size: int) -> str:
    """Write a number of bytes in words.

    >>> told_size(3 << 20), told_size(1000)
    ('3 MiB', '1000 bytes')
    """
    for power, unit in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
        if size >> power and not size % (1 << power):
            return f"{size >> power} {unit}"
    return f"{size} bytes"
