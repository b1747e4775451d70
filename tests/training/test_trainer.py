"""A run learns, averages, stops at what is not finite, and goes on exactly where it was killed."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from biodenoising.corpus.clips import Clip
from biodenoising.corpus.mixtures import Listener, Mixture
from biodenoising.errors import TrainingError
from biodenoising.training import trainer
from biodenoising.training.checks import Check, improvement
from biodenoising.training.data import Batches, Material, batches_from
from biodenoising.training.losses import loss_terms, weighted_sum
from biodenoising.training.remix import remix
from biodenoising.training.settings import TrainingSettings
from biodenoising.training.state import AVERAGE, BEST, CHECKPOINT, RunState, read_checkpoint
from biodenoising.training.trainer import Progress, train

Make = Callable[..., TrainingSettings]
MakeMaterial = Callable[[TrainingSettings], Material]
Weights = dict[str, torch.Tensor]


def assert_same(ours: Weights, theirs: Weights) -> None:
    assert ours.keys() == theirs.keys()
    for name, weight in ours.items():
        assert torch.equal(weight, theirs[name]), name


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


class Killed(Exception):
    """Stands for what no code can catch."""


def kill_at(step: int) -> Callable[[Any], None]:
    def observe(event: Any) -> None:
        if isinstance(event, Progress) and event.step == step:
            raise Killed

    return observe


# --- learning ------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ["demucs", "masknet", "cleanunet"])
def test_the_loss_falls_on_a_fixed_set(
    architecture: str, settings: Make, material: MakeMaterial, tmp_path: Path
) -> None:
    chosen = settings(
        architecture=architecture,
        batch=4,
        schedule={"steps": 40, "warm_up_steps": 5},
        optimizer={"rate": 5e-3},
        average={"decay": 0.9},
    )
    made = material(chosen)
    fixed = [Batches(made, chosen)[number] for number in range(1_000, 1_003)]

    def loss(network: torch.nn.Module) -> float:
        with torch.no_grad():
            losses = []
            for noisy, target, floor, _ in fixed:
                estimate = network(noisy[:, None])[:, 0]
                terms = loss_terms(estimate, target, noisy, floor, chosen.loss)
                losses.append(weighted_sum(terms, chosen.loss).item())
        return float(np.mean(losses))

    before = RunState(chosen)
    summary = train(chosen, made, tmp_path)
    after = RunState(chosen)
    after.load(tmp_path)
    assert summary.ending == "finished"
    assert summary.step == after.step == 40
    assert loss(after.average) < loss(before.network.eval()) - 0.1
    logged = rows(tmp_path / "log.csv")
    assert [row["step"] for row in logged] == [str(step) for step in range(2, 41, 2)]
    assert set(logged[0]) == {"step", "seconds", "rate", "gradient", "loss", "snr", "spectra"}


def test_checks_measure_what_the_averaged_weights_do(
    settings: Make, material: MakeMaterial, tmp_path: Path
) -> None:
    chosen = settings(checks={"every_steps": 6})
    made = material(chosen)
    seen: list[Any] = []
    summary = train(chosen, made, tmp_path, observer=seen.append)
    checks = [event for event in seen if isinstance(event, Check)]
    assert [(c.step, c.name) for c in checks] == [
        (6, "held back"), (6, "own"), (12, "held back"), (12, "own"),
    ]  # fmt: skip
    assert [row["step"] for row in rows(tmp_path / "checks.csv")] == ["6", "6", "12", "12"]
    run = RunState(chosen)
    run.average.load_state_dict(load_file(tmp_path / AVERAGE))
    again = improvement(run.average, made.checks["held back"], torch.device("cpu"))
    assert (summary.checks[0].median_db, summary.checks[0].worse) == again


def test_improvement_of_known_denoisers() -> None:
    class Halved(torch.nn.Module):
        def forward(self, noisy: torch.Tensor) -> torch.Tensor:
            return 0.5 * noisy

    class Oracle(torch.nn.Module):
        def forward(self, noisy: torch.Tensor) -> torch.Tensor:
            return torch.from_numpy(target + 0.1 * noise).expand_as(noisy)

    rng = np.random.default_rng(1)
    target, noise = (rng.standard_normal(4_000).astype(np.float32) for _ in range(2))
    mixtures = [Mixture(target + noise, target, np.float32(1e-3))] * 5
    cpu = torch.device("cpu")
    assert improvement(Halved(), mixtures, cpu)[0] == pytest.approx(0, abs=1e-4)
    gained, worse = improvement(Oracle(), mixtures, cpu)
    assert gained == pytest.approx(20, abs=0.5)
    assert worse == 0


# --- averages ------------------------------------------------------------------------------------


def test_the_moving_average_is_saved_and_is_what_it_should_be(
    settings: Make, material: MakeMaterial, tmp_path: Path
) -> None:
    chosen = settings(average={"decay": 0.5}, schedule={"steps": 4, "warm_up_steps": 0})
    expected: Weights = {k: v.clone() for k, v in RunState(chosen).network.state_dict().items()}
    seen: list[Weights] = []

    class Watched(RunState):
        def follow(self) -> None:
            seen.append({k: v.clone() for k, v in self.network.state_dict().items()})
            super().follow()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "RunState", Watched)
        train(chosen, material(chosen), tmp_path)
    for step, weights in enumerate(seen, start=1):
        keep = min(0.5, step / (step + 10))
        expected = {k: keep * expected[k] + (1 - keep) * weights[k] for k in expected}
    saved = load_file(tmp_path / AVERAGE)
    for name, weight in expected.items():
        torch.testing.assert_close(saved[name], weight)
    assert any(not torch.equal(saved[name], seen[-1][name]) for name in saved)


def test_equal_averaging_is_the_mean_of_the_chosen_steps(settings: Make) -> None:
    run = RunState(settings(average={"kind": "equal", "from_step": 4, "every_steps": 3}))
    name = next(iter(dict(run.network.named_parameters())))
    for step in range(1, 12):
        run.step = step
        with torch.no_grad():
            run.network.get_parameter(name).fill_(float(step))
        run.follow()
    # Steps 4, 7 and 10; before them the average was the weights.
    assert run.average.get_parameter(name).unique().tolist() == [pytest.approx(7.0)]


# --- remixing ------------------------------------------------------------------------------------


class Splitter(torch.nn.Module):
    """Takes the even samples for the call."""

    def forward(self, noisy: torch.Tensor) -> torch.Tensor:
        kept = torch.zeros_like(noisy)
        kept[..., ::2] = noisy[..., ::2]
        return kept


def test_remixing_gives_each_call_another_ones_noise() -> None:
    segments = torch.randn(3, 1_000, generator=torch.Generator().manual_seed(1))
    noisy, calls = remix(Splitter(), segments)
    torch.testing.assert_close(noisy.square().mean(-1), torch.ones(3))
    for row in range(3):
        level = calls[row, 0] / segments[row, 0]
        torch.testing.assert_close(calls[row, ::2], level * segments[row, ::2])
        assert not calls[row, 1::2].any()
        torch.testing.assert_close(noisy[row, 1::2], level * segments[row - 1, 1::2])


def test_remixing_begins_at_its_step_and_resumes_exactly(
    settings: Make, material: MakeMaterial, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []

    def counted(estimate: torch.Tensor, *others: Any) -> dict[str, torch.Tensor]:
        sizes.append(len(estimate))
        return loss_terms(estimate, *others)

    monkeypatch.setattr(trainer, "loss_terms", counted)
    chosen = settings(batch=4, remix={"share": 0.5, "from_step": 3})
    made = material(chosen)
    recordings = [Clip(clip.audio + 0.1, 1.0) for clip in made.mixer.calls]
    made = dataclasses.replace(made, listener=Listener(recordings, chosen.mixtures, 1))
    train(chosen, made, tmp_path / "straight")
    assert sizes == [2] * 3 + [4] * 9
    with pytest.raises(Killed):
        train(chosen, made, tmp_path / "broken", observer=kill_at(8))
    train(chosen, made, tmp_path / "broken")
    assert_same(
        load_file(tmp_path / "broken" / AVERAGE), load_file(tmp_path / "straight" / AVERAGE)
    )


# --- going on ------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ["cleanunet", "masknet"])
def test_a_killed_run_ends_with_the_weights_of_an_undisturbed_one(
    architecture: str, settings: Make, material: MakeMaterial, tmp_path: Path
) -> None:
    """CleanUNet draws dropout, the mask network keeps running statistics."""
    chosen = settings(architecture=architecture, checks={"every_steps": 4})
    made = material(chosen)
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    train(chosen, made, straight)
    for step in (3, 9, 11):  # before the first checkpoint, and twice after one at 5
        with pytest.raises(Killed):
            train(chosen, made, broken, observer=kill_at(step))
        torch.rand(7)  # whatever else happened to the generator
    train(chosen, made, broken)
    assert_same(load_file(broken / AVERAGE), load_file(straight / AVERAGE))
    ours, theirs = read_checkpoint(broken), read_checkpoint(straight)
    assert_same(ours["network"], theirs["network"])
    for key, moments in theirs["optimizer"]["state"].items():
        for name, value in moments.items():
            assert torch.equal(ours["optimizer"]["state"][key][name], value)
    steps = [row["step"] for row in rows(broken / "log.csv")]
    assert steps == [row["step"] for row in rows(straight / "log.csv")]
    without_time = [
        [{**row, "seconds": ""} for row in rows(folder / "checks.csv")]
        for folder in (broken, straight)
    ]
    assert without_time[0] == without_time[1]


def test_a_run_that_was_asked_to_stop_goes_on_just_as_well(
    settings: Make, material: MakeMaterial, tmp_path: Path
) -> None:
    chosen = settings()
    made = material(chosen)
    steps = iter(range(1, 100))
    summary = train(chosen, made, tmp_path / "broken", stop=lambda: next(steps) == 7)
    assert (summary.ending, summary.step) == ("interrupted", 7)
    train(chosen, made, tmp_path / "broken")
    train(chosen, made, tmp_path / "straight")
    assert_same(
        load_file(tmp_path / "broken" / AVERAGE), load_file(tmp_path / "straight" / AVERAGE)
    )


def test_batches_are_the_same_from_any_number_of_processes(
    settings: Make, material: MakeMaterial
) -> None:
    alone = settings(machine={"workers": 0})
    shared = settings(machine={"workers": 2})
    made = material(alone)
    ours, theirs = (batches_from(made, chosen, 3) for chosen in (alone, shared))
    for number in range(3, 8):
        for a, b, c in zip(next(ours), next(theirs), Batches(made, alone)[number], strict=True):
            assert torch.equal(a, b)
            assert torch.equal(a, c)


def test_minutes_are_used_up_over_several_sittings(
    settings: Make, material: MakeMaterial, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(10**6))  # every look at it is a second later: two a step
    monkeypatch.setattr(trainer.time, "monotonic", lambda: next(clock))
    chosen = settings(schedule={"steps": None, "minutes": 0.5})
    made = material(chosen)
    with pytest.raises(Killed):
        train(chosen, made, tmp_path, observer=kill_at(8))
    summary = train(chosen, made, tmp_path)
    assert (summary.step, summary.used_s) == (15, 30.0)


# --- what goes wrong -----------------------------------------------------------------------------


def poisoned(made: Material, index: int) -> Material:
    class Poisoned(type(made.mixer)):  # type: ignore[misc]
        def __call__(self, number: int) -> Mixture:
            mixture = super().__call__(number)
            return mixture._replace(target=mixture.target * np.nan) if number == index else mixture

    mixer = made.mixer
    bad = Poisoned(mixer.calls, mixer.noises, mixer.settings, mixer.seed)
    return Material(bad, made.checks, made.description)


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_checkpoint(
    settings: Make, material: MakeMaterial, tmp_path: Path
) -> None:
    chosen = settings()
    with pytest.raises(TrainingError) as caught:
        train(chosen, poisoned(material(chosen), 15), tmp_path)
    message = str(caught.value)
    assert "the loss is not finite in batch 7 (mixtures 14 to 15 of seed 1)" in message
    assert "is kept" in message
    assert read_checkpoint(tmp_path)["step"] == 5
    saved = load_file(tmp_path / AVERAGE)
    assert all(torch.isfinite(weight).all() for weight in saved.values())


def test_a_gradient_that_is_not_finite_is_passed_over(
    settings: Make, material: MakeMaterial, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 0

    def spoiled(*args: Any) -> dict[str, torch.Tensor]:
        nonlocal count
        count += 1
        terms = loss_terms(*args)
        if count == 4:  # a root's slope at zero is infinite
            terms["snr"] = terms["snr"] + (args[0] * 0).sum().abs().sqrt()
        return terms

    monkeypatch.setattr(trainer, "loss_terms", spoiled)
    chosen = settings()
    notes: list[Any] = []
    summary = train(chosen, material(chosen), tmp_path, observer=notes.append)
    assert (summary.skipped, summary.step) == (1, 12)
    assert any("step 3: the gradient is not finite" in str(note) for note in notes)
    saved = load_file(tmp_path / AVERAGE)
    assert all(torch.isfinite(weight).all() for weight in saved.values())


@pytest.mark.parametrize(
    "change",
    [{"architecture": "masknet"}, {"network": {"hidden": 6, "depth": 3, "upsample": 2}}],
)
def test_a_checkpoint_of_another_network_is_refused(
    change: dict[str, Any], settings: Make, material: MakeMaterial, tmp_path: Path
) -> None:
    chosen = settings(schedule={"steps": 2})
    train(chosen, material(chosen), tmp_path)
    before = (tmp_path / CHECKPOINT).read_bytes()
    other = settings(**change)
    with pytest.raises(TrainingError, match=r"is of another network, demucs .*--fresh"):
        train(other, material(other), tmp_path)
    assert (tmp_path / CHECKPOINT).read_bytes() == before


def test_a_damaged_checkpoint_is_refused(
    settings: Make, material: MakeMaterial, tmp_path: Path
) -> None:
    chosen = settings(schedule={"steps": 2})
    train(chosen, material(chosen), tmp_path)
    data = (tmp_path / CHECKPOINT).read_bytes()
    for damaged in (data[: len(data) // 2], b"", b"nothing of the kind"):
        (tmp_path / CHECKPOINT).write_bytes(damaged)
        with pytest.raises(TrainingError, match="damaged"):
            train(chosen, material(chosen), tmp_path)


def test_other_settings_than_before_are_told(
    settings: Make, material: MakeMaterial, tmp_path: Path
) -> None:
    chosen = settings(schedule={"steps": 2})
    train(chosen, material(chosen), tmp_path)
    notes: list[Any] = []
    other = settings(optimizer={"rate": 1e-4}, mixtures={"snr_db": [0, 1]})
    train(other, material(other), tmp_path, observer=notes.append)
    assert "other settings than before: mixtures.snr_db, optimizer.rate" in notes


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes"),
        MemoryError(),
    ],
)
def test_want_of_memory_says_what_to_lower(
    error: Exception,
    settings: Make,
    material: MakeMaterial,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*args: Any) -> None:
        raise error

    monkeypatch.setattr(trainer, "loss_terms", fail)
    chosen = settings()
    with pytest.raises(TrainingError, match=r"out of memory with batch 2 .*lower batch"):
        train(chosen, material(chosen), tmp_path)


def test_other_errors_are_not_taken_for_want_of_memory(
    settings: Make, material: MakeMaterial, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any) -> None:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(trainer, "loss_terms", fail)
    chosen = settings()
    with pytest.raises(RuntimeError, match="shapes do not match"):
        train(chosen, material(chosen), tmp_path)


def test_a_run_that_no_longer_improves_stops_with_its_best_weights(
    settings: Make, material: MakeMaterial, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    medians = iter([1.0, 2.0, 1.5, 1.9])
    kept: dict[float, Weights] = {}

    def measured(average: Any, mixtures: Any, device: Any) -> tuple[float, float]:
        if len(mixtures) == 1:
            return 0.0, 0.0
        median = next(medians)
        weights = average.args[0].state_dict()  # heard as it is, or at fractions of the rate too
        kept[median] = {k: v.clone() for k, v in weights.items()}
        return median, 0.0

    monkeypatch.setattr(trainer, "improvement", measured)
    chosen = settings(checks={"every_steps": 2, "patience": 2}, schedule={"steps": 100})
    summary = train(chosen, material(chosen), tmp_path)
    assert (summary.ending, summary.step) == ("stopped early", 8)
    assert_same(load_file(tmp_path / AVERAGE), kept[2.0])
    assert_same(load_file(tmp_path / BEST), kept[2.0])
    assert not torch.equal(next(iter(kept[1.9].values())), next(iter(kept[2.0].values())))
    again = train(chosen, material(chosen), tmp_path)
    assert (again.ending, again.step) == ("stopped early", 8)


def test_a_finished_run_is_looked_at_again_but_not_changed(
    settings: Make, material: MakeMaterial, tmp_path: Path
) -> None:
    chosen = settings(schedule={"steps": 4})
    first = train(chosen, material(chosen), tmp_path)
    files = {name: (tmp_path / name).read_bytes() for name in (AVERAGE, BEST, "checks.csv")}
    again = train(chosen, material(chosen), tmp_path)
    assert (again.ending, again.step, again.checks) == ("finished", 4, first.checks)
    assert {name: (tmp_path / name).read_bytes() for name in files} == files


def test_a_device_that_is_missing_is_named(settings: Make) -> None:
    missing = "mps" if not torch.backends.mps.is_available() else "cuda"
    with pytest.raises(TrainingError, match=f"no {missing} device here"):
        trainer.start_fabric(settings(machine={"device": missing}).machine, torch.nn.Identity(), 1)
