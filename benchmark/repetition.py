"""Measure some rows again, in new processes: a figure that cannot be had twice is none."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from benchmark.draws import shuffled
from benchmark.mixtures import Plan
from benchmark.results import Results
from benchmark.rows import Row, key_of, rounded
from benchmark.runner import Job, Task, run_tasks

TIMED = "seconds"
MIXED = "digest"  # of the mixture's bits, the last of which another kind of processor may round
TOLERANCE = 1e-5


def repeat(
    job: Job,
    plans: Sequence[Plan],
    results: Results,
    mixtures: int,
    *,
    workers: int,
    done: Callable[[list[Row]], None],
) -> dict[str, Any]:
    """Measure `mixtures` mixtures of each set again with every system that has rows on them.

    Returns how many rows were compared, how many were the same to the last digit but for the time
    taken, and which were not to one in 100,000: some peers' sums depend on where memory lies.
    """
    known = {key_of(row): rounded(row) for rows in results.rows.values() for row in rows}
    again: list[Row] = []

    def collect(rows: list[Row]) -> None:
        again.extend(rounded(row) for row in rows)
        done(rows)

    run_tasks(job, _tasks(plans, results, mixtures), workers=workers, done=collect)
    compared = [(known[key_of(row)], row) for row in again if key_of(row) in known]
    differing = [
        f"{row['set']}, {row['mixture']}, {row['system']}"
        for before, row in compared
        if not _alike(_untimed(before), _untimed(row))
    ]
    exact = sum(_untimed(before) == _untimed(row) for before, row in compared)
    return {"rows": len(compared), "exact": exact, "differing": sorted(differing)}


def _tasks(plans: Sequence[Plan], results: Results, mixtures: int) -> list[Task]:
    tasks = []
    for name, rows in results.rows.items():
        of_set = [plan for plan in plans if plan.set == name]
        for plan in shuffled(of_set, "repeat")[:mixtures]:
            systems = tuple(row["system"] for row in rows if row["mixture"] == plan.mixture)
            if systems:
                tasks.append(Task(plan, systems))
    return tasks


def _alike(one: Row, other: Row) -> bool:
    return one.keys() == other.keys() and all(
        math.isclose(value, other[key], rel_tol=TOLERANCE, abs_tol=TOLERANCE)
        if isinstance(value, float) and isinstance(other[key], float)
        else value == other[key]
        for key, value in one.items()
        if key != MIXED
    )


def _untimed(row: Row) -> Row:
    # A row that was read back from results.json has every column of its set, empty ones as None.
    return {key: value for key, value in row.items() if key != TIMED and value is not None}
