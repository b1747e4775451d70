"""How good a denoised segment probably is, told from it and its noisy input alone.

Four measures, each in samples and free of level, so that a bat at 384 kHz and a whale at 2 kHz
are judged alike:

- `floor_db`: the improvement over the input against a noise floor taken from the input, the power
  each band keeps to most of the time. Deleted calls and noise that stayed both lower it. It cannot
  see noise that comes and goes as calls do.
- `overlap`: the correlation of the estimate with what was removed, -1 to 1. Call and noise have
  nothing in common, so neither should the two; a call half taken away stands in both, and so does
  noise half left.
- `likeness`: the correlation of both over time and frequency, in logarithms, -1 to 1. Where a gate
  opens and shuts hard, one has what the other lacks; a gate that shut on the call does so most.
- `contrast`: how much more peaked the estimate's power is than that of what was removed, the
  logarithms' difference of their kurtoses over the band's typical power. The others hardly tell
  call from noise where both change in time; below 0 the noise may have been kept, not the call.

`predicted_gain_db` is what they amount to. Its weights were fitted by
`recipes/pseudo_clean/measure_selection.py --fit` on mixtures with known truth; it is too high by
some dB where noise comes and goes as calls do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft, signal

Samples = NDArray[np.float32]
Bins = NDArray[np.complex64]
Tiles = NDArray[np.float64]

WINDOW, HOP = 1024, 512
# Bands as wide as a ninth of their frequency, at least one bin: low calls need fine bands.
BAND_GROWTH = 1.09
# The power a band stays below for 30 % of the time, brought up to the mean of steady noise.
FLOOR_PERCENTILE, FLOOR_BIAS = 30.0, 1.4
SALIENT = 4.0
FLOOR_RANGE_DB = (-25.0, 25.0)
RATIO_RANGE_DB = (-20.0, 30.0)
SMALLEST_POWER = 1e-12  # of the input's mean power in a tile
SUBTRACTED, LEAST_GAIN = 2.0, 0.05
LOG_FLOOR = 1e-2  # of the typical power

INTERCEPT = -1.94
FLOOR_WEIGHT, CLARITY_WEIGHT, LIKENESS_WEIGHT, CONTRAST_WEIGHT = 0.54, 0.64, 3.47, 2.13
LEAST_OVERLAP = 0.05  # what call and noise share by chance
LEAST_CONTRAST = -3.0
# With less there is no telling a band's floor from its calls.
LEAST_FRAMES = 8
LEAST_SAMPLES = WINDOW + (LEAST_FRAMES - 1) * HOP
SILENCE = 1e-30


@dataclass(frozen=True)
class Scores:
    """The measures of one candidate; see the module."""

    floor_db: float
    overlap: float
    likeness: float
    contrast: float


@dataclass(frozen=True)
class Analysed:
    """A noisy segment, ready for its candidates to be held against it; powers relative to its own.

    `bins` has the shape (frames, bins), `powers` and `call_powers` (frames, bands): the power in
    each tile, and how much of it stands out of the band's floor. `typical` is each band's median.
    """

    scale: float
    bins: Bins
    powers: Tiles
    call_powers: Tiles
    typical: Tiles


def frames_in(samples: int) -> int:
    """Return how many frames a segment of `samples` is judged by."""
    return max(0, (samples - WINDOW) // HOP + 1)


def analyse(noisy: Samples) -> Analysed:
    """Prepare a noisy segment, shape (samples,), finite, not silent and of a frame or more."""
    scale = 1 / float(np.sqrt(np.mean(np.square(noisy, dtype=np.float64))))
    bins = _spectrum(noisy, scale)
    powers = _by_band(np.square(np.abs(bins)))
    mean = max(float(powers.mean()), SMALLEST_POWER)
    scale, bins, powers = scale / np.sqrt(mean), bins / np.float32(np.sqrt(mean)), powers / mean
    floor = FLOOR_BIAS * np.percentile(powers, FLOOR_PERCENTILE, axis=0)
    call_powers = np.where(powers > SALIENT * floor, powers - floor, 0.0)
    return Analysed(scale, bins, powers, call_powers, np.median(powers, axis=0) + 1e-4)


def scores_of(candidate: Samples, noisy: Analysed) -> Scores:
    """Return the measures of a denoised segment, shape (samples,), as long as the noisy one."""
    bins = _spectrum(candidate, noisy.scale)
    powers = _by_band(np.square(np.abs(bins)))
    shared = _by_band(bins.real * noisy.bins.real + bins.imag * noisy.bins.imag)
    removed = np.maximum(noisy.powers - 2 * shared + powers, 0.0)
    energies = float(powers.sum()) * float(removed.sum())
    overlap = float((shared - powers).sum()) / float(np.sqrt(max(energies, SMALLEST_POWER)))
    gains = np.clip(shared / np.maximum(noisy.powers, SMALLEST_POWER), 0.0, 1.0)
    before = _estimated_sdr_db(np.ones_like(gains), noisy)
    kept, taken = (np.log(x / noisy.typical + LOG_FLOOR) for x in (powers, removed))
    norms = max(float(np.std(kept) * np.std(taken)), SMALLEST_POWER)
    likeness = float(np.mean((kept - kept.mean()) * (taken - taken.mean()))) / norms
    return Scores(
        floor_db=float(np.clip(_estimated_sdr_db(gains, noisy) - before, *FLOOR_RANGE_DB)),
        overlap=float(np.clip(overlap, -1.0, 1.0)),
        likeness=float(np.clip(likeness, -1.0, 1.0)),
        contrast=_peakedness(powers / noisy.typical) - _peakedness(removed / noisy.typical),
    )


def room_db(noisy: Analysed) -> float:
    """Return the `floor_db` that subtracting twice each band's median power would have.

    Little of it means calls that hardly stand out, or noise that stands out as calls do: segments
    on which the other measures err most.
    """
    quiet = np.maximum(noisy.powers, SMALLEST_POWER)
    gains = np.clip(1 - SUBTRACTED * noisy.typical / quiet, LEAST_GAIN, 1.0)
    before = _estimated_sdr_db(np.ones_like(gains), noisy)
    return float(np.clip(_estimated_sdr_db(gains, noisy) - before, *FLOOR_RANGE_DB))


def prominence_db(noisy: Analysed) -> float:
    """Return by how much a segment's tiles stand out of their bands' floors, on average.

    Tiles that do not count as 0: one click weighs little, and so does a loud hum.
    """
    call = noisy.call_powers > 0
    floor = noisy.powers[call] - noisy.call_powers[call]
    above = 10 * np.log10(noisy.powers[call] / np.maximum(floor, SMALLEST_POWER))
    return float(above.sum()) / noisy.powers.size


def predicted_gain_db(scores: Scores) -> float:
    """Return the SI-SDR improvement in dB that candidates with such scores had on average."""
    return (
        INTERCEPT
        + FLOOR_WEIGHT * scores.floor_db
        + CLARITY_WEIGHT * clarity_db(scores.overlap)
        + LIKENESS_WEIGHT * scores.likeness
        + CONTRAST_WEIGHT * lacking(scores.contrast)
    )


def lacking(contrast: float) -> float:
    """Return the contrast where it is below 0: more than enough of it is no merit."""
    return min(max(contrast, LEAST_CONTRAST), 0.0)


def clarity_db(overlap: float) -> float:
    """Return the signal-to-noise ratio in dB that an estimate with this overlap would have.

    An estimate of call s and noise r*n, from an input s + n, overlaps with the rest, (1 - r)*n,
    by about r |n| / |s|: the inverse of its own signal-to-noise ratio, as an amplitude.
    """
    return float(-20 * np.log10(abs(overlap) + LEAST_OVERLAP))


def unfit(segment: Samples) -> str:
    """Return why a segment cannot be judged at all, or nothing."""
    if frames_in(len(segment)) < LEAST_FRAMES:
        return f"the segment has {len(segment)} samples; judging takes {LEAST_SAMPLES}"
    # Whole frames only: what is left over at the end is not looked at.
    if power_of(segment[: WINDOW + (frames_in(len(segment)) - 1) * HOP]) <= SILENCE:
        return "the segment is silent"
    return ""


def power_of(audio: Samples) -> float:
    """Return the mean power of samples, shape (samples,)."""
    return float(np.mean(np.square(audio, dtype=np.float64)))


def _peakedness(powers: Tiles) -> float:
    """Return the logarithm of the powers' kurtosis: how few tiles hold most of it."""
    mean = max(float(np.mean(powers)), SMALLEST_POWER)
    return float(np.log(max(float(np.mean(np.square(powers / mean))), 1.0)))


def _estimated_sdr_db(gains: Tiles, noisy: Analysed) -> float:
    """Return the SI-SDR in dB of the input under `gains`, if what stands out were the call.

    The gain common to the call is no distortion; what departs from it in the call's tiles is, and
    so is all noise that comes through.
    """
    call, noise = noisy.call_powers, noisy.powers - noisy.call_powers
    total = max(float(call.sum()), SMALLEST_POWER)
    common = float((gains * call).sum()) / total
    error = float((np.square(gains - common) * call).sum() + (np.square(gains) * noise).sum())
    ratio = common**2 * total / max(error, SMALLEST_POWER)
    return float(np.clip(10 * np.log10(max(ratio, SMALLEST_POWER)), *RATIO_RANGE_DB))


def _band_edges() -> NDArray[np.intp]:
    edges = [1]  # no band holds DC
    while (following := max(edges[-1] + 1, round(edges[-1] * BAND_GROWTH))) < WINDOW // 2:
        edges.append(following)
    return np.array(edges)


EDGES = _band_edges()


def _spectrum(audio: Samples, scale: float) -> Bins:
    frames = np.lib.stride_tricks.sliding_window_view(audio, WINDOW)[::HOP]
    window = signal.windows.hann(WINDOW, sym=False) * scale
    return np.asarray(fft.rfft(frames * window.astype(np.float32))[:, : WINDOW // 2])


def _by_band(powers: NDArray[np.float32]) -> Tiles:
    return np.add.reduceat(powers, EDGES, axis=1, dtype=np.float64)
