"""The command trains, resumes, exports and refuses; a run survives being killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from click.testing import CliRunner, Result
from filelock import FileLock
from safetensors.torch import load_file, save_file

from biodenoising.cli.train import biodenoise_train
from biodenoising.errors import OptionError, TrainingError
from biodenoising.inference.runtimes import OnnxRuntime
from biodenoising.models.cards import read_card
from biodenoising.training.configuration import read_settings
from biodenoising.training.data import prepare
from biodenoising.training.export import export_run, training_record
from biodenoising.training.settings import TrainingSettings
from biodenoising.training.state import (
    AVERAGE,
    CHECKPOINT,
    RunState,
    put_between,
    read_checkpoint,
)
from biodenoising.training.trainer import train

Make = Callable[..., TrainingSettings]
Config = Callable[..., Path]
SHORT = {"samples": 16213, "left": 4096, "right": 1024, "warm_up": 4096}


def command(*arguments: object) -> Result:
    return CliRunner().invoke(
        biodenoise_train, [str(each) for each in arguments], env={"BIODENOISING_CORPUS": None}
    )


def test_a_run_has_its_files_its_curves_and_a_summary(config: Config, tmp_path: Path) -> None:
    run = tmp_path / "run"
    result = command(config(), "--run", run)
    assert result.exit_code == 0, result.output
    assert "finished at step 12" in result.output
    assert "held back:" in result.output
    assert "waiting for mixtures" in result.output
    names = {path.name for path in run.iterdir()} - {".lock", "curves.png"}
    assert names == {
        "checkpoint.pt", "average.safetensors", "best.safetensors", "log.csv", "checks.csv",
        "settings.yaml",
    }  # fmt: skip
    assert read_settings(run / "settings.yaml") == read_settings(config())
    pytest.importorskip("matplotlib")
    assert (run / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_resume_and_fresh(config: Config, tmp_path: Path) -> None:
    run = tmp_path / "run"
    result = command(config(), "--run", run, "--resume")
    assert (result.exit_code, result.output.count("\n")) == (2, 1)
    assert "no checkpoint to resume from" in result.output
    assert command(config(schedule={"steps": 4}), "--run", run).exit_code == 0
    result = command(config(schedule={"steps": 6}), "--run", run)
    assert "going on at step 4" in result.output
    assert read_checkpoint(run)["step"] == 6
    result = command(config(schedule={"steps": 2}), "--run", run, "--fresh")
    assert "going on" not in result.output
    assert read_checkpoint(run)["step"] == 2
    assert (run / "log.csv").read_text().count("\n") == 2


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"optimizer": {"rates": 1}}, "did you mean optimizer.rate?"),
        ({"network": {"hiden": 4}}, "did you mean network.hidden?"),
        ({"mixtures": {"synthesized_calls": 0.5}}, "need recordings"),
        ({"begin_from": "nowhere.safetensors"}, "nowhere.safetensors: no weights to read"),
    ],
)
def test_what_cannot_start_is_told_in_one_line(
    changes: dict[str, Any], words: str, config: Config, tmp_path: Path
) -> None:
    result = command(config(**changes), "--run", tmp_path / "run")
    assert result.exit_code == 2
    assert result.output.splitlines()[-1].startswith("biodenoise-train: ")
    assert words in result.output.splitlines()[-1]


def test_a_run_folder_is_trained_in_once_at_a_time(config: Config, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    with FileLock(run / ".lock"):
        result = command(config(), "--run", run)
    assert result.exit_code == 2
    assert "another training is going on there" in result.output


def test_minutes_replace_the_schedules_length(config: Config, tmp_path: Path) -> None:
    result = command(
        config(schedule={"steps": 10**9}), "--run", tmp_path / "run", "--minutes", 0.01
    )
    assert result.exit_code == 0
    assert "finished" in result.output


def test_help_loads_neither_torch_nor_lightning() -> None:
    code = (
        "import sys; from biodenoising.cli.train import biodenoise_train as c\n"
        "try: c(['--help'])\n"
        "except SystemExit: print([m for m in ('torch', 'lightning', 'numpy') if m in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.rstrip().endswith("[]")


def test_weights_to_begin_from(settings: Make, tmp_path: Path) -> None:
    first = RunState(settings(seed=5))
    first.save_weights(tmp_path / "first.safetensors")
    second = RunState(settings(seed=6, begin_from=str(tmp_path / "first.safetensors")))
    for ours, theirs in zip(second.network.parameters(), first.network.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_exported_weights_without_counters_are_enough_to_begin(
    settings: Make, tmp_path: Path
) -> None:
    """A checkpoint leaves out what batch norms count; anything else that is missing is told."""
    chosen = settings(architecture="masknet")
    weights = dict(RunState(chosen).network.state_dict())
    floats = {name: x.contiguous() for name, x in weights.items() if x.is_floating_point()}
    assert len(floats) < len(weights)
    path = tmp_path / "floats.safetensors"
    save_file(floats, path)
    begun = RunState(settings(architecture="masknet", seed=9, begin_from=str(path)))
    assert all(torch.equal(begun.network.state_dict()[name], x) for name, x in floats.items())
    del floats[next(name for name in floats if name.endswith("running_mean"))]
    save_file(floats, path)
    with pytest.raises(TrainingError, match=r"not weights of this network .*running_mean"):
        RunState(settings(architecture="masknet", begin_from=str(path)))


def test_some_of_the_way_is_exported(settings: Make, tmp_path: Path) -> None:
    begin, run = tmp_path / "first.safetensors", tmp_path / "run"
    first, second = RunState(settings(seed=5)), RunState(settings(seed=6))
    first.save_weights(begin)
    run.mkdir()
    second.save_weights(run / "average.safetensors")
    chosen = settings(begin_from=str(begin), export={"way": 0.7, "half": False})
    card = export_run(chosen, [], run, tmp_path / "out")
    exported = load_file(card.weights_path)
    old, new = first.network.state_dict(), second.network.state_dict()
    for name, weight in exported.items():
        torch.testing.assert_close(weight, 0.3 * old[name] + 0.7 * new[name])
    assert card.training["share of the way from what it began with"] == 0.7


def test_a_variance_that_falls_does_not_fall_below_nothing() -> None:
    old, new, between = (torch.nn.BatchNorm1d(2) for _ in range(3))
    new.running_var *= 0.2
    new.weight.data += 1
    put_between(between, old, new, 2.0)
    assert between.running_var.tolist() == [0.0, 0.0]
    assert between.weight.tolist() == [3.0, 3.0]


@pytest.mark.parametrize("way", [0, 1.2, 0.5])
def test_no_way_leads_from_nowhere(settings: Make, way: float) -> None:
    with pytest.raises(ValueError, match=r"export\.way"):
        settings(export={"way": way})


# --- recordings ----------------------------------------------------------------------------------


def corpus(folder: Path, **values: Any) -> Path:
    """Write a corpus of twelve calls and twelve noises with names of both sides of the split."""
    folder.mkdir()
    rng = np.random.default_rng(1)
    lines = []
    for kind in ("vocal", "noise"):
        for number in range(24):
            samples = rng.standard_normal(8_000) * 0.1
            if kind == "vocal":
                samples = samples * 0.01 + np.sin(np.arange(8_000) * (0.2 + 0.02 * number))
            path = f"{kind}{number}.wav"
            soundfile.write(folder / path, 0.3 * samples, 16_000)
            lines.append(
                {
                    "path": path, "set": "train", "kind": kind, "recording": path, "taxon": "Rana",
                    "source": f"s{number % 3}", "licence": "CC0-1.0", "tier": "open",
                    "noise_type": "rain" if kind == "noise" else "", "est_snr_db": 30.0,
                    "duration_s": 0.5, **values,
                }
            )  # fmt: skip
    text = "\n".join(json.dumps(line) for line in lines)
    (folder / "manifest.jsonl").write_text(text, encoding="utf-8")
    return folder


def test_recordings_are_split_and_checked(settings: Make, tmp_path: Path) -> None:
    chosen = settings(corpus={"held_back_tenths": 3})
    made = prepare(chosen, [corpus(tmp_path / "corpus")])
    assert set(made.checks) == {"held back", "own"}
    assert [len(mixtures) for mixtures in made.checks.values()] == [2, 1]
    calls, noises = len(made.mixer.calls), len(made.mixer.noises)
    assert made.description.startswith(f"{calls} targets and {noises} noises in memory")
    assert 10 <= calls <= 22
    with pytest.raises(TrainingError, match=r"held-back recordings: .*held_back_tenths"):
        prepare(settings(corpus={"held_back_tenths": 0}), [tmp_path / "corpus"])


def test_what_is_no_target_is_remixed_and_on_the_card(settings: Make, tmp_path: Path) -> None:
    folder = corpus(tmp_path / "corpus")
    lines = (folder / "manifest.jsonl").read_text(encoding="utf-8").splitlines()
    lines[:8] = [line.replace('"est_snr_db": 30.0', '"est_snr_db": 3.0') for line in lines[:8]]
    (folder / "manifest.jsonl").write_text("\n".join(lines), encoding="utf-8")
    chosen = settings(
        batch=4, remix={"share": 0.5, "from_step": 2}, corpus={"held_back_tenths": 3},
        schedule={"steps": 4},
    )  # fmt: skip
    made = prepare(chosen, [folder])
    assert made.listener is not None
    count = len(made.listener.recordings)
    assert made.description.endswith(f"; {count} unlabelled recordings")
    assert 2 <= count <= 8
    assert training_record(chosen, [folder])["unlabelled"]["clips"] == count
    assert train(chosen, made, tmp_path / "run").step == 4


def test_a_manifest_without_anything_fit_is_told(config: Config, tmp_path: Path) -> None:
    folder = corpus(tmp_path / "corpus", tier="unclear")
    path = config(mixtures={"synthesized_calls": 0, "synthesized_noise": 0})
    result = command(path, "--run", tmp_path / "run", "--corpus", folder)
    assert result.exit_code == 2
    assert "no targets left: loosen corpus" in result.output


# --- export --------------------------------------------------------------------------------------


def test_the_averaged_weights_are_what_is_exported(config: Config, tmp_path: Path) -> None:
    run, out = tmp_path / "run", tmp_path / "out"
    network = {"hidden": 4, "depth": 5}
    path = config(
        network=network, export={"chunking": SHORT, "half": False, "decimations": [2, 4]},
        schedule={"steps": 3},
    )  # fmt: skip
    assert command(path, "--run", run).exit_code == 0
    result = command(path, "--run", run, "--export", out)
    assert result.exit_code == 0, result.output
    card = read_card(out / "tiny.json")
    exported, average = load_file(card.weights_path), load_file(run / AVERAGE)
    assert exported.keys() == average.keys()
    assert all(torch.equal(exported[name], average[name]) for name in average)
    assert card.training["steps"] == 3
    assert card.decimations == (2, 4)
    assert card.training["settings"]["batch"] == 2
    assert "32-true" in card.training["machine"]
    assert OnnxRuntime(card)


def test_a_card_lists_what_was_heard_and_its_licence_follows(
    settings: Make, tmp_path: Path
) -> None:
    folder = corpus(tmp_path / "corpus", tier="copyleft", licence="CC-BY-SA-4.0")
    chosen = settings(
        network={"hidden": 4, "depth": 5},
        export={"chunking": SHORT, "licence": "CC0-1.0"},
    )
    run = tmp_path / "run"
    run.mkdir()
    RunState(chosen).save_weights(run / AVERAGE)
    with pytest.raises(OptionError, match="tier copyleft were used; the licence must say SA"):
        export_run(chosen, [folder], run, tmp_path / "out")
    chosen = settings(network={"hidden": 4, "depth": 5}, export={"chunking": SHORT})
    card = export_run(chosen, [folder], run, tmp_path / "out", metrics={"median_db": 1.0})
    targets = card.training["targets"]
    assert targets["licences"] == {"CC-BY-SA-4.0": targets["clips"]}
    assert targets["sources"] == ["s0", "s1", "s2"]
    assert targets["minutes"] == round(targets["clips"] * 0.5 / 60, 1)
    assert card.metrics == {"median_db": 1.0}
    with pytest.raises(TrainingError, match="no weights to read"):
        export_run(chosen, [folder], tmp_path / "nowhere", tmp_path / "out")


# --- killed --------------------------------------------------------------------------------------


def start(*arguments: object) -> subprocess.Popen[str]:
    code = "from biodenoising.cli.train import main; main()"
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def wait_for_step(run: Path, step: int) -> None:
    """Wait until the log tells of a step."""
    for _ in range(2_400):
        log = run / "log.csv"
        if log.exists() and f"\n{step}," in log.read_text():
            return
        time.sleep(0.05)
    pytest.fail("the run never came so far")


@pytest.mark.slow
def test_kill_9_and_resume_gives_the_weights_of_an_undisturbed_run(
    config: Config, tmp_path: Path
) -> None:
    path = config(
        architecture="cleanunet", schedule={"steps": 90}, machine={"workers": 1},
        checks={"every_steps": 30},
    )  # fmt: skip
    process = start(path, "--run", tmp_path / "broken")
    wait_for_step(tmp_path / "broken", 32)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    reached = read_checkpoint(tmp_path / "broken")["step"]
    assert 30 <= reached < 90, "killed too late to prove anything"
    for name in ("broken", "straight"):
        process = start(path, "--run", tmp_path / name)
        output, _ = process.communicate(timeout=240)
        assert process.returncode == 0, output
    average = [(tmp_path / name / AVERAGE).read_bytes() for name in ("broken", "straight")]
    assert average[0] == average[1]
    left = [p.name for p in (tmp_path / "broken").iterdir() if p.name.endswith(".part")]
    assert not left


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_saves_and_says_so(
    number: signal.Signals, config: Config, tmp_path: Path
) -> None:
    path = config(schedule={"steps": 10**6}, machine={"workers": 1, "save_every_steps": 10**6})
    process = start(path, "--run", tmp_path / "run")
    wait_for_step(tmp_path / "run", 4)
    process.send_signal(number)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 130, output
    assert "the same command goes on from here" in output
    assert "Traceback" not in output
    assert (tmp_path / "run" / CHECKPOINT).exists()
    assert read_checkpoint(tmp_path / "run")["step"] >= 4
