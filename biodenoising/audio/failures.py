"""Failing writes of audio: the decoder's and encoder's errors beside the operating system's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import soundfile

from biodenoising.errors import AudioReadError, AudioWriteError
from biodenoising.storage import printable, write_error, writing


@contextmanager
def write_errors(path: Path) -> Iterator[None]:
    """Turn the errors of writing `path` into AudioWriteError or DiskFullError."""
    try:
        with writing(path):
            yield
    except soundfile.SoundFileError as error:
        raise write_error(path, error) from error
    except AudioReadError as error:
        raise AudioWriteError(f"{printable(path)}: its source has changed: {error}") from error
