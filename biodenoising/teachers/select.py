"""Choose among the denoised versions of a segment without knowing the truth, or refuse them all.

Every candidate is scored by itself, by `predicted_gain_db`: what stands beside it changes nothing,
so that a set of teachers can grow without moving the scores of the others. The best one is taken
when its predicted SI-SDR improvement is enough, and when the segment itself has room for one
(`scores.room_db`). All scores are returned, for the lineage of the target; on a tie the first
candidate wins.

The weights were fitted by `recipes/pseudo_clean/measure_selection.py --fit` on mixtures with known
truth, and the least room set where half of the real ones are kept: a target had better be clean
than there. The prediction is too high by some dB where noise comes and goes as calls do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from biodenoising.errors import AudioValueError, OptionError
from biodenoising.inference.arrays import check_audio
from biodenoising.teachers.scores import (
    HOP,
    WINDOW,
    Analysed,
    Scores,
    analyse,
    frames_in,
    room_db,
    scores_of,
)

Samples = NDArray[np.float32]
Candidates = Mapping[str, ArrayLike] | Iterable[tuple[str, ArrayLike]]

INTERCEPT = -1.94
FLOOR_WEIGHT, CLARITY_WEIGHT, LIKENESS_WEIGHT, CONTRAST_WEIGHT = 0.54, 0.64, 3.47, 2.13
LEAST_OVERLAP = 0.05  # what call and noise share by chance
LEAST_CONTRAST = -3.0
LEAST_GAIN_DB, LEAST_ROOM_DB = 6.0, 6.0
# With less there is no telling a band's floor from its calls.
LEAST_FRAMES = 8
LEAST_SAMPLES = WINDOW + (LEAST_FRAMES - 1) * HOP
# Smaller differences from the input, as a share of its power, count as none.
UNCHANGED = 1e-6
SILENCE = 1e-30


@dataclass(frozen=True)
class Scored:
    """A candidate with its measures, or with the reason why it was left out."""

    name: str
    predicted_gain_db: float | None = None
    scores: Scores | None = None
    left_out: str = ""

    def record(self) -> dict[str, str | float]:
        """Return what a manifest keeps: plain values, rounded, without what does not apply."""
        if self.scores is None or self.predicted_gain_db is None:
            return {"name": self.name, "left_out": self.left_out}
        values = {"predicted_gain_db": self.predicted_gain_db, **asdict(self.scores)}
        return {"name": self.name, **{key: round(value, 3) for key, value in values.items()}}


@dataclass(frozen=True)
class Selection:
    """The chosen candidate: `audio` as it was given, float32; `scored` in the order given."""

    name: str
    audio: Samples
    predicted_gain_db: float
    scored: tuple[Scored, ...]


@dataclass(frozen=True)
class Rejection:
    """No candidate was good enough; `reason` is one sentence for the report."""

    reason: str
    scored: tuple[Scored, ...]


def select(
    noisy: ArrayLike,
    sample_rate: float,
    candidates: Candidates,
    *,
    least_gain_db: float = LEAST_GAIN_DB,
    least_room_db: float = LEAST_ROOM_DB,
) -> Selection | Rejection:
    """Return the best candidate for the clean part of `noisy`, or why there is none.

    Parameters
    ----------
    noisy : array, shape (samples,)
        The segment as recorded, floating point of any scale.
    sample_rate : float
        In Hz; checked only, for the scores work in samples.
    candidates : mapping, or pairs of names and arrays, each of shape (samples,)
        What the teachers made of the segment, at its level. Candidates that are not finite,
        silent or no different from the input are left out.
    least_gain_db : float
        The predicted SI-SDR improvement below which a candidate is not worth having.
    least_room_db : float
        The room in the segment below which no choice can be relied on.

    Raises
    ------
    AudioValueError
        `noisy` is not one channel of audio, or a candidate is not as long as it.
    OptionError
        Two candidates have the same name, or a threshold is not a number.
    """
    if not np.isfinite([least_gain_db, least_room_db]).all():
        raise OptionError(f"thresholds {least_gain_db}, {least_room_db}: give numbers of dB")
    segment = _segment(noisy, sample_rate)
    arrays = _arrays(candidates, len(segment))
    reason = _unfit(segment) or ("" if arrays else "there are no candidates")
    if reason:
        return Rejection(reason, tuple(Scored(name, left_out="not scored") for name in arrays))
    analysed = analyse(segment)
    scored = tuple(_score(name, audio, segment, analysed) for name, audio in arrays.items())
    best, best_gain_db = "", -np.inf
    for entry in scored:
        if entry.predicted_gain_db is not None and entry.predicted_gain_db > best_gain_db:
            best, best_gain_db = entry.name, entry.predicted_gain_db
    if not best:
        return Rejection("every candidate is broken, silent or the same as the input", scored)
    reason = ""
    room = room_db(analysed)
    if best_gain_db < least_gain_db:
        reason = f"is predicted to gain {best_gain_db:.1f} dB, less than {least_gain_db:g}"
    elif room < least_room_db:
        reason = f"cannot be relied on: the segment has room for {room:.1f} dB over its noise floor"
    if reason:
        return Rejection(f"the best candidate, {best}, {reason}", scored)
    return Selection(best, arrays[best], best_gain_db, scored)


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


def _segment(noisy: ArrayLike, sample_rate: float) -> Samples:
    given = np.asarray(noisy)
    check_audio(given, sample_rate)
    if given.ndim != 1:
        raise AudioValueError(f"the segment has shape {given.shape}; give one channel, (samples,)")
    segment = _as_float32(given)
    if not np.isfinite(segment).all():
        raise AudioValueError("the segment is too loud for float32; scale it and its candidates")
    return segment


def _arrays(candidates: Candidates, samples: int) -> dict[str, Samples]:
    pairs = candidates.items() if isinstance(candidates, Mapping) else candidates
    arrays: dict[str, Samples] = {}
    for name, given in pairs:
        audio = _as_float32(np.asarray(given))
        if name in arrays:
            raise OptionError(f"two candidates are called {name}; give each its own name")
        if audio.shape != (samples,):
            raise AudioValueError(
                f"candidate {name} has shape {audio.shape}, the segment ({samples},); "
                "a teacher keeps the length"
            )
        arrays[name] = audio
    return arrays


def _as_float32(audio: NDArray[Any]) -> Samples:
    """Return float32 samples, infinite where they go beyond its range."""
    with np.errstate(over="ignore"):
        return audio.astype(np.float32)


def _unfit(segment: Samples) -> str:
    """Return why a segment cannot be judged at all, or nothing."""
    if frames_in(len(segment)) < LEAST_FRAMES:
        return f"the segment has {len(segment)} samples; judging takes {LEAST_SAMPLES}"
    # Whole frames only: what is left over at the end is not looked at.
    if _power(segment[: WINDOW + (frames_in(len(segment)) - 1) * HOP]) <= SILENCE:
        return "the segment is silent"
    return ""


def _score(name: str, audio: Samples, segment: Samples, analysed: Analysed) -> Scored:
    if not np.isfinite(audio).all():
        return Scored(name, left_out="holds values that are not finite")
    power = _power(segment)
    if _power(audio) <= UNCHANGED * power:
        return Scored(name, left_out="silent")
    if _power(segment - audio) <= UNCHANGED * power:
        return Scored(name, left_out="the same as the input")
    scores = scores_of(audio, analysed)
    return Scored(name, predicted_gain_db(scores), scores)


def _power(audio: Samples) -> float:
    return float(np.mean(np.square(audio, dtype=np.float64)))
