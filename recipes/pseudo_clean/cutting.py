"""Stage 2: calls and call-free noise, cut out of the recordings.

A clip that its source has cut already (a corpus's row of stage `segment`) stays whole, as a call or
as noise; nothing but its call-free stretches is taken besides. Other recordings are searched.
Writes `segments.jsonl`, with a row for everything turned down, and the pieces below `segments/`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from biodenoising.audio import AudioReader, open_reader
from biodenoising.corpus.annotations import Annotation, read_annotations
from biodenoising.corpus.journal import Item, Made, key_of
from biodenoising.corpus.manifest import Row, write_manifest
from biodenoising.corpus.pieces import lowest_call_hz, piece_name, read_pieces, write_piece
from biodenoising.corpus.segments import Segment, segment_blocks
from biodenoising.corpus.sources.base import safe_name
from biodenoising.storage import sha256_of
from recipes.pseudo_clean.items import Outcome, run_items, write_outcome
from recipes.pseudo_clean.recordings import usable_recordings
from recipes.pseudo_clean.settings import Settings

STAGE = "segments"
LIST = "segments.jsonl"
FOLDER = "segments"
BLOCK_FRAMES = 1 << 18
NO_CALL = "no call found"
BACKGROUND = "background"
# Changes when the stage's own rules do, so that what was made by older ones is made again.
RULES = 2


@dataclass(frozen=True)
class Span:
    """A stretch to cut: seconds of the true rate, and the lowest frequency of its calls."""

    kind: str
    start_s: float
    end_s: float
    low_hz: float = 0.0
    score: float = 0.0
    whole: bool = False


def run_stage(run: Path, settings: Settings) -> Outcome:
    """Cut all usable recordings; return the rows of the segments and of what was turned down."""
    rules = (
        RULES, settings.segments, settings.context_s, settings.least_call_s,
        settings.least_call_score, settings.rumble_octaves, settings.least_noise_s,
    )  # fmt: skip
    items = []
    for row in usable_recordings(run, settings):
        mark = run / row.annotation if row.annotation else None
        written = mark.stat().st_mtime_ns if mark and mark.is_file() else 0
        items.append(Item(row.path, key_of(row, rules, written), row))
    outcome = run_items(run, STAGE, items, cut_recording, settings, settings.jobs)
    write_manifest(run / LIST, outcome.rows)
    hours = sum(item.row.duration_s for item in items) / 3600
    write_outcome(run, STAGE, outcome, recordings=len(items), hours=hours)
    return outcome


def cut_recording(item: Item, run: Path, settings: Settings) -> Made:
    """Cut one recording. Raises AudioReadError, CorpusError, DiskFullError."""
    row = item.row
    path = run / row.path
    events = None
    if row.annotation:
        name = PurePosixPath(row.path).name
        events = read_annotations(run / row.annotation, recording=name)
    with open_reader(path) as reader:
        # A recording slowed down by its header is cut at its true rate.
        rate = row.sample_rate or round(reader.info.sample_rate)
        found = segment_blocks(
            _blocks(reader), rate, settings=settings.segments, annotations=events
        )
    spans, refused = _spans(row, found, settings, events)
    rows = _cut(item, run, spans, rate, settings)
    notes: tuple[str, ...] = ()
    if row.kind != "noise" and not any(span.kind == "call" for span in spans):
        notes = (f"{row.path}: {NO_CALL}",)
        if not refused:
            refused.append(_turned_down(row, Span("call", 0.0, row.duration_s), NO_CALL))
    return Made((*rows, *refused), notes)


def _blocks(reader: AudioReader) -> Iterator[NDArray[np.float32]]:
    while (block := reader.read(BLOCK_FRAMES)).shape[1]:
        yield block


def _spans(
    row: Row, found: Sequence[Segment], settings: Settings, events: Sequence[Annotation] | None
) -> tuple[list[Span], list[Row]]:
    """Return what to cut of a recording, and rows for what is turned down."""
    spoilt = [s for s in found if s.kind in ("speech", "clipped", "silent")]
    refused = [_turned_down(row, Span("call", s.start_s, s.end_s), s.kind) for s in spoilt]
    whole = row.stage == "segment" and 0 < row.duration_s <= settings.segments.longest_s
    if row.kind == "noise" and whole:
        if any(s.kind == "speech" for s in found):
            return [], refused
        return [Span("noise", 0.0, row.duration_s, whole=True)], []
    noises = [
        Span("noise", s.start_s, s.end_s, score=s.score)
        for s in found
        if s.kind == "noise" and s.end_s - s.start_s >= settings.least_noise_s
    ]
    if row.kind == "noise":
        return noises, refused
    calls = [s for s in found if s.kind == "call"]
    if whole and row.kind == "vocal" and events is None and not _spoils(spoilt):
        low = min((s.low_hz for s in calls), default=0.0)
        return [Span("call", 0.0, row.duration_s, low, whole=True), *noises], []
    spans = []
    for call in calls:
        reason = ""
        if call.end_s - call.start_s < settings.least_call_s:
            reason = "short"
        elif events is None and call.score < settings.least_call_score:
            reason = "hardly stands out"
        if reason:
            refused.append(_turned_down(row, Span("call", call.start_s, call.end_s), reason))
            continue
        start, end = call.start_s - settings.context_s, call.end_s + settings.context_s
        spans.append(Span("call", max(start, 0.0), end, call.low_hz, call.score))
    return [*spans, *noises], refused


def _spoils(segments: Sequence[Segment]) -> bool:
    return any(segment.kind in ("speech", "clipped") for segment in segments)


def _cut(item: Item, run: Path, spans: list[Span], rate: int, settings: Settings) -> list[Row]:
    stem = safe_name(PurePosixPath(item.row.path).stem)[:40]
    folder = f"{FOLDER}/{item.key[:2]}"
    samples = [(round(s.start_s * rate), round(s.end_s * rate)) for s in spans]
    rows = []
    for index, audio in read_pieces(run / item.row.path, samples):
        if not np.any(audio):
            rows.append(_turned_down(item.row, spans[index], "silent"))
            continue
        path = f"{folder}/{piece_name(f'{stem}_{item.key[:10]}_{index:03d}', rate)}"
        gain_db = write_piece(run / path, audio, rate)
        # Bands that stand out most are not all that a call has: both have to see nothing below.
        lowest_hz = min(spans[index].low_hz, lowest_call_hz(audio, rate))
        row = _segment_row(item.row, spans[index], lowest_hz / 2**settings.rumble_octaves)
        rows.append(
            dataclasses.replace(
                row,
                path=path,
                sample_rate=rate,
                duration_s=round(len(audio) / rate, 6),
                gain_db=round(row.gain_db + gain_db, 3),
                sha256=sha256_of(run / path),
            )
        )
    return sorted(rows, key=lambda row: (row.start_s, row.kind, row.path))


def _segment_row(recording: Row, span: Span, highpass_hz: float) -> Row:
    """Return a segment's row; times in the original, through a clip's own start."""
    noise = span.kind == "noise"
    row = dataclasses.replace(
        recording,
        stage="segment",
        set="",
        kind="noise" if noise else "vocal",
        start_s=round(recording.start_s + span.start_s, 6),
        duration_s=round(span.end_s - span.start_s, 6),
        parent=recording.path,
        annotation="",
        scores={} if span.whole else {"stands_out": round(span.score, 2)},
    )
    if not span.whole:
        row = dataclasses.replace(row, est_snr_db=None, band_snr_db=None, structure=None)
    if noise:
        label = recording.noise_type or ("" if span.whole else BACKGROUND)
        return dataclasses.replace(
            row, noise_type=label, group="none", taxon="", common="", highpass_hz=0.0
        )
    return dataclasses.replace(row, highpass_hz=recording.highpass_hz or round(highpass_hz, 1))


def _turned_down(recording: Row, span: Span, reason: str) -> Row:
    return dataclasses.replace(
        recording,
        path="",
        stage="segment",
        kind="noise" if span.kind == "noise" else "vocal",
        start_s=round(recording.start_s + span.start_s, 6),
        duration_s=round(max(span.end_s - span.start_s, 0.0), 6),
        parent=recording.path,
        annotation="",
        sha256="",
        rejected=reason,
    )
