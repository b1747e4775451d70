"""The mask network's two spectra on one grid, without torch: what ONNX Runtime is given.

The same transforms as models.masknet.MaskNet.analyze and synthesize; a test holds them equal.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft

Samples = NDArray[np.float32]


@dataclass(frozen=True)
class Grid:
    """The two transforms: windows and hop in samples; `short` is two hops."""

    short: int
    long: int
    hop: int

    @property
    def bands(self) -> int:
        """Bands of the grid: the short transform's bins without the highest."""
        return self.short // 2

    @property
    def fold(self) -> int:
        """Bins of the long transform in one band."""
        return self.long // self.short

    @property
    def margin(self) -> int:
        """Silence before and behind a waveform, so that every sample is in all its frames."""
        return self.long - self.hop


def analyze(noisy: Samples, grid: Grid) -> Samples:
    """Return folded spectra, white noise at unit power.

    Shape: (rows, samples), a whole number of hops, to (rows, 2, 1 + fold, frames, bands): real
    and imaginary parts; the short transform, then the long one's bins.
    """
    padded = np.pad(noisy, ((0, 0), (grid.margin, grid.margin)))
    inset = (grid.long - grid.short) // 2
    short = _transform(padded[:, inset : padded.shape[1] - inset], grid.short, grid.hop)
    long = _transform(padded, grid.long, grid.hop)
    folded = long.reshape(*long.shape[:2], grid.bands, grid.fold).transpose(0, 3, 1, 2)
    both = np.concatenate([short[:, None], folded], axis=1)
    return np.stack([both.real, both.imag], axis=1)


def synthesize(spectra: Samples, samples: int, grid: Grid) -> Samples:
    """Return the waveforms, (rows, samples), of folded spectra."""
    both = spectra[:, 0] + 1j * spectra[:, 1]
    long = both[:, 1:].transpose(0, 2, 3, 1).reshape(*both[:, 0].shape[:2], -1)
    inset = (grid.long - grid.short) // 2
    heard = _inverse(long, grid.long, grid.hop, grid.margin, samples)
    heard += _inverse(both[:, 0], grid.short, grid.hop, grid.margin - inset, samples)
    return heard


def _transform(padded: Samples, size: int, hop: int) -> NDArray[np.complex64]:
    frames = np.lib.stride_tricks.sliding_window_view(padded, size, axis=1)[:, ::hop]
    bins: NDArray[np.complex64] = fft.rfft(frames * _window(size), axis=2)
    return bins[:, :, :-1] * np.float32((size / 2) ** -0.5)


def _inverse(bins: NDArray[np.complex64], size: int, hop: int, start: int, samples: int) -> Samples:
    # The highest bin is not used: its place is filled up with zero.
    frames = fft.irfft(bins * np.float32((size / 2) ** 0.5), n=size, axis=2)
    frames = frames * (_window(size) * np.float32(2 * hop / size))
    rows, count, steps = len(frames), frames.shape[1], size // hop
    hops = frames.reshape(rows, count, steps, hop)
    waves = np.zeros((rows, count + steps - 1, hop), np.float32)
    for step in range(steps):
        waves[:, step : step + count] += hops[:, :, step]
    return waves.reshape(rows, -1)[:, start : start + samples]


def _window(size: int) -> Samples:
    """Return the square root of a periodic Hann window, as torch's to the last bit but few."""
    return np.sqrt(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)).astype(np.float32)
