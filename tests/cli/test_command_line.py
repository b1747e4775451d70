"""What each option of `biodenoise` does, and what the command prints and returns."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import pytest
import soundfile


def read(path: Path) -> np.ndarray:
    return soundfile.read(path, dtype="int32", always_2d=True)[0]


# --- the command itself --------------------------------------------------------------------------


def test_help_imports_nothing_heavy() -> None:
    start = "from biodenoising.cli.denoise import main; main()"
    result = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", start, "--help"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    imported = {line.rsplit("|", 1)[-1].strip() for line in result.stderr.splitlines()}
    assert "click" in imported
    heavy = {"numpy", "torch", "onnxruntime", "scipy", "soundfile", "soxr", "tqdm"}
    assert not imported & heavy
    assert "Usage: " in result.stdout


def test_every_option_is_in_the_help_with_a_text() -> None:
    from biodenoising.cli.denoise import biodenoise

    shown = biodenoise.get_help(click.Context(biodenoise))
    options = [p for p in biodenoise.params if isinstance(p, click.Option)]
    wanted = (
        "model device jobs mix max-attenuation residual time-expansion band outside format "
        "overwrite include exclude dry-run log-json quiet version"
    )
    assert {f"--{name}" for name in wanted.split()} <= {o.opts[-1] for o in options}
    for option in options:
        assert option.help, option.opts
        assert option.opts[-1] in shown


def test_command_and_library_denoise_with_the_same_model(biodenoise, tree) -> None:
    import inspect

    from biodenoising import denoise, list_models

    tree.add("a.wav")
    shown = biodenoise(tree.input, tree.output, "--dry-run", model=None)
    assert shown.exit_code == 0
    first = list_models()[0]
    assert inspect.signature(denoise).parameters["model"].default == first
    assert first in shown.stdout


def test_version_prints_the_installed_one(biodenoise) -> None:
    import biodenoising

    result = biodenoise("--version")
    assert result.exit_code == 0
    assert result.stdout.strip() == f"biodenoise {biodenoising.__version__}"


def test_a_tree_by_the_installed_command(tree, command) -> None:
    tree.add("a.wav")
    tree.add("night 1/b.flac", channels=2)
    result = command.run(tree.input, tree.output)
    assert (result.returncode, result.stderr) == (0, "")
    assert "2 denoised" in result.stdout
    assert "0 failed" in result.stdout
    assert sorted(tree.outputs()) == ["a.wav", "night 1/b.flac"]


# --- the tree ------------------------------------------------------------------------------------


def test_tree_is_mirrored_and_names_are_kept(tree, biodenoise) -> None:
    names = ["x.wav", "a/x.wav", "a/b/x.WAV", "a/y.flac", "ä ö/-z.aiff"]
    for name in names:
        tree.add(name)
    (tree.input / "a/notes.txt").write_text("no audio")
    (tree.input / ".hidden.wav").write_bytes(b"left alone")
    assert biodenoise(tree.input, tree.output).exit_code == 0
    assert sorted(tree.outputs()) == sorted(names)
    for name in names:
        before, after = soundfile.info(tree.input / name), soundfile.info(tree.output / name)
        for what in ("frames", "samplerate", "channels", "format", "subtype"):
            assert getattr(before, what) == getattr(after, what), (name, what)
        assert not np.array_equal(read(tree.input / name), read(tree.output / name))
        kept = [os.stat(folder / name).st_mtime_ns for folder in (tree.input, tree.output)]
        assert kept[0] == kept[1]


def test_one_file_into_a_folder_and_into_a_file(tree, biodenoise) -> None:
    path = tree.add("x.wav")
    assert biodenoise(path, tree.output).exit_code == 0
    assert list(tree.outputs()) == ["x.wav"]
    assert biodenoise(path, tree.root / "other" / "quiet.wav").exit_code == 0
    assert (tree.root / "other" / "quiet.wav").read_bytes() == tree.outputs()["x.wav"]


def test_one_file_under_the_name_of_another_format_is_refused(tree, biodenoise) -> None:
    path = tree.add("x.wav")
    result = biodenoise(path, tree.root / "y.flac")
    assert result.exit_code == 2
    assert "--format flac" in result.stderr
    assert not (tree.root / "y.flac").exists()
    assert biodenoise(path, tree.root / "y.flac", "--format", "flac").exit_code == 0
    assert soundfile.info(tree.root / "y.flac").format == "FLAC"


def test_include_and_exclude(tree, biodenoise) -> None:
    for name in ["a/1.wav", "a/2.wav", "b/1.wav", "b/3.flac"]:
        tree.add(name)
    chosen = ["--include", "*.wav", "--include", "b/*", "--exclude", "2.*"]
    assert biodenoise(tree.input, tree.output, *chosen).exit_code == 0
    assert sorted(tree.outputs()) == ["a/1.wav", "b/1.wav", "b/3.flac"]


def test_nothing_to_do_is_said(tree, biodenoise) -> None:
    tree.add("x.wav")
    result = biodenoise(tree.input, tree.output, "--include", "*.mp3")
    assert "no audio files" in result.stderr
    assert not tree.output.exists()


def test_linked_folders_are_followed_and_loops_are_not(tree, biodenoise) -> None:
    tree.add("a/x.wav")
    elsewhere = tree.root / "elsewhere"
    elsewhere.mkdir()
    (tree.input / "a/x.wav").rename(elsewhere / "y.wav")
    tree.add("a/x.wav")
    (tree.input / "linked").symlink_to(elsewhere)
    (tree.input / "a/loop").symlink_to(tree.input)
    (tree.input / "self.wav").symlink_to("self.wav")
    result = biodenoise(tree.input, tree.output)
    assert sorted(tree.outputs()) == ["a/x.wav", "linked/y.wav"]
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert "self.wav" in line


# --- options -------------------------------------------------------------------------------------


def test_dry_run_writes_nothing(tree, biodenoise) -> None:
    tree.add("x.wav")
    before = tree.everything()
    result = biodenoise(tree.input, tree.output, "--residual", tree.residual, "--dry-run",
                        "--log-json", tree.root / "log.jsonl")  # fmt: skip
    assert result.exit_code == 0
    assert str(tree.output / "x.wav") in result.stdout
    assert tree.everything() == before


def test_quiet_prints_failures_only(tree, biodenoise) -> None:
    tree.add("x.wav")
    result = biodenoise(tree.input, tree.output, "--quiet")
    assert (result.exit_code, result.output) == (0, "")
    (tree.input / "bad.wav").write_text("no audio")
    result = biodenoise(tree.input, tree.output, "--quiet")
    assert (result.exit_code, result.stdout) == (1, "")
    (line,) = result.stderr.splitlines()
    assert "bad.wav" in line


def test_log_json_has_a_line_per_file_and_one_for_the_run(tree, biodenoise) -> None:
    tree.add("x.wav")
    tree.add("y.wav", 0)
    (tree.input / "bad.wav").write_text("no audio")
    log = tree.root / "log.jsonl"
    assert biodenoise(tree.input, tree.output, "--log-json", log).exit_code == 1
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    assert {row["file"]: row["status"] for row in rows[:-1]} == {
        "bad.wav": "failed", "x.wav": "done", "y.wav": "done",
    }  # fmt: skip
    assert rows[-1]["run"] == {"done": 2, "skipped": 0, "failed": 1}
    done = next(row for row in rows if row.get("file") == "x.wav")["result"]
    assert (done["duration_s"], done["sample_rate"], done["channels"]) == (0.25, 16_000, 1)


@pytest.mark.parametrize("place", ["missing/log.jsonl", "in/log.jsonl", "in"])
def test_log_json_that_cannot_be_is_refused_first(tree, biodenoise, place) -> None:
    tree.add("x.wav")
    before = tree.everything()
    result = biodenoise(tree.input, tree.output, "--log-json", tree.root / place)
    assert result.exit_code == 2
    assert "--log-json" in result.stderr or "log.jsonl" in result.stderr
    assert tree.everything() == before


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
def test_denoised_and_residual_add_up_to_the_input(tree, biodenoise, subtype) -> None:
    tree.add("a/x.wav", 9_000, channels=2, subtype=subtype)
    assert biodenoise(tree.input, tree.output, "--residual", tree.residual).exit_code == 0
    before, clean, removed = (
        soundfile.read(folder / "a/x.wav")[0] for folder in (tree.input, tree.output, tree.residual)
    )
    step = {"PCM_16": 2.0**-15, "PCM_24": 2.0**-23, "FLOAT": 2.0**-22}[subtype]
    assert np.abs(removed).max() > 0.01
    assert np.abs(clean + removed - before).max() <= 1.01 * step


@pytest.mark.parametrize("option", ["--mix", "--max-attenuation"])
def test_nothing_wanted_gives_identical_samples(tree, biodenoise, option) -> None:
    for subtype in ("PCM_U8", "PCM_16", "PCM_24", "FLOAT"):
        tree.add(f"{subtype}.wav", 9_000, channels=2, subtype=subtype)
    tree.add("x.flac", 9_000)
    assert biodenoise(tree.input, tree.output, option, "0").exit_code == 0
    for name in tree.outputs():
        assert np.array_equal(read(tree.input / name), read(tree.output / name)), name
    assert len(tree.outputs()) == 5


def test_mix_and_max_attenuation_limit_what_is_removed(tree, biodenoise) -> None:
    tree.add("x.wav", 9_000, subtype="FLOAT")
    removed = {}
    for name, options in {
        "all": [], "half": ["--mix", "0.5"], "6 dB": ["--max-attenuation", "6.0206"],
    }.items():  # fmt: skip
        residual = tree.root / name
        biodenoise(tree.input, tree.root / f"out {name}", "--residual", residual, *options)
        removed[name] = soundfile.read(residual / "x.wav")[0]
    assert np.allclose(removed["half"], removed["all"] / 2, atol=1e-6)
    assert np.allclose(removed["6 dB"], removed["all"] / 2, atol=1e-5)


@pytest.mark.parametrize(("wanted", "container"), [("wav", "WAV"), ("flac", "FLAC")])
def test_format_changes_container_and_suffix(tree, biodenoise, wanted, container) -> None:
    for name in ["a/x.wav", "y.flac", "z.aiff"]:
        tree.add(name, channels=2)
    assert biodenoise(tree.input, tree.output, "--format", wanted).exit_code == 0
    assert sorted(tree.outputs()) == [f"a/x.{wanted}", f"y.{wanted}", f"z.{wanted}"]
    for name in tree.outputs():
        info = soundfile.info(tree.output / name)
        assert (info.format, info.frames, info.channels) == (container, 4_000, 2)


def test_what_a_format_loses_is_a_note(tree, biodenoise) -> None:
    tree.add("x.wav", subtype="FLOAT")
    result = biodenoise(tree.input, tree.output, "--format", "flac")
    assert result.exit_code == 0
    assert "rounded to 24 bits" in result.stdout
    assert any("rounded to 24 bits" in note for note in tree.rows()[0]["notes"])


def test_a_band_changes_nothing_outside_it(tree, biodenoise) -> None:
    tree.add("x.wav", 32_000, rate=48_000, subtype="FLOAT")
    changed = {}
    for outside in ("keep", "mute"):
        folder = tree.root / outside
        chosen = ["--band", "2k-4000", "--outside", outside]
        assert biodenoise(tree.input, folder, *chosen).exit_code == 0
        before, after = (soundfile.read(f / "x.wav")[0] for f in (tree.input, folder))
        power = np.abs(np.fft.rfft([before, after, after - before])) ** 2
        hertz = np.fft.rfftfreq(len(before), 1 / 48_000)
        inside = (hertz > 2_500) & (hertz < 3_500)
        beyond = (hertz > 7_000) & (hertz < 20_000)
        assert power[2, inside].sum() > 0.01 * power[0, inside].sum()
        changed[outside] = power[:, beyond].sum(1) / power[0, beyond].sum()
    assert changed["keep"][2] < 1e-4
    assert changed["mute"][1] < 1e-4


def test_time_expansion_has_the_model_hear_another_rate(tree, biodenoise) -> None:
    tree.add("x.wav", 24_000, rate=48_000)
    for name, options in {
        "own": [], "as own": ["--time-expansion", "3"], "one": ["--time-expansion", "1"],
    }.items():  # fmt: skip
        assert biodenoise(tree.input, tree.root / name, *options).exit_code == 0
    own, same, other = (read(tree.root / n / "x.wav") for n in ("own", "as own", "one"))
    assert np.array_equal(own, same)
    assert own.shape == other.shape
    assert not np.array_equal(own, other)


def test_the_expansion_chosen_for_each_file_is_told(tree, biodenoise, monkeypatch) -> None:
    """At the terminal, in the manifest and in the log; a second run has nothing to do."""
    tree.add("x.wav", 24_000, rate=48_000)
    tree.add("y.wav", 24_000, rate=16_000)
    monkeypatch.setattr(
        "biodenoising.inference.denoiser.best_ratio",
        lambda stretches, hear: 2.0 if len(next(iter(stretches))) else 1.0,
    )
    log = tree.root / "log.jsonl"
    words = [tree.input, tree.output, "--time-expansion", "auto", "--log-json", log]
    shown = biodenoise(*words)
    assert shown.exit_code == 0
    assert "time expansion chosen: 6 for 1, 2 for 1" in shown.stdout
    assert {row["file"]: row["time_expansion"] for row in tree.rows()} == {"x.wav": 6, "y.wav": 2}
    told = [json.loads(line).get("result") for line in log.read_text().splitlines()]
    assert [result["time_expansion"] for result in told if result] == [6, 2]
    assert biodenoise(tree.input, tree.root / "six", "--time-expansion", "6").exit_code == 0
    assert np.array_equal(read(tree.output / "x.wav"), read(tree.root / "six" / "x.wav"))
    assert "2 skipped" in biodenoise(*words).stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["--mix", "1.5"],
        ["--mix", "nan"],
        ["--max-attenuation", "-1"],
        ["--time-expansion", "0"],
        ["--time-expansion", "inf"],
        ["--time-expansion", "automatic"],
        ["--band", "500-8000", "--time-expansion", "auto"],
        ["--band", "4000"],
        ["--band", "8000-500"],
        ["--band", "1.2.3-500"],
        ["--band", "500-8000", "--time-expansion", "2"],
        ["--outside", "both"],
        ["--format", "mp3"],
        ["--jobs", "-1"],
        ["--jobs", "many"],
        ["--device", "tpu"],
        ["--no-such-option"],
        ["--model", "no-such-model"],
        ["--model", "old.th"],
        ["a third argument"],
    ],
)
def test_wrong_usage_exits_2_in_one_line_and_writes_nothing(tree, biodenoise, arguments) -> None:
    tree.add("x.wav")
    before = tree.everything()
    model = None if "--model" in arguments else "noisereduce"
    result = biodenoise(tree.input, tree.output, *arguments, model=model)
    assert result.exit_code == 2
    assert len([line for line in result.stderr.splitlines() if ": " in line]) <= 2
    assert tree.everything() == before


def test_missing_arguments_are_wrong_usage(biodenoise) -> None:
    assert biodenoise(model=None).exit_code == 2


def test_options_that_fit_some_files_only_fail_those(tree, biodenoise) -> None:
    tree.add("high.wav", rate=48_000)
    tree.add("low.wav", rate=8_000)
    result = biodenoise(tree.input, tree.output, "--band", "5000-9000")
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert "low.wav" in line
    assert "lower its upper edge" in line
    assert list(tree.outputs()) == ["high.wav"]


@pytest.mark.slow
def test_a_reader_that_goes_away_is_no_traceback(tree, command) -> None:
    for number in range(30):
        tree.add(f"{number}.wav", 0)
    process = command.start(tree.input, tree.output, "--dry-run")
    process.stdout.close()
    error = process.stderr.read()
    process.wait(timeout=60)
    assert "Traceback" not in error


# --- biodenoise-models ---------------------------------------------------------------------------


def test_models_list_show_verify(tiny_model) -> None:
    from click.testing import CliRunner

    from biodenoising.cli.models import models

    listed = CliRunner().invoke(models, ["list"])
    assert listed.exit_code == 0
    assert "noisereduce" in listed.stdout
    shown = CliRunner().invoke(models, ["show", str(tiny_model)])
    assert json.loads(shown.stdout)["name"] == "tiny"
    assert CliRunner().invoke(models, ["verify", str(tiny_model)]).exit_code == 0
    assert CliRunner().invoke(models, ["show", "nothing"]).exit_code == 2
    assert CliRunner().invoke(models, ["verify", "nothing"]).exit_code == 1
