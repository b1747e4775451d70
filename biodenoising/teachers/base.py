"""What a teacher is, and how every one of them is heard.

A teacher turns a mono waveform into one of the same length and level, nothing moved in time.
Every teacher hears its input with the loudest sample at 0.5, so that the result does not depend
on the level of a recording; silence is not shown to it and stays silence. What it gives back is
checked, never repaired.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biodenoising.errors import AudioValueError, TeacherError
from biodenoising.inference.arrays import check_audio
from biodenoising.inference.chunks import Stitcher
from biodenoising.models.cards import Chunking

Wave = NDArray[np.float32]
Enhance = Callable[[Wave, float], Wave]

HEARD_PEAK = 0.5
# Shorter input is lengthened by its own mirror image: some teachers need several frames.
SHORTEST_SAMPLES = 4_096
LONGEST_SAMPLES = 1 << 20


@dataclass(frozen=True)
class Teacher:
    """A denoiser that is loaded and ready.

    `rate` is the one it works at in Hz, None where it takes any and is told it. `enhance` maps
    samples (samples,) and that rate onto samples. `version` changes with whatever can change the
    result; `longest` is how many samples are heard at once, longer input goes in overlapping
    pieces.
    """

    name: str
    licence: str
    rate: int | None
    enhance: Enhance
    version: str
    longest: int = LONGEST_SAMPLES


@dataclass(frozen=True)
class Entry:
    """A teacher that could be loaded: what is known of it before.

    `load` takes the number of processor threads, 0 for all, and raises TeacherError; `missing`
    returns what to do before it can be loaded, in one line, or nothing.
    """

    name: str
    licence: str
    rate: int | None
    description: str
    load: Callable[[int], Teacher]
    missing: Callable[[], str]


def run_teacher(teacher: Teacher, heard: Wave, sample_rate: float) -> Wave:
    """Return what a teacher makes of samples that are already at its rate.

    Parameters
    ----------
    heard : array, shape (samples,), float32
        At the teacher's own rate; a length of zero is allowed.
    sample_rate : float
        In Hz; told to teachers that take any rate, and ignored by the others.

    Returns
    -------
    array, shape (samples,), float32
        Of the input's level.

    Raises
    ------
    TeacherError
        The teacher failed, or gave another length or values that are not finite.
    AudioValueError
        The samples are not one channel of finite numbers.
    """
    told = float(teacher.rate or sample_rate)
    check_mono(heard, told)
    peak = float(np.abs(heard).max(initial=0.0))
    if peak == 0.0:
        return np.zeros(heard.shape, np.float32)
    level = (heard.astype(np.float64) * (HEARD_PEAK / peak)).astype(np.float32)
    mirrored = max(0, SHORTEST_SAMPLES - len(level))
    level = np.pad(level, (0, mirrored), mode="symmetric")
    clean = _in_pieces(teacher, level, told)[: len(heard)]
    return (clean.astype(np.float64) * (peak / HEARD_PEAK)).astype(np.float32)


def check_mono(audio: NDArray[Any], sample_rate: float) -> None:
    """Raise AudioValueError for what is not one channel of finite samples at a usable rate."""
    check_audio(audio, sample_rate)
    if audio.ndim != 1:
        raise AudioValueError(
            f"audio has shape {audio.shape}; a teacher hears one channel, shape (samples,)"
        )


def _in_pieces(teacher: Teacher, level: Wave, rate: float) -> Wave:
    if len(level) <= teacher.longest:
        return _checked(teacher, level, rate)
    context = teacher.longest // 8
    plan = Chunking(teacher.longest, left=context, right=context, overlap=teacher.longest // 32)
    stitcher = Stitcher(_OneByOne(teacher), plan, 1, rate)
    parts = [stitcher.push(level[None]), stitcher.flush()]
    return np.asarray(np.concatenate(parts, axis=1)[0])


@dataclass(frozen=True)
class _OneByOne:
    """A teacher as the runtime that the stitching of chunks expects."""

    teacher: Teacher
    rows: int = 1

    def run(self, batch: Wave, sample_rate: float) -> Wave:
        """Return the denoised waveforms, (batch, samples) in and out."""
        return np.stack([_checked(self.teacher, row, sample_rate) for row in batch])


def _checked(teacher: Teacher, level: Wave, rate: float) -> Wave:
    clean = np.asarray(teacher.enhance(level, rate))
    if clean.shape != level.shape:
        raise TeacherError(
            f"teacher {teacher.name}: gave shape {clean.shape} for {level.shape}; its result "
            "cannot be used as a target"
        )
    if not np.isfinite(clean).all():
        raise TeacherError(
            f"teacher {teacher.name}: gave values that are not finite for {len(level)} samples at "
            f"{rate:g} Hz; leave this candidate out"
        )
    return clean.astype(np.float32)
