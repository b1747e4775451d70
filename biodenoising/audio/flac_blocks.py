"""FLAC metadata blocks, copied as they are, and RIFF or AIFF chunks kept within them.

Foreign chunks are kept as the `flac` tool's --keep-foreign-metadata does: one APPLICATION block for
the file's first 12 bytes and one for each chunk, of which the one with samples is only a header.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from biodenoising.audio.chunks import Layout
from biodenoising.audio.mpeg import id3v2_end

STREAMINFO, PADDING, APPLICATION, SEEKTABLE, VORBIS_COMMENT = 0, 1, 2, 3, 4
_MAX_BLOCK_BYTES = (1 << 24) - 1
_MOVE_BYTES = 1 << 20


@dataclass(frozen=True)
class FlacBlock:
    """One metadata block: its type number and its body."""

    kind: int
    body: bytes

    def packed(self, is_last: bool) -> bytes:
        """Return the block as stored."""
        head = struct.pack(">I", len(self.body) | self.kind << 24 | is_last << 31)
        return head + self.body


def read_blocks(handle: BinaryIO) -> tuple[list[FlacBlock], int]:
    """Return a FLAC's metadata blocks and the offset of its first audio frame."""
    # Some taggers put an ID3 tag before a FLAC, and all decoders skip it.
    position = id3v2_end(handle)
    handle.seek(position)
    if handle.read(4) != b"fLaC":
        return [], position
    position += 4
    blocks: list[FlacBlock] = []
    while True:
        head = handle.read(4)
        if len(head) < 4:
            return blocks, position
        (word,) = struct.unpack(">I", head)
        size = word & _MAX_BLOCK_BYTES
        blocks.append(FlacBlock(word >> 24 & 0x7F, handle.read(size)))
        position += 4 + size
        if word >> 31:
            return blocks, position


def empty_flac(sample_rate: int, channels: int, bits: int) -> bytes:
    """Return a FLAC file without samples at that rate (Hz)."""
    numbers = sample_rate << 44 | (channels - 1) << 41 | (bits - 1) << 36
    body = struct.pack(">HH", 4096, 4096) + bytes(6) + numbers.to_bytes(8, "big") + bytes(16)
    return b"fLaC" + FlacBlock(STREAMINFO, body).packed(is_last=True)


def replace_blocks(path: Path, blocks: list[FlacBlock]) -> None:
    """Give a FLAC file other metadata blocks behind its STREAMINFO, in place.

    Raises:
        OSError: reading or writing fails; the file is then worthless.
    """
    with open(path, "r+b") as handle:
        own, audio_start = read_blocks(handle)
        blocks = own[:1] + blocks
        size = 4 + sum(4 + len(block.body) for block in blocks)
        # Audio only ever moves towards the end; what is left over becomes padding.
        if size < audio_start:
            blocks.append(FlacBlock(PADDING, bytes(max(0, audio_start - size - 4))))
            size = 4 + sum(4 + len(block.body) for block in blocks)
        make_room(handle, audio_start, size - audio_start)
        handle.seek(4)
        for block in blocks:
            handle.write(block.packed(block is blocks[-1]))


def make_room(handle: BinaryIO, start: int, count: int) -> None:
    """Move everything from `start` on by `count` bytes towards the end."""
    # From the end towards the start, so that no byte is overwritten before it has moved.
    position = handle.seek(0, os.SEEK_END)
    while count and position > start:
        step = min(_MOVE_BYTES, position - start)
        position -= step
        handle.seek(position)
        piece = handle.read(step)
        handle.seek(position + count)
        handle.write(piece)


def foreign_blocks(handle: BinaryIO, layout: Layout) -> tuple[list[FlacBlock], list[str]]:
    """Return the APPLICATION blocks that keep a file's chunks, and notes on what does not fit."""
    owner = b"aiff" if layout.form == b"FORM" else b"riff"
    handle.seek(0)
    blocks = [FlacBlock(APPLICATION, owner + handle.read(12))]
    notes: list[str] = []
    for chunk in layout.chunks:
        size = 8 + chunk.size + chunk.size % 2
        if chunk is layout.data:
            size = layout.data_start - chunk.start
        if size + 4 > _MAX_BLOCK_BYTES:
            name = chunk.id.decode("latin-1").strip()
            notes.append(f"chunk '{name}' is too large for FLAC metadata and was left out")
            continue
        handle.seek(chunk.start)
        blocks.append(FlacBlock(APPLICATION, owner + handle.read(size)))
    return blocks, notes


def riff_image(blocks: list[FlacBlock]) -> bytes | None:
    """Return the WAV without samples that a FLAC's foreign blocks keep; None without any."""
    kept = [
        block.body[4:] for block in blocks
        if block.kind == APPLICATION and block.body[:4] == b"riff"
    ]  # fmt: skip
    if len(kept) < 3 or len(kept[0]) != 12:
        return None
    # Its samples are not there, so the data chunk must not claim any.
    return b"".join(b"data\0\0\0\0" if chunk[:4] == b"data" else chunk for chunk in kept)
