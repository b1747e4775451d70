"""Choose among the denoised versions of a segment without knowing the truth, or refuse them all.

Every candidate is scored by itself, by `predicted_gain_db`: what stands beside it changes nothing,
so that a set of teachers can grow without moving the scores of the others. The best one is taken
when its predicted SI-SDR improvement is enough, and when the segment itself has room for one
(`scores.room_db`). All scores are returned, for the lineage of the target; on a tie the first
candidate wins.

The least room is set where half of the mixtures with known truth are kept: a target had better be
clean than there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from biodenoising.errors import AudioValueError, OptionError
from biodenoising.inference.arrays import check_audio
from biodenoising.inference.scores import (
    Analysed,
    Scores,
    analyse,
    power_of,
    predicted_gain_db,
    room_db,
    scores_of,
    unfit,
)

Samples = NDArray[np.float32]
Candidates = Mapping[str, ArrayLike] | Iterable[tuple[str, ArrayLike]]

LEAST_GAIN_DB, LEAST_ROOM_DB = 6.0, 6.0
# Smaller differences from the input, as a share of its power, count as none.
UNCHANGED = 1e-6


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
    reason = unfit(segment) or ("" if arrays else "there are no candidates")
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


def _score(name: str, audio: Samples, segment: Samples, analysed: Analysed) -> Scored:
    if not np.isfinite(audio).all():
        return Scored(name, left_out="holds values that are not finite")
    least = UNCHANGED * power_of(segment)
    if power_of(audio) <= least:
        return Scored(name, left_out="silent")
    if power_of(segment - audio) <= least:
        return Scored(name, left_out="the same as the input")
    scores = scores_of(audio, analysed)
    return Scored(name, predicted_gain_db(scores), scores)
