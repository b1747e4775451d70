"""Failing writes, told apart: a full or locked disk concerns every output, anything else only one.

libsndfile says "System error." whatever happened, so the free space is asked where no errno came.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import soundfile

from biodenoising.audio.formats import printable
from biodenoising.errors import AudioReadError, AudioWriteError, DiskFullError

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})
# With less than this left, a failure that gives no reason is taken for a full disk.
_NEARLY_FULL_BYTES = 1 << 20


@contextmanager
def write_errors(path: Path) -> Iterator[None]:
    """Turn the errors of writing `path` into AudioWriteError or DiskFullError."""
    try:
        yield
    except OSError as error:
        raise write_error(path, error) from error
    except soundfile.SoundFileError as error:
        raise write_error(path, error) from error
    except AudioReadError as error:
        raise AudioWriteError(f"{printable(path)}: its source has changed: {error}") from error


def write_error(path: Path, error: Exception) -> AudioWriteError:
    """Return the error to raise for a failed write of `path`."""
    number = error.errno if isinstance(error, OSError) else None
    free = _free_bytes(path)
    if number == errno.EROFS:
        return DiskFullError(
            f"{printable(path)}: the disk is read-only; choose another output folder"
        )
    if number in _FULL or (number is None and free is not None and free < _NEARLY_FULL_BYTES):
        left = "" if free is None else f" ({free} bytes left)"
        return DiskFullError(
            f"no space left: {printable(path)} could not be written{left}; free some space"
        )
    reason = os.strerror(number) if number else " ".join(str(error).split())
    return AudioWriteError(
        f"{printable(path)}: could not be written ({reason}); check the disk and try again"
    )


def _free_bytes(path: Path) -> int | None:
    try:
        return shutil.disk_usage(path.parent).free
    except OSError:
        return None
