"""Same input and settings, same bytes: for any workers, blocks read, order and history of runs."""

from __future__ import annotations

import random

import numpy as np
import pytest

from biodenoising import Denoiser
from biodenoising.batch import files

NAMES = ("a.wav", "b.flac", "c.ogg", "d.mp3", "e.aiff")


@pytest.fixture
def wanted(tree, biodenoise):
    for number, name in enumerate(NAMES):
        tree.add(name, 30_000, seed=number, channels=1 + number % 2)
    assert biodenoise(tree.input, tree.root / "undisturbed").exit_code == 0
    return tree.outputs(tree.root / "undisturbed")


@pytest.mark.parametrize("frames", [777, 4_096, 65_537, 1 << 20])
def test_whatever_is_read_at_a_time(tree, biodenoise, wanted, monkeypatch, frames) -> None:
    monkeypatch.setattr(files, "BLOCK_FRAMES", frames)
    assert biodenoise(tree.input, tree.output).exit_code == 0
    assert tree.outputs() == wanted


@pytest.mark.parametrize("seed", range(4))
def test_whatever_was_done_before(tree, biodenoise, wanted, seed) -> None:
    rng = random.Random(seed)
    for _ in range(3):
        chosen = rng.sample(NAMES, 2)
        options = [word for name in chosen for word in ("--include", name)]
        assert biodenoise(tree.input, tree.output, *options).exit_code == 0
        for path in list(tree.output.glob(rng.choice(["*.wav", "*.flac", "nothing"]))):
            path.unlink()
    assert biodenoise(tree.input, tree.output).exit_code == 0
    assert tree.outputs() == wanted


@pytest.mark.parametrize(
    "model",
    ["compact", *(pytest.param(m, marks=pytest.mark.slow) for m in ("demucs", "cleanunet"))],
)
def test_whatever_the_threads_of_a_shipped_model(model) -> None:
    """More processes mean fewer threads each, and that must not be heard in the last bit either."""
    noise = np.random.default_rng(2).uniform(-0.3, 0.3, (1, 40_000)).astype(np.float32)
    one, two, four = (Denoiser(model, threads=n).denoise(noise, 16_000) for n in (1, 2, 4))
    assert np.array_equal(one, two)
    assert np.array_equal(one, four)


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [0, 2, 4])
def test_whatever_the_workers(tree, command, wanted, jobs) -> None:
    result = command.run(tree.input, tree.output, jobs=jobs)
    assert result.returncode == 0, result.stderr
    assert tree.outputs() == wanted


@pytest.mark.slow
def test_four_runs_started_at_once(tree, command, wanted) -> None:
    started = [command.start(tree.input, tree.output) for _ in range(4)]
    codes = []
    for process in started:
        _, error = process.communicate(timeout=200)
        assert process.returncode in (0, 2), error
        assert process.returncode == 0 or "another run" in error
        codes.append(process.returncode)
    assert 0 in codes
    assert tree.outputs() == wanted
    assert tree.leftovers() == []
