"""Bring a stream to zero mean and unit level before a network hears it, and back afterwards.

Level and mean are smooth curves in time, taken from the second or two around every sample: a loud
event changes nothing further away, a quiet recording is treated as a loud one, and where chunks
are cut plays no part. Memory does not grow with length.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from biodenoising.inference.waiting import Block, Waiting

FRAME = 1024  # samples per measurement
REACH = 32  # measurements to either side that count, falling off as a Hann window
SILENCE = 1e-10
WINDOW = np.hanning(2 * REACH + 3)[1:-1]


class Stage(Protocol):
    """A step of a stream: in total as many samples come out as went in."""

    def push(self, block: Block) -> Block:
        """Take the next input, (channels, samples), and return what is ready."""
        ...

    def flush(self) -> Block:
        """Return what is left at the end."""
        ...


class Levelled:
    """Run `inner` at zero mean and unit level, each channel by itself."""

    def __init__(self, inner: Stage, channels: int) -> None:
        self._inner = inner
        self._wait = Waiting(channels)  # input whose level is not known yet
        self._levels = Waiting(channels)  # levels of what inner holds
        # Sums of x and of x**2 by frame, from frame _first on.
        self._sums: NDArray[np.float64] = np.zeros((2, channels, 0))
        self._counts: NDArray[np.float64] = np.zeros(0)
        self._first = 0
        self._received = 0
        self._sent = 0
        self._partial = np.zeros((channels, 0), np.float32)

    def push(self, block: Block) -> Block:
        """Take the next input and return all output that it completes, maybe none."""
        self._wait.put(block)
        self._received += block.shape[1]
        self._measure(block, last=False)
        # A sample lies between two frames' centres; both need REACH frames behind them.
        known = self._first + len(self._counts) - REACH - 1
        return self._send(max(0, known * FRAME - FRAME // 2))

    def flush(self) -> Block:
        """Return what is left at the end of the recording."""
        self._measure(self._partial[:, :0], last=True)
        rest = self._send(self._received)
        return np.concatenate([rest, self._restore(self._inner.flush())], axis=1)

    def _measure(self, block: Block, *, last: bool) -> None:
        joined = np.concatenate([self._partial, block], axis=1)
        whole = joined.shape[1] // FRAME * FRAME
        frames = joined[:, :whole].reshape(len(joined), -1, FRAME).astype(np.float64)
        self._append(frames.sum(-1), np.square(frames).sum(-1), FRAME)
        self._partial = joined[:, whole:]
        if last and self._partial.shape[1]:
            rest = self._partial.astype(np.float64)[:, None]
            self._append(rest.sum(-1), np.square(rest).sum(-1), rest.shape[-1])

    def _append(
        self, sums: NDArray[np.float64], squares: NDArray[np.float64], samples: int
    ) -> None:
        self._sums = np.concatenate([self._sums, np.stack([sums, squares])], axis=2)
        self._counts = np.append(self._counts, np.full(sums.shape[1], float(samples)))

    def _send(self, until: int) -> Block:
        """Level the input up to position `until` and pass it on."""
        if until <= self._sent:
            return self._restore(self._inner.push(self._wait.take(0)))
        mean, level = self._curves(self._sent, until)
        samples = self._wait.take(until - self._sent)
        self._sent = until
        gain = np.where(level > SILENCE, 1 / np.maximum(level, SILENCE), 0.0)
        self._levels.put(np.where(level > SILENCE, level, 0.0).astype(np.float32))
        self._forget()
        return self._restore(self._inner.push(((samples - mean) * gain).astype(np.float32)))

    def _curves(self, start: int, end: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return mean and level at positions start..end, each (channels, samples)."""
        first = max(self._first, start // FRAME - 1)
        last = min(self._first + len(self._counts) - 1, end // FRAME + 1)
        centres = np.arange(first, last + 1)
        offset = centres - self._first
        padded = np.pad(self._sums, ((0, 0), (0, 0), (REACH, REACH)))
        counts = np.pad(self._counts, REACH)
        span = slice(offset[0], offset[-1] + 1 + 2 * REACH)
        total = np.convolve(counts[span], WINDOW, "valid")
        smooth = np.stack(
            [[np.convolve(c[span], WINDOW, "valid") for c in kind] for kind in padded]
        )
        mean, power = smooth / total
        level = np.sqrt(np.maximum(power - mean**2, 0.0))
        position = np.arange(start, end)
        middle = centres * FRAME + FRAME / 2
        return tuple(  # type: ignore[return-value]
            np.stack([np.interp(position, middle, row) for row in curve]) for curve in (mean, level)
        )

    def _forget(self) -> None:
        """Drop the measurements that no later sample needs."""
        unneeded = self._sent // FRAME - 1 - REACH - self._first
        if unneeded > 0:
            self._sums = self._sums[:, :, unneeded:]
            self._counts = self._counts[unneeded:]
            self._first += unneeded

    def _restore(self, clean: Block) -> Block:
        return clean * self._levels.take(clean.shape[1])
