"""Shards: every file in exactly one, and no two runs that could harm each other."""

from __future__ import annotations

import gc
import json
import os
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from biodenoising import BatchError, denoise_tree
from biodenoising.batch.journal import lock_folder, manifest_paths
from biodenoising.batch.shards import Shard, lock_run, parse_shard

COUNT = 3


def rows(output: Path) -> list[dict[str, object]]:
    """Return the rows of all manifests."""
    return [
        json.loads(line)
        for path in manifest_paths(output)
        for line in path.read_text(encoding="utf-8").splitlines()
    ]


def recordings(outputs: dict[str, bytes]) -> dict[str, bytes]:
    return {name: data for name, data in outputs.items() if not name.endswith(".jsonl")}


def fill(tree, files: int, frames: int = 4_000) -> None:
    for number in range(files):
        tree.add(f"{number // 4}/{number}.wav", frames, seed=number)


# --- which file where ----------------------------------------------------------------------------


@given(
    name=st.binary(min_size=1, max_size=20).filter(lambda name: not set(name) & set(b"\0/")),
    count=st.integers(1, 50),
)
def test_a_file_is_in_exactly_one_shard(name: bytes, count: int) -> None:
    path = Path("a") / os.fsdecode(name)
    assert sum(Shard(index, count).holds(path) for index in range(1, count + 1)) == 1


def test_a_file_s_shard_never_changes() -> None:
    """A run broken off and continued by another version must find its files in the same shard."""
    names = ["a.wav", "site 1/20260501_210000.WAV", "ä/b.flac", os.fsdecode(b"\xff.wav")]
    places = [next(i for i in range(1, 8) if Shard(i, 7).holds(Path(n))) for n in names]
    assert places == [
        7,
        6,
        5,
        7,
    ]


def test_shards_are_of_like_size() -> None:
    names = [Path(f"site{n % 40:02}/2026_{n:06}.wav") for n in range(20_000)]
    sizes = [sum(Shard(i, 8).holds(n) for n in names) for i in range(1, 9)]
    assert sum(sizes) == 20_000
    assert max(sizes) < 1.06 * 2_500


@pytest.mark.parametrize("text", ["0/3", "4/3", "1/0", "1", "a/b", "1/3/5", "-1/3", "1.5/3", ""])
def test_what_is_no_shard_is_refused_in_one_line(tree, biodenoise, text) -> None:
    tree.add("a.wav")
    before = tree.everything()
    result = biodenoise(tree.input, tree.output, "--shard", text)
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert "shard" in line
    assert tree.everything() == before
    with pytest.raises(BatchError):
        parse_shard(text)


# --- several runs --------------------------------------------------------------------------------


def test_three_shards_at_once_are_complete_and_do_nothing_twice(tree, command, biodenoise) -> None:
    fill(tree, 16, 16_000)
    assert biodenoise(tree.input, tree.root / "whole").exit_code == 0
    started = [
        command.start(tree.input, tree.output, "--shard", f"{index}/{COUNT}",
                      "--residual", tree.residual)
        for index in range(1, COUNT + 1)
    ]  # fmt: skip
    ended = [process.communicate(timeout=120) for process in started]
    assert [process.returncode for process in started] == [0] * COUNT, ended
    assert all(" denoised" in out and "0 skipped" in out for out, _ in ended)
    assert recordings(tree.outputs()) == tree.outputs(tree.root / "whole")
    assert sorted(recordings(tree.outputs(tree.residual))) == sorted(
        tree.outputs(tree.root / "whole")
    )
    made = [row["file"] for row in rows(tree.output)]
    assert len(made) == len(set(made)) == 16
    assert tree.leftovers() == []


def test_shards_go_on_where_they_stopped_and_a_whole_run_knows_them(tree, biodenoise) -> None:
    fill(tree, 12)
    counts = []
    for index in range(1, COUNT + 1):
        shard = ["--shard", f"{index}/{COUNT}"]
        first = biodenoise(tree.input, tree.output, *shard)
        again = biodenoise(tree.input, tree.output, *shard)
        assert first.exit_code == again.exit_code == 0
        counts.append(int(first.stdout.split(" denoised")[0].split()[-1]))
        assert f"{counts[-1]} skipped" in again.stdout
    assert sum(counts) == 12
    other = biodenoise(tree.input, tree.output, "--shard", "1/2")
    assert "0 denoised" in other.stdout
    whole = biodenoise(tree.input, tree.output)
    assert "0 denoised" in whole.stdout
    assert "12 skipped" in whole.stdout
    assert [path.name for path in manifest_paths(tree.output)] == ["biodenoise.jsonl"]
    assert len(tree.rows()) == 12
    assert "12 skipped" in biodenoise(tree.input, tree.output).stdout


def test_a_shard_without_files_says_so(tree, biodenoise) -> None:
    tree.add("a.wav")
    results = [biodenoise(tree.input, tree.output, "--shard", f"{i}/5") for i in range(1, 6)]
    assert [result.exit_code for result in results] == [0] * 5
    assert sum("1 denoised" in result.stdout for result in results) == 1
    assert sum("no audio files here in shard" in result.stderr for result in results) == 4


def test_what_a_shard_leaves_behind_only_itself_removes(tree, biodenoise) -> None:
    fill(tree, 12)
    name = next(Path("0") / f"{n}.wav" for n in range(4) if Shard(1, 2).holds(Path(f"0/{n}.wav")))
    half = tree.output / "0" / f".0123abcd.{name.name}.part"
    half.parent.mkdir(parents=True)
    half.write_bytes(b"half")
    assert biodenoise(tree.input, tree.output, "--shard", "2/2").exit_code == 0
    assert half.exists()
    assert biodenoise(tree.input, tree.output, "--shard", "1/2").exit_code == 0
    assert not half.exists()


def test_a_user_s_own_file_beside_the_manifests_is_left_alone(tree, biodenoise) -> None:
    tree.add("a.wav")
    tree.output.mkdir()
    own = tree.output / "biodenoise.log.jsonl"
    own.write_text('{"mine": 1}\n')
    assert biodenoise(tree.input, tree.output).exit_code == 0
    assert own.read_text() == '{"mine": 1}\n'


WHOLE, FIRST, SECOND, OTHER = None, Shard(1, 2), Shard(2, 2), Shard(1, 3)


@pytest.mark.parametrize(
    ("holder", "comer", "allowed"),
    [
        (WHOLE, WHOLE, False), (WHOLE, FIRST, False), (FIRST, WHOLE, False),
        (FIRST, FIRST, False), (FIRST, SECOND, True), (SECOND, OTHER, False),
    ],
)  # fmt: skip
def test_who_may_share_an_output(tmp_path: Path, holder, comer, allowed) -> None:
    with lock_run(tmp_path, holder):
        if allowed:
            with lock_run(tmp_path, comer):
                pass
        else:
            with pytest.raises(BatchError, match="another run"), lock_run(tmp_path, comer):
                pass
    with lock_run(tmp_path, comer):
        pass


def test_a_lock_is_let_go_at_the_end_of_its_block(tmp_path: Path) -> None:
    """Not when the lock happens to be collected; nor does an error in the block keep it."""
    gc.disable()
    try:
        for error in (None, OSError("of the block")):
            context = lock_folder(tmp_path)
            with suppress(OSError), context:
                with pytest.raises(BatchError, match="another run"), lock_folder(tmp_path):
                    pytest.fail("two hold one lock")
                if error is not None:
                    raise error
            with lock_folder(tmp_path):
                pass
    finally:
        gc.enable()


def test_a_second_run_of_a_shard_is_refused_in_one_line(tree, biodenoise) -> None:
    fill(tree, 8)
    tree.output.mkdir()
    with lock_folder(tree.output, ".biodenoise.1-of-2.lock"):
        for words in (["--shard", "1/2"], ["--shard", "1/3"], []):
            result = biodenoise(tree.input, tree.output, *words)
            assert result.exit_code == 2
            (line,) = result.stderr.splitlines()
            assert "another run" in line
        assert biodenoise(tree.input, tree.output, "--shard", "2/2").exit_code == 0
    assert biodenoise(tree.input, tree.output, "--shard", "1/2").exit_code == 0


def test_rows_of_several_manifests_are_told_apart_by_content(tree, biodenoise) -> None:
    """Clocks of several machines do not agree; the output itself says which row is its own."""
    fill(tree, 2)
    assert biodenoise(tree.input, tree.output, "--shard", "1/1").exit_code == 0
    ours = tree.output / "biodenoise.1-of-1.jsonl"
    stale = [row | {"output_sha256": "0" * 64} for row in rows(tree.output)]
    for name in ("biodenoise.1-of-2.jsonl", "biodenoise.jsonl"):
        (tree.output / name).write_text("".join(json.dumps(row) + "\n" for row in stale))
    assert ours.exists()
    assert "2 skipped" in biodenoise(tree.input, tree.output).stdout


def test_the_library_takes_shards(tree, tiny_model) -> None:
    fill(tree, 6)
    made = [
        denoise_tree(tree.input, tree.output, model=tiny_model, jobs=1, shard=(index, 2))
        for index in (1, 2)
    ]
    assert all(summary.ok for summary in made)
    assert sum(summary.count("done") for summary in made) == 6
