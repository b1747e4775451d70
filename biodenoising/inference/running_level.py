"""Zero mean and unit level from the past alone: what live sound gets instead of inference.level.

Mean and power are averages over the last `MEMORY` samples or so, weights falling off exponentially,
measured frame by frame and interpolated between the frames' ends. At the beginning they are the
averages of what there is.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import signal

from biodenoising.inference.level import SILENCE, Stage
from biodenoising.inference.waiting import Block, Waiting

MEMORY = 16_384  # samples after which a measurement's weight has fallen to 1/e


class RunningLevel:
    """Run `inner` at zero mean and unit level, each channel by itself.

    A frame of `frame` samples is passed on as soon as it is whole; the first has `first`.
    """

    def __init__(
        self, inner: Stage, channels: int, frame: int, first: int, memory: float = MEMORY
    ) -> None:
        self._inner, self._frame = inner, frame
        self._missing = first  # samples of the frame that is being filled
        self._keep = float(np.exp(-frame / memory))
        self._wait = Waiting(channels)
        self._levels = Waiting(channels)  # levels of what inner holds
        # Faded sums of 1, x and x**2, each (3, channels, 1).
        self._sums: NDArray[np.float64] = np.zeros((3, channels, 1))
        self._curves: NDArray[np.float64] | None = None  # mean and level at the last frame's end

    def push(self, block: Block) -> Block:
        """Take the next input and return all output that it completes, maybe none."""
        self._wait.put(block)
        done = []
        if self._wait.samples >= self._missing and self._missing != self._frame:
            done.append(self._send(self._wait.take(self._missing)[:, None]))
            self._missing = self._frame
        frames = self._wait.samples // self._frame
        if self._missing == self._frame and frames:
            whole = self._wait.take(frames * self._frame)
            done.append(self._send(whole.reshape(len(whole), frames, self._frame)))
        return np.concatenate([block[:, :0], *done], axis=1)

    def flush(self) -> Block:
        """Return what is left at the end of the recording."""
        rest = self._wait.take(self._wait.samples)
        done = [self._send(rest[:, None])] if rest.shape[1] else []
        return np.concatenate([*done, self._restore(self._inner.flush())], axis=1)

    def _send(self, frames: Block) -> Block:
        """Level (channels, frames, samples) and pass them on."""
        mean, level = self._measure(frames)
        gain = np.where(level > SILENCE, 1 / np.maximum(level, SILENCE), 0.0)
        levelled = ((frames - mean) * gain).astype(np.float32)
        heard = np.where(level > SILENCE, level, 0.0).astype(np.float32)
        self._levels.put(heard.reshape(len(frames), -1))
        return self._restore(self._inner.push(levelled.reshape(len(frames), -1)))

    def _measure(self, frames: Block) -> NDArray[np.float64]:
        """Return mean and level at every sample, (2, channels, frames, samples)."""
        samples = frames.astype(np.float64)
        count = np.full(frames.shape[:2], float(frames.shape[2]))
        new = np.stack([count, samples.sum(-1), np.square(samples).sum(-1)])
        sums, _ = signal.lfilter([1.0], [1.0, -self._keep], new, zi=self._keep * self._sums)
        self._sums = sums[..., -1:]
        mean, power = sums[1] / sums[0], sums[2] / sums[0]
        ends = np.stack([mean, np.sqrt(np.maximum(power - mean**2, 0.0))])
        before = ends[..., :1] if self._curves is None else self._curves
        self._curves = ends[..., -1:]
        starts = np.concatenate([before, ends[..., :-1]], axis=-1)
        share = (np.arange(frames.shape[2]) + 1) / frames.shape[2]
        curves: NDArray[np.float64] = starts[..., None] + (ends - starts)[..., None] * share
        return curves

    def _restore(self, clean: Block) -> Block:
        return clean * self._levels.take(clean.shape[1])
