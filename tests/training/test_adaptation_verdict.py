"""What an adaptation ends with, from recordings to verdict: nothing of it is put in by hand.

The place is made up: whistles over a rumble with three hums. A mask network of a few thousand
weights stands for the model; its trainings take seconds.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from scipy import signal

from biodenoising import Adaptation, adapt, denoise
from biodenoising.metrics import si_sdr
from biodenoising.models.cards import Card, Chunking, read_card
from biodenoising.models.masknet import MaskNet, MaskNetSettings
from biodenoising.models.networks import save_checkpoint
from biodenoising.models.registry import fingerprint
from biodenoising.teachers.candidates import TeacherPlan
from biodenoising.training import adaptation_check, adaptation_run, fine_tuning
from biodenoising.training.settings import AverageSettings, OptimizerSettings, ScheduleSettings

pytestmark = pytest.mark.slow

RATE_HZ = 16_000
STEPS, RATE = 150, 4e-3
Adapt = Callable[..., Adaptation]


def scene(seed: int, seconds: float = 29.0) -> tuple[np.ndarray, np.ndarray]:
    """Return whistles every three seconds and the noise of the place, (samples,) each."""
    rng = np.random.default_rng(seed)
    seconds_at = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    low = signal.butter(4, 1_500, fs=RATE_HZ, output="sos")
    rumble = signal.sosfilt(low, rng.standard_normal(len(seconds_at)))
    hums = sum(np.sin(2 * np.pi * hertz * seconds_at + hertz) for hertz in (437, 1311, 2185))
    noise = 0.05 * rumble / rumble.std() + 0.015 * hums
    noise += 0.0015 * rng.standard_normal(len(noise))
    calls = np.zeros(len(noise))
    for at in np.arange(1.5, seconds - 2, 3.0):
        within = np.arange(round(rng.uniform(0.5, 0.8) * RATE_HZ)) / RATE_HZ
        sweep = signal.chirp(within, 2_800, within[-1], rng.uniform(4_500, 6_000))
        start = round(at * RATE_HZ)
        calls[start : start + len(sweep)] += 0.25 * sweep * np.hanning(len(sweep))
    return calls, noise


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four recordings with nine calls each."""
    folder = tmp_path_factory.mktemp("place")
    for number in range(4):
        soundfile.write(folder / f"{number}.wav", sum(scene(number)), RATE_HZ, subtype="PCM_16")
    return folder


@pytest.fixture(scope="module")
def patched() -> pytest.MonkeyPatch:
    """Small mixtures, few checks, one quick teacher, all recordings heard."""
    with pytest.MonkeyPatch.context() as patch:
        plans = [TeacherPlan("noisereduce", (1.0, 2.0))]
        patch.setattr(adaptation_run, "usable_plans", lambda base: (plans, []))
        patch.setattr(adaptation_run, "fast_precision", lambda network, samples: "32-true")
        patch.setattr(adaptation_run, "GATHER_SHARE", 1000)
        patch.setattr(adaptation_run, "SHARES_ALONE", (0.5, 1.0))
        patch.setattr(adaptation_check, "SAMPLES", 16_000)
        patch.setattr(adaptation_check, "CALLS_OF_A_HALF", (16, 16))
        mixtures = dataclasses.replace(fine_tuning.MIXTURES, samples=4_096)
        patch.setattr(fine_tuning, "MIXTURES", mixtures)
        yield patch


@pytest.fixture(scope="module")
def adapt_by(patched: pytest.MonkeyPatch, recordings: Path) -> Adapt:
    """Adapt in so many steps at such a rate, instead of by the clock."""

    def run(out: Path, base: Path, steps: int, rate: float) -> Adaptation:
        def settings(card: Card, minutes: float, precision: str, **rest: bool) -> object:
            return dataclasses.replace(
                fine_tuning.tuning_settings(card, minutes, precision, **rest),
                schedule=ScheduleSettings(steps=steps, warm_up_steps=1, final_divisor=20),
                optimizer=OptimizerSettings(rate=rate),
                average=AverageSettings(decay=0.9),
            )

        patched.setattr(adaptation_run, "tuning_settings", settings)
        return adapt(recordings, out, base=base, minutes=0.1, keep=True)

    return run


@pytest.fixture(scope="module")
def unknowing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The card of a network that learnt to let everything through."""
    torch.manual_seed(3)
    size = {"short": 64, "long": 128, "hop": 32, "channels": [4, 8], "across": 4, "along": 8}
    network = MaskNet(MaskNetSettings(**size, blocks=1))
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    for _ in range(100):
        optimizer.zero_grad()
        sound = torch.randn(6, 1, 4_096)
        (network(sound) - sound).abs().mean().backward()
        optimizer.step()
    card = Card(
        name="unknowing",
        architecture="masknet",
        sample_rate=RATE_HZ,
        chunking=Chunking(samples=16_384, left=2_048, right=2_048, overlap=256),
        licence="none",
        description="Lets everything through, for tests.",
    )
    folder = tmp_path_factory.mktemp("unknowing")
    save_checkpoint(network.eval(), card, folder, half=False)
    return folder / "unknowing.json"


@pytest.fixture(scope="module")
def adapted(
    adapt_by: Adapt, unknowing: Path, tmp_path_factory: pytest.TempPathFactory
) -> Adaptation:
    """How the adaptation of that network ended; its work folder lies beside."""
    out = tmp_path_factory.mktemp("adapted") / "place.safetensors"
    return adapt_by(out, unknowing, STEPS, RATE)


def again(adapted: Adaptation, folder: Path) -> tuple[Path, Path]:
    """Return the new model as a base, and a place for its successor, with all gathered again."""
    base = adapted.model
    assert base is not None
    work = folder / "next.adapting"
    ignored = shutil.ignore_patterns("training", "steps", ".lock")
    shutil.copytree(base.with_name("place.adapting"), work, ignore=ignored)
    plan = json.loads((work / "plan.json").read_text())
    plan["base"] = fingerprint(read_card(base))
    (work / "plan.json").write_text(json.dumps(plan))
    return base, folder / "next.safetensors"


def test_a_network_that_knows_nothing_of_the_place_wins(
    adapted: Adaptation, unknowing: Path
) -> None:
    verdict = adapted.verdict
    assert verdict.better, verdict.reason
    assert verdict.known is not None
    assert verdict.own is not None
    assert min(verdict.known.low, verdict.own.low) > 1.0
    assert verdict.after_db > verdict.before_db + 1.0
    # It says so itself; a recording that nothing has heard has the last word.
    calls, noise = scene(99, 12.0)
    old, new = (
        si_sdr(denoise(calls + noise, RATE_HZ, model=model), calls)
        for model in (unknowing, adapted.model)
    )
    assert new > old + 1.0


def test_an_absurd_rate_is_refused(adapted: Adaptation, adapt_by: Adapt, tmp_path: Path) -> None:
    base, out = again(adapted, tmp_path)
    ended = adapt_by(out, base, 3, 30.0)
    assert ended.model is None
    assert "no step from the old weights" in ended.verdict.reason
    assert not out.exists()
    assert not out.with_suffix(".json").exists()


def test_what_the_model_does_already_is_refused(
    adapted: Adaptation, adapt_by: Adapt, tmp_path: Path
) -> None:
    """The same recordings once more, in the small steps of fine-tuning."""
    base, out = again(adapted, tmp_path)
    ended = adapt_by(out, base, 10, 1e-4)
    assert ended.model is None
    assert ended.verdict.reason
    assert not out.exists()
