"""Stage 6: the manifest of the training set, its splits, and what became of everything.

`manifest.jsonl` holds the targets and the noise, all paths from the run's folder, so that this
folder can be given to a training as its corpus; `training.jsonl`, `validation.jsonl` and, where
there is one, `test.jsonl` divide it by recording. `summary.json` and `summary.md` hold the figures.
"""

from __future__ import annotations

import dataclasses
import json
import os
import platform
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from biodenoising.corpus.manifest import (
    MANIFEST_NAME,
    Row,
    lineage,
    read_manifest,
    split_of,
    write_manifest,
)
from biodenoising.storage import whole_file
from recipes.pseudo_clean import cutting, noises, recordings, targets
from recipes.pseudo_clean.items import Outcome, read_outcome, write_outcome
from recipes.pseudo_clean.settings import Settings

STAGE = "training set"
STAGES_TIMED = (recordings.STAGE, cutting.STAGE, targets.STAGE, noises.STAGE)
SPLITS = ("training", "validation", "test")

Summary = dict[str, Any]


def run_stage(run: Path, settings: Settings) -> Outcome:
    """Write the manifests and the summary. Raises CorpusError where an earlier stage is missing."""
    lists = {
        name: read_manifest(run / name)
        for name in (recordings.LIST, cutting.LIST, targets.LIST, noises.LIST)
    }
    found = {row.path: row for rows in lists.values() for row in rows if row.path}
    outcome = Outcome()
    divided: dict[str, list[Row]] = {split: [] for split in SPLITS}
    for row in (*lists[targets.LIST], *lists[noises.LIST]):
        if not row.path:
            continue
        lineage(row, found)  # every row leads back to a recording, or this says which does not
        split = split_of(
            row.recording,
            validation_tenths=settings.validation_tenths,
            test_tenths=settings.test_tenths,
        )
        # A training reads the set `train` and holds the validation's recordings back by itself.
        row = dataclasses.replace(row, set="test" if split == "test" else "train")
        divided[split].append(row)
        outcome.rows.append(row)
    write_manifest(run / MANIFEST_NAME, outcome.rows)
    for split, rows in divided.items():
        if rows or (run / f"{split}.jsonl").exists():
            write_manifest(run / f"{split}.jsonl", rows)
    summary = summarize(run, lists, divided, settings)
    with whole_file(run / "summary.json") as temporary:
        temporary.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    with whole_file(run / "summary.md") as temporary:
        temporary.write_text(as_markdown(summary), encoding="utf-8")
    write_outcome(run, STAGE, outcome)
    return outcome


def summarize(
    run: Path,
    lists: Mapping[str, list[Row]],
    divided: Mapping[str, list[Row]],
    settings: Settings,
) -> Summary:
    """Return the figures of a run as plain values."""
    done = {stage: read_outcome(run, stage) for stage in STAGES_TIMED}
    cut, chosen = lists[cutting.LIST], lists[targets.LIST]
    calls = [row for row in cut if row.kind == "vocal" and row.path]
    kept = [row for row in chosen if row.path]
    noise = [row for row in lists[noises.LIST] if row.path]
    gains = sorted(row.scores[_name(row)] for row in kept if _name(row) in row.scores)
    return {
        "recordings": {
            "listed": len(lists[recordings.LIST]),
            "refused": _counts(row.rejected for row in lists[recordings.LIST] if row.rejected),
            "worked on": done[cutting.STAGE].get("recordings", 0),
            "hours in": round(done[cutting.STAGE].get("hours", 0.0), 4),
            "limit": settings.limit,
        },
        "segments": {
            "calls": len(calls),
            "call minutes": _minutes(calls),
            "turned down": _counts(
                row.rejected for row in cut if row.rejected and row.kind == "vocal"
            ),
        },
        "targets": {
            "targets": len(kept),
            "minutes": _minutes(kept),
            "refused": len(chosen) - len(kept),
            "refused share": round(1 - len(kept) / len(chosen), 4) if chosen else None,
            "refused by reason": _counts(row.rejected for row in chosen if row.rejected),
            "refused by group": _counts(row.group or "?" for row in chosen if row.rejected),
            "by group": _counts(row.group or "?" for row in kept),
            "by candidate": _counts(_name(row) for row in kept),
            "median predicted gain dB": gains[len(gains) // 2] if gains else None,
            "teachers left out": done[targets.STAGE].get("left_out", []),
        },
        "noise": {
            "stretches": len(noise),
            "minutes": _minutes(noise),
            "refused": _counts(row.rejected for row in lists[noises.LIST] if row.rejected),
            "by type": _counts(row.noise_type or "?" for row in noise),
        },
        "splits": {
            split: {
                "targets": sum(row.kind == "vocal" for row in rows),
                "noise": sum(row.kind == "noise" for row in rows),
                "recordings": len({row.recording for row in rows}),
            }
            for split, rows in divided.items()
        },
        "licence tiers": _counts(row.tier for rows in divided.values() for row in rows),
        "failed": {
            stage: {"count": len(record.get("failed", [])), "first": record.get("failed", [])[:20]}
            for stage, record in done.items()
            if record.get("failed")
        },
        "processor minutes": {
            stage: round(record.get("seconds", 0.0) / 60, 2) for stage, record in done.items()
        },
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {settings.jobs} job(s)",
    }


def as_markdown(summary: Summary) -> str:
    """Return the figures as a table with one line each."""
    lines = ["| what | figure |", "|---|---|"]
    for part, figures in summary.items():
        if not isinstance(figures, dict):
            lines.append(f"| {part} | {_cell(figures)} |")
            continue
        lines += [f"| {part}: {name} | {_cell(figure)} |" for name, figure in figures.items()]
    return "\n".join(lines) + "\n"


def _name(row: Row) -> str:
    """Return the name under which a target's candidate was scored."""
    if row.teacher == targets.UNCHANGED or row.blend is None:
        return row.teacher
    share = "" if row.blend == 1 else f" blend {row.blend:g}"
    return f"{row.teacher} x{row.expansion:g}{share}"


def _minutes(rows: Iterable[Row]) -> float:
    return round(sum(row.duration_s for row in rows) / 60, 2)


def _counts(values: Iterable[str]) -> dict[str, int]:
    return dict(Counter(values).most_common())


def _cell(figure: Any) -> str:
    if isinstance(figure, dict):
        return ", ".join(f"{name} {_cell(value)}" for name, value in figure.items()) or "none"
    if isinstance(figure, list):
        return "; ".join(str(value) for value in figure).replace("|", "/") or "none"
    return "none" if figure is None else str(figure).replace("|", "/")
