"""One corpus for each kind of target, all made of the same segments of one run of the recipe.

Segments that the recipe leaves as they are because they are clean already are in none of them: what
is compared is what to make of a recording that is not.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from tqdm import tqdm

from biodenoising.corpus.manifest import MANIFEST_NAME, Row, read_manifest, write_manifest
from biodenoising.corpus.pieces import piece_name, read_piece, without_rumble, write_piece
from biodenoising.storage import sha256_of
from biodenoising.teachers.candidates import TeacherPlan, make_candidates
from recipes.pseudo_clean import cutting, noises, targets

# The teacher that makes a kind's targets, at the recording's own rate; None: nobody does.
TEACHERS = {"noisy": None, "noisereduce": "noisereduce", "single teacher": "demucs"}
CHOSEN = "chosen"


def build(kind: str, run: Path, folder: Path) -> Path:
    """Make the corpus of a kind in FOLDER/KIND from the recipe's RUN, going on where one ended."""
    corpus = folder / kind.replace(" ", "-")
    corpus.mkdir(parents=True, exist_ok=True)
    for name in (cutting.FOLDER, targets.FOLDER):
        if kind != CHOSEN and name == targets.FOLDER:
            continue
        link = corpus / name
        if not link.is_symlink():
            link.symlink_to(os.path.abspath(run / name), target_is_directory=True)
    calls = _chosen(run) if kind == CHOSEN else _made(_segments(run), TEACHERS[kind], corpus, run)
    noise = [row for row in read_manifest(run / noises.LIST) if row.path]
    rows = (dataclasses.replace(row, set="train") for row in (*calls, *noise))
    write_manifest(corpus / MANIFEST_NAME, rows)
    return corpus


def _segments(run: Path) -> list[Row]:
    """Return the call segments that are not clean already."""
    clean = {
        row.parent for row in read_manifest(run / targets.LIST) if row.teacher == targets.UNCHANGED
    }
    return [
        row
        for row in read_manifest(run / cutting.LIST)
        if row.kind == "vocal" and row.path and not row.rejected and row.path not in clean
    ]


def _chosen(run: Path) -> list[Row]:
    return [
        row
        for row in read_manifest(run / targets.LIST)
        if row.path and row.teacher != targets.UNCHANGED
    ]


def _made(rows: Sequence[Row], teacher: str | None, corpus: Path, run: Path) -> Iterator[Row]:
    """Yield the rows with what the teacher makes of them, or as they are without one."""
    for row in tqdm(rows, desc=teacher or "noisy", unit="", disable=None):
        plain = dataclasses.replace(row, est_snr_db=None)
        if teacher is None:
            yield plain
            continue
        path = f"{targets.FOLDER}/{piece_name(Path(row.path).stem, row.sample_rate)}"
        if not (corpus / path).exists():
            (corpus / path).parent.mkdir(exist_ok=True)
            noisy = without_rumble(read_piece(run / row.path), row.sample_rate, row.highpass_hz)
            made = list(make_candidates(noisy, row.sample_rate, [TeacherPlan(teacher)], []))
            if not made:
                continue  # too short for this teacher
            write_piece(corpus / path, made[0].audio, row.sample_rate)
        yield dataclasses.replace(
            plain, path=path, stage="target", parent=row.path, sha256=sha256_of(corpus / path),
            teacher=teacher, expansion=1.0, blend=1.0,
        )  # fmt: skip
