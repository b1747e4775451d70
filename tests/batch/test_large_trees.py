"""Trees too large to be planned as a whole: the same outputs and the same care, in flat memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from biodenoising import BatchError, denoise_tree
from biodenoising.batch import plan as planning
from biodenoising.batch import runner
from biodenoising.batch.journal import add_row, read_manifest
from biodenoising.batch.listing import RUN_NAMES, Refusal, SortedNames
from biodenoising.batch.plan import Plan, plan_run


@pytest.fixture
def short_sight(monkeypatch) -> int:
    """Plan two files ahead only, so that a handful is a large tree."""
    monkeypatch.setattr(planning, "LOOK_AHEAD", 2)
    return 2


def names(plan: Plan) -> list[str]:
    return [str(item.name) for item in plan if not isinstance(item, Refusal)]


def touch(root: Path, *paths: str) -> Path:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    return root


# --- listing -------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, RUN_NAMES, 2 * RUN_NAMES + 1])
def test_names_of_a_folder_come_sorted(count: int) -> None:
    given = [f"{(n * 7919) % 100_003:06}.wav".encode() for n in range(count)]
    sorted_names = SortedNames(given)
    assert list(sorted_names) == sorted(given)
    assert list(sorted_names) == sorted(given)  # and a second time


def test_order_is_that_of_the_paths(tmp_path: Path, short_sight: int) -> None:
    paths = ["a/b.wav", "a-b.wav", "a/c/d.wav", "a.wav", "a0.wav", "b/a.wav", "a/b/z.wav"]
    plan = plan_run(touch(tmp_path / "in", *paths), tmp_path / "out")
    assert plan.more is not None
    assert names(plan) == sorted(paths, key=os.fsencode)


def test_the_rest_is_listed_only_when_it_is_wanted(tmp_path: Path, short_sight: int) -> None:
    source = touch(tmp_path / "in", "a/1.wav", "a/2.wav", "a/3.wav", "b/1.wav")
    plan = plan_run(source, tmp_path / "out")
    touch(source, "b/late.wav")
    assert names(plan)[-1] == "b/late.wav"


@pytest.mark.parametrize("first", ["a", "z"])
def test_files_that_would_meet(tmp_path: Path, short_sight: int, first: str) -> None:
    """Near the start nothing begins; further on both are left out, and said why."""
    others = [f"m{n}.wav" for n in range(4)]
    source = touch(tmp_path / "in", *others, f"{first}/x.wav", f"{first}/x.flac", f"{first}/y.wav")
    if first == "a":
        with pytest.raises(BatchError, match=r"x\.flac"):
            plan_run(source, tmp_path / "out", container="FLAC")
        return
    plan = plan_run(source, tmp_path / "out", container="FLAC")
    items = list(plan)
    refused = [item for item in items if isinstance(item, Refusal)]
    assert [item.path.name for item in refused] == ["x.flac", "x.wav"]
    assert all("x.wav" in r.message and "x.flac" in r.message for r in refused)
    assert len(items) - 2 == 5


def test_files_that_meet_far_down_overwrite_nothing(tree, biodenoise, short_sight) -> None:
    for name in ("1.wav", "2.wav", "3.wav", "x.flac", "x.wav"):
        tree.add(name)
    result = biodenoise(tree.input, tree.output, "--format", "flac", "--overwrite")
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 2
    assert sorted(tree.outputs()) == ["1.flac", "2.flac", "3.flac"]


# --- links ---------------------------------------------------------------------------------------


def test_a_link_in_output_is_not_followed(tmp_path: Path, short_sight: int) -> None:
    source = touch(tmp_path / "in", "1.wav", "2.wav", "3.wav", "z/x.wav")
    output = tmp_path / "out"
    output.mkdir()
    (output / "z").symlink_to(source / "z")
    (refusal,) = [i for i in plan_run(source, output) if isinstance(i, Refusal)]
    assert refusal.path == source / "z/x.wav"
    assert "link" in refusal.message
    (output / "z").rename(output / "other")
    touch(source, "0/x.wav")
    (output / "0").symlink_to(tmp_path)
    with pytest.raises(BatchError, match="link"):
        plan_run(source, output)


def test_a_link_in_input_that_leads_to_output(tmp_path: Path, short_sight: int) -> None:
    source = touch(tmp_path / "in", "1.wav", "2.wav", "3.wav")
    output = touch(tmp_path / "out", "a/old.wav")
    (source / "results").symlink_to(output / "a")
    (refusal,) = [i for i in plan_run(source, output) if isinstance(i, Refusal)]
    assert "leads into OUTPUT" in refusal.message


def test_loops_end(tmp_path: Path, short_sight: int) -> None:
    source = touch(tmp_path / "in", "1.wav", "2.wav", "3.wav", "z/4.wav")
    (source / "z" / "loop").symlink_to(source)
    elsewhere = touch(tmp_path / "elsewhere", "5.wav")
    (elsewhere / "back").symlink_to(elsewhere)
    (source / "linked").symlink_to(elsewhere)
    plan = plan_run(source, tmp_path / "out")
    assert names(plan) == ["1.wav", "2.wav", "3.wav", "linked/5.wav", "z/4.wav"]


def test_residuals_that_could_meet_outputs(tmp_path: Path, short_sight: int) -> None:
    source = touch(tmp_path / "in", "1.wav", "2.wav", "3.wav", "z/x.wav")
    output = tmp_path / "out"
    with pytest.raises(BatchError, match="residual"):
        plan_run(source, output, residual=output / "z")
    assert plan_run(source, output, residual=output / "removed").more is not None


def test_folders_that_cannot_be_listed_are_failures(
    tmp_path: Path, short_sight, monkeypatch
) -> None:
    source = touch(tmp_path / "in", "1.wav", "2.wav", "3.wav", "z/x.wav", "zz/y.wav")
    scandir = os.scandir

    def refusing(path):
        if Path(path).name == "z":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    items = list(plan_run(source, tmp_path / "out"))
    (refusal,) = [item for item in items if isinstance(item, Refusal)]
    assert "cannot be listed" in refusal.message
    assert len(items) == 5


# --- runs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("jobs", ["1", pytest.param("2", marks=pytest.mark.slow)])
def test_a_large_tree_is_made_resumed_and_tidied_as_a_small_one(
    tree, biodenoise, monkeypatch, jobs
) -> None:
    for number in range(7):
        tree.add(f"{number // 3}/{number}.wav", seed=number)
    assert biodenoise(tree.input, tree.root / "small").exit_code == 0
    monkeypatch.setattr(planning, "LOOK_AHEAD", 2)
    (tree.output / "1").mkdir(parents=True)
    (tree.output / "1" / ".0123abcd.x.wav.part").write_bytes(b"half")
    result = biodenoise(tree.input, tree.output, "--jobs", jobs)
    assert result.exit_code == 0
    assert "7 denoised" in result.stdout
    assert tree.outputs() == tree.outputs(tree.root / "small")
    assert tree.leftovers() == []
    assert "7 skipped" in biodenoise(tree.input, tree.output).stdout
    shown = biodenoise(tree.input, tree.root / "none", "--dry-run")
    assert "7 files, 1.8 s of audio" in shown.stdout


def test_a_stopped_run_counts_what_it_did_not_come_to(tree, tiny_model, short_sight, monkeypatch):
    from biodenoising.batch import work
    from biodenoising.errors import DiskFullError

    for number in range(6):
        tree.add(f"{number}.wav")

    def full(input: Path, *rest: object) -> None:
        raise DiskFullError(f"{input}: no space left")

    monkeypatch.setattr(work, "convert", full)
    summary = denoise_tree(tree.input, tree.output, model=tiny_model, jobs=1)
    assert "no space" in summary.stopped
    assert summary.not_tried == 5


def test_only_the_first_outcomes_are_kept_and_all_are_counted(tree, tiny_model, monkeypatch):
    monkeypatch.setattr(runner, "MOST_KEPT", 2)
    for number in range(5):
        tree.add(f"{number}.wav")
    (tree.input / "bad.wav").write_text("no audio")
    seen = []
    summary = denoise_tree(tree.input, tree.output, model=tiny_model, jobs=1, observer=seen.append)
    assert (summary.count("done"), summary.count("failed")) == (5, 1)
    assert [outcome.status for outcome in summary.outcomes] == ["done", "done", "failed"]
    assert summary.audio_s == 5 * 0.25
    assert not summary.ok
    (tree.input / "bad.wav").unlink()
    again = denoise_tree(tree.input, tree.output, model=tiny_model, jobs=1)
    assert again.count("skipped") == 5
    assert again.ok  # more files than are kept are no failure
    assert len(seen) == 6
    assert not summary.ok


# --- memory --------------------------------------------------------------------------------------

PLANNED = """
import json, resource, sys, time
from pathlib import Path
from biodenoising.batch.journal import read_manifest
from biodenoising.batch.plan import plan_run
from biodenoising.batch.runner import run_plan

def peak_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

source, output = Path(sys.argv[1]), Path(sys.argv[2])
before, begun = peak_mb(), time.monotonic()
plan = plan_run(source, output, container="FLAC")
start_s = time.monotonic() - begun
done = read_manifest(output)
known = sum(done.known(str(item.name), "x", item.output) is not None for item in plan)
print(json.dumps({"known": known, "grown_mb": peak_mb() - before, "start_s": start_s}))
"""


def planned(root: Path, files: int) -> dict[str, float]:
    """Plan a tree of empty files and look every one up in a manifest, in a process of its own."""
    source, output = root / f"in{files}", root / f"out{files}"
    output.mkdir()
    row = {"status": "done", "settings": "x", "input_sha256": "0" * 64, "output_sha256": "1" * 64,
           "residual_sha256": None}  # fmt: skip
    with open(output / "biodenoise.jsonl", "w", encoding="utf-8") as manifest:
        for number in range(files):
            folder = source / f"{number // 500:04}"
            if number % 500 == 0:
                folder.mkdir(parents=True)
            (folder / f"{number:07}.wav").touch()
            name = f"{folder.name}/{number:07}.flac"
            manifest.write(json.dumps({"file": name, **row}) + "\n")
    shown = subprocess.run(
        [sys.executable, "-c", PLANNED, source, output],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return json.loads(shown.stdout)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_memory_is_flat_in_the_number_of_files(tmp_path: Path) -> None:
    small, large = planned(tmp_path, 20_000), planned(tmp_path, 100_000)
    assert (small["known"], large["known"]) == (20_000, 100_000)
    # As Python objects, 80,000 tasks or rows would take 60 MB and more.
    assert large["grown_mb"] < small["grown_mb"] + 10


def test_rows_are_found_by_name_whatever_the_name(tmp_path: Path) -> None:
    odd = ['a"b.wav', "a\\b.wav", "ä/ö.wav", os.fsdecode(b"\xff.wav"), "tab\t.wav", "a/b.wav"]
    row = {"status": "done", "settings": "s", "input_sha256": "i", "residual_sha256": None}
    for name in odd:
        add_row(tmp_path, {"file": name, **row, "output_sha256": name})
    with open(tmp_path / "biodenoise.jsonl", "a", encoding="utf-8") as file:
        # Written by hand: other order, no escapes.
        file.write(json.dumps({**row, "output_sha256": "o", "file": "ü.wav"}, ensure_ascii=False))
        file.write('\n{"file": "ö ä.wav", ' + json.dumps({**row, "output_sha256": "p"})[1:] + "\n")
    done = read_manifest(tmp_path)
    assert {name: done[name].output_sha256 for name in odd} == {name: name for name in odd}
    assert (done["ü.wav"].output_sha256, done["ö ä.wav"].output_sha256) == ("o", "p")
    assert len(done) == len(odd) + 2
    assert done.get("nothing.wav") is None
