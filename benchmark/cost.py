"""What a system costs: speed on one thread, peak memory, install size.

Each system is measured alone in a process of its own on the same ten seconds of 48 kHz audio, so
ratios between systems of one run hold; absolute figures are the machine's.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import resource
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.mixtures import Mixture, mix
from benchmark.runner import THREAD_VARIABLES, Job, process_of, systems_of
from benchmark.systems import System
from benchmark.systems.base import estimate
from biodenoising import BiodenoisingError

RATE = 48_000
SECONDS = 10.0
REPEATS = 3
Cost = dict[str, Any]


def measure_costs(
    job: Job, systems: list[System], *, seconds: float = SECONDS, done: Callable[[str], None]
) -> dict[str, Cost]:
    """Return real-time factor, peak memory and sizes by system, one process after the other."""
    for variable in THREAD_VARIABLES:
        os.environ[variable] = "1"
    costs = {}
    for system in systems:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            try:
                costs[system.name] = pool.submit(_cost, job, system.name, seconds).result()
            except (BrokenProcessPool, BiodenoisingError, ValueError, RuntimeError) as error:
                costs[system.name] = {"error": f"{type(error).__name__}: {error}"[:200]}
        costs[system.name]["install_mb"] = install_megabytes(system)
        done(system.name)
    return costs


def tones_in_noise(seconds: float = SECONDS) -> Mixture:
    """Return tones in white noise at 0 dB and 48 kHz."""
    time_s = np.arange(int(seconds * RATE)) / RATE
    call = np.sin(2 * np.pi * 3000 * time_s) * (np.sin(2 * np.pi * time_s) > 0.5)
    return mix(call, np.random.default_rng(0).standard_normal(len(time_s)), RATE, 0.0)


def install_megabytes(system: System) -> float | None:
    """Return the size of a system's packages without their dependencies, and of its weights."""
    total = float(sum(path.stat().st_size for path in system.weights))
    for package in system.packages:
        try:
            files = metadata.files(package) or []
        except metadata.PackageNotFoundError:
            continue
        total += sum(file.size or 0 for file in files)
    return total / 1e6 if total else None


def _cost(job: Job, name: str, seconds: float) -> Cost:
    system, mixture = systems_of(job)[name], tones_in_noise(seconds)
    before = _start_peak()
    process = process_of(job, name)
    estimate(system, process, tones_in_noise(1.0))
    times = []
    for _ in range(REPEATS):
        start = processor_seconds()
        estimate(system, process, mixture)
        times.append(processor_seconds() - start)
    return {"rtf": min(times) / seconds, "memory_mb": max(_peak() - before, 0.0)}


def processor_seconds() -> float:
    """Return what this process and the commands it ran have taken so far."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def _start_peak() -> float:
    """Forget this process's former peak where Linux allows it; return its resident megabytes."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        return _status("VmRSS")
    return _peak()


def _peak() -> float:
    """Return the peak in megabytes of this process, or of a command it ran if that is more."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    with contextlib.suppress(OSError):
        return max(_status("VmHWM"), children)
    return max(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, children)


def _status(field: str) -> float:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(field)) / 1024
