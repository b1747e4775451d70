"""Reading on behind damage: what decodes is kept in its place, what does not is silence.

Sectors that a disk cannot read any more are passed over one by one. In a FLAC, the next sound frame
is looked for, which knows its place; other compressed files end where their decoder gives up.
"""

from __future__ import annotations

import os
from itertools import islice
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from biodenoising.audio.chunks import Layout
from biodenoising.audio.codecs import CodecDecoder
from biodenoising.audio.flac_frames import FlacFrames
from biodenoising.audio.formats import AudioInfo
from biodenoising.audio.untouched import Untouched

Samples = NDArray[np.float32]
_SECTOR_BYTES = 4096
# A decoder gives nothing of a request that damage falls into, so requests are small.
_STEP_FRAMES = 1024
_MOST_FAULTS = 1000
# So many frames with a sound header may be damaged in a row.
_MOST_TRIES = 100


class SectorDecoder:
    """Decodes the sample region of a file with a known layout, sector by sector where it must."""

    def __init__(self, handle: BinaryIO, layout: Layout, untouched: Untouched) -> None:
        self._handle = handle
        self._encoding = layout.encoding
        self._start = layout.data_start
        self._frames = layout.frames
        self._untouched = untouched
        self._given = 0

    def read(self, frames: int) -> Samples:
        """Return at most `frames` samples per channel, silent where they cannot be read."""
        size = self._encoding.frame_bytes
        wanted = min(frames, self._frames - self._given) * size
        raw, bad = self._bytes(self._start + self._given * size, wanted)
        samples = self._encoding.decode(raw[: len(raw) // size * size])
        for first, last in bad:
            start, end = first // size, min(-(-last // size), samples.shape[1])
            samples[:, start:end] = 0
            self._untouched.lose(self._given + start, self._given + end)
        self._given += samples.shape[1]
        return samples

    def _bytes(self, position: int, count: int) -> tuple[bytes, list[tuple[int, int]]]:
        """Return the bytes from `position`, and the ranges among them that were not to be had."""
        number = self._handle.fileno()
        try:
            return read_at(number, count, position), []
        except OSError:
            pass
        raw = bytearray()
        bad: list[tuple[int, int]] = []
        while len(raw) < count:
            at = position + len(raw)
            step = min(_SECTOR_BYTES - at % _SECTOR_BYTES, count - len(raw))
            try:
                piece = read_at(number, step, at)
            except OSError:
                piece = bytes(step)
                joined = bool(bad) and bad[-1][1] == len(raw)
                start = bad.pop()[0] if joined else len(raw)
                bad.append((start, len(raw) + step))
            if not piece:
                break
            raw += piece
        return bytes(raw), bad

    def close(self) -> None:
        """Close the file."""
        self._handle.close()


def read_at(number: int, count: int, position: int) -> bytes:
    """Read from a place and not a byte ahead of it; Windows has no pread."""
    os.lseek(number, position, os.SEEK_SET)
    return os.read(number, count)


class SalvagingCodec:
    """Decodes a compressed file in small steps, a FLAC on behind damage from its next frame."""

    def __init__(self, decoder: CodecDecoder, info: AudioInfo, untouched: Untouched) -> None:
        self._decoder = decoder
        self._info = info
        self._untouched = untouched
        self._frames: FlacFrames | None = None
        self._given = self._silence = self._faults = 0
        self._ahead: Samples | None = None

    def read(self, frames: int) -> Samples:
        """Return at most `frames` samples per channel; none at the end of what can be decoded."""
        if self._silence:
            block = np.zeros((self._info.channels, min(frames, self._silence)), np.float32)
            self._silence -= block.shape[1]
        elif self._ahead is not None:
            block, self._ahead = self._ahead[:, :frames], self._ahead[:, frames:]
            if not self._ahead.shape[1]:
                self._ahead = None
        else:
            try:
                block = self._decoder.read(min(frames, _STEP_FRAMES))
            except (OSError, RuntimeError):
                return self._behind_damage(frames)
        self._given += block.shape[1]
        return block

    def _behind_damage(self, frames: int) -> Samples:
        """Find the frame where decoding goes on; return the silence up to there, if any."""
        nothing = np.zeros((self._info.channels, 0), np.float32)
        self._faults += 1
        if self._info.container != "FLAC" or self._faults > _MOST_FAULTS:
            return nothing
        self._frames = self._frames or FlacFrames(self._info.path)
        for start in islice(self._frames.after(self._given), _MOST_TRIES):
            if start < self._info.frames and self._goes_on_at(self._frames, start):
                self._untouched.lose(self._given, start)
                self._silence = start - self._given
                return self.read(frames)
        return nothing

    def _goes_on_at(self, found: FlacFrames, start: int) -> bool:
        try:
            decoder = found.open_at(start)
        except (OSError, RuntimeError):
            return False
        try:
            ahead = decoder.read(_STEP_FRAMES)
        except (OSError, RuntimeError):
            decoder.close()
            return False
        self._decoder.close()
        self._decoder, self._ahead = decoder, ahead
        return bool(ahead.shape[1])

    def close(self) -> None:
        """Close the file."""
        self._decoder.close()
