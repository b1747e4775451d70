"""OGG pages: whether the last one is there, and the number that all pages of a stream carry."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

_MAX_PAGE_BYTES = 65_307
_HEADER_BYTES = 27
_LAST_PAGE_FLAG = 4
_SERIAL_AT, _CHECKSUM_AT, _SEGMENTS_AT = 14, 22, 26
_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def is_complete(handle: BinaryIO) -> bool:
    """Tell whether the last page is whole and says that it is the last."""
    size = handle.seek(0, os.SEEK_END)
    handle.seek(max(0, size - 2 * _MAX_PAGE_BYTES))
    # Two of the largest pages are sure to hold a whole one.
    tail = handle.read()
    start = tail.rfind(b"OggS")
    if start < 0 or len(tail) < start + _HEADER_BYTES:
        return False
    segments = tail[start + _SEGMENTS_AT]
    table = tail[start + _HEADER_BYTES : start + _HEADER_BYTES + segments]
    end = start + _HEADER_BYTES + segments + sum(table)
    return len(table) == segments and end <= len(tail) and bool(tail[start + 5] & _LAST_PAGE_FLAG)


def copy_serial(source: Path, path: Path) -> None:
    """Give the stream in `path` the serial number of the one in `source`.

    libsndfile draws a random one, and the same samples must give the same bytes.

    Raises:
        OSError: reading or writing fails.
    """
    with open(source, "rb") as old:
        serial = old.read(_HEADER_BYTES)[_SERIAL_AT : _SERIAL_AT + 4]
    with open(path, "r+b") as handle:
        position = 0
        while len(head := handle.read(_HEADER_BYTES)) == _HEADER_BYTES and head[:4] == b"OggS":
            table = handle.read(head[_SEGMENTS_AT])
            body = handle.read(sum(table))
            head = head[:_SERIAL_AT] + serial + head[_SERIAL_AT + 4 : _CHECKSUM_AT]
            page = head + bytes(4) + bytes([len(table)]) + table + body
            handle.seek(position)
            handle.write(head + struct.pack("<I", _checksum(page)))
            position += len(page)
            handle.seek(position)


def _checksum(page: bytes) -> int:
    """Return a page's CRC-32, which runs from the high bit down and is not inverted."""
    # zlib runs from the low bit up, so bytes and result are mirrored; both inversions cancel.
    mirrored = ~zlib.crc32(page.translate(_MIRRORED), 0xFFFFFFFF) & 0xFFFFFFFF
    return int(f"{mirrored:032b}"[::-1], 2)
