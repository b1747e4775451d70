"""One run: open the sets that can be opened, run what has no row yet, measure cost, draw."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from benchmark.catalogue import open_set
from benchmark.cost import measure_costs
from benchmark.draws import shuffled
from benchmark.mixtures import Mixture, Plan
from benchmark.plots import draw_plots
from benchmark.repetition import repeat
from benchmark.report import MIXTURE_SETS
from benchmark.results import Results, describe_run, describe_system
from benchmark.rows import Row, append_rows, read_rows
from benchmark.runner import Job, Task, process_of, run_tasks, systems_of
from benchmark.sets import Unreachable
from benchmark.statistics import measured
from benchmark.systems import System
from benchmark.systems.base import estimate, installed


@dataclass(frozen=True)
class Options:
    """What to run and what to leave out."""

    sets: tuple[str, ...]
    systems: tuple[System, ...]
    limit: int | None
    workers: int
    rows: Path
    retry_errors: bool = False
    with_cost: bool = True
    repeat: int = 0
    command: str = ""


class Progress(Protocol):
    """The part of tqdm's bar that is used."""

    total: float | None

    def update(self, n: float = 1) -> Any:
        """Count mixtures."""

    def set_postfix_str(self, s: str = "", refresh: bool = True) -> Any:
        """Show what is going on."""


def run_benchmark(job: Job, options: Options, bar: Progress) -> Results:
    """Return the results of all reachable sets; rows already on disk are not run again."""
    results = Results(describe_run(options.command))
    available = [system for system in options.systems if not system.missing]
    plans = _plans(job, options, results)
    known = read_rows(options.rows)
    if options.retry_errors:
        known = {key: row for key, row in known.items() if not row["error"]}
    tasks = []
    for plan in plans:
        pending = [s for s in available if _key(plan, s) not in known]
        if pending:
            tasks.append(Task(plan, tuple(system.name for system in pending)))
    bar.total = len(tasks)

    def done(rows: list[Row]) -> None:
        append_rows(options.rows, rows)
        bar.update(1)
        bar.set_postfix_str(rows[0]["set"] if rows else "")

    run_tasks(job, tasks, workers=options.workers, done=done)
    known = read_rows(options.rows)
    for plan in plans:
        found = [known[_key(plan, s)] for s in available if _key(plan, s) in known]
        results.rows.setdefault(plan.set, []).extend(found)
    if options.repeat:
        results.meta["repeated"] = repeat(
            job, plans, results, options.repeat, workers=options.workers,
            done=lambda rows: bar.set_postfix_str(f"again: {rows[0]['set']}" if rows else ""),
        )  # fmt: skip
    costs = {}
    if options.with_cost:
        bar.set_postfix_str("cost")
        costs = measure_costs(job, available, done=lambda name: bar.set_postfix_str(f"cost {name}"))
    results.systems = [describe_system(s, costs.get(s.name)) for s in options.systems]
    return results


def _plans(job: Job, options: Options, results: Results) -> list[Plan]:
    """Return the plans of every set that opens, and note for the others why it did not."""
    chosen: list[Plan] = []
    for name in options.sets:
        entry: dict[str, Any] = {"description": ""}
        try:
            opened = open_set(name, job.settings)
            plans = opened.plans()
            entry["description"] = opened.description
        except Unreachable as error:
            results.sets[name] = entry | {"reason": str(error)}
            continue
        entry["plans"] = len(plans)
        if options.limit is not None and options.limit < len(plans):
            kept = set(shuffled(plans, "limit")[: options.limit])
            plans = [plan for plan in plans if plan in kept]
            entry["limit"] = options.limit
        results.sets[name] = entry
        chosen += plans
    return chosen


def _key(plan: Plan, system: System) -> tuple[str, str, str, str]:
    return plan.set, plan.mixture, system.name, system.version


def plotted_set(results: Results) -> str | None:
    """Return the set whose plots can be drawn: the headline, where anything was measured on it."""
    headline = next((name for name in MIXTURE_SETS if results.rows.get(name)), None)
    if headline is None or not measured(results.rows[headline]) or not installed("matplotlib"):
        return None
    return headline


def draw(job: Job, results: Results, folder: Path) -> None:
    """Draw the plots of the set that `plotted_set` named into a folder."""

    def estimates(plan: Plan, name: str) -> tuple[Mixture, Any, int]:
        mixture = open_set(plan.set, job.settings).load(plan)
        output_samples = estimate(systems_of(job)[name], process_of(job, name), mixture)
        return mixture, output_samples, mixture.sample_rate

    draw_plots(results, results.meta["plots"], folder, estimates)
