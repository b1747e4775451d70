"""What is measured inside a process: `-m benchmark.speed.probes NAME ARGUMENTS`, JSON out."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.speed.reference import count_multiplications, save_random
from biodenoising import Denoiser

Measured = dict[str, Any]


def gemm(size: int = 1024, times: int = 40) -> Measured:
    """Return the best rate of float32 matrix products on this thread in GFLOP/s."""
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((size, size)).astype(np.float32) for _ in range(2))
    best = np.inf
    for _ in range(times):
        begun = time.process_time()
        a @ b
        best = min(best, time.process_time() - begun)
    return {"gflops": 2 * size**3 / best / 1e9}


def rtf(model: str, rate: int, seconds: float, cores: int, repeats: int = 3) -> Measured:
    """Return an array's real-time factors with a loaded model, by the clock and of processors."""
    audio = _sound(rate, seconds)
    denoiser = Denoiser(model, threads=cores)
    denoiser.denoise(audio[: rate // 2], rate)
    walls, used = [], []
    for _ in range(repeats):
        begun = time.perf_counter(), time.process_time()
        denoiser.denoise(audio, rate)
        walls.append(time.perf_counter() - begun[0])
        used.append(time.process_time() - begun[1])
    return {"rtf": min(walls) / seconds, "processor_rtf": min(used) / seconds}


def live(model: str, rate: int, seconds: float, block: int) -> Measured:
    """Return latency, real-time factor, and what the dearest hundredth of the blocks takes."""
    audio = _sound(rate, seconds)
    denoiser = Denoiser(model, threads=1)
    stream = denoiser.stream(rate)
    stream.feed(audio[: stream.latency + 1])
    times = []
    for start in range(0, len(audio), block):
        begun = time.process_time()
        stream.feed(audio[start : start + block])
        times.append(time.process_time() - begun)
    return {
        "latency": stream.latency,
        "latency_ms": stream.latency_ms,
        "rtf": sum(times) / seconds,
        "dearest_ms": 1000 * float(np.quantile(times, 0.99)),
        "block_ms": 1000 * block / rate,
    }


def multiplications(model: str) -> Measured:
    """Return the network's multiplications for a second of sound at 16 kHz."""
    return {"per_second": count_multiplications(model)}


def random_model(architecture: str, folder: str) -> Measured:
    """Write an untrained network of the published size; return its card's path."""
    return {"card": str(save_random(architecture, Path(folder)))}


def _sound(rate: int, seconds: float) -> np.ndarray[Any, np.dtype[np.float32]]:
    rng = np.random.default_rng(0)
    return (0.1 * rng.standard_normal(round(rate * seconds))).astype(np.float32)


PROBES = {p.__name__: p for p in (gemm, rtf, live, multiplications, random_model)}

if __name__ == "__main__":
    sys.stdout.write("\n" + json.dumps(PROBES[sys.argv[1]](**json.loads(sys.argv[2]))) + "\n")
