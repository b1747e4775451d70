"""A teacher at several time expansions, and how much of its work is let through.

Expansion is counted from native: at 1 a teacher hears the recording's samples as they are, as if
they had been recorded at its own rate; at K the recording is first resampled to K times as many
samples, so that it plays K times slower and lies K times lower. `expansion_for` converts from time
expansion as the rest of the package counts it, against the recording's true speed.

Filters are soxr's, linear-phase and steep: nothing aliases, no sample moves in time.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import soxr

from biodenoising.errors import OptionError
from biodenoising.teachers.base import Teacher, Wave, check_mono, run_teacher

LARGEST_EXPANSION = 64.0
Outside = Literal["mute", "keep"]


def denoise_at(
    teacher: Teacher,
    audio: Wave,
    sample_rate: float,
    expansion: float = 1.0,
    *,
    outside: Outside = "mute",
) -> Wave:
    """Denoise a recording that the teacher hears `expansion` times slower than native.

    Parameters
    ----------
    teacher : Teacher
        From `registry.find_teacher`.
    audio : array, shape (samples,), float32
        One channel at `sample_rate` Hz.
    expansion : float
        1/64 to 64. Below 1 the recording plays faster, and what lies above `expansion` times half
        of `sample_rate` is out of the teacher's hearing.
    outside : "mute" or "keep"
        What becomes of content that the teacher cannot hear: left out, as a target should hold
        nothing that nobody cleaned, or left as it was. At expansions other than 1 that includes
        the filters' transition, the highest 9 % of the band of the lower of the two rates.

    Returns
    -------
    array, shape (samples,), float32
        At `sample_rate`, aligned with `audio`.

    Raises
    ------
    OptionError
        `expansion` or `outside` is out of range.
    AudioValueError, TeacherError
        As for `run_teacher`.
    """
    if not 1 / LARGEST_EXPANSION <= expansion <= LARGEST_EXPANSION:
        raise OptionError(
            f"expansion is {expansion:g}; give 1/{LARGEST_EXPANSION:g} to {LARGEST_EXPANSION:g}"
        )
    if outside not in ("mute", "keep"):
        raise OptionError(f"outside is {outside!r}; choose mute or keep")
    check_mono(audio, sample_rate)
    audio = np.ascontiguousarray(audio, dtype=np.float32)
    if expansion == 1.0 or not audio.any():
        return run_teacher(teacher, audio, sample_rate)
    heard = resample(audio, expansion)
    clean = run_teacher(teacher, heard, sample_rate)
    if outside == "mute":
        return fitted(resample(clean, 1 / expansion), len(audio))
    return audio + fitted(resample(clean - heard, 1 / expansion), len(audio))


def expansion_for(teacher: Teacher, sample_rate: float, time_expansion: float) -> float:
    """Return the expansion from native at which a teacher hears a true time expansion.

    With `time_expansion` 1 a teacher for 16 kHz hears a recording at 48 kHz at its true speed, as
    a user of the teacher would give it: that is expansion 1/3.
    """
    told = teacher.rate or sample_rate
    return time_expansion * told / sample_rate


def limit_attenuation(noisy: Wave, denoised: Wave, floor_db: float) -> Wave:
    """Mix in as much of the input that nothing is turned down by more than `floor_db`.

    Shapes (samples,); float32. Raises OptionError for a negative floor.
    """
    if not floor_db >= 0:
        raise OptionError(f"attenuation floor is {floor_db:g} dB; give 0 or more")
    return blend(noisy, denoised, 1 - 10 ** (-floor_db / 20))


def blend(noisy: Wave, denoised: Wave, share: float) -> Wave:
    """Return `share` of the denoised sound and the rest of the input; shapes (samples,).

    Raises OptionError for a share outside 0 to 1 or for two lengths.
    """
    if not 0 <= share <= 1:
        raise OptionError(f"share is {share:g}; it must lie between 0 and 1")
    if noisy.shape != denoised.shape:
        raise OptionError(f"cannot blend {denoised.shape} samples with {noisy.shape}")
    weight = np.float32(share)
    return np.asarray(weight * denoised + (1 - weight) * noisy, np.float32)


def resample(audio: Wave, ratio: float) -> Wave:
    """Return `ratio` times as many samples, (samples,) in and out, without delay."""
    return np.asarray(soxr.resample(audio, 1.0, ratio, quality="HQ"), np.float32)


def fitted(samples: Wave, length: int) -> Wave:
    """Cut or pad with zeros to `length`: resamplers and frames round lengths."""
    return np.pad(samples[:length], (0, max(length - len(samples), 0)))
