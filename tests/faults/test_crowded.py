"""Somebody else at OUTPUT: readers, deleters, other runs, old manifests, odd things for a lock."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from biodenoising.batch.journal import LOCK_NAME, MANIFEST_NAME


def fill(tree, biodenoise, files: int = 6, frames: int = 20_000) -> dict[str, bytes]:
    """Fill INPUT; return the undisturbed outputs."""
    for number in range(files):
        tree.add(f"{number}.wav", frames, seed=number)
    assert biodenoise(tree.input, tree.root / "undisturbed").exit_code == 0
    return tree.outputs(tree.root / "undisturbed")


def wait_for(process: subprocess.Popen[str], folder: Path, count: int) -> None:
    while process.poll() is None and len(list(folder.glob("[!.]*.wav"))) < count:
        time.sleep(0.002)


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_a_reader_sees_whole_files_only(tree, command, biodenoise, jobs: int) -> None:
    wanted = fill(tree, biodenoise, 10)
    process, looks = command.start(tree.input, tree.output, jobs=jobs), 0
    while process.poll() is None:
        for path in tree.output.glob("[!.]*.wav"):
            assert path.read_bytes() == wanted[path.name]
            looks += 1
    assert process.returncode == 0
    assert looks > 10
    assert tree.outputs() == wanted


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("what", ["OUTPUT", "manifest", "lock", "INPUT"])
def test_a_folder_that_is_deleted_in_mid_run(tree, command, biodenoise, what: str, jobs: int):
    wanted = fill(tree, biodenoise, 8, 60_000)
    kept = tree.root / "kept"
    shutil.copytree(tree.input, kept)
    process = command.start(tree.input, tree.output, jobs=jobs)
    wait_for(process, tree.output, 2)
    os.kill(process.pid, signal.SIGSTOP)  # so that the folder is gone at one moment
    if what in ("OUTPUT", "INPUT"):
        (tree.output if what == "OUTPUT" else tree.input).rename(tree.root / "away")
    else:
        (tree.output / {"manifest": MANIFEST_NAME, "lock": LOCK_NAME}[what]).unlink()
    os.kill(process.pid, signal.SIGCONT)
    _, error = process.communicate(timeout=120)
    assert process.returncode in (0, 1), error
    assert "Traceback" not in error
    assert "unexpectedly" not in error
    if what == "INPUT":
        shutil.rmtree(tree.root / "away", ignore_errors=True)
        kept.rename(tree.input)
    made = tree.outputs() if tree.output.exists() else {}
    assert made.items() <= wanted.items()
    again = biodenoise(tree.input, tree.output, "--overwrite")
    assert again.exit_code == 0, again.output
    assert tree.outputs() == wanted
    assert tree.leftovers(tree.output) == []


@pytest.mark.slow
@pytest.mark.parametrize("pause", [0.0, 0.02, 0.2, 1.0])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("jobs", [1, 2])
def test_interrupted_twice(tree, command, biodenoise, number: int, pause: float, jobs: int) -> None:
    wanted = fill(tree, biodenoise, 4, 80_000)
    process = command.start(tree.input, tree.output, jobs=jobs)
    wait_for(process, tree.output, 1)
    for _ in range(2):
        os.killpg(process.pid, number)
        time.sleep(pause)
    _, error = process.communicate(timeout=60)
    assert process.returncode in (130, -number, 0), error
    made = tree.outputs()
    assert made.items() <= wanted.items()
    again = biodenoise(tree.input, tree.output)
    assert again.exit_code == 0, again.output
    assert tree.outputs() == wanted
    assert tree.leftovers() == []


def test_two_runs_with_other_options_do_not_mix(tree, biodenoise) -> None:
    wanted = fill(tree, biodenoise, 3)
    assert biodenoise(tree.input, tree.output, "--include", "[01].wav").exit_code == 0
    other = biodenoise(tree.input, tree.output, "--mix", "0.5")
    assert other.exit_code == 1
    assert len(other.stderr.splitlines()) == 2
    assert {n: b for n, b in tree.outputs().items() if n != "2.wav"}.items() <= wanted.items()
    assert biodenoise(tree.input, tree.output, "--overwrite").exit_code == 0
    assert tree.outputs() == wanted


# --- locks ---------------------------------------------------------------------------------------


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "what", ["other host", "empty", "read-only", "folder", "dangling", "link", "link to INPUT"]
)
def test_an_odd_thing_where_the_lock_should_be(tree, biodenoise, what: str) -> None:
    """A lock is held by the system as long as its process lives; what is in the file is nothing."""
    wanted = fill(tree, biodenoise, 2)
    tree.output.mkdir()
    lock, own = tree.output / LOCK_NAME, tree.root / "my notes.txt"
    own.write_text("keep me")
    if what == "folder":
        lock.mkdir()
    elif what == "dangling":
        lock.symlink_to(tree.root / "nowhere")
    elif what.startswith("link"):
        lock.symlink_to(own if what == "link" else tree.input / "0.wav")
    else:
        lock.write_text("pid 1 on elsewhere since 2099" if what == "other host" else "")
        lock.chmod(0o444 if what == "read-only" else 0o644)
    before = {path.name: path.read_bytes() for path in tree.input.iterdir()}
    result = biodenoise(tree.input, tree.output)
    assert result.exit_code in (0, 2)
    if result.exit_code == 0:
        assert tree.outputs() == wanted
    else:
        assert len(result.stderr.splitlines()) == 1
    assert own.read_text() == "keep me"
    assert {path.name: path.read_bytes() for path in tree.input.iterdir()} == before


# --- clocks and manifests of other times ---------------------------------------------------------


def change_rows(tree, change) -> None:
    path = tree.output / MANIFEST_NAME
    rows = [change(json.loads(line)) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.mark.parametrize(
    ("times", "stamp"),
    [("2099-01-01T00:00:00+00:00", 4_070_908_800), ("1970-01-01T00:00:00+00:00", 0), ("", -1)],
)
def test_a_clock_that_was_set_back_or_ahead(tree, biodenoise, times: str, stamp: int) -> None:
    wanted = fill(tree, biodenoise, 2)
    assert biodenoise(tree.input, tree.output).exit_code == 0
    change_rows(tree, lambda row: row | {"time": times})
    for path in (*tree.input.iterdir(), *tree.output.glob("*.wav")):
        os.utime(path, (stamp, stamp))
    assert "2 skipped" in biodenoise(tree.input, tree.output).stdout
    assert tree.outputs() == wanted


FUTURE = {"version": 99, "nested": {"a": [1, None]}, "status2": "done"}
OLD = ("notes", "seconds", "time", "options", "model", "duration_s", "clipped", "removed_db")


def test_rows_of_newer_and_older_versions_are_still_known(tree, biodenoise) -> None:
    fill(tree, biodenoise, 2)
    assert biodenoise(tree.input, tree.output).exit_code == 0
    for change in (
        lambda row: row | FUTURE,
        lambda row: {k: v for k, v in row.items() if k not in (*OLD, *FUTURE)},
        lambda row: dict(reversed(row.items())),
    ):
        change_rows(tree, change)
        assert "2 skipped" in biodenoise(tree.input, tree.output).stdout


@pytest.mark.parametrize("key", ["settings", "input_sha256", "output_sha256", "status", "file"])
@pytest.mark.parametrize("value", [None, 7, "", [], {}, "x" * 100_000])
def test_rows_that_make_no_sense_are_no_proof(tree, biodenoise, key: str, value: object) -> None:
    """Then an output is not known as made: it is made again if gone, and never replaced unasked."""
    wanted = fill(tree, biodenoise, 1, 1_000)
    assert biodenoise(tree.input, tree.output).exit_code == 0
    change_rows(tree, lambda row: row | {key: value})
    kept = biodenoise(tree.input, tree.output)
    assert kept.exit_code == 1
    assert "--overwrite" in kept.stderr
    (tree.output / "0.wav").unlink()
    assert biodenoise(tree.input, tree.output).exit_code == 0
    assert tree.outputs() == wanted
