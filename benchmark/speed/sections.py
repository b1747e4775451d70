"""The sections of a run, each a function from its size to plain figures."""

from __future__ import annotations

import csv
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmark.cost import measure_costs
from benchmark.runner import Job
from benchmark.sets import Settings
from benchmark.speed.costs import (
    BIODENOISE,
    TRAIN,
    Cost,
    median,
    probe,
    run,
    take_turns,
    write_noise,
)
from benchmark.speed.integers import compare
from benchmark.systems import all_systems
from biodenoising import list_models

Figures = dict[str, Any]
RATE = 16_000
SHIPPED = [name for name in list_models() if not name.startswith("noisereduce")]
PUBLISHED = "demucs H=48"


@dataclass(frozen=True)
class Size:
    """How much is measured; `folder` is emptied afterwards."""

    folder: Path
    quick: bool = False
    long: bool = False
    teachers: Path | None = None
    corpus: Path | None = None

    @property
    def rounds(self) -> int:
        """How often commands that are compared take turns."""
        return 1 if self.quick else 3


def cores() -> int:
    """Return how many processors this run may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor() -> str:
    """Return what the processor calls itself."""
    path = Path("/proc/cpuinfo")
    told = path.read_text(encoding="utf-8") if path.exists() else ""
    names = [line for line in told.splitlines() if line.startswith("model name")]
    return names[0].split(":", 1)[1].strip() if names else platform.processor()


def machine(size: Size) -> Figures:
    """What everything was measured on, and the best it does in matrix products."""
    return {
        "processor": processor(),
        "cores": cores(),
        "python": platform.python_version(),
        "load_before": os.getloadavg()[0],
        "gflops": probe("gemm", threads=1)["gflops"],
    }


def paths(size: Size) -> Figures:
    """A folder of files through the command, and the same through the reference path."""
    files, seconds = (2, 60) if size.quick else (6, 60)
    source, out = size.folder / "in", size.folder / "out"
    for number in range(files):
        write_noise(source / f"{number}.wav", seconds)
    card = probe("random_model", architecture="demucs", folder=str(size.folder))["card"]
    reference = [sys.executable, "-m", "benchmark.speed.reference"]
    options = ("--overwrite", "--quiet")
    commands: dict[str, list[str | Path]] = {
        f"reference path, {PUBLISHED}": [*reference, card, source, out / "reference"]
    }
    for name, model in ((PUBLISHED, card), *((name, name) for name in SHIPPED)):
        # A folder of its own for each run: what is there already would be skipped.
        commands[name] = [*BIODENOISE, source, out / model_folder(name), "--model", model, *options]
    rows = _turns(commands, size.rounds, files * seconds, out)
    if not size.quick:
        rows |= _cleanunet(size, reference, out)
    return {"audio_s": files * seconds, "files": files, "rows": rows}


def model_folder(name: str) -> str:
    """Return a folder's name for a model."""
    return name.replace(" ", "-").replace("=", "")


def _turns(
    commands: dict[str, list[str | Path]], rounds: int, audio_s: float, out: Path
) -> dict[str, Figures]:
    costs: dict[str, list[Cost]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, found in take_turns(commands, 1).items():
            costs[name] += found
        _empty(out)
    first = next(iter(costs))
    return {
        name: {
            "rtf": median([c.wall_s for c in mine]) / audio_s,
            "times_faster": median(
                [r.wall_s / c.wall_s for r, c in zip(costs[first], mine, strict=True)]
            ),
            "processor_rtf": median([c.cpu_s for c in mine]) / audio_s,
            "times_cheaper": median(
                [r.cpu_s / c.cpu_s for r, c in zip(costs[first], mine, strict=True)]
            ),
            "peak_mb": max(c.peak_mb for c in mine),
        }
        for name, mine in costs.items()
    }


def _cleanunet(size: Size, reference: list[str], out: Path) -> dict[str, Figures]:
    """CleanUNet of the published size, on two files: it is slow."""
    source, seconds = size.folder / "two", 60
    for number in range(2):
        write_noise(source / f"{number}.wav", seconds)
    card = probe("random_model", architecture="cleanunet", folder=str(size.folder))["card"]
    commands: dict[str, list[str | Path]] = {
        "reference path, cleanunet": [*reference, card, source, out / "reference"],
        "cleanunet": [*BIODENOISE, source, out / "cleanunet", "--model", card, "--quiet"],
    }
    return _turns(commands, 1, 2 * seconds, out)


def peers(size: Size) -> Figures:
    """One thread, ten seconds at 48 kHz: our models and every peer that is installed."""
    systems = [
        system for system in all_systems(size.teachers)
        if not system.missing and system.kind in ("model", "peer", "external")
    ]  # fmt: skip
    wanted = ("noisereduce", "webrtc") if size.quick else ("",)
    systems = [s for s in systems if s.kind == "model" or s.name.startswith(wanted)]
    job = Job(Settings(corpus=None, cache=size.folder), size.teachers)
    costs = measure_costs(job, systems, seconds=3.0 if size.quick else 10.0, done=lambda name: None)
    kinds = {system.name: system.kind for system in systems}
    return {"rows": {name: cost | {"kind": kinds[name]} for name, cost in costs.items()}}


def memory(size: Size) -> Figures:
    """Peak memory of the command on one file, by its length."""
    minutes = (1, 10) if size.quick else (1, 10, 120)
    rows = {}
    for model in SHIPPED:
        # One model for two hours tells what the others need no hours to tell.
        for length in minutes if model == SHIPPED[0] else minutes[:2]:
            source = write_noise(size.folder / f"{length}.wav", 60 * length)
            cost = run([*BIODENOISE, source, size.folder / "long.wav", "--model", model,
                        "--overwrite", "--quiet"])  # fmt: skip
            rows[f"{model}, {length} min"] = asdict(cost) | {"audio_s": 60 * length}
            source.unlink()
            (size.folder / "long.wav").unlink()
    if size.long:
        rows[f"{SHIPPED[0]}, 24 h at 48 kHz, stereo, silent after a second"] = _day(size)
    return {"rows": rows}


def _day(size: Size) -> Figures:
    """A day at 48 kHz in stereo, the file sparse: ten minutes of reading and writing."""
    source = write_noise(size.folder / "day.wav", 1, 48_000, 2)
    frames = 24 * 3600 * 48_000
    with open(source, "r+b") as handle:
        handle.seek(40)
        handle.write(b"\xff\xff\xff\xff")  # a length that is not told
        handle.truncate(44 + 4 * frames)
    target = size.folder / "day-out.wav"
    cost = run([*BIODENOISE, source, target, "--quiet"])
    return asdict(cost) | {"audio_s": 24 * 3600}


def integers(size: Size) -> Figures:
    """8-bit integers against floats on the benchmark's recordings, where they are at hand."""
    return compare(size.corpus, size.quick) if size.corpus else {"mixtures": 0, "rows": {}}


def scaling(size: Size) -> Figures:
    """Cores for one file, and sampling rates on one core."""
    seconds = 10.0 if size.quick else 40.0
    by_cores: Figures = {}
    for model in SHIPPED:
        for threads in dict.fromkeys((1, cores())):
            found = probe("rtf", model=model, rate=RATE, seconds=seconds, cores=threads)
            by_cores[f"{model}, {threads}"] = found
    rates = (16_000, 48_000) if size.quick else (8_000, 16_000, 48_000, 96_000, 250_000)
    by_rate = {
        f"{model}, {rate}": probe(
            "rtf", model=model, rate=rate, seconds=200_000 / rate, cores=1, repeats=2
        )["processor_rtf"]
        for model in SHIPPED
        for rate in rates
    }
    needed = {name: probe("multiplications", model=name)["per_second"] for name in SHIPPED}
    return {"cores": by_cores, "rates": by_rate, "multiplications": needed}


def start(size: Size) -> Figures:
    """From a cold process: the help, ten seconds as a file, and the first samples of a pipe."""
    repeats = 3 if size.quick else 7
    source = write_noise(size.folder / "ten.wav", 10)
    target = size.folder / "ten-out.wav"
    shown = [run([*BIODENOISE, "--help"]) for _ in range(repeats)]
    figures: Figures = {
        "help_s": median([cost.wall_s for cost in shown]),
        "help_processor_s": median([cost.cpu_s for cost in shown]),
    }
    for model in SHIPPED:
        words: list[str | Path] = [*BIODENOISE, source, target, "--model", model, "--quiet"]
        whole = []
        for _ in range(repeats):
            target.unlink(missing_ok=True)
            (size.folder / "biodenoise.jsonl").unlink(missing_ok=True)
            whole.append(run(words))
        first = [_first_bytes(model, source) for _ in range(repeats)]
        figures[model] = {
            "file_s": median([cost.wall_s for cost in whole]),
            "file_processor_s": median([cost.cpu_s for cost in whole]),
            "first_sample_s": median(first),
        }
    return figures


def _first_bytes(model: str, source: Path) -> float:
    begun = time.perf_counter()
    with open(source, "rb") as handle:
        process = subprocess.Popen(
            [*BIODENOISE, "-", "-", "--live", "--quiet", "--model", model],
            stdin=handle, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert process.stdout is not None
        process.stdout.read(44 + 2)
        took = time.perf_counter() - begun
        process.stdout.close()
        process.wait()
    return took


def live(size: Size) -> Figures:
    """Live sound on one core: what it costs and how late it is."""
    seconds = 5.0 if size.quick else 20.0
    rows = {}
    for model in SHIPPED:
        for rate in (16_000, 48_000):
            block = rate // 100
            rows[f"{model}, {rate}"] = probe(
                "live", threads=1, model=model, rate=rate, seconds=seconds, block=block
            )
    return {"rows": rows}


TRAINING = """
name: throughput
architecture: masknet
batch: 6
mixtures: {samples: 65536, synthesized_calls: 1, synthesized_noise: 1}
optimizer: {rate: 1.5e-3}
schedule: {steps: STEPS, warm_up_steps: 2}
checks: {every_steps: 1000, held_back: 2, own: 2, samples: 16000}
machine: {device: cpu, workers: 1, precision: bf16-mixed, log_every_steps: EVERY}
"""


def training(size: Size) -> Figures:
    """The compact student's training step on synthesized sounds."""
    steps, every = (4, 2) if size.quick else (20, 5)
    recipe = size.folder / "throughput.yaml"
    text = TRAINING.replace("STEPS", str(steps)).replace("EVERY", str(every))
    recipe.write_text(text, encoding="utf-8")
    folder = size.folder / "run"
    cost = run([*TRAIN, recipe, "--run", folder])
    with open(folder / "log.csv", encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    first, last = rows[0], rows[-1]
    counted = int(last["step"]) - int(first["step"])
    step_s = (float(last["seconds"]) - float(first["seconds"])) / counted
    heard_s = 6 * 65_536 / RATE
    return {
        "seconds_a_step": step_s,
        "audio_hours_an_hour": heard_s / step_s,
        "cores_used": cost.cpu_s / cost.wall_s,
    }


def _empty(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir():
            path.rmdir()
        else:
            path.unlink()


SECTIONS: dict[str, Callable[[Size], Figures]] = {
    "machine": machine,
    "paths": paths,
    "live": live,
    "integers": integers,
    "scaling": scaling,
    "start": start,
    "peers": peers,
    "memory": memory,
    "training": training,
}
