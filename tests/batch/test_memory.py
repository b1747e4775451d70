"""Peak memory does not grow with a recording's length."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

MEASURE = """
import resource, sys
from biodenoising import denoise_file
denoise_file(sys.argv[1], sys.argv[2], model=sys.argv[3])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
MAY_GROW_BY = 1.05


def peak_kb(model: Path, folder: Path, seconds: int) -> int:
    source, target = folder / f"{seconds}.wav", folder / f"{seconds}-out.wav"
    rng = np.random.default_rng(0)
    with soundfile.SoundFile(source, "w", 48_000, 2, "PCM_16") as file:
        for _ in range(seconds):
            file.write(rng.standard_normal((48_000, 2)) * 0.1)
    shown = subprocess.run(
        [sys.executable, "-c", MEASURE, source, target, model],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    source.unlink()
    target.unlink()
    return int(shown.stdout)


@pytest.mark.slow
def test_memory_is_flat_in_length(tiny_model: Path, tmp_path: Path) -> None:
    one, eight = (peak_kb(tiny_model, tmp_path, seconds) for seconds in (60, 480))
    # The longer one alone has 180 MB of samples as float32.
    assert eight < MAY_GROW_BY * one
