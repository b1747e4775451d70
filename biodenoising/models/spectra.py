"""The mask network's two spectra on one grid, without torch: what ONNX Runtime is given.

The same transforms as models.masknet.MaskNet.analyze and synthesize; a test holds them equal. Sound
that comes bit by bit goes through `frames_of` and `waves_of`, its ends kept between two calls.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

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
    return frames_of(np.pad(noisy, ((0, 0), (grid.margin, grid.margin))), grid)


def frames_of(heard: Samples, grid: Grid) -> Samples:
    """Return the folded spectra of all frames in (rows, samples), a whole number of hops.

    A frame begins every hop; whoever has more sound later keeps the last `grid.margin` samples.
    """
    inset = (grid.long - grid.short) // 2
    short = _transform(heard[:, inset : heard.shape[1] - inset], grid.short, grid.hop)
    long = _transform(heard, grid.long, grid.hop)
    folded = long.reshape(*long.shape[:2], grid.bands, grid.fold).transpose(0, 3, 1, 2)
    spectra = np.empty((len(heard), 2, 1 + grid.fold, *short.shape[1:]), np.float32)
    spectra[:, 0, 0], spectra[:, 1, 0] = short.real, short.imag
    spectra[:, 0, 1:], spectra[:, 1, 1:] = folded.real, folded.imag
    return spectra


def synthesize(spectra: Samples, samples: int, grid: Grid) -> Samples:
    """Return the waveforms, (rows, samples), of folded spectra."""
    return waves_of(spectra, grid)[:, grid.margin : grid.margin + samples]


def waves_of(spectra: Samples, grid: Grid) -> Samples:
    """Return the sum of all frames' waves, where `frames_of` heard them.

    The last `grid.margin` samples lack what later frames add to them.
    """
    rows, _, _, frames, bands = spectra.shape
    # The highest bin is not used: its place stays zero.
    short = np.zeros((rows, frames, bands + 1), np.complex64)
    short.real[:, :, :-1], short.imag[:, :, :-1] = spectra[:, 0, 0], spectra[:, 1, 0]
    long = np.zeros((rows, frames, bands * grid.fold + 1), np.complex64)
    folded = np.lib.stride_tricks.as_strided(
        long, (rows, frames, bands, grid.fold), (*long.strides[:2], 8 * grid.fold, 8)
    )
    folded.real, folded.imag = spectra[:, :, 1:].transpose(1, 0, 3, 4, 2)
    inset = (grid.long - grid.short) // 2
    heard = _inverse(long, grid.long, grid.hop)
    heard[:, inset : heard.shape[1] - inset] += _inverse(short, grid.short, grid.hop)
    return heard


def _transform(padded: Samples, size: int, hop: int) -> NDArray[np.complex64]:
    hops = padded.reshape(len(padded), -1, hop)
    count, steps = hops.shape[1] - size // hop + 1, size // hop
    frames = np.concatenate([hops[:, step : step + count] for step in range(steps)], axis=2)
    frames *= _window(size, (size / 2) ** -0.5)
    bins: NDArray[np.complex64] = fft.rfft(frames, axis=2, overwrite_x=True)
    return bins[:, :, :-1]


def _inverse(bins: NDArray[np.complex64], size: int, hop: int) -> Samples:
    frames = fft.irfft(bins, n=size, axis=2)
    frames *= _window(size, (size / 2) ** 0.5 * 2 * hop / size)
    rows, count, steps = len(frames), frames.shape[1], size // hop
    hops = frames.reshape(rows, count, steps, hop)
    waves = np.zeros((rows, count + steps - 1, hop), np.float32)
    for step in range(steps):
        waves[:, step : step + count] += hops[:, :, step]
    return waves.reshape(rows, -1)


@cache
def _window(size: int, scale: float) -> Samples:
    """Return the square root of a periodic Hann window, scaled, as torch's but for rounding."""
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
    window = (scale * np.sqrt(hann)).astype(np.float32)
    window.flags.writeable = False  # everybody gets the same one
    return window
