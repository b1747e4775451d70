"""The one way this package writes files: whole under their final name, or not there at all.

A file is written under a temporary name in its own folder, flushed to the disk, renamed, and the
folder flushed as well. Promised for local file systems; on network ones as far as their rename is.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from biodenoising.errors import AudioWriteError, BatchError, DiskFullError

TEMPORARY_SUFFIX = ".part"
TEMPORARY_NAME = re.compile(r"\.(biodenoise-)?[0-9a-f]{8}(\..+|[0-9a-f]{24})?\.part", re.DOTALL)
LONGEST_NAME_BYTES = 255
HASH_BLOCK_BYTES = 1 << 20
# With less than this left, a failure that gives no reason is taken for a full disk.
NEARLY_FULL_BYTES = 1 << 20


@contextmanager
def whole_file(target: Path) -> Iterator[Path]:
    """Give a temporary path beside `target`; rename it to `target` when the block succeeds.

    The temporary file is removed when the block raises. Raises DiskFullError where nothing can be
    written any more and AudioWriteError for any other failure to write.
    """
    temporary = _temporary_name(target)
    try:
        with writing(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
            yield temporary
            # Windows flushes only what may be written to.
            with open(temporary, "r+b") as file:
                os.fsync(file.fileno())
            os.replace(temporary, target)
            _flush_folder(target.parent)
    except AudioWriteError as error:  # nobody knows the file by its temporary name
        text = str(error).replace(printable(temporary), printable(target))
        raise type(error)(text) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextmanager
def writing(target: Path) -> Iterator[None]:
    """Turn the operating system's errors while writing `target` into ours."""
    try:
        yield
    except OSError as error:
        raise write_error(target, error) from error


def write_error(target: Path, error: Exception) -> AudioWriteError:
    """Return our error for a failed write of `target`, with what a person can do about it.

    libsndfile says "System error." whatever happened: on a full disk, that is the reason.
    """
    name = printable(target)
    number = error.errno if isinstance(error, OSError) else None
    if number == errno.EROFS:
        return DiskFullError(f"{name}: the disk is read-only; choose another OUTPUT")
    free = free_bytes(target)
    if number in (errno.ENOSPC, errno.EDQUOT) or (number is None and free < NEARLY_FULL_BYTES):
        room = "for another name" if _is_out_of_names(target) else f"({free / 1e6:.1f} MB free)"
        return DiskFullError(
            f"{name}: no space left {room}; make room or choose another OUTPUT, then give the "
            "same command again"
        )
    if number == errno.ENAMETOOLONG:
        return AudioWriteError(f"{name}: the file name is too long for this disk; shorten it")
    if number in (errno.EACCES, errno.EPERM):
        return AudioWriteError(f"{name}: not allowed to write there; check the permissions")
    reason = os.strerror(number) if number else " ".join(str(error).split())
    return AudioWriteError(f"{name}: could not be written ({reason}); check the disk")


def append_line(path: Path, line: str) -> None:
    """Append one line in one write and flush it to the disk.

    A line that a full disk cut short before is ended first, so that this one stands alone.
    """
    data = line.encode("utf-8", "surrogateescape") + b"\n"
    with writing(path), open(path, "a+b", buffering=0) as file:
        if file.seek(0, os.SEEK_END) > 0:
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                data = b"\n" + data
        written = file.write(data)
        if written < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(file.fileno())


def close_torn_line(path: Path) -> None:
    """End the last line of a file that a crash cut short, so that the next one stands alone."""
    with writing(path), open(path, "r+b") as file:
        if file.seek(0, os.SEEK_END) > 0:
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.write(b"\n")


def remove_leftovers(
    folder: Path, *, below: bool = True, mine: Callable[[Path], bool] | None = None
) -> int:
    """Delete temporary files of killed runs in `folder`, and below it; return how many.

    `mine` says of a temporary file whether it may go, where others are at work as well.
    """
    count = 0
    for root, folders, names in os.walk(folder):
        for name in names:
            if TEMPORARY_NAME.fullmatch(name) and (mine is None or mine(Path(root) / name)):
                with suppress(OSError):
                    (Path(root) / name).unlink()
                    count += 1
        if not below:
            folders.clear()
    return count


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes as a hexadecimal string."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(HASH_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def free_bytes(path: Path) -> int:
    """Return the free bytes of the disk that holds `path` or its nearest existing parent."""
    return shutil.disk_usage(_existing(path)).free


def _is_out_of_names(path: Path) -> bool:
    """Tell whether the disk holds no more files however small; some set no such limit."""
    if not hasattr(os, "statvfs"):
        return False
    disk = os.statvfs(_existing(path))
    return disk.f_files > 0 and disk.f_favail == 0


def _existing(path: Path) -> Path:
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def printable(path: Path | str) -> str:
    """Return a path for one line of a message: line breaks and stray bytes escaped."""
    text = os.fsencode(os.fspath(path)).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def require_writable_folder(folder: Path) -> None:
    """Make `folder` and try a write in it. Raises BatchError with the reason where it fails."""
    probe = folder / f".biodenoise-{secrets.token_hex(4)}{TEMPORARY_SUFFIX}"
    if folder.exists() and not folder.is_dir():
        raise BatchError(f"{printable(folder)}: is a file, not a folder; choose another OUTPUT")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            probe.write_bytes(b"")
        finally:
            probe.unlink(missing_ok=True)  # another run may have tidied it away
    except OSError as error:
        raise BatchError(
            f"{printable(folder)}: cannot write there ({error.strerror}); choose another OUTPUT"
        ) from error


def _temporary_name(target: Path) -> Path:
    name = f".{secrets.token_hex(4)}.{target.name}{TEMPORARY_SUFFIX}"
    if len(os.fsencode(name)) > LONGEST_NAME_BYTES:
        name = f".{secrets.token_hex(16)}{TEMPORARY_SUFFIX}"
    return target.with_name(name)


def _flush_folder(path: Path) -> None:
    """Flush a folder's names to the disk, where it may be opened: on Windows no folder may."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except PermissionError:
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
