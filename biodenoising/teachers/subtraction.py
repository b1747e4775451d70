"""Spectral subtraction of every band's median power, gently and harshly.

After Boll, "Suppression of acoustic noise in speech using spectral subtraction" (IEEE TASSP 1979),
with the median over the whole segment for the noise: it serves where a call takes up less than
half of the time. Works in samples, whatever the rate.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from scipy import signal

from biodenoising.teachers.base import Entry, Teacher, Wave

LICENCE = "MIT"
WINDOW = 1024
LEAST_GAIN = 0.05
STRENGTHS = {"subtraction": 2.0, "subtraction-harsh": 6.0}


def subtract(heard: Wave, rate: float, *, strength: float) -> Wave:
    """Return the waveform, (samples,), less `strength` times the median power of each band."""
    bins = signal.stft(heard, nperseg=min(WINDOW, len(heard)))[2]
    power = np.abs(bins) ** 2
    noise = np.median(power, axis=1, keepdims=True)
    gain = np.clip(1 - strength * noise / np.maximum(power, 1e-20), LEAST_GAIN, 1)
    clean = signal.istft(bins * gain, nperseg=min(WINDOW, len(heard)))[1]
    return np.asarray(clean[: len(heard)], np.float32)


def _load(name: str, threads: int) -> Teacher:
    enhance = partial(subtract, strength=STRENGTHS[name])
    return Teacher(name, LICENCE, None, enhance, f"1 {STRENGTHS[name]:g}")


ENTRIES = tuple(
    Entry(
        name,
        LICENCE,
        None,
        f"Spectral subtraction of {strength:g} times the median power.",
        partial(_load, name),
        lambda: "",
    )
    for name, strength in STRENGTHS.items()
)
