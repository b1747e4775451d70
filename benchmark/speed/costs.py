"""Commands and probes in processes of their own, with what they took."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from benchmark.runner import THREAD_VARIABLES
from biodenoising import BiodenoisingError

BIODENOISE = (sys.executable, "-c", "from biodenoising.cli.denoise import main; main()")
TRAIN = (sys.executable, "-c", "from biodenoising.cli.train import main; main()")
TIMEOUT_S = 3600.0


@dataclass(frozen=True)
class Cost:
    """What one process took: seconds by the clock, of processors, peak memory in megabytes."""

    wall_s: float
    cpu_s: float
    peak_mb: float


# A process counts the memory of the one that started it as its own peak: a small one starts it.
LAUNCHER = """
import json, os, sys, time
quiet = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
begun = time.perf_counter()
process = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ, file_actions=quiet)
_, status, used = os.wait4(process, 0)
took = time.perf_counter() - begun
code = os.waitstatus_to_exitcode(status)
print(json.dumps([code, took, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024]))
"""


def run(words: Sequence[str | Path], threads: int | None = None) -> Cost:
    """Run a command to its end, on `threads` threads where it asks. Raises if it fails."""
    given = [os.fspath(word) for word in words]
    done = subprocess.run(
        [sys.executable, "-S", "-c", LAUNCHER, *given],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, env=_with(threads), check=True,
    )  # fmt: skip
    code, wall_s, cpu_s, peak_mb = json.loads(done.stdout)
    if code:
        last = done.stderr.strip().splitlines()[-1:]
        raise BiodenoisingError(f"{' '.join(given[-4:])}: ended with {code}: {last}")
    return Cost(wall_s, cpu_s, peak_mb)


def probe(name: str, *, threads: int | None = None, **arguments: Any) -> dict[str, Any]:
    """Return what a function of benchmark.speed.probes measures, in a fresh process."""
    words = [sys.executable, "-m", "benchmark.speed.probes", name, json.dumps(arguments)]
    done = subprocess.run(
        words, capture_output=True, text=True, env=_with(threads), timeout=TIMEOUT_S, check=False
    )
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:]
        raise BiodenoisingError(f"probe {name} {arguments}: {last}")
    measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return measured


def take_turns(commands: Mapping[str, Sequence[str | Path]], rounds: int) -> dict[str, list[Cost]]:
    """Run the commands one after the other, `rounds` times over."""
    costs: dict[str, list[Cost]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, words in commands.items():
            costs[name].append(run(words))
    return costs


def median(values: Sequence[float]) -> float:
    """Return the median."""
    return float(statistics.median(values))


def write_noise(path: Path, seconds: float, rate: int = 16_000, channels: int = 1) -> Path:
    """Write noise with tones in it, 16 bits, block by block."""
    rng = np.random.default_rng(0)
    path.parent.mkdir(parents=True, exist_ok=True)
    left = round(seconds * rate)
    with soundfile.SoundFile(path, "w", rate, channels, "PCM_16") as file:
        while left:
            frames = min(left, 10 * rate)
            tone = 0.2 * np.sin(0.3 * np.arange(frames)) * (np.arange(frames) % rate < rate / 4)
            file.write(0.05 * rng.standard_normal((frames, channels)) + tone[:, None])
            left -= frames
    return path


def _with(threads: int | None) -> dict[str, str]:
    environment = dict(os.environ)
    for variable in THREAD_VARIABLES:
        environment.pop(variable, None)
        if threads:
            environment[variable] = str(threads)
    return environment
