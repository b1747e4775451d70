"""How near an estimate is to a known clean signal: SI-SDR and its relatives, in float64.

Every measure takes `estimate` and `reference` of shape (samples,), equally long, and returns dB as
a float. Lengths that differ, other shapes and values that are not finite raise AudioValueError;
nothing is cut, padded or replaced to make a figure possible.

Silence is defined, not avoided by a small constant, which would make a deleted call look like 0 dB:

=====================  ==================================================
silent reference       nan: there is nothing to be near to
silent estimate        -inf for SI-SDR, SDR and call retention; 0 dB SNR
exact estimate         +inf
=====================  ==================================================
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import linalg, signal

from biodenoising.errors import AudioValueError

Samples = NDArray[np.float64]

EXACT = 1e-30
"""Error energy relative to the signal's below which float64 holds no error at all."""


def si_sdr(estimate: ArrayLike, reference: ArrayLike, *, zero_mean: bool = False) -> float:
    """Return the scale-invariant signal-to-distortion ratio in dB (Le Roux et al. 2019).

    The reference is scaled to its projection on the estimate; what is left of the estimate counts
    as distortion. The biodenoising paper uses `zero_mean=False`.
    """
    est, ref = _pair(estimate, reference, zero_mean)
    ref_energy, est_energy = float(ref @ ref), float(est @ est)
    if ref_energy == 0:
        return float("nan")
    target = (float(est @ ref) / ref_energy) * ref
    return _ratio_db(float(target @ target), float(np.sum((est - target) ** 2)), est_energy)


def snr(estimate: ArrayLike, reference: ArrayLike, *, zero_mean: bool = False) -> float:
    """Return reference energy over the energy of (estimate - reference) in dB; level counts."""
    est, ref = _pair(estimate, reference, zero_mean)
    energy = float(ref @ ref)
    if energy == 0:
        return float("nan")
    return _ratio_db(energy, float(np.sum((est - ref) ** 2)), energy)


def sdr(
    estimate: ArrayLike,
    reference: ArrayLike,
    *,
    filter_length: int = 512,
    zero_mean: bool = False,
    loading: float = 1e-12,
) -> float:
    """Return BSS-eval's SDR in dB: any filter of `filter_length` taps on the reference is forgiven.

    The best filter solves a Toeplitz system of the reference's autocorrelation (Vincent et al.
    2006; solved as in Scheibler 2022). `loading`, relative to the energy, keeps the system solvable
    for band-limited references, whose autocorrelation matrix is singular.
    """
    est, ref = _pair(estimate, reference, zero_mean)
    ref_norm, est_norm = float(np.linalg.norm(ref)), float(np.linalg.norm(est))
    if ref_norm == 0:
        return float("nan")
    if est_norm == 0:
        return float("-inf")
    ref, est = ref / ref_norm, est / est_norm
    size = 1 << int(len(ref) + filter_length - 1).bit_length()
    spectrum = np.fft.rfft(ref, size)
    auto = np.fft.irfft(np.abs(spectrum) ** 2, size)[:filter_length]
    cross = np.fft.irfft(np.conj(spectrum) * np.fft.rfft(est, size), size)[:filter_length]
    auto[0] += loading
    weights = linalg.solve(linalg.toeplitz(auto), cross, assume_a="sym")
    explained = min(max(float(cross @ weights), 0.0), 1.0)
    return _ratio_db(explained, 1.0 - explained, 1.0)


def log_spectral_distance(
    estimate: ArrayLike,
    reference: ArrayLike,
    *,
    window: int = 512,
    hop: int = 128,
    floor_db: float = -80.0,
) -> float:
    """Return the distance of the log power spectra in dB (Gray and Markel 1976); 0 is identical.

    Per frame the root mean square over bins, then the mean over frames. Power below `floor_db` of
    the reference's strongest bin counts as the floor, for both; signals shorter than `window`
    samples are padded with zeros. Scale counts.
    """
    est, ref = _pair(estimate, reference, False)
    if not np.any(ref):
        return float("nan")
    powers = [_spectrogram(x, window, hop) for x in (est, ref)]
    floor = float(powers[1].max()) * 10 ** (floor_db / 10)
    logs = [10 * np.log10(np.maximum(power, floor)) for power in powers]
    return float(np.mean(np.sqrt(np.mean((logs[0] - logs[1]) ** 2, axis=0))))


def call_frames(
    reference: ArrayLike, *, frame: int = 512, threshold_db: float = -20.0
) -> NDArray[np.bool_]:
    """Return which frames hold a call, shape (ceil(samples / frame),).

    A frame of `frame` samples does when its energy in the clean reference is within `threshold_db`
    of the strongest frame. A silent reference has no call.
    """
    energy = np.sum(_frames(_samples(reference, "reference"), frame) ** 2, axis=1)
    return np.asarray((energy > 0) & (energy >= energy.max() * 10 ** (threshold_db / 10)))


def call_retention(
    estimate: ArrayLike, reference: ArrayLike, *, frame: int = 512, threshold_db: float = -20.0
) -> float:
    """Return the call energy left inside the calls in dB; 0 keeps all, -10 loses nine tenths.

    Frame by frame the estimate is projected on the clean reference, so noise that stayed counts
    for little and a gain or gate that took the call away counts in full. Level counts.
    """
    est, ref = _pair(estimate, reference, False)
    inside = call_frames(ref, frame=frame, threshold_db=threshold_db)
    if not inside.any():
        return float("nan")
    est_frames, ref_frames = _frames(est, frame)[inside], _frames(ref, frame)[inside]
    energy = np.sum(ref_frames**2, axis=1)
    gain = np.maximum(np.sum(est_frames * ref_frames, axis=1) / energy, 0)
    kept, total = float(np.sum(gain**2 * energy)), float(np.sum(energy))
    return float("-inf") if kept == 0 else 10 * float(np.log10(kept / total))


def noise_reduction(
    estimate: ArrayLike,
    noisy: ArrayLike,
    reference: ArrayLike,
    *,
    frame: int = 512,
    threshold_db: float = -20.0,
) -> float:
    """Return by how many dB the input was lowered outside the calls; nan where calls fill it all.

    `reference` says where the calls are (see `call_frames`). Silence outside gives +inf.
    """
    est, ref = _pair(estimate, reference, False)
    mix, _ = _pair(noisy, reference, False)
    outside = ~call_frames(ref, frame=frame, threshold_db=threshold_db)
    before = float(np.sum(_frames(mix, frame)[outside] ** 2))
    after = float(np.sum(_frames(est, frame)[outside] ** 2))
    if before == 0:
        return float("nan")
    return float("inf") if after == 0 else 10 * float(np.log10(before / after))


class Interval(NamedTuple):
    """A statistic with the bounds of its bootstrap interval."""

    value: float
    low: float
    high: float


def bootstrap_interval(
    values: ArrayLike,
    *,
    groups: Sequence[str] | None = None,
    statistic: Callable[[Samples], float] | None = None,
    draws: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Return a statistic of `values`, shape (n,), with its percentile bootstrap interval.

    Whole groups are drawn with replacement (`groups`: one label a value, such as the source clip),
    because mixtures of one clip are not independent. `statistic` defaults to the median. Without
    values everything is nan; the same arguments give the same interval on any machine.
    """
    data = np.asarray(values, dtype=np.float64)
    if data.ndim != 1 or np.isnan(data).any():
        raise AudioValueError("bootstrap_interval: values must be one-dimensional and not nan")
    labels = [str(i) for i in range(len(data))] if groups is None else list(groups)
    if len(labels) != len(data):
        raise AudioValueError(f"bootstrap_interval: {len(data)} values, {len(labels)} group labels")
    if len(data) == 0:
        return Interval(float("nan"), float("nan"), float("nan"))
    names, member = np.unique(np.array(labels), return_inverse=True)
    picks = np.random.default_rng(seed).integers(0, len(names), (draws, len(names)))
    counts = np.stack([np.bincount(row, minlength=len(names)) for row in picks])[:, member]
    if statistic is None:
        value, drawn = float(np.median(data)), _repeated_medians(data, counts)
    else:
        value = float(statistic(data))
        drawn = np.array([statistic(np.repeat(data, row)) for row in counts])
    tail = (1 - confidence) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail], method="nearest")
    return Interval(value, float(low), float(high))


def _repeated_medians(data: Samples, counts: NDArray[np.int64]) -> Samples:
    """Return the median of `data` with each value repeated counts[draw] times, shape (draws,)."""
    order = np.argsort(data)
    cumulated = np.cumsum(counts[:, order], axis=1)
    total = cumulated[:, -1:]
    lower = (cumulated > (total - 1) // 2).argmax(axis=1)
    upper = (cumulated > total // 2).argmax(axis=1)
    ordered = data[order]
    return np.asarray(
        np.where(lower == upper, ordered[lower], (ordered[lower] + ordered[upper]) / 2)
    )


def _ratio_db(signal_energy: float, error_energy: float, scale: float) -> float:
    if error_energy <= EXACT * scale and signal_energy > 0:
        return float("inf")
    if signal_energy <= EXACT * scale:
        return float("-inf")
    return 10 * float(np.log10(signal_energy / error_energy))


def _spectrogram(x: Samples, window: int, hop: int) -> Samples:
    padded = np.pad(x, (0, max(window - len(x), 0)))
    _, _, spectrum = signal.stft(
        padded, nperseg=window, noverlap=window - hop, boundary=None, padded=False
    )
    return np.asarray(np.abs(spectrum) ** 2)


def _frames(x: Samples, frame: int) -> Samples:
    """Cut into frames without overlap, the last one padded with zeros: (frames, frame)."""
    if frame < 1:
        raise AudioValueError(f"a frame has at least one sample, not {frame}")
    return np.pad(x, (0, -len(x) % frame)).reshape(-1, frame)


def _samples(x: ArrayLike, name: str) -> Samples:
    data = np.asarray(x, dtype=np.float64)
    if data.ndim != 1 or len(data) == 0:
        raise AudioValueError(f"{name} must have shape (samples,), not {data.shape}")
    if not np.isfinite(data).all():
        raise AudioValueError(f"{name} holds values that are not finite")
    return data


def _pair(estimate: ArrayLike, reference: ArrayLike, zero_mean: bool) -> tuple[Samples, Samples]:
    est, ref = _samples(estimate, "estimate"), _samples(reference, "reference")
    if len(est) != len(ref):
        raise AudioValueError(f"estimate has {len(est)} samples, reference {len(ref)}")
    if zero_mean:
        est, ref = est - est.mean(), ref - ref.mean()
    return est, ref
