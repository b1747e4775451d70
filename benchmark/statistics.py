"""From rows to the figures of the tables; everything here can be computed again from results.json.

A system's failure on a mixture counts as 0 dB of improvement, as if the recording had come back
unchanged, and is counted beside it. Mixtures that could not be made count for no system.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmark.rows import Row
from benchmark.runner import NO_MIXTURE
from biodenoising.metrics import Interval, bootstrap_interval

WORSE_DB = -0.01
"""Improvements below this count as made worse: nearer to 0 is rounding."""


@dataclass(frozen=True)
class Summary:
    """One system on one set."""

    system: str
    kind: str
    mixtures: int
    failures: int
    si_sdri: Interval
    si_sdri_zm: float
    worse_percent: float
    to_best_peer: Interval | None
    medians: dict[str, float]


def summaries(rows: Sequence[Row], kinds: dict[str, str]) -> list[Summary]:
    """Return one summary a system, best first; `kinds` maps systems to what they are."""
    by_system = _by(measured(rows), lambda row: row["system"])
    peer = best_peer(rows, kinds)
    reference = improvements(by_system[peer]) if peer else {}
    made = [
        _summary(name, kinds.get(name, "peer"), mine, None if name == peer else reference)
        for name, mine in by_system.items()
    ]
    return sorted(made, key=lambda s: (-s.si_sdri.value, s.system))


def best_peer(rows: Sequence[Row], kinds: dict[str, str]) -> str | None:
    """Return the peer with the highest median improvement."""
    by_system = _by(measured(rows), lambda row: row["system"])
    peers = [name for name in by_system if kinds.get(name) in ("peer", "external")]
    if not peers:
        return None
    medians = {name: np.median(list(improvements(by_system[name]).values())) for name in peers}
    best: str = max(sorted(peers), key=lambda name: float(medians[name]))
    return best


def measured(rows: Iterable[Row]) -> list[Row]:
    """Return the rows whose mixture could be made."""
    return [row for row in rows if not str(row["error"]).startswith(NO_MIXTURE)]


def improvements(rows: Iterable[Row], column: str = "si_sdri") -> dict[str, float]:
    """Return a column by mixture, 0 where the system failed."""
    return {row["mixture"]: float(row.get(column) or 0.0) for row in rows}


def grouped_medians(
    rows: Sequence[Row], key: str, *, column: str = "si_sdri"
) -> dict[str, dict[Any, tuple[float, int]]]:
    """Return system -> value of `key` -> (median, mixtures)."""
    table: dict[str, dict[Any, tuple[float, int]]] = {}
    for system, mine in _by(measured(rows), lambda row: row["system"]).items():
        parts = _by(mine, lambda row: row[key])
        table[system] = {
            part: (float(np.median(list(improvements(some, column).values()))), len(some))
            for part, some in parts.items()
        }
    return table


def control_figures(rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    """Return per system what clean, noise-only and quiet inputs gave."""
    table: dict[str, dict[str, float]] = {}
    for system, mine in _by(measured(rows), lambda row: row["system"]).items():
        clean = _values(mine, "clean", "si_sdr")
        noise = _values(mine, "noise", "noise_left_db")
        level = _values(mine, "scaled", "level_si_sdr")
        table[system] = {
            "clean_median": _quantile(clean, 0.5),
            "clean_worst_tenth": _quantile(clean, 0.1),
            "noise_left_median": _quantile(noise, 0.5),
            "level_median": _quantile(level, 0.5),
            "failures": float(sum(bool(row["error"]) for row in mine)),
        }
    return table


def detection_figures(rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    """Return per system the mean F1 of scenes: noisy, denoised, better of both, by layout."""
    table: dict[str, dict[str, float]] = {}
    for system, mine in _by(measured(rows), lambda row: row["system"]).items():
        good = [row for row in mine if not row["error"]]
        figures = {"failures": float(len(mine) - len(good))}
        for layout in ("apart", "overlapping"):
            some = [row for row in good if row["taxon"] == layout]
            for which in ("noisy", "denoised", "best"):
                figures[f"{layout}_{which}"] = column_mean(some, f"{which}_f1")
        table[system] = figures
    return table


def column_median(rows: Iterable[Row], column: str) -> float:
    """Return the median of a column over the rows that have it; nan for none."""
    return _quantile([row[column] for row in rows if row.get(column) is not None], 0.5)


def column_mean(rows: Iterable[Row], column: str) -> float:
    """Return the mean of a column over the rows that have it; nan for none."""
    values = [row[column] for row in rows if row.get(column) is not None]
    return float(np.mean(values)) if values else float("nan")


def _summary(name: str, kind: str, rows: list[Row], reference: dict[str, float] | None) -> Summary:
    values = improvements(rows)
    clips = {row["mixture"]: str(row["clip"]) for row in rows}
    order = sorted(values)
    data = np.array([values[mixture] for mixture in order])
    paired = None
    if reference:
        common = [mixture for mixture in order if mixture in reference]
        paired = bootstrap_interval(
            [values[mixture] - reference[mixture] for mixture in common],
            groups=[clips[mixture] for mixture in common],
        )
    columns = ("si_sdr", "sdr", "lsd", "call_retention", "noise_reduction", "pesq", "stoi")
    shifts = ("peak_shift_hz", "onset_shift_s", "offset_shift_s")
    medians = {column: column_median(rows, column) for column in columns}
    medians |= {
        column: _quantile([abs(r[column]) for r in rows if r.get(column) is not None], 0.5)
        for column in shifts
    }
    return Summary(
        system=name,
        kind=kind,
        mixtures=len(rows),
        failures=sum(bool(row["error"]) for row in rows),
        si_sdri=bootstrap_interval(data, groups=[clips[mixture] for mixture in order]),
        si_sdri_zm=float(np.median(list(improvements(rows, "si_sdr_zmi").values()))),
        worse_percent=100 * float(np.mean(data < WORSE_DB)),
        to_best_peer=paired,
        medians=medians,
    )


def _values(rows: Sequence[Row], kind: str, column: str) -> list[float]:
    return [r[column] for r in rows if r["kind"] == kind and r.get(column) is not None]


def _quantile(values: Sequence[float], share: float) -> float:
    return float(np.quantile(values, share)) if values else float("nan")


def _by(rows: Iterable[Row], key: Callable[[Row], Any]) -> dict[Any, list[Row]]:
    parts: dict[Any, list[Row]] = {}
    for row in rows:
        parts.setdefault(key(row), []).append(row)
    return parts
