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


def gemm(size: int = 1024, seconds: float = 1.0) -> Measured:
    """Return the best rate of float32 matrix products in GFLOP/s."""
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((size, size)).astype(np.float32) for _ in range(2))
    best, until = np.inf, time.perf_counter() + seconds
    while time.perf_counter() < until:
        begun = time.perf_counter()
        a @ b
        best = min(best, time.perf_counter() - begun)
    return {"gflops": 2 * size**3 / best / 1e9}


def rtf(model: str, rate: int, seconds: float, threads: int, repeats: int = 3) -> Measured:
    """Return the real-time factor of an array through a loaded model."""
    audio = _sound(rate, seconds)
    denoiser = Denoiser(model, threads=threads)
    denoiser.denoise(audio[: rate // 2], rate)
    times = []
    for _ in range(repeats):
        begun = time.perf_counter()
        denoiser.denoise(audio, rate)
        times.append(time.perf_counter() - begun)
    return {"rtf": min(times) / seconds}


def live(model: str, rate: int, seconds: float, block: int) -> Measured:
    """Return latency, real-time factor, and how long the slowest hundredth of the blocks took."""
    audio = _sound(rate, seconds)
    denoiser = Denoiser(model, threads=1)
    stream = denoiser.stream(rate)
    stream.feed(audio[: stream.latency + 1])
    times = []
    for start in range(0, len(audio), block):
        begun = time.perf_counter()
        stream.feed(audio[start : start + block])
        times.append(time.perf_counter() - begun)
    return {
        "latency": stream.latency,
        "latency_ms": stream.latency_ms,
        "rtf": sum(times) / seconds,
        "slowest_ms": 1000 * float(np.quantile(times, 0.99)),
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
