"""What synthesized calls and noises are made of: coloured noise, bands and slow random gains."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import signal

Samples = NDArray[np.float64]
Rng = np.random.Generator

NOISE_RATES_HZ = (8_000.0, 16_000.0, 44_100.0, 96_000.0)  # of what is made without a recording


def coloured(rng: Rng, n: int, exponent: float) -> Samples:
    """Return noise whose power falls with frequency to the given exponent (0 white, 2 brown)."""
    return tilted(rng.standard_normal(n), exponent)


def tilted(white: Samples, exponent: float) -> Samples:
    """Return white noise with its power falling with frequency to the given exponent."""
    f = np.fft.rfftfreq(len(white))
    f[0] = f[1] if len(white) > 1 else 1.0
    return np.asarray(np.fft.irfft(np.fft.rfft(white) * f ** (-exponent / 2), len(white)))


def band(x: Samples, low_hz: float, high_hz: float, rate: float, order: int = 2) -> Samples:
    """Pass a band, kept within what the rate holds; corners in Hz."""
    low, high = max(low_hz, 1e-4 * rate), min(high_hz, 0.48 * rate)
    sos = signal.butter(order, (min(low, 0.9 * high), high), "bandpass", fs=rate, output="sos")
    return np.asarray(signal.sosfilt(sos, x))


def flutter(rng: Rng, n: int, rate: float, speed_hz: float, depth_db: float) -> Samples:
    """Return a slow random gain, log-normal, with most of its changes below `speed_hz`."""
    knots = max(int(n / rate * speed_hz) + 3, 4)
    line = np.interp(np.linspace(0, knots - 1, n), np.arange(knots), rng.standard_normal(knots))
    return np.asarray(10 ** (depth_db * line / 20))
