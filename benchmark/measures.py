"""All figures of one estimate: a flat row of numbers, None where a measure is not defined.

dB values are limited to +-100, so that a deleted call (-inf) and an exact copy (+inf) have a place
in medians and in JSON.
"""

from __future__ import annotations

import importlib
import math

import numpy as np
from numpy.typing import NDArray

from benchmark import detection
from benchmark.mixtures import Mixture
from benchmark.systems.base import installed
from biodenoising import metrics

Samples = NDArray[np.float64]
Row = dict[str, float | None]

LIMIT_DB = 100.0
FRAME, SHORT_FRAME = 512, 64
SPEECH_RATE = 16_000
ONSET_DB = -20.0


def measure(estimate: Samples, mixture: Mixture, kind: str) -> Row:
    """Return the measures that belong to a mixture of this kind."""
    if kind == "clean":
        return {"si_sdr": limited(metrics.si_sdr(estimate, mixture.clean))}
    if kind == "noise":
        return {"noise_left_db": _level_change(estimate, mixture.noise)}
    row = improvement(estimate, mixture)
    if kind == "scene":
        row |= detection_measures(estimate, mixture)
    else:
        row |= call_measures(estimate, mixture)
    if kind == "speech":
        row |= speech_measures(estimate, mixture)
    return row


def improvement(estimate: Samples, mixture: Mixture) -> Row:
    """SI-SDR with and without mean removal, SDR, log-spectral distance, and what they gained."""
    noisy, clean = mixture.noisy.astype(np.float64), mixture.clean.astype(np.float64)
    row: Row = {}
    for name, zero_mean in (("si_sdr", False), ("si_sdr_zm", True)):
        after = limited(metrics.si_sdr(estimate, clean, zero_mean=zero_mean))
        before = limited(metrics.si_sdr(noisy, clean, zero_mean=zero_mean))
        row[name] = after
        row[f"{name}i"] = None if after is None or before is None else after - before
    row["sdr"] = limited(metrics.sdr(estimate, clean))
    scale = float(estimate @ clean) / max(float(estimate @ estimate), 1e-30)
    row["lsd"] = limited(metrics.log_spectral_distance(scale * estimate, clean))
    return row


def call_measures(estimate: Samples, mixture: Mixture) -> Row:
    """What was kept inside the calls, removed outside, and how far the call seems to have moved."""
    noisy, clean = mixture.noisy.astype(np.float64), mixture.clean.astype(np.float64)
    frame = FRAME if len(clean) >= 16 * FRAME else SHORT_FRAME
    rate = mixture.sample_rate
    row: Row = {
        "call_retention": limited(metrics.call_retention(estimate, clean, frame=frame)),
        "noise_reduction": limited(metrics.noise_reduction(estimate, noisy, clean, frame=frame)),
        "peak_shift_hz": None,
        "onset_shift_s": None,
        "offset_shift_s": None,
    }
    if estimate.any():
        row["peak_shift_hz"] = peak_frequency(estimate, rate) - peak_frequency(clean, rate)
        (on, off), (true_on, true_off) = (_bounds(x, frame, rate) for x in (estimate, clean))
        row["onset_shift_s"], row["offset_shift_s"] = on - true_on, off - true_off
    return row


def detection_measures(estimate: Samples, mixture: Mixture) -> Row:
    """F1 of the detector on noisy and denoised samples and the better of both, with the counts."""
    rate, truth = mixture.sample_rate, mixture.events_s
    noisy = detection.score(detection.detect(mixture.noisy, rate), truth)
    after = detection.score(detection.detect(estimate, rate), truth)
    best = max(noisy, after, key=lambda s: s.f1)
    return {
        f"{which}_{name}": float(getattr(counts, name))
        for which, counts in (("noisy", noisy), ("denoised", after), ("best", best))
        for name in ("hits", "false_alarms", "misses", "f1")
    }


def speech_measures(estimate: Samples, mixture: Mixture) -> Row:
    """PESQ (wide band) and STOI, defined for speech at 16 kHz only; None where not installed."""
    row: Row = {"pesq": None, "stoi": None}
    clean = mixture.clean.astype(np.float64)
    if mixture.sample_rate != SPEECH_RATE or not estimate.any():
        return row
    if installed("pesq"):
        row["pesq"] = float(
            importlib.import_module("pesq").pesq(SPEECH_RATE, clean, estimate, "wb")
        )
    if installed("pystoi"):
        row["stoi"] = float(importlib.import_module("pystoi").stoi(clean, estimate, SPEECH_RATE))
    return row


def level_independence(loud: Samples, quiet: Samples) -> Row:
    """SI-SDR between the outputs for one input at two levels; 100 dB is level-independent."""
    return {"level_si_sdr": limited(metrics.si_sdr(quiet, loud))}


def peak_frequency(samples: Samples, sample_rate: int) -> float:
    """Return the frequency in Hz with the most power in frames of 512 samples."""
    padded = np.pad(samples, (0, max(FRAME - len(samples), 0)))
    frames = np.lib.stride_tricks.sliding_window_view(padded, FRAME)[:: FRAME // 2]
    power = np.sum(np.abs(np.fft.rfft(frames * np.hanning(FRAME), axis=1)) ** 2, axis=0)
    return float(np.argmax(power)) * sample_rate / FRAME


def limited(value: float) -> float | None:
    """Return a dB value within +-100, None for nan."""
    return None if math.isnan(value) else min(max(value, -LIMIT_DB), LIMIT_DB)


def _bounds(samples: Samples, frame: int, sample_rate: int) -> tuple[float, float]:
    """Return when the first frame of the loudest event begins and the last ends, in seconds."""
    active = np.flatnonzero(metrics.call_frames(samples, frame=frame, threshold_db=ONSET_DB))
    return active[0] * frame / sample_rate, (active[-1] + 1) * frame / sample_rate


def _level_change(estimate: Samples, noise: NDArray[np.float32]) -> float | None:
    before, after = float(np.sum(noise.astype(np.float64) ** 2)), float(np.sum(estimate**2))
    if before == 0:
        return None
    return limited(10 * math.log10(after / before) if after > 0 else -math.inf)
