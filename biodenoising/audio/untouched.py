"""Stretches of a recording that are no sound: they are not denoised, but put back as they are.

Counters of triggered recordings, the silence they stand for, and what damage took away.
"""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

Block = NDArray[np.float32]
# Beyond this many, the seconds that are missing are only summed up.
_SHOWN = 8


class Untouched:
    """Where such stretches lie, in frames of what the reader delivers; filled while reading."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[int, int, Block | None]] = deque()
        self._written = 0
        self.missing: list[tuple[int, int]] = []
        self.missing_frames = 0

    def add(self, start: int, end: int, samples: Block | None = None) -> None:
        """Note that [start, end) holds `samples` (channels, end - start), or silence."""
        self._waiting.append((start, end, samples))

    def lose(self, start: int, end: int) -> None:
        """Note that [start, end) could not be read and is silence."""
        self.add(start, end)
        self.missing_frames += end - start
        if self.missing and self.missing[-1][1] == start:
            self.missing[-1] = (self.missing[-1][0], end)
        elif len(self.missing) < _SHOWN:
            self.missing.append((start, end))

    def put_back(self, denoised: Block, removed: Block) -> tuple[Block, Block]:
        """Return the next blocks of both outputs with the stretches in them put back.

        Counters stand in both, so that both can be expanded; silence is silent in both.
        """
        first, last = self._written, self._written + denoised.shape[1]
        self._written = last
        if not self._waiting or self._waiting[0][0] >= last:
            return denoised, removed
        denoised, removed = denoised.copy(), removed.copy()
        while self._waiting and self._waiting[0][0] < last:
            start, end, samples = self._waiting[0]
            here = slice(max(start, first) - first, min(end, last) - first)
            for block in (denoised, removed):
                if samples is None:
                    block[:, here] = 0
                else:
                    block[:, here] = samples[:, max(start, first) - start : min(end, last) - start]
            if end > last:
                break
            self._waiting.popleft()
        return denoised, removed

    def notes(self, sample_rate: int) -> list[str]:
        """Return what could not be read, in seconds."""
        if not self.missing:
            return []
        shown = ", ".join(f"{a / sample_rate:.3f}-{b / sample_rate:.3f}" for a, b in self.missing)
        total = sum(b - a for a, b in self.missing)
        more = " and more" if self.missing_frames > total else ""
        return [
            f"salvaged: {self.missing_frames / sample_rate:.3f} s could not be read and are silent"
            f" ({shown} s{more})"
        ]
