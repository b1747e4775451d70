"""Settings are read whole or refused in one line that says what would be right."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import biodenoising
from biodenoising.errors import OptionError, TrainingError
from biodenoising.training.configuration import build, read_settings
from biodenoising.training.runs import as_yaml
from biodenoising.training.schedule import first_beta, rate_share
from biodenoising.training.settings import ScheduleSettings, TrainingSettings
from biodenoising.training.state import new_network

RECIPES = sorted((Path(biodenoising.__file__).parents[1] / "recipes").glob("*/*.yaml"))
TRAININGS = [path for path in RECIPES if path.parent.name in ("paper", "compact", "smoke")]


def refused(record: Any) -> str:
    with pytest.raises(OptionError) as caught:
        build(TrainingSettings, record)
    message = str(caught.value)
    assert "\n" not in message
    return message


LEAST: dict[str, Any] = {"name": "x", "architecture": "demucs", "schedule": {"steps": 5}}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"optimiser": {}}, "unknown key optimiser; did you mean optimizer?"),
        ({"optimizer": {"rat": 1}}, "unknown key optimizer.rat; did you mean optimizer.rate?"),
        ({"checks": {"zzz": 1}}, "unknown key checks.zzz; known: every_steps, held_back"),
        ({"batch": "many"}, 'batch must be a whole number, not "many"'),
        ({"batch": 1.5}, "batch must be a whole number"),
        ({"batch": 0}, "batch must be at least 1"),
        ({"batch": True}, "batch must be a whole number, not true"),
        ({"optimizer": {"rate": ".inf"}}, "optimizer.rate must be a number"),
        ({"optimizer": {"betas": [0.9]}}, "optimizer.betas must be 2 values, not 1"),
        ({"optimizer": {"kind": "sgd"}}, "optimizer.kind must be adamw or adam or nadam"),
        ({"optimizer": 3}, "optimizer: expected keys and values, found 3"),
        ({"schedule": {"steps": 5, "minutes": 5}}, "schedule: give either steps or minutes"),
        ({"schedule": {}}, "schedule: give either steps or minutes"),
        ({"loss": {"snr": 0, "spectra": 0}}, "loss: at least one term"),
        ({"loss": {"magnitude_hops": [1]}}, "loss: magnitude_sizes"),
        ({"mixtures": {"mp3": 2}}, "mixtures: mp3 must be between 0 and 1"),
        ({"corpus": {"sets": ["benchmark"]}}, "corpus: the set benchmark is never trained on"),
        ({"export": {"chunking": {"samples": 10, "left": 9, "right": 9}}}, "export.chunking: "),
        ({"remix": {"share": 0.1}}, "settings: share 0.1 of a batch of 12 must be 2 or more"),
        ({"name": "a/b"}, "settings: name must be letters"),
    ],
)
def test_wrong_settings_are_refused(change: dict[str, Any], words: str) -> None:
    assert words in refused(LEAST | change)


def test_what_is_missing_is_named() -> None:
    assert refused({"name": "x", "architecture": "demucs"}) == "schedule is missing"
    assert refused(None).startswith("expected keys and values")


def test_a_file_is_named_in_its_error(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    with pytest.raises(TrainingError, match=r"mine\.yaml: cannot be read"):
        read_settings(path)
    path.write_text("a: [1", encoding="utf-8")
    with pytest.raises(OptionError, match=r"mine\.yaml: not YAML"):
        read_settings(path)
    path.write_text(yaml.safe_dump(LEAST | {"sede": 1}), encoding="utf-8")
    with pytest.raises(OptionError, match=r"mine\.yaml: unknown key sede; did you mean seed\?"):
        read_settings(path)


def test_numbers_without_a_point_are_numbers(tmp_path: Path) -> None:
    """YAML 1.1 takes 1e-3 for text."""
    path = tmp_path / "mine.yaml"
    path.write_text(
        "{name: x, architecture: demucs, schedule: {steps: 5}, optimizer: {rate: 1e-3}}",
        encoding="utf-8",
    )
    assert read_settings(path).optimizer.rate == 1e-3


def test_wrong_network_arguments_are_refused(settings: Callable[..., TrainingSettings]) -> None:
    with pytest.raises(OptionError, match=r"network\.hiden; did you mean network\.hidden\?"):
        new_network(settings(network={"hiden": 4}))
    with pytest.raises(OptionError, match=r"network: .*upsample must be"):
        new_network(settings(network={"upsample": 3}))


@pytest.mark.parametrize("path", TRAININGS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_recipes_are_read_and_written_back_the_same(path: Path) -> None:
    settings = read_settings(path)
    assert build(TrainingSettings, yaml.safe_load(as_yaml(settings))) == settings


def test_the_papers_figures_are_in_its_recipes() -> None:
    assert len(TRAININGS) >= 6
    demucs, cleanunet = (
        read_settings(next(p for p in TRAININGS if p.parent.name == "paper" and p.stem == name))
        for name in ("demucs", "cleanunet")
    )
    assert demucs.optimizer.kind == "nadam"
    assert (demucs.batch, demucs.optimizer.largest_gradient) == (32, 10)
    assert demucs.mixtures.samples == 64_085 - 35_000
    assert demucs.mixtures.call_octaves == pytest.approx(-math.log2(0.8), abs=1e-5)
    assert {name for name, weight in demucs.loss.weights.items() if weight} == {"l1"}
    assert cleanunet.batch * cleanunet.schedule.steps == 16_000_000
    assert cleanunet.loss.weights["convergence"] == cleanunet.loss.weights["log_magnitude"] == 0.5
    sizes = {(512, 50, 240), (1024, 120, 600), (2048, 240, 1200)}
    loss = cleanunet.loss
    assert sizes == set(
        zip(loss.magnitude_sizes, loss.magnitude_hops, loss.magnitude_windows, strict=True)
    )


# --- the learning rate ---------------------------------------------------------------------------


def test_the_rate_warms_up_and_follows_a_cosine() -> None:
    schedule = ScheduleSettings(minutes=10, warm_up_steps=100, final_divisor=50)
    assert rate_share(schedule, 0, 0) == pytest.approx(1e-6)
    assert rate_share(schedule, 50, 0) == pytest.approx(0.5, rel=1e-5)
    assert rate_share(schedule, 5_000, 0.5) == pytest.approx(0.51)
    assert rate_share(schedule, 9_000, 1.0) == pytest.approx(0.02)
    assert rate_share(schedule, 9_000, 1.5) == pytest.approx(0.02)


def test_the_papers_schedule_is_torchs_one_cycle() -> None:
    path = next(p for p in TRAININGS if p.parent.name == "paper" and p.stem == "demucs")
    steps = 1_000
    schedule = dataclasses.replace(read_settings(path).schedule, steps=steps, hold_from=None)
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.NAdam([weight], lr=1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1.0, total_steps=steps)
    for step in range(steps):
        share, beta = (f(schedule, step, step / steps) for f in (rate_share, first_beta))
        # torch ends its phases one step earlier.
        assert share == pytest.approx(optimizer.param_groups[0]["lr"], abs=0.006)
        assert beta == pytest.approx(optimizer.param_groups[0]["betas"][0], abs=1e-3)
        optimizer.step()
        if step < steps - 1:
            theirs.step()


def test_averaging_holds_the_peak_rate() -> None:
    schedule = ScheduleSettings(steps=100, warm_up_steps=0, hold_from=40, hold_over=20)
    at_40 = rate_share(schedule, 40, 0.4)
    assert at_40 == pytest.approx(0.02 + 0.98 * (1 + math.cos(0.4 * math.pi)) / 2)
    assert at_40 < rate_share(schedule, 50, 0.5) < 1
    assert rate_share(schedule, 60, 0.6) == rate_share(schedule, 99, 0.99) == 1
    assert first_beta(schedule, 50, 0.5) is None
