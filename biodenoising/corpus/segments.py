"""Where the calls are in a recording, and where there is nothing but noise, at any rate.

`segment_file` and `find_segments` return stretches of five kinds: `call` and `noise` are material,
`speech`, `clipped` and `silent` say what was turned down and where. What stands out a little is
neither call nor noise. A call that never stops is its own background: it is found neither way.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from biodenoising.audio import AudioReader, open_reader
from biodenoising.corpus.activity import HOP, Activity, ActivityMeter, Flags, Floats
from biodenoising.corpus.annotations import Annotation
from biodenoising.corpus.speech import SpeechMeter
from biodenoising.errors import AudioValueError, OptionError

Kind = Literal["call", "noise", "speech", "clipped", "silent"]
BLOCK_FRAMES = 1 << 18
LEAST_RATE_HZ, LARGEST_RATE_HZ = 1_000, 1_000_000
# A stretch this short of what is turned down is not worth a line.
LEAST_TURNED_DOWN_S = 0.05
CLIPPED_SHARE = 0.01
Span = tuple[int, int]  # hops, the end not included


@dataclass(frozen=True)
class SegmentSettings:
    """How segments are found; scores are in spreads of a band's own background.

    A call begins with `start_score` and reaches as far as `hold_score`; noise never exceeds
    `quiet_score` and keeps `guard_s` from all that does. Calls closer than `least_gap_s` are one;
    what is longer than `longest_s` is divided. Speech is looked for in the first and the last
    `speech_within_s` (0: nowhere). Times are the recording's seconds.
    """

    start_score: float = 8.0
    hold_score: float = 5.0
    quiet_score: float = 6.0
    least_gap_s: float = 0.5
    least_noise_s: float = 0.5
    guard_s: float = 0.1
    longest_s: float = 30.0
    speech_within_s: float = 60.0

    def __post_init__(self) -> None:
        if not 0 < self.hold_score <= self.start_score:
            raise OptionError(
                f"hold_score {self.hold_score:g} must lie between 0 and start_score "
                f"{self.start_score:g}"
            )
        if not self.quiet_score > 0:
            raise OptionError(f"quiet_score {self.quiet_score:g} must be above 0")
        for name in ("least_gap_s", "least_noise_s", "guard_s", "speech_within_s"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise OptionError(f"{name} {getattr(self, name):g} must be 0 s or more")
        if not self.longest_s > max(self.least_noise_s, self.least_gap_s, 0.1):
            raise OptionError(
                f"longest_s {self.longest_s:g} must be above 0.1 s, least_noise_s and least_gap_s"
            )


@dataclass(frozen=True)
class Segment:
    """A stretch of a recording: start and end in seconds, band in Hz, and what it is.

    `score` of a call is how far it stands out at its strongest tenth, of noise the most that
    anything in it stands out (less is cleaner), both in spreads; 0 for the other kinds.
    """

    start_s: float
    end_s: float
    kind: Kind
    low_hz: float
    high_hz: float
    score: float


def segment_file(
    path: Path,
    *,
    settings: SegmentSettings = SegmentSettings(),
    annotations: Sequence[Annotation] | None = None,
) -> tuple[Segment, ...]:
    """Return the segments of a recording, ordered by start, read block by block.

    `annotations`, where given, say where the calls are; noise is then what lies between them and
    does not stand out either. Samples that are no numbers count as silence.

    Raises AudioReadError where the recording cannot be read, at its beginning or further on.
    """
    with open_reader(path) as reader:
        return segment_blocks(
            _blocks(reader), reader.info.sample_rate, settings=settings, annotations=annotations
        )


def find_segments(
    audio: NDArray[np.floating],
    sample_rate: float,
    *,
    settings: SegmentSettings = SegmentSettings(),
    annotations: Sequence[Annotation] | None = None,
) -> tuple[Segment, ...]:
    """Return the segments of samples of shape (samples,) or (samples, channels), full scale 1.

    As `segment_file`. Raises AudioValueError for another shape, values that are no numbers, or a
    rate outside 1 kHz to 1 MHz.
    """
    if audio.ndim not in (1, 2) or not np.issubdtype(audio.dtype, np.floating):
        raise AudioValueError(
            f"audio has shape {audio.shape} of {audio.dtype}; give floating-point samples of "
            "shape (samples,) or (samples, channels)"
        )
    if audio.ndim == 2 and audio.shape[1] == 0:
        raise AudioValueError("audio has no channel; give (samples,) or (samples, channels)")
    if not np.isfinite(audio).all():
        raise AudioValueError("audio has values that are NaN or infinite; replace them first")
    channels = np.atleast_2d(audio.T)
    blocks = (
        channels[:, start : start + BLOCK_FRAMES].astype(np.float32)
        for start in range(0, channels.shape[1], BLOCK_FRAMES)
    )
    return segment_blocks(blocks, sample_rate, settings=settings, annotations=annotations)


def segment_blocks(
    blocks: Iterable[Floats],
    sample_rate: float,
    *,
    settings: SegmentSettings = SegmentSettings(),
    annotations: Sequence[Annotation] | None = None,
) -> tuple[Segment, ...]:
    """Return the segments of blocks of shape (channels, samples), float32, of any lengths.

    As `segment_file`; how the samples are divided into blocks changes nothing.
    """
    if not LEAST_RATE_HZ <= sample_rate <= LARGEST_RATE_HZ:
        raise AudioValueError(
            f"sampling rate {sample_rate:g} Hz is out of range; give one of 1 kHz to 1 MHz"
        )
    meter = ActivityMeter()
    voice = SpeechMeter(sample_rate) if settings.speech_within_s > 0 else None
    for block in blocks:
        meter.feed(block)
        if voice is not None:
            voice.feed(block)
    activity = meter.finish()
    speech = np.zeros(len(activity.score), bool)
    duration_s = activity.samples / sample_rate
    for start_s, end_s in voice.finish() if voice is not None else ():
        if start_s < settings.speech_within_s or end_s > duration_s - settings.speech_within_s:
            first, last = start_s * sample_rate / HOP, end_s * sample_rate / HOP
            speech[int(first) : int(np.ceil(last))] = True
    return _segments(activity, speech, sample_rate, settings, annotations)


def _blocks(reader: AudioReader) -> Iterator[Floats]:
    while (block := reader.read(BLOCK_FRAMES)).shape[1]:
        yield block


def _segments(
    activity: Activity,
    speech: Flags,
    sample_rate: float,
    settings: SegmentSettings,
    annotations: Sequence[Annotation] | None,
) -> tuple[Segment, ...]:
    """Form segments of what was measured for each hop."""
    hops_a_second = sample_rate / HOP
    usable = ~speech & ~activity.silent
    active = _held(activity.score, settings) & usable
    marked = active if annotations is None else _marked(annotations, len(active), hops_a_second)
    calls = _merged(_runs(marked & usable), settings.least_gap_s * hops_a_second)
    active |= marked
    loud = active | (activity.score > settings.quiet_score)
    for start, end in calls:
        loud[start:end] = True
    guard = max(int(np.ceil(settings.guard_s * hops_a_second)), 2)
    quiet = ~_widened(loud | activity.clipped | ~usable, guard)
    longest = max(int(settings.longest_s * hops_a_second), 1)
    noise = [
        part
        for span in _runs(quiet)
        for part in _divided(span, longest, activity.score)
        if part[1] - part[0] >= settings.least_noise_s * hops_a_second
    ]
    parts = [part for span in calls for part in _divided(span, longest, activity.score)]
    clipped = [s for s in parts if activity.clipped[slice(*s)].mean() > CLIPPED_SHARE]
    kept = [span for span in parts if span not in clipped]
    least = max(LEAST_TURNED_DOWN_S * hops_a_second, 1)
    found: list[tuple[Kind, list[Span]]] = [
        ("call", kept),
        ("noise", noise),
        ("clipped", clipped),
        ("speech", [s for s in _runs(speech) if s[1] - s[0] >= least]),
        ("silent", [s for s in _runs(activity.silent) if s[1] - s[0] >= least]),
    ]
    segments = [
        _segment(kind, span, activity, sample_rate, settings)
        for kind, spans in found
        for span in spans
    ]
    if annotations is not None:
        segments = [_with_band(segment, annotations) for segment in segments]
    return tuple(sorted(segments, key=lambda s: (s.start_s, s.end_s, s.kind)))


def _marked(annotations: Sequence[Annotation], hops: int, hops_a_second: float) -> Flags:
    marked = np.zeros(hops, bool)
    for event in annotations:
        start = int(event.start_s * hops_a_second)
        marked[start : max(int(np.ceil(event.end_s * hops_a_second)), start + 1)] = True
    return marked


def _held(score: Floats, settings: SegmentSettings) -> Flags:
    """Return the hops of stretches above `hold_score` that reach `start_score` somewhere."""
    labels, _ = ndimage.label(score >= settings.hold_score)
    started = np.zeros(int(labels.max(initial=0)) + 1, bool)
    started[labels[score >= settings.start_score]] = True
    started[0] = False
    return np.asarray(started[labels])


def _runs(flags: Flags) -> list[Span]:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return [(int(start), int(end)) for start, end in edges.reshape(-1, 2)]


def _merged(spans: list[Span], least_gap: float) -> list[Span]:
    merged: list[Span] = []
    for start, end in spans:
        if merged and start - merged[-1][1] < least_gap:
            merged[-1] = (merged[-1][0], end)
        else:
            merged.append((start, end))
    return merged


def _widened(flags: Flags, hops: int) -> Flags:
    if not flags.any():
        return flags
    return np.asarray(ndimage.maximum_filter1d(flags, 2 * hops + 1, mode="constant"))


def _divided(span: Span, longest: int, score: Floats) -> Iterator[Span]:
    """Divide what is too long at the quietest hop of the second half of each allowed length."""
    start, end = span
    while end - start > longest:
        half = max(longest // 2, 1)
        cut = start + half + int(np.argmin(score[start + half : start + longest + 1]))
        yield start, cut
        start = cut
    yield start, end


def _segment(
    kind: Kind, span: Span, activity: Activity, sample_rate: float, settings: SegmentSettings
) -> Segment:
    start, end = span
    low, high, value = 0.0, 0.5, 0.0
    score = activity.score[start:end]
    if kind == "noise":
        value = float(score.max())
    elif kind in ("call", "clipped"):
        strong = score >= min(settings.hold_score, float(score.max()))
        low = float(np.quantile(activity.lowest[start:end][strong], 0.1))
        high = float(np.quantile(activity.highest[start:end][strong], 0.9))
        value = float(np.quantile(score[strong], 0.9)) if kind == "call" else 0.0
    end_sample = min(end * HOP, activity.samples)
    return Segment(
        start * HOP / sample_rate, end_sample / sample_rate, kind, low * sample_rate,
        high * sample_rate, value,
    )  # fmt: skip


def _with_band(segment: Segment, annotations: Sequence[Annotation]) -> Segment:
    """Give a call the band of the annotations in it, where they have one."""
    inside = [
        event
        for event in annotations
        if segment.kind == "call"
        and event.start_s <= segment.end_s
        and event.end_s >= segment.start_s
        and event.low_hz is not None
        and event.high_hz is not None
    ]
    if not inside:
        return segment
    low = min(event.low_hz for event in inside if event.low_hz is not None)
    high = max(event.high_hz for event in inside if event.high_hz is not None)
    return Segment(segment.start_s, segment.end_s, segment.kind, low, high, segment.score)
