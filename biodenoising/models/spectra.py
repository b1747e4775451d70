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
AT_ONCE = 64  # frames; more no longer lie in a processor's cache


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
    def inset(self) -> int:
        """Samples by which the short transform's window begins later than the long one's."""
        return (self.long - self.short) // 2

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
    rows, inset = len(heard), grid.inset
    frames = (heard.shape[1] - grid.margin) // grid.hop
    spectra = np.empty((rows, 2, 1 + grid.fold, frames, grid.bands), np.float32)
    for first in range(0, frames, AT_ONCE):
        place = spectra[:, :, :, first : first + AT_ONCE]
        size = place.shape[3] * grid.hop + grid.margin
        part = heard[:, first * grid.hop :][:, :size]
        short = _transform(part[:, inset : size - inset], grid.short, grid.hop)
        long = _transform(part, grid.long, grid.hop)
        folded = long.reshape(*long.shape[:2], grid.bands, grid.fold).transpose(0, 3, 1, 2)
        place[:, 0, 0], place[:, 1, 0] = short.real, short.imag
        place[:, 0, 1:], place[:, 1, 1:] = folded.real, folded.imag
    return spectra


def synthesize(spectra: Samples, samples: int, grid: Grid) -> Samples:
    """Return the waveforms, (rows, samples), of folded spectra."""
    return waves_of(spectra, grid)[:, grid.margin : grid.margin + samples]


def waves_of(spectra: Samples, grid: Grid) -> Samples:
    """Return the sum of all frames' waves, where `frames_of` heard them.

    The last `grid.margin` samples lack what later frames add to them.
    """
    rows, _, _, frames, bands = spectra.shape
    heard = np.zeros((rows, frames * grid.hop + grid.margin), np.float32)
    # The highest bin is not used: its place stays zero.
    short = np.zeros((rows, min(frames, AT_ONCE), bands + 1), np.complex64)
    long = np.zeros((rows, min(frames, AT_ONCE), bands * grid.fold + 1), np.complex64)
    folded = np.lib.stride_tricks.as_strided(
        long, (*long.shape[:2], bands, grid.fold), (*long.strides[:2], 8 * grid.fold, 8)
    )
    for first in range(0, frames, AT_ONCE):
        part = spectra[:, :, :, first : first + AT_ONCE]
        count = part.shape[3]
        bins = short[:, :count]
        bins.real[..., :-1], bins.imag[..., :-1] = part[:, 0, 0], part[:, 1, 0]
        bins = folded[:, :count]
        bins.real, bins.imag = part[:, :, 1:].transpose(1, 0, 3, 4, 2)
        place = heard[:, first * grid.hop :][:, : count * grid.hop + grid.margin]
        _add_inverse(place, long[:, :count], grid.long, grid.hop)
        place = place[:, grid.inset : place.shape[1] - grid.inset]
        _add_inverse(place, short[:, :count], grid.short, grid.hop)
    return heard


def _transform(heard: Samples, size: int, hop: int) -> NDArray[np.complex64]:
    frames = np.lib.stride_tricks.sliding_window_view(heard, size, axis=1)[:, ::hop]
    windowed = frames * _window(size, (size / 2) ** -0.5)
    bins: NDArray[np.complex64] = fft.rfft(windowed, axis=2, overwrite_x=True)
    return bins[:, :, :-1]


def _add_inverse(waves: Samples, bins: NDArray[np.complex64], size: int, hop: int) -> None:
    frames = fft.irfft(bins, n=size, axis=2)
    frames *= _window(size, (size / 2) ** 0.5 * 2 * hop / size)
    rows, count, steps = len(frames), frames.shape[1], size // hop
    into, parts = waves.reshape(rows, -1, hop), frames.reshape(rows, count, steps, hop)
    for step in range(steps):
        into[:, step : step + count] += parts[:, :, step]


@cache
def _window(size: int, scale: float) -> Samples:
    """Return the square root of a periodic Hann window, scaled, as torch's but for rounding."""
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
    window = (scale * np.sqrt(hann)).astype(np.float32)
    window.flags.writeable = False  # everybody gets the same one
    return window
