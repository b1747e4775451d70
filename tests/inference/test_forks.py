"""Processes that are copies of one that denoised already, as Pool and DataLoader make on Linux."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="no process is a copy here"
)

POOL = """
import multiprocessing
import numpy as np
from biodenoising import Denoiser, denoise
audio = np.random.default_rng(0).standard_normal(320_000).astype(np.float32)  # several chunks
loaded = Denoiser("light", threads=2)
stream = loaded.stream(16_000)
def heard(how):
    if how == "function":
        return denoise(audio, 16_000, model="light")
    if how == "object":
        return loaded.denoise(audio, 16_000)
    return stream.feed(audio[:40_000])
before = {how: heard(how) for how in ("function", "object")}
with multiprocessing.get_context("fork").Pool(2) as pool:
    for how, expected in before.items():
        for made in pool.map_async(heard, [how] * 2).get(60):
            assert np.array_equal(made, expected), how
    assert len(pool.map_async(heard, ["stream"]).get(60)[0]) == 40_000
print("well")
"""

LOADER = """
import numpy as np
import torch
from biodenoising import denoise
audio = np.random.default_rng(0).standard_normal(320_000).astype(np.float32)
expected = denoise(audio, 16_000, model="light")
class Quiet(torch.utils.data.Dataset):
    def __len__(self):
        return 2
    def __getitem__(self, index):
        return denoise(torch.from_numpy(audio), 16_000, model="light")
loader = torch.utils.data.DataLoader(
    Quiet(), batch_size=None, num_workers=2, timeout=60, multiprocessing_context="fork"
)
assert all(np.array_equal(made.numpy(), expected) for made in loader)
print("well")
"""


@pytest.mark.parametrize("code", [POOL, LOADER], ids=["pool", "loader"])
def test_a_copy_denoises_as_its_original(code: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.stdout == "well\n", done.stderr
