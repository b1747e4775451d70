"""The short-time Fourier transform that the spectral teachers share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from biodenoising.teachers.base import Wave

Samples = NDArray[np.float64]
Spectrum = NDArray[np.complex128]
QUIETEST_WEIGHT = 1e-8


def sqrt_hann(size: int) -> Samples:
    """Return the periodic square-root Hann window, for analysis and synthesis."""
    return np.asarray(np.sin(np.pi * np.arange(size) / size))


def stft(audio: Wave, window: Samples, hop: int) -> Spectrum:
    """Return the frames of (samples,), centred on multiples of `hop`: (frames, bins)."""
    size = len(window)
    behind = size // 2 + (-len(audio)) % hop
    padded = np.pad(audio.astype(np.float64), (size // 2, behind))
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop]
    return np.asarray(np.fft.rfft(frames * window, axis=1))


def istft(spectrum: Spectrum, window: Samples, hop: int, length: int) -> Wave:
    """Return the `length` samples whose `stft` is nearest to `spectrum`."""
    size = len(window)
    frames = np.fft.irfft(spectrum, size, axis=1) * window
    count = len(frames)
    # Frames that do not overlap are added at once: every size/hop-th begins where one ended.
    stride = -(-size // hop)
    total = np.zeros((count + 2 * stride) * hop + size)
    weight = np.zeros_like(total)
    for offset in range(min(stride, count)):
        group = frames[offset::stride]
        span = stride * hop
        wide = np.zeros((len(group), span))
        wide[:, :size] = group
        power = np.zeros(span)
        power[:size] = window**2
        start, end = offset * hop, offset * hop + len(group) * span
        total[start:end] += wide.ravel()
        weight[start:end] += np.tile(power, len(group))
    middle = slice(size // 2, size // 2 + length)
    samples = total[middle] / np.maximum(weight[middle], QUIETEST_WEIGHT)
    return np.asarray(samples, np.float32)
