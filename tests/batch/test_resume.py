"""A second run: what is finished is skipped by content, what is not is made, no more."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

MANIFEST = "biodenoise.jsonl"


def stamps(folder: Path) -> dict[str, tuple[int, int]]:
    """Return inode and change time of every output: both change when a file is made again."""
    found = {}
    for path in folder.rglob("*.wav"):
        status = os.stat(path)
        found[str(path.relative_to(folder))] = (status.st_ino, status.st_ctime_ns)
    return found


@pytest.fixture
def done(tree, biodenoise):
    """A tree of three files, denoised."""
    for name in ("a.wav", "b/b.wav", "c.wav"):
        tree.add(name)
    result = biodenoise(tree.input, tree.output)
    assert result.exit_code == 0
    assert "3 denoised" in result.stdout
    return tree


def refused_file(result, name: str) -> None:
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert name in line
    assert "--overwrite" in line


def test_everything_is_skipped(done, biodenoise) -> None:
    before, manifest = stamps(done.output), (done.output / MANIFEST).read_bytes()
    result = biodenoise(done.input, done.output)
    assert result.exit_code == 0
    assert "0 denoised" in result.stdout
    assert "3 skipped" in result.stdout
    assert stamps(done.output) == before
    assert (done.output / MANIFEST).read_bytes() == manifest


def test_moved_and_touched_files_are_the_same_work(done, biodenoise) -> None:
    done.input.rename(done.root / "card 2")
    os.utime(done.root / "card 2" / "a.wav", (1, 1))
    done.output.rename(done.root / "results")
    before = stamps(done.root / "results")
    assert "3 skipped" in biodenoise(done.root / "card 2", done.root / "results").stdout
    assert stamps(done.root / "results") == before


def test_new_files_are_added(done, biodenoise) -> None:
    before = stamps(done.output)
    done.add("d.wav")
    assert "1 denoised" in biodenoise(done.input, done.output).stdout
    assert before.items() <= stamps(done.output).items()
    assert (done.output / "d.wav").exists()


def test_changed_input_of_same_size_and_time(done, biodenoise) -> None:
    path, before = done.input / "a.wav", done.outputs()
    status = os.stat(path)
    done.add("a.wav", seed=99)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert os.stat(path).st_size == status.st_size
    result = biodenoise(done.input, done.output)
    refused_file(result, "a.wav")
    assert "2 skipped" in result.stdout
    assert done.outputs() == before
    kept = stamps(done.output)["c.wav"]
    assert biodenoise(done.input, done.output, "--overwrite").exit_code == 0
    assert done.outputs()["a.wav"] != before["a.wav"]
    assert done.outputs()["c.wav"] == before["c.wav"]
    assert stamps(done.output)["c.wav"] == kept
    assert "3 skipped" in biodenoise(done.input, done.output).stdout


@pytest.mark.parametrize("options", [["--mix", "0.5"], ["--band", "500-4000"], ["--dither"]])
def test_changed_options(done, biodenoise, options) -> None:
    before = done.outputs()
    result = biodenoise(done.input, done.output, *options)
    assert result.exit_code == 1
    assert "3 failed" in result.stdout
    assert len(result.stderr.splitlines()) == 3
    assert "--overwrite" in result.stderr
    assert done.outputs() == before
    again = biodenoise(done.input, done.output, *options, "--overwrite")
    assert again.exit_code == 0
    assert "3 denoised" in again.stdout
    assert done.outputs() != before


def test_changed_model(done, biodenoise) -> None:
    result = biodenoise(done.input, done.output, model="noisereduce")
    assert result.exit_code == 1
    assert "3 failed" in result.stdout


def test_overwriting_goes_on_where_it_stopped(done, biodenoise) -> None:
    chosen = ["--mix", "0.5", "--overwrite"]
    assert "1 denoised" in biodenoise(done.input, done.output, *chosen, "--include", "a.wav").stdout
    before = stamps(done.output)["a.wav"]
    result = biodenoise(done.input, done.output, *chosen)
    assert "2 denoised" in result.stdout
    assert "1 skipped" in result.stdout
    assert stamps(done.output)["a.wav"] == before


def test_deleted_output_is_made_again(done, biodenoise) -> None:
    before = done.outputs()
    kept = stamps(done.output)
    (done.output / "b/b.wav").unlink()
    result = biodenoise(done.input, done.output)
    assert "1 denoised" in result.stdout
    assert "2 skipped" in result.stdout
    assert done.outputs() == before
    assert stamps(done.output)["a.wav"] == kept["a.wav"]


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_corrupted_output_is_not_taken_for_done(done, biodenoise, damage) -> None:
    path, before = done.output / "a.wav", done.outputs()
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes({"cut": content[:-9], "flipped": content, "empty": b""}[damage])
    broken = path.read_bytes()
    refused_file(biodenoise(done.input, done.output), "a.wav")
    assert path.read_bytes() == broken
    assert biodenoise(done.input, done.output, "--overwrite").exit_code == 0
    assert done.outputs() == before


def test_a_file_that_was_there_is_never_replaced_unasked(tree, biodenoise) -> None:
    tree.add("x.wav")
    tree.output.mkdir()
    (tree.output / "x.wav").write_text("somebody's own")
    refused_file(biodenoise(tree.input, tree.output), "x.wav")
    assert (tree.output / "x.wav").read_text() == "somebody's own"


def test_missing_residual_is_made_again(tree, biodenoise) -> None:
    tree.add("a.wav")
    tree.add("b.wav")
    chosen = [tree.input, tree.output, "--residual", tree.residual]
    assert biodenoise(*chosen).exit_code == 0
    before = tree.outputs(tree.residual)
    (tree.residual / "a.wav").unlink()
    result = biodenoise(*chosen)
    assert "1 denoised" in result.stdout
    assert tree.outputs(tree.residual) == before
    (tree.residual / "a.wav").write_bytes(b"damaged")
    refused_file(biodenoise(*chosen), "a.wav")


def test_torn_last_line_costs_that_file_only(done, biodenoise) -> None:
    manifest = done.output / MANIFEST
    lines = manifest.read_bytes().splitlines(keepends=True)
    name = json.loads(lines[-1])["file"]
    (done.output / name).unlink()  # the line comes first: a torn one has no file yet
    for cut in (1, len(lines[-1]) // 2, len(lines[-1]) - 1):
        manifest.write_bytes(b"".join(lines[:-1]) + lines[-1][:cut])
        result = biodenoise(done.input, done.output)
        assert result.exit_code == 0
        if cut < len(lines[-1]) - 1:
            assert "1 denoised" in result.stdout
            (done.output / name).unlink()
    assert "3 skipped" in biodenoise(done.input, done.output).stdout


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x00\xff\xfe garbage\n",
        b'[]\n5\nnull\n"done"\n{}\n\n',
        b'{"status": "done", "file": ["a.wav"], "settings": 1}\n',
        b'{"status": "done", "file": "a.wav"}\n',
        b"[" * 200_000 + b"\n",
        b'{"status": "done", "file": 1e999, "settings": NaN}\n',
        b"9" * 10_000 + b"\n",
    ],
)
def test_garbage_lines_are_passed_over(done, biodenoise, garbage) -> None:
    manifest = done.output / MANIFEST
    manifest.write_bytes(garbage + manifest.read_bytes() + garbage)
    result = biodenoise(done.input, done.output)
    assert result.exit_code == 0
    assert "3 skipped" in result.stdout


def test_lost_manifest_replaces_nothing(done, biodenoise) -> None:
    (done.output / MANIFEST).unlink()
    before = done.outputs()
    result = biodenoise(done.input, done.output)
    assert result.exit_code == 1
    assert "3 failed" in result.stdout
    assert done.outputs() == before


def test_failed_files_are_tried_again(tree, biodenoise) -> None:
    tree.add("a.wav")
    (tree.input / "b.wav").write_text("no audio yet")
    assert biodenoise(tree.input, tree.output).exit_code == 1
    tree.add("b.wav")
    result = biodenoise(tree.input, tree.output)
    assert result.exit_code == 0
    assert "1 denoised" in result.stdout
    assert [row["status"] for row in tree.rows()] == ["done", "failed", "done"]


def test_leftovers_go_and_other_hidden_files_stay(done, biodenoise) -> None:
    ours = [done.output / ".0123abcd.a.wav.part", done.output / "b" / f".{'0a' * 16}.part"]
    other = [done.output / ".download.part", done.output / "b/x.part", done.output / ".part"]
    for path in ours + other:
        path.write_bytes(b"half")
    assert biodenoise(done.input, done.output).exit_code == 0
    assert [path.exists() for path in ours + other] == [False] * 2 + [True] * 3


def test_one_file_touches_nothing_below_its_folder(tree, biodenoise) -> None:
    path = tree.add("x.wav")
    below = tree.output / "another run" / ".0123abcd.a.wav.part"
    below.parent.mkdir(parents=True)
    below.write_bytes(b"half")
    assert biodenoise(path, tree.output / "x.wav").exit_code == 0
    assert below.exists()


def test_manifest_says_what_was_done(done) -> None:
    import hashlib

    for row in done.rows():
        assert row["status"] == "done"
        for key, folder in (("input_sha256", done.input), ("output_sha256", done.output)):
            assert row[key] == hashlib.sha256((folder / row["file"]).read_bytes()).hexdigest()
        assert row["model"].startswith("tiny:")
        assert np.isfinite(row["removed_db"])


def test_the_library_resumes_as_well(done, tiny_model) -> None:
    from biodenoising import denoise_tree

    summary = denoise_tree(done.input, done.output, model=tiny_model, jobs=1)
    assert summary.ok
    assert summary.count("skipped") == 3
