"""One short-time Fourier transform for the oracle and the spectral peers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float64]
Spectrum = NDArray[np.complex128]


def stft(x: NDArray[np.floating], window: Samples, hop: int) -> Spectrum:
    """Return frames of x, padded with zeros by half a window at its ends: (frames, bins)."""
    size = len(window)
    padded = np.pad(x.astype(np.float64), (size // 2, size // 2 + (-len(x)) % hop + hop))
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop]
    return np.asarray(np.fft.rfft(frames * window, axis=1))


def istft(spectrum: Spectrum, window: Samples, hop: int, length: int) -> Samples:
    """Return the samples whose `stft` is nearest to `spectrum`, cut to `length`."""
    size = len(window)
    frames = np.fft.irfft(spectrum, size, axis=1) * window
    total = np.zeros(size + hop * (len(frames) - 1))
    weight = np.zeros_like(total)
    for index, frame in enumerate(frames):
        total[index * hop : index * hop + size] += frame
        weight[index * hop : index * hop + size] += window**2
    samples = total / np.maximum(weight, 1e-8)
    return samples[size // 2 : size // 2 + length]


def sqrt_hann(size: int) -> Samples:
    """Return the periodic square-root Hann window."""
    return np.asarray(np.sqrt(hann(size)))


def hann(size: int) -> Samples:
    """Return the periodic Hann window."""
    return np.asarray(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size))
