"""Small folders of sound and plain systems for the benchmark's own tests."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))


@pytest.fixture
def own_folders(tmp_path: Path) -> tuple[Path, Path]:
    """Two clips and two noises at 16 kHz, one second each."""
    rng = np.random.default_rng(3)
    time_s = np.arange(16_000) / 16_000
    folders = tmp_path / "clean", tmp_path / "noise"
    for folder in folders:
        folder.mkdir()
    for index, pitch in enumerate((900, 2500)):
        call = np.sin(2 * np.pi * pitch * time_s) * (np.sin(2 * np.pi * 3 * time_s) > 0.3)
        soundfile.write(folders[0] / f"call{index}.wav", 0.5 * call, 16_000)
        soundfile.write(folders[1] / f"bed{index}.wav", 0.1 * rng.standard_normal(24_000), 16_000)
    return folders


@pytest.fixture
def noisy() -> np.ndarray:
    """Return a tone in noise, float32, one second at 16 kHz."""
    rng = np.random.default_rng(5)
    tone = np.sin(2 * np.pi * 1200 * np.arange(16_000) / 16_000)
    return (0.3 * tone + 0.1 * rng.standard_normal(16_000)).astype(np.float32)
