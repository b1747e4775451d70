"""How long a recording says it is, found in its header without decoding anything.

For planning and progress only: nothing here calls a decoder, so a hostile file can do no more
than lie. What a file really holds is known when it has been read.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

from biodenoising.audio import flac_blocks
from biodenoising.audio.chunks import parse_layout
from biodenoising.audio.mpeg import id3v2_end, scan_mpeg
from biodenoising.errors import AudioReadError

_OPUS_RATE_HZ = 48_000
_OGG_TAIL_BYTES = 2 * 65_307


def header_seconds(path: Path) -> float:
    """Return a recording's duration in seconds by its header; 0 where it tells none."""
    try:
        if not path.is_file():
            return 0.0
        with open(path, "rb") as handle:
            layout = parse_layout(handle, path)
            if layout is not None:
                return layout.frames / layout.encoding.sample_rate
            start = id3v2_end(handle)
            handle.seek(start)
            head = handle.read(64)
        if head[:4] == b"fLaC":
            return _flac(head)
        if head[:4] == b"OggS":
            return _ogg(path, head)
        stream = scan_mpeg(path)
        return stream.frames * stream.first.samples / stream.first.sample_rate if stream else 0.0
    except (OSError, ValueError, struct.error, AudioReadError):  # struct's: it is being cut
        return 0.0


def _flac(head: bytes) -> float:
    if len(head) < 26 or head[4] & 0x7F != flac_blocks.STREAMINFO:
        return 0.0
    numbers = int.from_bytes(head[18:26], "big")
    rate, frames = numbers >> 44, numbers & (1 << 36) - 1
    return frames / rate if rate else 0.0


def _ogg(path: Path, head: bytes) -> float:
    body = head[27 + head[26] :] if len(head) > 27 else b""
    rate = 0
    if body.startswith(b"OpusHead"):
        rate = _OPUS_RATE_HZ
    elif body.startswith(b"\x01vorbis") and len(body) >= 16:
        rate = int.from_bytes(body[12:16], "little")
    with open(path, "rb") as handle:
        handle.seek(max(0, handle.seek(0, os.SEEK_END) - _OGG_TAIL_BYTES))
        tail = handle.read()
    last = tail.rfind(b"OggS")
    if not rate or last < 0 or len(tail) < last + 14:
        return 0.0
    frames = int.from_bytes(tail[last + 6 : last + 14], "little", signed=True)
    return max(0, frames) / rate
