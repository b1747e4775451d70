"""From a person's recordings to targets and noise: stretch by stretch, safe to kill anywhere.

Stretches are worked on until time or memory is used up. Pieces and their manifest lie in the work
folder, as a training reads them.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic

from biodenoising.corpus.journal import OF_ONE_ITEM, Item, Journal, Made, key_of
from biodenoising.corpus.manifest import MANIFEST_NAME, Row, read_manifest, write_manifest
from biodenoising.corpus.pieces import (
    Samples,
    lowest_call_hz,
    mono_of,
    piece_name,
    without_rumble,
    write_piece,
)
from biodenoising.corpus.segments import Segment, SegmentSettings, segment_blocks
from biodenoising.corpus.sources.base import safe_name
from biodenoising.errors import BiodenoisingError, DiskFullError, TeacherError, TrainingError
from biodenoising.inference.scores import LEAST_SAMPLES
from biodenoising.teachers.candidates import TeacherPlan, loadable, make_candidates
from biodenoising.teachers.expansion import denoise_at
from biodenoising.teachers.registry import find_teacher
from biodenoising.teachers.select import Selection, select
from biodenoising.training.adaptation_noise import emptied, is_scarce
from biodenoising.training.adaptation_survey import (
    Stretch,
    Survey,
    draw,
    events_of,
    read_stretch,
    stretches,
)

SEGMENTS = SegmentSettings(least_gap_s=1.0, longest_s=10.0)
CONTEXT_S, LEAST_CALL_SCORE, RUMBLE_OCTAVES, LEAST_NOISE_S = 0.5, 12.0, 1.0, 1.0
# What a training holds in memory at once, as float32: a gigabyte.
MOST_SAMPLES = 256 << 20
HELD_BACK_SHARE = 0.25
MOST_OVERRUN = 2.0
LEAST_TARGETS, LEAST_NOISES_S = 3, 5.0
# Targets to check with. Once a model that was better on synthesized calls by 1.6 dB was not on real
# ones (recipes/adaptation): the recordings' own calls have to be among those that decide.
LEAST_HELD_BACK = 8
TRAIN, HELD_BACK = "train", "held back"
# The licence is theirs to know; nothing of the recordings leaves this machine.
LICENCE, TIER = "as the recordings' owner says", "unclear"
RULES = 2

Tell = Callable[[str], None]


# --- gathering -----------------------------------------------------------------------------------


def usable_plans(base: str) -> tuple[list[TeacherPlan], list[str]]:
    """Return who makes the candidates: the present model, and the classics that are installed."""
    both, blends = (1.0, 2.0), (1.0, 0.75)
    wanted = (
        TeacherPlan(base, both, blends),
        TeacherPlan("logmmse", (2.0,), blends),
        TeacherPlan("noisereduce", both, blends),
        TeacherPlan("noisereduce-nonstationary", both, blends),
    )
    usable, problems = loadable(wanted)
    return [plan for plan, _ in usable], problems


def gather(
    found: Survey,
    plans: Sequence[TeacherPlan],
    base: str,
    work: Path,
    budget_s: float,
    *,
    step: Callable[[float], None],
    tell: Tell,
) -> float:
    """Work on stretches until the budget is used; write WORK/manifest.jsonl, return the seconds.

    `plans` say who makes targets of calls, `base` is the model whose silence tells noise where
    calls hardly pause. The budget may be overrun by as much again where too little was found in it.
    What an earlier run finished counts as used and is not done again. Raises TrainingError where
    what was found is not enough, DiskFullError.
    """
    journal = Journal(work, "stretches")
    teachers = [(dataclasses.asdict(plan), find_teacher(plan.name).version) for plan in plans]
    rows: list[Row] = []
    used_s, heard_s, samples = 0.0, 0.0, 0
    todo = stretches(found)
    for stretch in todo:
        if samples >= MOST_SAMPLES or used_s >= MOST_OVERRUN * budget_s:
            break
        if used_s >= budget_s and not lacking(rows):
            break
        item = _item(stretch, teachers)
        made = journal.made_of(item) if journal.has(item) else None
        if made is None:
            begun = monotonic()
            made = _attempt(item, stretch, plans, base, work)
            made = dataclasses.replace(made, seconds=monotonic() - begun)
            journal.add(item, made)
            for note in made.notes:
                tell(f"note     {note}")
        used_s, heard_s = used_s + made.seconds, heard_s + stretch.duration_s
        samples += sum(round(r.duration_s * r.sample_rate) for r in made.rows if not r.rejected)
        rows += made.rows
        step(max(used_s / budget_s, heard_s / found.seconds))
    if reason := lacking(rows):
        raise TrainingError(f"in the {heard_s / 60:.1f} minutes that were heard: {reason}")
    write_manifest(work / MANIFEST_NAME, divided([row for row in rows if row.path]))
    return used_s


def _item(stretch: Stretch, teachers: Sequence[object]) -> Item:
    recording = stretch.recording
    status = recording.path.stat()
    marks = recording.annotation.stat().st_mtime_ns if recording.annotation else 0
    key = key_of(
        RULES, recording.name, status.st_size, status.st_mtime_ns, marks, stretch.start_s, teachers
    )
    return Item(f"{recording.name}@{stretch.start_s:.3f}", key, Row(path="", kind="soundscape"))


def _attempt(
    item: Item, stretch: Stretch, plans: Sequence[TeacherPlan], base: str, work: Path
) -> Made:
    try:
        return _work_on(item, stretch, plans, base, work)
    except (DiskFullError, MemoryError):
        raise
    except OF_ONE_ITEM as error:
        if isinstance(error, BiodenoisingError):
            return Made((), (str(error),))
        reason = " ".join(str(error).split()) or "no reason given"
        return Made((), (f"{stretch.recording.name}: {type(error).__name__}: {reason}",))


def _work_on(
    item: Item, stretch: Stretch, plans: Sequence[TeacherPlan], base: str, work: Path
) -> Made:
    """Cut one stretch, choose targets for its calls, write what is of use."""
    recording = stretch.recording
    audio, rate = read_stretch(stretch), round(recording.sample_rate)
    if not audio.shape[1]:
        return Made((), (f"{recording.name}: ends before {stretch.start_s:.0f} s",))
    events = events_of(stretch)
    found = segment_blocks([audio], rate, settings=SEGMENTS, annotations=events)
    problems: list[str] = []
    rows: list[Row] = []
    name = f"pieces/{item.key[:2]}/{safe_name(Path(recording.name).stem)[:40]}_{item.key[:10]}"
    for number, segment in enumerate(found):
        row = _row(stretch, segment.kind, segment.start_s, segment.end_s)
        stem = f"{name}_{number:03d}"
        if segment.kind == "noise" and segment.end_s - segment.start_s >= LEAST_NOISE_S:
            piece = _cut(audio, rate, segment.start_s, segment.end_s)
            rows += _written(work, piece_name(f"{stem}_noise", rate), row, piece)
        elif segment.kind == "call":
            if events is None and segment.score < LEAST_CALL_SCORE:
                rows.append(dataclasses.replace(row, rejected="hardly stands out"))
                continue
            start, end = segment.start_s - CONTEXT_S, segment.end_s + CONTEXT_S
            piece = _cut(audio, rate, start, end)
            rows += _target(work, stem, row, piece, segment.low_hz, plans, problems)
    if events is None and is_scarce(found, audio.shape[1] / rate):
        for number, span in enumerate(_emptied(mono_of(audio), rate, found, base, problems)):
            row = _row(stretch, "noise", *span)
            piece = _cut(audio, rate, *span)
            rows += _written(work, piece_name(f"{name}_empty_{number:03d}", rate), row, piece)
    return Made(tuple(rows), tuple(dict.fromkeys(problems)))


def _emptied(
    noisy: Samples, rate: int, found: Sequence[Segment], base: str, problems: list[str]
) -> list[tuple[float, float]]:
    """Return the spans of which the present model leaves hardly anything."""
    try:
        denoised = denoise_at(find_teacher(base), noisy, rate)
    except TeacherError as error:
        problems.append(str(error))
        return []
    return emptied(noisy, denoised, rate, found, LEAST_NOISE_S)


def _row(stretch: Stretch, kind: str, start_s: float, end_s: float) -> Row:
    """Return the row of a call or of noise; times in seconds from the stretch's start."""
    noise = kind == "noise"
    return Row(
        path="",
        kind="noise" if noise else "soundscape",
        noise_type="background" if noise else "",
        sample_rate=round(stretch.recording.sample_rate),
        start_s=round(stretch.start_s + start_s, 4),
        duration_s=round(end_s - start_s, 4),
        recording=stretch.recording.name,
        source="recordings",
        licence=LICENCE,
        tier=TIER,
    )


def _cut(audio: Samples, rate: int, start_s: float, end_s: float) -> Samples:
    return mono_of(audio[:, max(round(start_s * rate), 0) : round(end_s * rate)])


def _written(work: Path, path: str, row: Row, piece: Samples) -> list[Row]:
    if not piece.any():
        return []
    gain_db = write_piece(work / path, piece, row.sample_rate)
    return [
        dataclasses.replace(
            row, path=path, duration_s=round(len(piece) / row.sample_rate, 6),
            gain_db=round(gain_db, 3),
        )
    ]  # fmt: skip


def _target(
    work: Path, stem: str, row: Row, piece: Samples, low_hz: float, plans: Sequence[TeacherPlan],
    problems: list[str],
) -> list[Row]:  # fmt: skip
    """Return the rows of a call as it was recorded and, where one was good enough, its target."""
    rate = row.sample_rate
    lowest_hz = min(low_hz, lowest_call_hz(piece, rate)) / 2**RUMBLE_OCTAVES
    noisy = without_rumble(piece, rate, lowest_hz)
    if len(noisy) < LEAST_SAMPLES:
        return [dataclasses.replace(row, rejected="too short to judge")]
    rows = _written(work, piece_name(f"{stem}_call", rate), row, noisy)
    candidates = {c.name: c for c in make_candidates(noisy, rate, plans, problems)}
    result = select(noisy, rate, {name: c.audio for name, c in candidates.items()})
    if not rows or not isinstance(result, Selection):
        return rows
    chosen = candidates[result.name]
    row = dataclasses.replace(
        row, kind="vocal", stage="target", parent=rows[0].path, highpass_hz=round(lowest_hz, 1),
        teacher=chosen.teacher, expansion=chosen.expansion, blend=chosen.blend,
        scores={"predicted_gain_db": round(result.predicted_gain_db, 2)},
    )  # fmt: skip
    return rows + _written(work, piece_name(f"{stem}_target", rate), row, chosen.audio)


# --- what there is, and which of it is held back -------------------------------------------------


def lacking(rows: Sequence[Row]) -> str:
    """Return what is missing to learn from and to check with, and what to do; "" for nothing."""
    calls = [row for row in rows if row.kind in ("vocal", "soundscape")]
    if not calls:
        return (
            "no calls found, only noise; give recordings with calls, more --minutes, or annotation "
            "files that say where the calls are"
        )
    targets = sum(row.kind == "vocal" for row in rows)
    if targets < LEAST_TARGETS:
        return (
            f"{targets} calls could be made clean enough to learn from, of {len(calls) - targets} "
            "found; give recordings with louder calls or more --minutes"
        )
    noisy = {row.recording for row in rows if row.kind == "noise"}
    noise_s = sum(row.duration_s for row in rows if row.kind == "noise")
    if len(noisy) < 2 or noise_s < LEAST_NOISES_S:
        return (
            f"{noise_s:.1f} s of noise without calls, in {len(noisy)} recordings; adaptation needs "
            f"{LEAST_NOISES_S:g} s in at least 2, one of them to check with"
        )
    held = sum(row.set == HELD_BACK and row.kind == "vocal" for row in divided(rows))
    if held < LEAST_HELD_BACK:
        return (
            f"{held} of {targets} calls that could be made clean are held back, and it takes "
            f"{LEAST_HELD_BACK} to tell whether a model is better on them; give more recordings "
            "or more --minutes"
        )
    return ""


def divided(rows: Sequence[Row]) -> list[Row]:
    """Return the rows with `set` telling what is trained on and what is held back, by recording.

    About a quarter of the recordings is held back, drawn by hash, one with noise first, and more of
    them where they hold fewer than eight targets, up to half of all targets. The last ones with
    noise or with targets are left to the training.
    """
    having = {
        kind: {row.recording for row in rows if row.kind == kind} for kind in ("noise", "vocal")
    }
    names = sorted({row.recording for row in rows}, key=draw)
    wanted = max(1, round(HELD_BACK_SHARE * len(names)))
    held: set[str] = set()

    def hold(candidates: Sequence[str], count: int) -> None:
        for name in candidates:
            if len(held) < count and all(there - held - {name} for there in having.values()):
                held.add(name)

    hold([name for name in names if name in having["noise"]], 1)
    hold(names, wanted)
    calls = Counter(row.recording for row in rows if row.kind == "vocal")
    for name in (name for name in names if name in calls):
        with_it = sum(calls[other] for other in held | {name})
        # Enough to check with, where that leaves as many to learn from.
        if sum(calls[other] for other in held) < LEAST_HELD_BACK and 2 * with_it <= calls.total():
            hold([name], len(held) + 1)
    return [
        dataclasses.replace(row, set=HELD_BACK if row.recording in held else TRAIN) for row in rows
    ]


def gathered(work: Path) -> list[Row] | None:
    """Return the rows of a finished gathering, None where there is none."""
    path = work / MANIFEST_NAME
    return read_manifest(path) if path.exists() else None
