"""A tone in noise, teachers that do nothing, and a folder of weights that is none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from biodenoising.teachers import registry
from biodenoising.teachers.base import Enhance, Teacher, Wave

RATE = 16_000


@pytest.fixture
def noisy() -> Wave:
    """Return two seconds of a rising, interrupted call in faint noise at 16 kHz."""
    rng = np.random.default_rng(2)
    time_s = np.arange(2 * RATE) / RATE
    call = np.sin(2 * np.pi * (500 + 750 * time_s) * time_s) * (np.sin(9 * time_s) > 0)
    return (0.3 * call + 0.01 * rng.standard_normal(len(time_s))).astype(np.float32)


@pytest.fixture
def make_teacher() -> Callable[..., Teacher]:
    """Make a teacher of a function; it does nothing unless told otherwise."""

    def make(
        enhance: Enhance = lambda heard, rate: heard,
        rate: int | None = RATE,
        longest: int = 1 << 20,
    ) -> Teacher:
        return Teacher("made", "none", rate, enhance, "1", longest)

    return make


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder of weights and an empty cache; nothing loaded before is remembered."""
    folder = tmp_path / "weights"
    folder.mkdir()
    monkeypatch.setenv("BIODENOISING_TEACHERS", str(folder))
    monkeypatch.setattr("biodenoising.teachers.weights._cache", lambda: tmp_path / "cache")
    registry.find_teacher.cache_clear()
    yield folder
    registry.find_teacher.cache_clear()
