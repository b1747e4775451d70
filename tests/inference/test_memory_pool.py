"""All sessions of a process share one pool of memory, which does not grow with recordings."""

from __future__ import annotations

import subprocess
import sys

import pytest

# In a process of its own: pools are a process's, and this one has one already.
COUNTED = """
import onnxruntime
calls = []
register = onnxruntime.create_and_register_allocator
onnxruntime.create_and_register_allocator = lambda *given: (calls.append(given), register(*given))
from concurrent.futures import ThreadPoolExecutor
from biodenoising import Denoiser
import numpy as np
audio = np.random.default_rng(0).standard_normal(20_000).astype(np.float32)
with ThreadPoolExecutor(8) as pool:
    made = list(pool.map(lambda _: Denoiser("light").denoise(audio, 16_000), range(8)))
assert all(np.array_equal(one, made[0]) for one in made[1:])
print(len(calls))
"""

MANY_LENGTHS = """
import numpy as np
from biodenoising import Denoiser

def resident_mb():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))

rng = np.random.default_rng(0)
noise = rng.standard_normal(400_000).astype(np.float32)
denoiser = Denoiser("light", device="onnx", threads=1)
after = []
for turn in range(3):
    for length in rng.integers(1_000, len(noise), 12):
        denoiser.denoise(noise[:length], 16_000)
    after.append(resident_mb())
print(*after)
"""


def run(code: str) -> list[float]:
    """Run code in another process; return the figures it prints last."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [float(figure) for figure in done.stdout.split()]


def test_threads_that_open_models_at_once_register_one_pool() -> None:
    assert run(COUNTED) == [1]


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc")
def test_memory_stays_flat_over_recordings_of_many_lengths() -> None:
    first, _, last = run(MANY_LENGTHS)
    assert last < 1.15 * first
