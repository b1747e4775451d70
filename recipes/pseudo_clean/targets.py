"""Stages 3 and 4 in one pass: candidates for every call, and the choice among them.

The candidates of a segment live in memory only; the chosen one is written below `targets/`, the
scores of all stay in its row. Writes `targets.jsonl`, with a row for every segment refused.
"""

from __future__ import annotations

import dataclasses
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from biodenoising.corpus.journal import Item, Made, key_of
from biodenoising.corpus.manifest import Row, read_manifest, write_manifest
from biodenoising.corpus.pieces import piece_name, read_piece, without_rumble, write_piece
from biodenoising.errors import TeacherError
from biodenoising.inference.scores import LEAST_SAMPLES
from biodenoising.storage import sha256_of
from biodenoising.teachers.candidates import Candidate, TeacherPlan, loadable, make_candidates
from biodenoising.teachers.select import Selection, select
from recipes.pseudo_clean import cutting
from recipes.pseudo_clean.items import Outcome, run_items, write_outcome
from recipes.pseudo_clean.recordings import tell
from recipes.pseudo_clean.settings import Settings

STAGE = "targets"
LIST = "targets.jsonl"
FOLDER = "targets"
UNCHANGED = "unchanged"
TOO_SHORT = "too short to judge"
SAME = "the same segment as another one"
GAINS_LITTLE = "no candidate is predicted to gain enough"
RULES = 2


@dataclass(frozen=True)
class Choosing:
    """What a process needs to choose: the teachers that can be used, and the bars."""

    teachers: tuple[TeacherPlan, ...]
    least_gain_db: float
    clean_snr_db: float


def run_stage(run: Path, settings: Settings) -> Outcome:
    """Choose a target for every call segment, or refuse it.

    Raises TeacherError where no teacher at all can be used.
    """
    usable, problems = loadable(settings.teachers)
    for problem in problems:
        tell(f"left out {problem}")
    if not usable:
        raise TeacherError("none of the teachers can be used; the lines above say what they lack")
    choosing = Choosing(
        tuple(plan for plan, _ in usable), settings.least_gain_db, settings.clean_snr_db
    )
    versions = [version for _, version in usable]
    segments = [
        row for row in read_manifest(run / cutting.LIST) if row.kind == "vocal" and not row.rejected
    ]
    items = [
        Item(row.path, key_of(row, choosing, versions, RULES), row) for row in _apart(segments)
    ]
    outcome = run_items(run, STAGE, items, choose_target, choosing, settings.jobs)
    told = {item.row.path for item in items}
    outcome.rows += [_refused(row, SAME) for row in segments if row.path not in told]
    write_manifest(run / LIST, outcome.rows)
    if not any(row.path for row in outcome.rows):
        tell("note     not one target: all segments were refused, see the summary for the reasons")
    write_outcome(run, STAGE, outcome, left_out=problems, teachers=[p.name for p, _ in usable])
    for note, count in Counter(outcome.notes).most_common(5):
        print(f"{count} segments without a candidate: {note}", file=sys.stderr)
    return outcome


def choose_target(item: Item, run: Path, choosing: Choosing) -> Made:
    """Make the candidates for one segment, write the best or say why none is good enough.

    The segment itself is a candidate too, without a teacher, where it is known to be clean.
    """
    row = item.row
    rate = row.sample_rate
    noisy = without_rumble(read_piece(run / row.path), rate, row.highpass_hz)
    if len(noisy) < LEAST_SAMPLES:
        return Made((_refused(row, TOO_SHORT),))
    if row.est_snr_db is not None and row.est_snr_db >= choosing.clean_snr_db:
        # Nearer to the truth than any teacher brings it: theirs is known to end there.
        unchanged = Candidate(UNCHANGED, 1.0, 0.0, noisy)
        return Made((_written(item, run, unchanged, {}),))
    problems: list[str] = []
    candidates = {c.name: c for c in make_candidates(noisy, rate, choosing.teachers, problems)}
    audio = {name: candidate.audio for name, candidate in candidates.items()}
    result = select(noisy, rate, audio, least_gain_db=choosing.least_gain_db)
    scores = {
        scored.name: round(scored.predicted_gain_db, 2)
        for scored in result.scored
        if scored.predicted_gain_db is not None
    }
    notes = tuple(problems)
    if not isinstance(result, Selection):
        reason = GAINS_LITTLE if scores else result.reason
        return Made((_refused(row, reason, scores),), notes)
    return Made((_written(item, run, candidates[result.name], scores),), notes)


def _written(item: Item, run: Path, chosen: Candidate, scores: dict[str, float]) -> Row:
    row = item.row
    stem = f"{PurePosixPath(row.path).stem}_{item.key[:10]}"
    path = f"{FOLDER}/{item.key[:2]}/{piece_name(stem, row.sample_rate)}"
    gain_db = write_piece(run / path, chosen.audio, row.sample_rate)
    unchanged = chosen.teacher == UNCHANGED
    return dataclasses.replace(
        row,
        path=path,
        stage="target",
        parent=row.path,
        sha256=sha256_of(run / path),
        gain_db=round(row.gain_db + gain_db, 3),
        # What was measured in the noisy clip says nothing about one that was made clean.
        est_snr_db=row.est_snr_db if unchanged else None,
        band_snr_db=row.band_snr_db if unchanged else None,
        structure=None,
        teacher=chosen.teacher,
        expansion=chosen.expansion,
        blend=chosen.blend,
        scores=scores,
    )


def _refused(row: Row, reason: str, scores: dict[str, float] | None = None) -> Row:
    return dataclasses.replace(
        row, path="", stage="target", parent=row.path, sha256="", scores=scores or {},
        rejected=reason,
    )  # fmt: skip


def _apart(rows: Sequence[Row]) -> list[Row]:
    """Return the first of all segments with the same samples."""
    return list({row.sha256: row for row in reversed(rows)}.values())[::-1]
