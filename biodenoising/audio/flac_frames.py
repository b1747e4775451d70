"""Where the frames of a FLAC lie, found without a decoder: the way on behind damage.

Every frame says which sample it starts with and protects that by a checksum, so that what is found
stands in its right place. Source: RFC 9639, section 9.1 (frame header).
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from biodenoising.audio.codecs import CodecDecoder, Sequential
from biodenoising.audio.flac_blocks import STREAMINFO, FlacBlock, read_blocks
from biodenoising.audio.mpeg import Spliced

_SYNC = re.compile(rb"\xff[\xf8\xf9]")
_READ_BYTES = 1 << 20
# Sync code, codes, a number of 7 bytes, two sizes of 2 bytes, a checksum.
_HEADER_BYTES = 16
_EXTRA_SIZE_BYTES = {6: 1, 7: 2}
_EXTRA_RATE_BYTES = {12: 1, 13: 2, 14: 2}


class FlacFrames:
    """The frames of one file: `starts` are the samples that they begin with, in order."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with open(path, "rb") as handle:
            blocks, audio_start = read_blocks(handle)
            body = blocks[0].body if blocks and blocks[0].kind == STREAMINFO else bytes(34)
            # Length and hash are those of the whole file, and this is about a part of it.
            numbers = int.from_bytes(body[10:18], "big") >> 36 << 36
            body = body[:10] + numbers.to_bytes(8, "big") + bytes(16)
            self._prefix = b"fLaC" + FlacBlock(STREAMINFO, body).packed(is_last=True)
            block_frames = int.from_bytes(body[2:4], "big")
            found = sorted(set(_frames(handle, audio_start, block_frames)))
        self.starts = [sample for sample, _ in found]
        self._offsets = [offset for _, offset in found]

    def after(self, sample: int) -> Iterator[int]:
        """Yield the frames that begin behind a sample."""
        yield from self.starts[bisect_left(self.starts, sample + 1) :]

    def open_at(self, sample: int) -> CodecDecoder:
        """Decode from the frame that starts with that sample. Raises RuntimeError or OSError."""
        offset = self._offsets[self.starts.index(sample)]
        spliced = _Rest(self._path, self._prefix, offset)
        try:
            return CodecDecoder(Sequential(spliced), spliced)
        except RuntimeError:
            spliced.close()
            raise


class _Rest(Spliced):
    """A read-only file: a FLAC header, then the frames from an offset on."""

    def __init__(self, path: Path, prefix: bytes, offset: int) -> None:
        self.error: OSError | None = None
        self._prefix = prefix
        self._offset = offset - len(prefix)
        self._size = path.stat().st_size - self._offset
        self._position = 0
        self._handle = open(path, "rb")  # noqa: SIM115 - closed by close()


def _frames(handle: BinaryIO, start: int, block_frames: int) -> Iterator[tuple[int, int]]:
    """Yield (first sample, offset) of everything that is a frame header by its checksum."""
    handle.seek(start)
    base, buffer = start, b""
    while piece := _read(handle, base + len(buffer)):
        buffer += piece
        keep = max(0, len(buffer) - _HEADER_BYTES) if len(piece) == _READ_BYTES else len(buffer)
        for match in _SYNC.finditer(buffer, 0, min(len(buffer), keep + 1)):
            if match.start() < keep:
                sample = parse_frame(buffer[match.start() : match.start() + _HEADER_BYTES])
                if sample is not None:
                    number, is_fixed = sample
                    yield number * block_frames if is_fixed else number, base + match.start()
        base, buffer = base + keep, buffer[keep:]


def _read(handle: BinaryIO, position: int) -> bytes:
    """Read on; a part that cannot be read is as good as zeros."""
    handle.seek(position)
    try:
        return handle.read(_READ_BYTES)
    except OSError:
        return bytes(_READ_BYTES)


def parse_frame(raw: bytes) -> tuple[int, bool] | None:
    """Return a frame header's number, and whether it counts frames and not samples; or None."""
    if len(raw) < 6 or raw[0] != 0xFF or raw[1] & 0xFE != 0xF8:
        return None
    size_code, rate_code = raw[2] >> 4, raw[2] & 15
    if size_code == 0 or rate_code == 15 or raw[3] >> 4 > 10 or raw[3] & 1:
        return None
    # The number is coded as UTF-8 codes characters, up to 36 bits in 7 bytes.
    ones = 8 - (raw[4] ^ 0xFF).bit_length()
    if ones in (1, 8):
        return None
    number, position = raw[4] & (0x7F >> ones), 5
    for byte in raw[5 : 4 + max(ones, 1)]:
        if byte & 0xC0 != 0x80:
            return None
        number, position = number << 6 | byte & 0x3F, position + 1
    position += _EXTRA_SIZE_BYTES.get(size_code, 0) + _EXTRA_RATE_BYTES.get(rate_code, 0)
    if position >= len(raw) or _checksum(raw[:position]) != raw[position]:
        return None
    return number, not raw[1] & 1


def _checksum(raw: bytes) -> int:
    """Return the CRC-8 with the polynomial x^8 + x^2 + x + 1."""
    value = 0
    for byte in raw:
        value ^= byte
        for _ in range(8):
            value = (value << 1 ^ 0x07 if value & 0x80 else value << 1) & 0xFF
    return value
