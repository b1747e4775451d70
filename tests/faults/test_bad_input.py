"""Broken, odd and degenerate recordings: one line each, and the rest of the batch comes out."""

from __future__ import annotations

import os
import socket
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile


def one_failure(tree, result, name: str) -> str:
    """See that `name` failed in one line, the good file came out, and nothing else was left."""
    assert result.exit_code == 1, result.output
    (line,) = result.stderr.splitlines()
    assert line.startswith("failed ")
    assert name in line
    assert "unexpectedly" not in line
    assert "Traceback" not in result.output
    assert list(tree.outputs()) == ["good.wav"]
    assert tree.leftovers() == []
    (row,) = [row for row in tree.rows() if row["status"] == "failed"]
    assert row["message"] in line
    return line


def fifo(path: Path) -> None:
    os.mkfifo(path)


def dangling(path: Path) -> None:
    path.symlink_to("nowhere.wav")


def to_itself(path: Path) -> None:
    path.symlink_to(path.name)


def text(path: Path) -> None:
    path.write_text("Recorded at the pond, 21:00, two frogs.\n" * 100)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def one_byte(path: Path) -> None:
    path.write_bytes(b"R")


def header_only(path: Path) -> None:
    soundfile.write(path, np.zeros(100, np.float32), 16_000)
    path.write_bytes(path.read_bytes()[:44])


def to_a_socket(path: Path) -> None:
    socket.socket(socket.AF_UNIX).bind(os.fspath(path.parent.parent / "s"))
    path.symlink_to("../s")


def to_a_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def hz_of_nonsense(path: Path) -> None:
    soundfile.write(path, np.zeros(100, np.float32), 16_000)
    content = bytearray(path.read_bytes())
    content[24:28] = struct.pack("<I", 4_000_000_000)
    path.write_bytes(content)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "make",
    [
        fifo, dangling, to_itself, text, empty, one_byte, header_only, to_a_socket, to_a_device,
        hz_of_nonsense,
    ],
)  # fmt: skip
def test_what_is_no_recording(tree, biodenoise, make) -> None:
    tree.add("good.wav")
    make(tree.input / "bad.wav")
    one_failure(tree, biodenoise(tree.input, tree.output), "bad.wav")


@pytest.mark.parametrize("name", ["bad.flac", "bad.ogg", "bad.mp3"])
def test_a_damaged_middle(tree, biodenoise, name) -> None:
    tree.add("good.wav")
    path = tree.add(name, 80_000)
    content = bytearray(path.read_bytes())
    content[len(content) // 3 :] = bytes(len(content) - len(content) // 3)
    path.write_bytes(content)
    result = biodenoise(tree.input, tree.output)
    if result.exit_code == 0:  # decodable up to there: then it must not be passed off as whole
        assert name in result.stdout
        assert "note" in result.stdout
    else:
        one_failure(tree, result, name)


def test_a_truncated_file_is_not_passed_off_as_whole(tree, biodenoise) -> None:
    path = tree.add("x.wav", 16_000)
    path.write_bytes(path.read_bytes()[: 44 + 2 * 9_978])
    result = biodenoise(tree.input, tree.output)
    assert result.exit_code == 0
    (note,) = [line for line in result.stdout.splitlines() if line.startswith("note ")]
    assert "x.wav" in note
    assert "9978" in note
    assert soundfile.info(tree.output / "x.wav").frames == 9_978
    assert tree.rows()[0]["notes"]


def test_a_folder_named_like_a_recording_is_a_folder(tree, biodenoise) -> None:
    tree.add("x.wav/y.wav")
    (tree.input / "empty.wav").mkdir()
    assert biodenoise(tree.input, tree.output).exit_code == 0
    assert list(tree.outputs()) == ["x.wav/y.wav"]


@pytest.mark.parametrize("frames", [0, 1, 2, 255, 256, 257, 1023])
@pytest.mark.parametrize("options", [[], ["--band", "500-4000"], ["--time-expansion", "0.5"]])
def test_few_samples_come_out_as_many(tree, biodenoise, frames, options) -> None:
    tree.add("x.wav", frames, channels=2)
    tree.add("y.flac", frames or 1)  # libsndfile writes no FLAC without samples
    result = biodenoise(tree.input, tree.output, "--residual", tree.residual, *options)
    assert result.exit_code == 0, result.output
    for folder in (tree.output, tree.residual):
        assert soundfile.info(folder / "x.wav").frames == frames
        assert soundfile.info(folder / "y.flac").frames == (frames or 1)
    if frames == 0:
        assert "no samples" in result.stdout


def test_silence_stays_silence(tree, biodenoise, tiny_model) -> None:
    tree.add("x.wav", samples=np.zeros((9_000, 2), np.float32))
    for name, model in (("tiny", tiny_model), ("gate", "noisereduce")):
        result = biodenoise(tree.input, tree.root / name, model=model)
        assert result.exit_code == 0
        assert "silent" in result.stdout
        assert not soundfile.read(tree.root / name / "x.wav")[0].any()


@pytest.mark.parametrize("model", ["tiny", "noisereduce"])
def test_nan_and_infinite_samples_become_zeros_and_a_note(
    tree, biodenoise, tiny_model, model
) -> None:
    noise = np.random.default_rng(1).uniform(-0.3, 0.3, (9_000, 1)).astype(np.float32)
    noise[[10, 500], 0] = np.nan
    noise[8_000, 0] = -np.inf
    tree.add("x.wav", samples=noise, subtype="FLOAT")
    result = biodenoise(tree.input, tree.output, model=tiny_model if model == "tiny" else model)
    assert result.exit_code == 0
    assert "3 samples were NaN or infinite" in result.stdout
    after = soundfile.read(tree.output / "x.wav")[0]
    assert np.isfinite(after).all()
    assert after.any()


def test_a_constant_offset_is_no_obstacle(tree, biodenoise) -> None:
    tree.add("only.wav", samples=np.full((9_000, 1), 0.25, np.float32))
    noise = np.random.default_rng(1).uniform(-0.3, 0.3, (9_000, 1)).astype(np.float32)
    tree.add("offset.wav", samples=noise + 0.5)
    assert biodenoise(tree.input, tree.output).exit_code == 0
    for name in tree.outputs():
        assert np.isfinite(soundfile.read(tree.output / name)[0]).all()


def test_clipped_sound_stays_in_range(tree, biodenoise) -> None:
    square = np.sign(np.sin(np.arange(20_000) / 9 + 0.1))[:, None].astype(np.float32)
    tree.add("x.wav", samples=square)
    assert biodenoise(tree.input, tree.output, "--mix", "0").exit_code == 0
    after = soundfile.read(tree.output / "x.wav", dtype="int16")[0]
    assert np.array_equal(after, np.where(square[:, 0] > 0, 32_767, -32_768))
    assert tree.rows()[0]["clipped"] == 0  # it was clipped before, not by us


def test_what_does_not_fit_is_clipped_and_counted(tree, biodenoise) -> None:
    loud = np.array([0.5, 1.5, -3.0, 1e30, -0.25] * 100, np.float32)[:, None]
    tree.add("x.wav", samples=loud, subtype="FLOAT")
    result = biodenoise(tree.input, tree.output, "--mix", "0", "--format", "flac")
    assert result.exit_code == 0
    assert "300 samples were clipped" in result.stdout
    after = soundfile.read(tree.output / "x.flac")[0]
    assert np.allclose(after, np.clip(loud[:, 0], -1, 1), atol=2**-23)


def test_64_channels_each_by_itself(tree, biodenoise) -> None:
    many = tree.add("many.wav", 3_000, channels=64)
    samples = soundfile.read(many, dtype="float32")[0]
    tree.add("one.wav", samples=samples[:, 41:42])
    assert biodenoise(tree.input, tree.output).exit_code == 0
    after = soundfile.read(tree.output / "many.wav")[0]
    alone = soundfile.read(tree.output / "one.wav")[0]
    assert after.shape == (3_000, 64)
    assert np.abs(after[:, 41] - alone).max() <= 2**-14


def test_more_than_64_channels_are_refused(tree, biodenoise) -> None:
    tree.add("good.wav")
    tree.add("bad.wav", 100, channels=65)
    assert "64" in one_failure(tree, biodenoise(tree.input, tree.output), "bad.wav")


@pytest.mark.parametrize(
    "name",
    [b"two\nlines.wav", b"\xff\xfe not utf-8.wav", b"-x.wav", b"%s {} 'a\" $(x).wav",
     "\u202egnol \U0001f438.wav".encode(), b"\x1b[31mred.wav"],
)  # fmt: skip
def test_odd_names(tree, biodenoise, name) -> None:
    tree.add("good.wav")
    # libsndfile takes names of any bytes, Python's soundfile wrapper not all of them.
    (tree.add("x.wav", seed=1)).rename(tree.input / os.fsdecode(name))
    log = tree.root / "log.jsonl"
    result = biodenoise(tree.input, tree.output, "--log-json", log)
    assert result.exit_code == 0, result.output
    assert (tree.output / os.fsdecode(name)).is_file()
    again = biodenoise(tree.input, tree.output)
    assert "2 skipped" in again.stdout
    (tree.output / os.fsdecode(name)).write_bytes(b"changed")
    failed = biodenoise(tree.input, tree.output)
    (line,) = failed.stderr.splitlines()
    assert line.isprintable()
    assert "2 files" in biodenoise(tree.input, tree.root / "other", "--dry-run").stdout
    log.read_bytes().decode("ascii")


def test_the_longest_name(tree, biodenoise) -> None:
    name = "n" * 251 + ".wav"
    tree.add("x.wav").rename(tree.input / name)
    assert biodenoise(tree.input, tree.output).exit_code == 0
    assert list(tree.outputs()) == [name]


def test_a_name_that_gets_too_long(tree, biodenoise) -> None:
    tree.add("good.wav")
    tree.add("x.aiff").rename(tree.input / ("n" * 251 + ".aif"))
    result = biodenoise(tree.input, tree.output, "--format", "flac", "--exclude", "good*")
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert "too long" in line


def test_a_file_that_vanishes_in_between(tree, biodenoise, monkeypatch) -> None:
    from biodenoising.cli import show

    tree.add("good.wav")
    path = tree.add("gone.wav")
    run_plan = show.run_plan

    def late(*arguments, **options):
        path.unlink()
        return run_plan(*arguments, **options)

    monkeypatch.setattr(show, "run_plan", late)
    one_failure(tree, biodenoise(tree.input, tree.output), "gone.wav")


def test_a_file_that_grows_or_shrinks_while_it_is_read(tree, tiny_model) -> None:
    from biodenoising import AudioWriteError, denoise_file
    from biodenoising.batch import files
    from biodenoising.errors import AudioChangedError

    for number, change in enumerate((+4_000, -4_000)):
        path = tree.add(f"{number}.wav", 200_000)
        size = path.stat().st_size

        class Reader:
            def __init__(self, inner, path=path, size=size, change=change) -> None:
                self._inner, self._change = inner, lambda: os.truncate(path, size + change)
                self.info, self.notes = inner.info, inner.notes
                self.untouched, self.is_triggered = inner.untouched, False

            def read(self, frames):
                self._change()
                return self._inner.read(frames)

            def __enter__(self):
                return self

            def __exit__(self, *error) -> None:
                self._inner.close()

        opened = files.open_reader
        target = tree.root / f"out{number}.wav"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                files, "open_reader", lambda *given, opened=opened: Reader(opened(*given))
            )
            try:
                result = denoise_file(path, target, model=tiny_model)
            except (AudioWriteError, AudioChangedError):
                assert not target.exists()
            else:
                assert soundfile.info(target).frames == result.duration_s * 16_000
                assert soundfile.info(target).frames == 200_000 or result.notes
