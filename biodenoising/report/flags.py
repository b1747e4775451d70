"""What is worth a person's eye: flags of single files, and those that differ from the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from biodenoising.report.facts import Facts

Status = Literal["done", "skipped", "failed"]

# In the order of what to look at first.
FLAGS = {
    "failed": "Failed",
    "silent": "Almost silent",
    "heavy": "Heavy removal",
    "clipped": "Clipped input",
    "empty": "Empty recording",
    "unusual": "Unusual",
    "little": "Little changed",
    "note": "Note",
    "nocalls": "No calls found",
}
# It says something about a file, but nothing is wrong.
HARMLESS = frozenset({"nocalls", "note"})

SILENT_DB = -30.0
HEAVY_DB = -6.0
LOST_SHARE = 0.25
LITTLE_DB = -1.0
CLIPPED_PEAKS = 5
# Below this an input holds no sound that could be missed.
NOTHING_DB = -90.0
UNUSUAL_SPREADS = 5.0
LEAST_SPREAD_DB = 1.0
LEAST_FILES = 8
MAD_TO_SPREAD = 1.4826


@dataclass(frozen=True)
class Entry:
    """One file of the report; `message` says why it failed or could not be looked at."""

    name: str
    status: Status
    facts: Facts | None
    message: str = ""


def flags_of(entries: Sequence[Entry]) -> list[tuple[str, ...]]:
    """Return each file's flags, the gravest first."""
    unusual = _unusual(entries)
    return [
        tuple(flag for flag in FLAGS if flag in (_own(entry) | ({"unusual"} & unusual[i])))
        for i, entry in enumerate(entries)
    ]


def _own(entry: Entry) -> set[str]:
    """Return what a file's own figures say."""
    if entry.status == "failed":
        return {"failed"}
    facts = entry.facts
    if facts is None:
        return {"note"} if entry.message else set()
    change = facts.output_db - facts.input_db
    empty = facts.input_db <= NOTHING_DB
    silent = not empty and change < SILENT_DB
    heavy = facts.calls_db is not None and (
        facts.calls_db < HEAVY_DB or facts.lost > max(1, LOST_SHARE * facts.calls)
    )
    little = facts.background_db is not None and facts.background_db > LITTLE_DB
    found = {
        "silent": silent,
        "heavy": heavy and not silent,
        "clipped": facts.flat >= CLIPPED_PEAKS,
        "little": little,
        "empty": empty,
        "note": bool(facts.notes),
        "nocalls": facts.calls == 0 and not empty,
    }
    return {flag for flag, there in found.items() if there}


def _unusual(entries: Sequence[Entry]) -> list[set[str]]:
    """Find files whose background or calls changed unlike those of the other files."""
    found: list[set[str]] = [set() for _ in entries]
    for measure in ("background_db", "calls_db"):
        values = {
            i: value
            for i, entry in enumerate(entries)
            if entry.facts is not None and (value := getattr(entry.facts, measure)) is not None
        }
        if len(values) < LEAST_FILES:
            continue
        array = np.array(list(values.values()))
        middle = float(np.median(array))
        spread = MAD_TO_SPREAD * float(np.median(np.abs(array - middle)))
        for i, value in values.items():
            if abs(value - middle) > UNUSUAL_SPREADS * max(spread, LEAST_SPREAD_DB):
                found[i].add("unusual")
    return found


def most_telling(
    entries: Sequence[Entry], flags: Sequence[tuple[str, ...]], most: int
) -> list[int]:
    """Return which files to show, at most `most`: half by their flags, the rest as a cross-section.

    Of each flag the gravest comes first, flag by flag in turn; of the others those at even ranks of
    how much quieter their background became.
    """
    drawable = [i for i, e in enumerate(entries) if e.facts is not None and e.facts.duration_s > 0]
    if len(drawable) <= most:
        return drawable
    queues = [
        sorted(
            (i for i in drawable if flags[i] and flags[i][0] == flag),
            key=lambda i: _gravity(entries[i], flag),
        )
        for flag in FLAGS
        if flag not in HARMLESS
    ]
    chosen: list[int] = []
    while any(queues) and len(chosen) < (most + 1) // 2:
        for queue in queues:
            if queue and len(chosen) < (most + 1) // 2:
                chosen.append(queue.pop(0))
    rest = sorted(set(drawable) - set(chosen), key=lambda i: (_background(entries[i]), i))
    places = np.linspace(0, len(rest) - 1, most - len(chosen)).round().astype(int)
    return chosen + [rest[place] for place in places]


def _background(entry: Entry) -> float:
    facts = entry.facts
    return 0.0 if facts is None or facts.background_db is None else facts.background_db


def _gravity(entry: Entry, flag: str) -> float:
    """Return a value that is lower the graver the flag's reason is."""
    facts = entry.facts
    assert facts is not None
    if flag == "clipped":
        return -float(facts.flat)
    if flag == "heavy":
        return facts.calls_db or 0.0
    if flag == "little":
        return -_background(entry)
    return facts.output_db - facts.input_db
