"""Spectral gating by the noisereduce library, as a model like any other.

Sainburg et al. 2020; the library's own defaults, except where they cannot work: below 2 kHz and
above 300 kHz its mask smoothing is shorter than one bin or frame, so it is made just that long.
"""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from biodenoising.errors import ModelError
from biodenoising.models.cards import Card, Chunking

FFT_SAMPLES = 1024
HOP_SAMPLES = FFT_SAMPLES // 4
SMOOTHING_HZ = 500.0
SMOOTHING_MS = 50.0


def _card(name: str, stationary: bool, description: str) -> Card:
    return Card(
        name=name,
        architecture="noisereduce",
        description=description,
        licence="MIT (the noisereduce library; there are no weights)",
        sample_rate=16_000,
        chunking=Chunking(samples=600_000, left=30_000, right=30_000, overlap=2_048, batch=1),
        arguments={"stationary": stationary},
    )


CARDS = (
    _card("noisereduce", True, "Spectral gating against each stretch's mean noise level."),
    _card("noisereduce-nonstationary", False, "Spectral gating against a moving noise level."),
)


def require_library() -> None:
    """Raise ModelError where the noisereduce library is not installed."""
    if find_spec("noisereduce") is None:
        raise ModelError(
            "model noisereduce needs the library of that name: "
            "pip install 'biodenoising[noisereduce]'"
        )


def gate(
    batch: NDArray[np.float32], sample_rate: float, *, stationary: bool
) -> NDArray[np.float32]:
    """Return the gated waveforms, shape (batch, samples) in and out, `sample_rate` in Hz.

    Silence stays silence; the library would return NaN.
    """
    import noisereduce

    bin_hz = 2 * sample_rate / FFT_SAMPLES  # as the library counts
    frame_ms = 1000 * HOP_SAMPLES / sample_rate
    gated = np.zeros_like(batch)
    for row, samples in enumerate(batch):
        if not samples.any():
            continue
        reduced = noisereduce.reduce_noise(
            y=samples,
            sr=sample_rate,
            stationary=stationary,
            n_fft=FFT_SAMPLES,
            freq_mask_smooth_hz=max(SMOOTHING_HZ, bin_hz * 1.01),
            time_mask_smooth_ms=max(SMOOTHING_MS, frame_ms * 1.01),
        )
        gated[row] = np.nan_to_num(reduced)
    return gated
