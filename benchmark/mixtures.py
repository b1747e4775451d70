"""A mixture with known parts: what it is called, how it is made, what was in it.

    noisy == clean + noise, sample by sample, in float32.

The clip (at most 4 s of it, see `loudest_part`) and the noise are brought to the SNR over the whole
clip, then both are scaled by one factor so that the mixture's peak is 0.7. Everything that is drawn
comes from the mixture's name (`benchmark.draws`).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import numpy as np
import soxr
from numpy.typing import NDArray

from benchmark.draws import unit
from biodenoising import AudioValueError

Samples = NDArray[np.float64]
Audio = NDArray[np.float32]

LONGEST_S = 4.0
PEAK = 0.7
ENOUGH_ENERGY = 0.8
SNRS_DB = (-5.0, 0.0, 5.0, 10.0)
ULTRASONIC_HZ = 50_000


@dataclass(frozen=True)
class Plan:
    """All that names a mixture; its samples follow from it. `kind` says which rows it belongs to:

    mixture (call and noise), clean (call only), noise (noise only), scaled (a mixture at a
    thousandth of its level), scene (several calls at known times), speech.
    """

    set: str
    mixture: str
    clip: str
    noise: str
    snr_db: float
    group: str
    taxon: str
    noise_type: str
    sample_rate: int
    kind: str = "mixture"
    seed: int = 0


@dataclass(frozen=True)
class Mixture:
    """Samples of shape (samples,) at `sample_rate` Hz; `events_s`: (onset, offset) in seconds."""

    noisy: Audio
    clean: Audio
    noise: Audio
    sample_rate: int
    events_s: tuple[tuple[float, float], ...] = field(default=())

    @property
    def digest(self) -> str:
        """Twelve hexadecimal digits of the SHA-256 of the noisy samples."""
        return hashlib.sha256(self.noisy.astype("<f4").tobytes()).hexdigest()[:12]


def mix(
    clip: Samples, noise: Samples, sample_rate: int, snr_db: float, *, peak: float = PEAK
) -> Mixture:
    """Return the mixture of equally long parts at `snr_db` over their whole length."""
    if len(clip) != len(noise):
        raise AudioValueError(f"clip has {len(clip)} samples, noise {len(noise)}")
    call_energy, noise_energy = float(clip @ clip), float(noise @ noise)
    if call_energy == 0:
        raise AudioValueError("the reference is silent: no SNR and no SI-SDR exist for it")
    if noise_energy == 0:
        raise AudioValueError("the noise is silent: no SNR exists for it")
    noise = noise * np.sqrt(call_energy / noise_energy * 10 ** (-snr_db / 10))
    scale = peak / float(np.abs(clip + noise).max())
    return joined(scale * clip, scale * noise, sample_rate)


def joined(clean: Samples, noise: Samples, sample_rate: int) -> Mixture:
    """Return parts as they are, in float32, with their exact sum."""
    call, rest = clean.astype(np.float32), noise.astype(np.float32)
    return Mixture(call + rest, call, rest, sample_rate)


def loudest_part(samples: Samples, sample_rate: int, longest_s: float = LONGEST_S) -> Samples:
    """Return the first stretch of at most `longest_s` seconds with nearly the most energy.

    The very loudest would often begin inside a call, which takes the noise before it from the
    systems that learn from it; so the earliest with 80 % of the loudest one's energy is taken.
    """
    length = int(longest_s * sample_rate)
    if len(samples) <= length:
        return samples
    cumulated = np.concatenate([[0.0], np.cumsum(samples**2)])
    step = max(sample_rate // 20, 1)
    starts = np.arange(0, len(samples) - length + 1, step)
    energy = cumulated[starts + length] - cumulated[starts]
    start = int(starts[np.argmax(energy >= ENOUGH_ENERGY * energy.max())])
    return samples[start : start + length]


def fitted_noise(
    noise: Samples, noise_rate: int, sample_rate: int, length: int, *names: object
) -> Samples:
    """Return `length` samples of noise for a recording at `sample_rate` Hz.

    Ultrasonic recordings get noise of a lower rate played as if it were at theirs, since no
    resampling fills their band; all others get it resampled. Longer noise is cropped at a drawn
    place, shorter noise repeated.
    """
    played_fast = sample_rate >= ULTRASONIC_HZ and noise_rate < sample_rate
    if noise_rate != sample_rate and not played_fast:
        noise = np.asarray(soxr.resample(noise, noise_rate, sample_rate, quality="HQ"))
    if len(noise) < length:
        noise = np.tile(noise, -(-length // max(len(noise), 1)))
    start = int(unit("noise start", *names) * (len(noise) - length + 1))
    return noise[start : start + length]
