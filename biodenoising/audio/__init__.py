"""Recordings in and out, block by block, with nothing lost but the noise.

`open_reader` yields blocks of any supported file; `open_writer` writes a file of the same
container, sample format, rate, channels and metadata. Names are loaded when first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from biodenoising.audio.formats import EXTENSIONS, AudioInfo, ReadOptions, check_container
    from biodenoising.audio.lengths import header_seconds
    from biodenoising.audio.reader import AudioReader, open_reader
    from biodenoising.audio.writer import AudioWriter, open_writer, verify

_HOMES = {
    "EXTENSIONS": "formats",
    "AudioInfo": "formats",
    "AudioReader": "reader",
    "AudioWriter": "writer",
    "ReadOptions": "formats",
    "check_container": "formats",
    "header_seconds": "lengths",
    "open_reader": "reader",
    "open_writer": "writer",
    "verify": "writer",
}

__all__ = [
    "EXTENSIONS",
    "AudioInfo",
    "AudioReader",
    "AudioWriter",
    "ReadOptions",
    "check_container",
    "header_seconds",
    "open_reader",
    "open_writer",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return list(__all__)
