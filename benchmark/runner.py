"""Runs systems over mixtures in worker processes; a failure is a row, and the run goes on.

One task is one mixture with all systems that still miss a row for it. Workers keep their systems
loaded and use one thread each. A mixture that cannot be made gives an error row for every system;
a worker that dies (a peer that crashes) costs only the mixture it was at.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np

from benchmark.catalogue import open_set
from benchmark.measures import level_independence, measure
from benchmark.mixtures import Mixture, Plan
from benchmark.rows import Row
from benchmark.scenes import QUIET
from benchmark.sets import MixtureSet, Settings
from benchmark.systems import System, all_systems
from benchmark.systems.base import Process, estimate

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
QUEUED_A_WORKER = 3
NO_MIXTURE = "mixture: "
"""How the error of a row begins whose mixture could not be made; no system is blamed for it."""

Result = TypeVar("Result")


@dataclass(frozen=True)
class Job:
    """What a worker needs to rebuild sets and systems: plain data."""

    settings: Settings
    teachers: Path | None = None
    commands: tuple[str, ...] = ()


@dataclass(frozen=True)
class Task:
    """One mixture and the names of the systems to run on it."""

    plan: Plan
    systems: tuple[str, ...]


def run_tasks(
    job: Job, tasks: Sequence[Task], *, workers: int, done: Callable[[list[Row]], None]
) -> None:
    """Run all tasks and hand each one's rows to `done`, in the order in which they finish."""
    for variable in THREAD_VARIABLES:
        os.environ[variable] = "1"
    suspects: list[Task] = []
    waiting = iter(tasks)
    while unfinished := _pool_until_broken(job, waiting, workers, done):
        suspects += unfinished
    for task in suspects:
        if _pool_until_broken(job, iter([task]), 1, done):
            done([_error_row(task.plan, job, name, "the process died") for name in task.systems])


def _pool_until_broken(
    job: Job, tasks: Iterator[Task], workers: int, done: Callable[[list[Row]], None]
) -> list[Task]:
    """Work through the tasks; return those that were under way when a worker died."""
    context = multiprocessing.get_context("spawn")
    running: dict[Future[list[Row]], Task] = {}
    with ProcessPoolExecutor(workers, context, initializer=_watch_parent) as pool:
        while True:
            for task in islice(tasks, QUEUED_A_WORKER * workers - len(running)):
                running[pool.submit(run_task, job, task)] = task
            if not running:
                return []
            broken = []
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                task = running.pop(future)
                try:
                    done(future.result())
                except BrokenProcessPool:
                    broken.append(task)
            if broken:
                return broken + list(running.values())


def _watch_parent() -> None:
    """End this worker as soon as the run that started it is gone, killed for example."""
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)


def run_task(job: Job, task: Task) -> list[Row]:
    """Make the mixture once and run every system of the task on it."""
    plan = task.plan
    mixture, words = _attempt(lambda: _open(plan.set, job.settings).load(plan))
    if mixture is None:
        return [_error_row(plan, job, name, f"{NO_MIXTURE}{words}") for name in task.systems]
    rows = []
    for name in task.systems:
        measured, words = _attempt(partial(_measured, job, plan, name, mixture))
        rows.append(_error_row(plan, job, name, words) | (measured or {}))
    return rows


def _attempt(work: Callable[[], Result]) -> tuple[Result | None, str]:
    """Return what the work returns, or None with what went wrong: the one place that goes on."""
    try:
        return work(), ""
    except Exception as error:  # noqa: BLE001 - becomes a row of the table
        text = " ".join(str(error).split())[:200]
        return None, f"{type(error).__name__}: {text}" if text else type(error).__name__


def _measured(job: Job, plan: Plan, name: str, mixture: Mixture) -> Row:
    system, process = systems_of(job)[name], process_of(job, name)
    start = time.perf_counter()
    output = estimate(system, process, mixture)
    row: Row = {
        "digest": mixture.digest,
        "audio_s": len(mixture.noisy) / mixture.sample_rate,
        "seconds": time.perf_counter() - start,
    }
    if plan.kind == "scaled":
        return row | _scaled(process, mixture)
    return row | measure(output, mixture, plan.kind)


def _scaled(process: Process, mixture: Mixture) -> Row:
    """Compare the outputs for the quiet mixture and for the same one at full level."""
    gain = np.float32(1 / QUIET)
    loud = Mixture(
        gain * mixture.noisy, gain * mixture.clean, gain * mixture.noise, mixture.sample_rate
    )
    outputs = [np.asarray(process(m), dtype=np.float64) for m in (loud, mixture)]
    return dict(level_independence(*outputs))


@lru_cache(maxsize=8)
def _open(name: str, settings: Settings) -> MixtureSet:
    return open_set(name, settings)


@lru_cache(maxsize=4)
def systems_of(job: Job) -> dict[str, System]:
    """Return the job's systems by name, the same objects within one process."""
    return {system.name: system for system in all_systems(job.teachers, job.commands)}


@lru_cache(maxsize=64)
def process_of(job: Job, name: str) -> Process:
    """Load a system once a process, on one thread."""
    _one_torch_thread()
    return systems_of(job)[name].load()


def _one_torch_thread() -> None:
    """Torch counts its threads itself; it is asked only where something has imported it."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)


def _error_row(plan: Plan, job: Job, name: str, words: str) -> Row:
    system = systems_of(job)[name]
    return asdict(plan) | {"system": name, "version": system.version, "error": words}
