"""What comes off memory cards: dead batteries, recorders still recording, their file names."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from biodenoising import denoise_file
from biodenoising.batch import work
from biodenoising.errors import AudioChangedError


def died(path: Path, riff: int, data: int, *, tail: bytes = b"") -> bytes:
    """Give a plain WAV the sizes that its recorder never put right; return its bytes."""
    raw = bytearray(path.read_bytes())
    raw[4:8], raw[40:44] = struct.pack("<I", riff), struct.pack("<I", data)
    path.write_bytes(raw + tail)
    return bytes(raw + tail)


SIZES = [0, 0xFFFFFFFF, 0x7FFFFFFF, 0x80000001, 8_001 + 999_998]


@pytest.mark.parametrize("data", SIZES)
@pytest.mark.parametrize("riff", [0, 36, 0xFFFFFFFF])
def test_a_dead_battery_is_a_note_and_the_output_is_whole(tree, biodenoise, riff, data) -> None:
    path = tree.add("20240501_210000.WAV", 4_000)
    before = died(path, riff, data, tail=b"\x07")
    log = tree.root / "log.jsonl"
    result = biodenoise(tree.input, tree.output, "--log-json", log)
    assert result.exit_code == 0, result.output
    (note,) = [line for line in result.stdout.splitlines() if line.startswith("note")]
    assert "4000" in note
    assert "4000" in json.loads(log.read_text().splitlines()[0])["result"]["notes"][0]
    assert path.read_bytes() == before
    after = (tree.output / path.name).read_bytes()
    assert struct.unpack("<I", after[4:8])[0] == len(after) - 8
    assert struct.unpack("<I", after[40:44])[0] == 8_000
    assert soundfile.info(tree.output / path.name).frames == 4_000


def test_samples_that_the_header_does_not_count_are_noted(tree, biodenoise) -> None:
    path = tree.add("a.wav", 40_000)
    died(path, 36 + 20_000, 20_000)
    result = biodenoise(tree.input, tree.output)
    assert result.exit_code == 0
    assert "60000 bytes behind the samples are no chunk" in result.stdout
    # Nothing of them is lost either.
    assert (tree.output / "a.wav").read_bytes()[20_044:] == path.read_bytes()[20_044:]


def test_chunks_behind_samples_of_unknown_length_are_found(tree, biodenoise) -> None:
    path = tree.add("a.wav", 0)
    died(path, 0, 0, tail=b"LIST" + struct.pack("<I", 4) + b"INFO")
    result = biodenoise(tree.input, tree.output)
    assert result.exit_code == 0
    assert soundfile.info(tree.output / "a.wav").frames == 0
    assert "no samples" in result.stdout


# --- files that are still being written ----------------------------------------------------------


def grow(path: Path) -> None:
    with open(path, "ab") as file:
        file.write(bytes(2_000))


def shrink(path: Path) -> None:
    os.truncate(path, 4_044)


def touch(path: Path) -> None:
    os.utime(path, (1, 1))


def replace(path: Path) -> None:
    shutil.copy(path, path.with_name("new"))
    os.replace(path.with_name("new"), path)


@pytest.mark.parametrize("change", [grow, shrink, touch, replace])
@pytest.mark.parametrize("when", ["hash", "convert", "end"])
def test_a_file_still_being_written_is_left_for_the_next_run(
    tree, biodenoise, monkeypatch, change, when
) -> None:
    tree.add("good.wav")
    path = tree.add("late.wav", 30_000)

    def meddle(inner, *, after: bool):
        def wrapped(first, *rest, **options):
            mine = first == path
            if mine and not after:
                change(path)
            value = inner(first, *rest, **options)
            if mine and after:
                change(path)
            return value

        return wrapped

    with monkeypatch.context() as patch:
        if when == "end":
            inner = work._commit

            def commit(job, *rest):
                if job.task.input == path:
                    change(path)
                return inner(job, *rest)

            patch.setattr(work, "_commit", commit)
        elif when == "hash":
            patch.setattr(work, "_hash_input", meddle(work._hash_input, after=True))
        else:
            patch.setattr(work, "convert", meddle(work.convert, after=False))
        log = tree.root / "log.jsonl"
        result = biodenoise(tree.input, tree.output, "--log-json", log)
    assert result.exit_code == 1  # not every input has its output yet
    (line,) = result.stderr.splitlines()
    assert line.startswith("changing")
    assert "late.wav" in line
    assert "still being written" in line
    assert "0 failed, 1 still being written" in result.stdout
    assert list(tree.outputs()) == ["good.wav"]
    assert tree.leftovers() == []
    assert {json.loads(row).get("status") for row in log.read_text().splitlines()} == {
        "done", "changing", None,
    }  # fmt: skip
    again = biodenoise(tree.input, tree.output)
    assert again.exit_code == 0, again.output
    assert "1 denoised" in again.stdout


def test_one_file_through_the_library(tree, tiny_model, monkeypatch) -> None:
    from biodenoising.batch import files

    path = tree.add("late.wav", 30_000)
    verify = files.verify
    monkeypatch.setattr(files, "verify", lambda *a, **k: (grow(path), verify(*a, **k)))
    with pytest.raises(AudioChangedError, match="still being written"):
        denoise_file(path, tree.root / "out.wav", model=tiny_model)
    assert not (tree.root / "out.wav").exists()
    assert tree.leftovers() == []


@pytest.mark.parametrize("name", ["x.wav", "x.aiff", "x.flac", "x.ogg", "x.mp3"])
def test_an_output_that_lost_samples_never_gets_its_name(
    tree, biodenoise, monkeypatch, name
) -> None:
    """As a disk or an encoder that drops a write without a word would make it."""
    from biodenoising.audio.writer import AudioWriter

    tree.add(name, 200_000)
    inner, blocks = AudioWriter.write, []

    def lossy(self, block) -> None:
        blocks.append(block)
        if len(blocks) != 2:
            inner(self, block)

    monkeypatch.setattr(AudioWriter, "write", lossy)
    result = biodenoise(tree.input, tree.output)
    assert result.exit_code == 1
    assert "was written as" in result.stderr
    assert not tree.outputs()
    assert tree.leftovers() == []


# --- names and dying disks -----------------------------------------------------------------------


def test_recorders_names_stay_as_they_are(tree, biodenoise) -> None:
    names = [
        "20240501_210000.WAV", "24F3190361DA3578_20240501_210000.WAV", "5EC5A158.WAV",
        "20240501_210000T.WAV", "20240501_210000_SYNC.WAV", "SITE7_20240501_210000.wav",
        "SM3_0+1_20240501$210000.wav", "20240501T210000+1000_REC.wav", "20240501_210000_000123.wav",
    ]  # fmt: skip
    for number, name in enumerate(names):
        tree.add(f"20240501/{name}", seed=number)
    times = {name: 1_714_590_000 + number for number, name in enumerate(names)}
    for name, time in times.items():
        os.utime(tree.input / "20240501" / name, (time, time))
    assert biodenoise(tree.input, tree.output).exit_code == 0
    assert sorted(tree.outputs()) == sorted(f"20240501/{name}" for name in names)
    for name, time in times.items():
        assert os.stat(tree.output / "20240501" / name).st_mtime == time


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
@pytest.mark.slow
@pytest.mark.parametrize("name", ["x.wav", "x.flac", "x.mp3"])
def test_a_dying_disk_is_an_error_unless_salvaged(tree, command, name) -> None:
    tree.add("good.wav")
    path = tree.add(name, 400_000)

    def run(*options: str) -> subprocess.CompletedProcess[str]:
        inject = "inject=read,pread64:error=EIO:when=20+"
        trace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=read,pread64"]
        words = command.words(tree.input, tree.output, *options)
        words = [*trace, "-P", str(path), "-e", inject, *words]
        return subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)

    result = run()
    if "ptrace" in result.stderr:
        pytest.skip("tracing is not permitted here")
    assert result.returncode == 1, result.stderr
    (line,) = result.stderr.splitlines()
    assert name in line
    assert list(tree.outputs()) == ["good.wav"]
    kept = run("--salvage")
    if kept.returncode == 0:  # a decoder may have read all before the disk died
        assert sorted(tree.outputs()) == ["good.wav", name]
    else:
        assert name in kept.stderr
    assert tree.leftovers() == []


# --- limits --------------------------------------------------------------------------------------


def test_limits_name_the_option_that_raises_them(tree, biodenoise) -> None:
    tree.add("wide.wav", 500, channels=65)
    tree.add("long.flac", 16_000 * 8)
    result = biodenoise(tree.input, tree.output, "--max-hours", "0.002")
    assert result.exit_code == 1
    lines = {line.split("/")[-1].split(":")[0]: line for line in result.stderr.splitlines()}
    assert "--max-channels" in lines["wide.wav"]
    assert "--max-hours" in lines["long.flac"]
    raised = biodenoise(tree.input, tree.output, "--max-channels", "65")
    assert raised.exit_code == 0, raised.output
    assert soundfile.info(tree.output / "wide.wav").channels == 65


def test_a_small_file_that_claims_to_be_huge_does_not_stop_the_run(tree, biodenoise) -> None:
    tree.add("a.wav")
    path = tree.add("bomb.flac", 4_000)
    raw = bytearray(path.read_bytes())
    # 36 bits of STREAMINFO tell the number of samples: 68 thousand million.
    raw[21] |= 0x0F
    raw[22:26] = b"\xff" * 4
    path.write_bytes(raw)
    tree.add("z.wav")
    refused = biodenoise(tree.input, tree.output, "--format", "wav")
    assert refused.exit_code == 1
    (line,) = refused.stderr.splitlines()
    assert "bomb.flac" in line
    assert "--max-hours" in line
    result = biodenoise(tree.input, tree.root / "o", "--format", "wav", "--max-hours", "1e9")
    assert result.exit_code in (0, 1)
    assert sorted(tree.outputs(tree.root / "o"))[::2] in (["a.wav", "z.wav"], ["a.wav"])
    assert "not tried" not in result.stderr


def test_what_will_not_fit_is_refused_before_work(tree, biodenoise, monkeypatch) -> None:
    from biodenoising.batch import files

    tree.add("a.wav", 60_000)
    tree.add("b.flac", 60_000)
    monkeypatch.setattr(files, "free_bytes", lambda _: 100_000)
    full = biodenoise(tree.input, tree.output)
    assert full.exit_code == 1
    failed, stopped = full.stderr.splitlines()
    assert "no space left" in failed
    assert "not tried" in stopped
    assert not tree.outputs()
    # A FLAC's own size vouches for nothing, so it fails alone.
    result = biodenoise(tree.input / "b.flac", tree.output / "b.wav", "--format", "wav")
    assert result.exit_code == 1


def test_inputs_are_never_touched(tree, biodenoise) -> None:
    for name in ("a.wav", "b.flac", "c.ogg", "d.mp3"):
        tree.add(name, 20_000)
    os.truncate(tree.input / "b.flac", 20_000)
    (tree.input / "e.wav").write_bytes(b"RIFF")
    died(tree.add("f.wav"), 0, 0)

    def state() -> dict[str, tuple[str, int, int]]:
        found = {}
        for path in sorted(tree.input.rglob("*")):
            status, content = path.stat(), path.read_bytes()
            digest = hashlib.sha256(content).hexdigest()
            found[path.name] = (digest, status.st_mtime_ns, status.st_mode)
        return found

    before = state()
    for options in ([], ["--salvage"], ["--overwrite", "--format", "flac"]):
        biodenoise(tree.input, tree.output, *options)
    assert state() == before


HUNGRY = """
import multiprocessing
from biodenoising.batch import remote, work, workers
inner = work.convert
def convert(input, *arguments):
    if "hungry" in input.name:
        keep = [bytes(1 << 28) for _ in range(64)]
    return inner(input, *arguments)
work.convert = convert
if __name__ == "__main__":
    from biodenoising.cli.denoise import main
    # Only Python's own workers run this script again and are patched too.
    workers.WORKERS = remote.WORKERS = multiprocessing.get_context("spawn")
    main()
"""


@pytest.mark.parametrize("place", ["a folder", "an address"])
def test_a_file_that_takes_all_memory_is_one_failure(tree, command, place) -> None:
    for name in ("a.wav", "hungry.wav", "z.wav"):
        tree.add(name)
    script = tree.root / "hungry_command.py"
    script.write_text(HUNGRY)
    source = tree.input if place == "a folder" else tree.input.as_uri()
    words = command.words(source, tree.output, "--max-memory", "1", jobs=2)
    words[1:3] = [str(script)]
    result = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 1, result.stderr
    (line,) = result.stderr.splitlines()
    assert "hungry.wav" in line
    assert "--max-memory" in line
    made = [name for name in tree.outputs() if not name.startswith(".biodenoise/")]
    assert sorted(made) == ["a.wav", "z.wav"]


def test_headers_tell_durations_without_a_decoder(tree, monkeypatch) -> None:
    from biodenoising.audio import header_seconds

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a decoder was called")

    for name in ("a.wav", "b.flac", "c.ogg", "d.mp3", "e.aiff"):
        tree.add(name, 48_000)
    monkeypatch.setattr(soundfile, "SoundFile", refuse)
    monkeypatch.setattr(soundfile, "read", refuse)
    for path in sorted(tree.input.iterdir()):
        assert header_seconds(path) == pytest.approx(3, abs=0.15), path.name
    for content in (b"", b"fLaC", b"OggS", b"RIFF", b"ID3", b"\xff" * 99, b"OggS" + bytes(60)):
        (tree.input / "x").write_bytes(content)
        assert header_seconds(tree.input / "x") == 0
    assert header_seconds(tree.input) == header_seconds(tree.root / "nothing") == 0
    assert np.isfinite(header_seconds(tree.input / "a.wav"))
