"""Settings of trainings that take a second: tiny networks, synthesized sounds, this process."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from biodenoising.corpus.clips import Clip
from biodenoising.corpus.mixtures import Mixer, MixtureSettings
from biodenoising.corpus.synthesis import synthesize_call, synthesize_noise
from biodenoising.training import trainer
from biodenoising.training.configuration import build
from biodenoising.training.data import Material
from biodenoising.training.settings import TrainingSettings

NETWORKS: dict[str, dict[str, Any]] = {
    "demucs": {"hidden": 4, "depth": 3, "upsample": 2},
    "cleanunet": {
        "hidden": 4, "max_hidden": 8, "depth": 4, "width": 8, "inner_width": 16, "heads": 2,
        "blocks": 1, "attention_dropout": 0.3,
    },
    "masknet": {
        "short": 64, "long": 128, "hop": 32, "channels": [4, 8], "across": 4, "along": 8,
        "blocks": 1,
    },
}  # fmt: skip

TINY: dict[str, Any] = {
    "name": "tiny",
    "architecture": "demucs",
    "batch": 2,
    "mixtures": {
        "samples": 2048, "synthesized_calls": 0, "synthesized_noise": 0, "call_octaves": 0.3,
        "noise_octaves": 0.3, "mp3": 0, "reverberation": 0, "distance": 0,
    },
    "loss": {"spectra_sizes": [256]},
    "schedule": {"steps": 12, "warm_up_steps": 3},
    "checks": {"every_steps": 100, "held_back": 2, "own": 1, "samples": 2048},
    "machine": {"device": "cpu", "workers": 0, "log_every_steps": 2, "save_every_steps": 5},
}  # fmt: skip


def record(changes: dict[str, Any]) -> dict[str, Any]:
    """The tiny record with changes, mappings merged."""
    made = copy.deepcopy(TINY)
    for key, value in changes.items():
        made[key] = made.get(key, {}) | value if isinstance(value, dict) else value
    made.setdefault("network", NETWORKS[made["architecture"]])
    return made


@pytest.fixture
def settings() -> Callable[..., TrainingSettings]:
    """Make tiny settings: `settings(architecture=..., schedule={...})`."""

    def make(**changes: Any) -> TrainingSettings:
        return build(TrainingSettings, record(changes))

    return make


@pytest.fixture
def config(tmp_path: Path) -> Callable[..., Path]:
    """Write the tiny settings, all synthesized, as a YAML file."""

    def make(**changes: Any) -> Path:
        path = tmp_path / "tiny.yaml"
        synthesized = {"synthesized_calls": 1, "synthesized_noise": 1}
        changes["mixtures"] = synthesized | changes.get("mixtures", {})
        path.write_text(yaml.safe_dump(record(changes)), encoding="utf-8")
        return path

    return make


@pytest.fixture(scope="session")
def clips() -> tuple[list[Clip], list[Clip]]:
    """Two calls and two noises: what a tiny network can learn by heart."""
    import numpy as np

    rng = np.random.default_rng(5)
    calls = [Clip(synthesize_call(kind, 16_000, rng), 1.0) for kind in ("whistle", "whale moan")]
    noises = [Clip(synthesize_noise(kind, 16_000, 1.0, rng), 1.0) for kind in ("pink", "white")]
    return calls, noises


@pytest.fixture
def material(
    clips: tuple[list[Clip], list[Clip]],
) -> Callable[[TrainingSettings], Material]:
    """Make the material of settings from the two calls and noises."""

    def make(settings: TrainingSettings) -> Material:
        plain: MixtureSettings = settings.mixtures.plain(settings.checks.samples, (-5.0, 10.0))
        held, own = Mixer(*clips, plain, 0), Mixer(*clips, plain, 1)
        checks = {"held back": [held(0), held(1)], "own": [own(0)]}
        return Material(Mixer(*clips, settings.mixtures, settings.seed), checks, "tiny")

    return make


@pytest.fixture(autouse=True)
def _no_drawing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the picture, which takes longer than the run, but where a test looks at it."""
    if "curves" not in request.node.name:
        monkeypatch.setattr(trainer, "draw_curves", lambda folder: None)


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
