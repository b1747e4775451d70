"""What one denoised file is worth saying about, from the input and the output on the disk.

Both are read block by block: first the input for its calls, then the two side by side for what was
turned down inside and outside of them. Memory grows by a few bytes for each 256 samples.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft, signal

from biodenoising.audio import AudioReader, open_reader
from biodenoising.batch.listing import Task
from biodenoising.corpus.segments import Segment, SegmentSettings, segment_blocks

Block = NDArray[np.float32]
Power = NDArray[np.float64]

FRAME = 512
WINDOW = signal.get_window("hann", FRAME).astype(np.float32)
BLOCK_FRAMES = 1 << 16
# A stretch of about this many samples is shown: six seconds at 48 kHz, more where rates are low.
SHOWN_SAMPLES, SHORTEST_SHOWN_S, LONGEST_SHOWN_S = 300_000, 1.5, 20.0
LEAD = 0.15  # share of a stretch shown before the call it is about
MOST_SCORE = 40.0
LOST_DB = -12.0
# Of a call, only what stands out this far from its frequency's quiet level is held against what
# is left of it: there the noise beneath it weighs nothing.
QUIET_SHARE, ABOVE_DB = 0.3, 15.0
LOWEST_DB, STEP_DB, STEPS = -140.0, 2.0, 100
MOST_DB = 99.0
FLAT_RUN = 4
FLAT_AT = 0.98
# Quieter peaks are flat because the samples have few bits.
CLIPPED_PEAK = 0.05
MOST_MARKED = 40
TINY = 1e-20
# With less than this share between the calls, what lies beside their bands counts as background.
LEAST_BETWEEN = 0.1
# Notes of a song are told apart, and the voice detector's time is saved.
CALLS = SegmentSettings(least_gap_s=0.1, speech_within_s=0)


@dataclass(frozen=True)
class Facts:
    """What was found in one file; levels in dB, full scale 0, changes negative where quieter.

    `calls_db` is the median change of what stands out most in each call (a long call counts for
    more), `lost` how many of them lost more than 12 dB, `background_db` the change of everything
    between calls (beside their bands, where nearly nothing lies between); None where there is
    nothing of the kind. `flat` counts clipped peaks. `start_s` is where the stretch worth showing
    begins, `shown` its calls: (start in s, end in s, lowest Hz, highest Hz).
    """

    duration_s: float
    sample_rate: int
    channels: int
    input_db: float
    output_db: float
    calls: int
    calls_db: float | None
    lost: int
    background_db: float | None
    flat: int
    start_s: float
    shown: tuple[tuple[float, float, float, float], ...]
    notes: tuple[str, ...]


def examine(task: Task) -> Facts:
    """Return the facts of a file that was denoised. Raises AudioReadError."""
    with open_reader(task.input) as reader:
        rate = reader.info.sample_rate
        source = _Source()
        segments = segment_blocks(source.blocks(reader), rate, settings=CALLS)
        channels, notes = reader.info.channels, tuple(reader.notes)
    calls = [segment for segment in segments if segment.kind == "call"]
    change = _Change(calls, rate, source)
    with open_reader(task.input) as before, open_reader(task.output) as after:
        while (block := _finite(before.read(BLOCK_FRAMES))).shape[1]:
            change.feed(block, _finite(after.read(BLOCK_FRAMES)))
    duration_s = source.samples / rate
    calls_db = change.calls_db()
    measured = [
        (value, call.end_s - call.start_s)
        for value, call in zip(calls_db, calls, strict=True)
        if value is not None
    ]
    length_s = shown_s(rate, duration_s)
    start_s = _telling(calls, calls_db, change.removed, length_s, duration_s)
    return Facts(
        duration_s=duration_s,
        sample_rate=rate,
        channels=channels,
        input_db=_decibels(change.energy[0] / max(source.samples * channels, 1)),
        output_db=_decibels(change.energy[1] / max(source.samples * channels, 1)),
        calls=len(calls),
        calls_db=_median(measured) if measured else None,
        lost=sum(value < LOST_DB for value, _ in measured),
        background_db=_change_db(*change.background()),
        flat=change.flat,
        start_s=start_s,
        shown=_within(calls, start_s, start_s + length_s),
        notes=notes,
    )


def shown_s(sample_rate: float, duration_s: float) -> float:
    """Return how many seconds of a recording are shown."""
    fitting = min(max(SHOWN_SAMPLES / sample_rate, SHORTEST_SHOWN_S), LONGEST_SHOWN_S)
    return min(fitting, duration_s)


class _Source:
    """Hands an input's blocks on, keeping its length, its peak and how quiet each frequency is."""

    def __init__(self) -> None:
        self.samples = 0
        self.peak = 0.0
        self._counts = np.zeros((STEPS, FRAME // 2 + 1), np.int64)

    def blocks(self, reader: AudioReader) -> Iterator[Block]:
        """Yield the blocks as they are read."""
        while (block := _finite(reader.read(BLOCK_FRAMES))).shape[1]:
            self.samples += block.shape[1]
            self.peak = max(self.peak, float(np.abs(block).max()))
            steps = (10 * np.log10(_power(block) + TINY) - LOWEST_DB) / STEP_DB
            places = np.clip(steps, 0, STEPS - 1).astype(np.int64) * self._counts.shape[1]
            places += np.arange(self._counts.shape[1])
            counts = np.bincount(places.ravel(), minlength=self._counts.size)
            self._counts += counts.reshape(self._counts.shape)
            yield block

    def outstanding(self) -> Power:
        """Return the power above which a frequency's sound is no background, shape (bins,)."""
        share = np.cumsum(self._counts, axis=0) / max(int(self._counts[:, 0].sum()), 1)
        quiet_db = LOWEST_DB + STEP_DB * (share >= QUIET_SHARE).argmax(axis=0)
        return np.asarray(10 ** ((quiet_db + ABOVE_DB) / 10), np.float64)


class _Change:
    """Adds up energies before and after, of all, of what stands out of calls, and of the rest."""

    def __init__(self, calls: Sequence[Segment], rate: int, source: _Source) -> None:
        frames_a_second = rate / FRAME
        self._spans = [
            (round(c.start_s * frames_a_second), round(c.end_s * frames_a_second)) for c in calls
        ]
        self._bands = [
            (int(c.low_hz / rate * FRAME), max(int(np.ceil(c.high_hz / rate * FRAME)), 1) + 1)
            for c in calls
        ]
        self._inside = np.zeros((len(calls), 2))
        self._done = 0
        self._next = 0
        self._outstanding = source.outstanding()
        self._clipped_at = FLAT_AT * source.peak if source.peak > CLIPPED_PEAK else np.inf
        self.energy = np.zeros(2)
        self._between, self._beside = np.zeros(2), np.zeros(2)
        self._frames_between = 0
        self.flat = 0
        self.removed: list[float] = []  # energy, one value a block

    def feed(self, before: Block, after: Block) -> None:
        """Take the next block of each, shape (channels, samples); what `after` lacks is silence."""
        short = before.shape[1] - after.shape[1]
        if short > 0:
            after = np.pad(after, ((0, 0), (0, short)))
        after = after[:, : before.shape[1]]
        self.removed.append(float(np.square(before - after, dtype=np.float64).sum()))
        self.flat += _flat_runs(before, self._clipped_at)
        powers = [_power(block) for block in (before, after)]
        self.energy += [np.square(block, dtype=np.float64).sum() for block in (before, after)]
        count = len(powers[0])
        quiet = np.ones(count, bool)
        for at in range(self._next, len(self._spans)):
            first, last = (min(max(edge - self._done, 0), count) for edge in self._spans[at])
            if self._spans[at][0] >= self._done + count:
                break
            quiet[first:last] = False
            part = (slice(first, last), slice(*self._bands[at]))
            loud = powers[0][part] > self._outstanding[part[1]]
            self._inside[at] += [power[part][loud].sum() for power in powers]
            self._beside += [power[first:last].sum() - power[part].sum() for power in powers]
            if self._spans[at][1] <= self._done + count:
                self._next = at + 1
        self._between += [power[quiet].sum() for power in powers]
        self._frames_between += int(quiet.sum())
        self._done += count

    def background(self) -> Power:
        """Return the energy of what is no call, before and after."""
        if self._frames_between >= LEAST_BETWEEN * self._done:
            return self._between
        return self._between + self._beside

    def calls_db(self) -> list[float | None]:
        """Return each call's change in dB, None where nothing of it stands out far enough."""
        return [_change_db(*pair) for pair in self._inside]


def _power(block: Block) -> Power:
    """Return the power of frames without overlap, of all channels: (frames, bins)."""
    padded = np.pad(block, ((0, 0), (0, -block.shape[1] % FRAME)))
    bins = fft.rfft(padded.reshape(len(block), -1, FRAME) * WINDOW, axis=-1)
    return np.asarray((bins.real**2 + bins.imag**2).sum(axis=0), np.float64)


def _finite(block: Block) -> Block:
    return np.nan_to_num(block, nan=0.0, posinf=0.0, neginf=0.0)


def _flat_runs(block: Block, at: float) -> int:
    """Return how many peaks are cut flat: four equal samples or more near the highest."""
    high = np.abs(block) >= at
    if not high.any():
        return 0
    same = (np.diff(block, axis=1) == 0) & high[:, 1:]
    run = same[:, : same.shape[1] - FLAT_RUN + 2].copy()
    for shift in range(1, FLAT_RUN - 1):
        run &= same[:, shift : same.shape[1] - FLAT_RUN + 2 + shift]
    starts = run[:, 1:] & ~run[:, :-1]
    return int(np.count_nonzero(starts) + np.count_nonzero(run[:, :1]))


def _decibels(power: float) -> float:
    return round(10 * float(np.log10(power + TINY)), 2)


def _change_db(before: float, after: float) -> float | None:
    """Return the change of an energy in dB, within 99 dB; None where there was none."""
    if before <= TINY:
        return None
    change = 10 * float(np.log10((after + TINY) / before))
    return round(min(max(change, -MOST_DB), MOST_DB), 2)


def _median(weighted: Sequence[tuple[float, float]]) -> float:
    """Return the value that half of the weight lies below."""
    values, weights = np.array(sorted(weighted)).T
    return float(values[np.searchsorted(np.cumsum(weights), weights.sum() / 2)])


def _telling(
    calls: Sequence[Segment],
    calls_db: Sequence[float | None],
    removed: Sequence[float],
    shown: float,
    duration_s: float,
) -> float:
    """Return the start of the stretch to show: calls that stand out, most of all weakened ones.

    Without calls it is where most was removed.
    """
    latest = max(duration_s - shown, 0.0)
    if not calls:
        per_block = duration_s / max(len(removed), 1)
        most = int(np.argmax(removed)) if removed else 0
        return min(max((most + 0.5) * per_block - shown / 2, 0.0), latest)
    weights = [
        min(call.score, MOST_SCORE) * (2.0 if change is not None and change < LOST_DB else 1.0)
        for call, change in zip(calls, calls_db, strict=True)
    ]
    best, best_value, last = 0.0, -1.0, 0
    for first, call in enumerate(calls):
        start = min(max(call.start_s - LEAD * shown, 0.0), latest)
        last = max(last, first)
        while last < len(calls) and calls[last].start_s < start + shown:
            last += 1
        value = sum(
            weight * max(min(c.end_s, start + shown) - max(c.start_s, start), 0.0)
            for c, weight in zip(calls[first:last], weights[first:last], strict=True)
        )
        if value > best_value:
            best, best_value = start, value
    return round(best, 3)


def _within(
    calls: Sequence[Segment], start_s: float, end_s: float
) -> tuple[tuple[float, float, float, float], ...]:
    """Return the strongest calls of a stretch, as far as they lie in it."""
    inside = [c for c in calls if c.start_s < end_s and c.end_s > start_s]
    strongest = sorted(inside, key=lambda c: -c.score)[:MOST_MARKED]
    return tuple(
        (
            round(max(c.start_s, start_s), 3), round(min(c.end_s, end_s), 3),
            round(c.low_hz), round(c.high_hz),
        )
        for c in sorted(strongest, key=lambda c: c.start_s)
    )  # fmt: skip
