"""AudioMoth recordings with an amplitude or frequency trigger, whose names end in T.WAV.

Silence is left out of them: of a run of silent blocks only a counter is stored. A block is 512
bytes of the file, counted from its start; in a counter, the first 32 samples are +1 or -1 for the
bits of the number of blocks it stands for (lowest first, itself included), and the other 224 are 0.
Source: `encodeCompressionBuffer` in the firmware's main.c and `readEncodedBlock` in expander.js of
OpenAcousticDevices' AudioMoth-Firmware-Basic and AudioMoth-Utils.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from biodenoising.audio.chunks import Layout
from biodenoising.audio.untouched import Untouched

BLOCK_BYTES = 512
BLOCK_FRAMES = BLOCK_BYTES // 2
_BITS = 32
_READ_BLOCKS = 512
_NAME_END, _MAKER = "t.wav", b"AudioMoth"
_HEAD_BYTES = 4096
Samples = NDArray[np.float32]


def counters(blocks: NDArray[np.int16]) -> NDArray[np.int64]:
    """Return for how many blocks each row of (blocks, 256) stands; 0 for one that is sound."""
    found = np.zeros(len(blocks), np.int64)
    # Hardly any block gets beyond the first three looks.
    likely = (np.abs(blocks[:, 0]) == 1) & (np.abs(blocks[:, _BITS - 1]) == 1)
    likely &= blocks[:, _BITS] == 0
    for row in np.flatnonzero(likely):
        bits, rest = blocks[row, :_BITS].astype(np.int64), blocks[row, _BITS:]
        if (np.abs(bits) == 1).all() and not rest.any():
            found[row] = int(((bits == 1) << np.arange(_BITS, dtype=np.int64)).sum())
    return found


def may_be_triggered(handle: BinaryIO, path: Path, layout: Layout) -> bool:
    """Tell whether a file is of the kind, and by name or header one, that may hold counters."""
    encoding = layout.encoding
    if (encoding.subtype, encoding.channels, encoding.endian) != ("PCM_16", 1, "LITTLE"):
        return False
    if layout.data_start % 2:
        return False
    handle.seek(0)
    head = handle.read(min(layout.data_start, _HEAD_BYTES))
    return path.name.lower().endswith(_NAME_END) or _MAKER in head


def count_omitted(handle: BinaryIO, layout: Layout) -> tuple[int, int]:
    """Return how many counters there are, and the frames they stand for beyond their own."""
    number = omitted = 0
    for _, stands_for in pieces(handle, layout):
        number += stands_for > 0
        omitted += max(0, stands_for - 1) * BLOCK_FRAMES
    return number, omitted


def pieces(handle: BinaryIO, layout: Layout) -> Iterator[tuple[bytes, int]]:
    """Yield the sample bytes in order: (sound, 0), or (a counter, the blocks it stands for)."""
    position, end = layout.data_start, layout.data_end
    # Blocks are those of the card, so the first lies where the header ends within one.
    ahead = min(-position % BLOCK_BYTES, end - position)
    while position < end:
        wanted = ahead or min(end - position, BLOCK_BYTES * _READ_BLOCKS)
        handle.seek(position)
        raw = handle.read(wanted)
        position += wanted
        whole = 0 if ahead else len(raw) // BLOCK_BYTES
        ahead, done = 0, 0
        blocks = np.frombuffer(raw, "<i2", whole * BLOCK_FRAMES).reshape(-1, BLOCK_FRAMES)
        found = counters(blocks)
        for row in np.flatnonzero(found):
            start = int(row) * BLOCK_BYTES
            if start > done:
                yield raw[done:start], 0
            done = start + BLOCK_BYTES
            yield raw[start:done], int(found[row])
        if len(raw) > done:
            yield raw[done:], 0
        if len(raw) < wanted:
            return


class TriggeredDecoder:
    """Decodes such a file with silence for each counter: its own block, or all it stands for."""

    def __init__(
        self, handle: BinaryIO, layout: Layout, untouched: Untouched, *, expand: bool
    ) -> None:
        self._handle = handle
        self._encoding = layout.encoding
        self._expand = expand
        self._untouched = untouched
        self._pieces = pieces(handle, layout)
        self._sound: Samples = np.zeros((1, 0), np.float32)
        self._silence = 0
        self._given = 0

    def read(self, frames: int) -> Samples:
        """Return at most `frames` samples of shape (1, samples); none at the end."""
        if not self._silence and not self._sound.shape[1]:
            self._advance()
        if self._silence:
            block = np.zeros((1, min(frames, self._silence)), np.float32)
            self._silence -= block.shape[1]
        else:
            block = self._sound[:, :frames]
            self._sound = self._sound[:, frames:]
        self._given += block.shape[1]
        return block

    def _advance(self) -> None:
        raw, stands_for = next(self._pieces, (b"", 0))
        samples = self._encoding.decode(raw[: len(raw) // 2 * 2])
        if not stands_for:
            self._sound = samples
            return
        self._silence = (stands_for if self._expand else 1) * BLOCK_FRAMES
        kept = None if self._expand else samples
        self._untouched.add(self._given, self._given + self._silence, kept)

    def close(self) -> None:
        """Close the file."""
        self._handle.close()
