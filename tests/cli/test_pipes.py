"""`biodenoise - -` in real pipes: WAV and raw samples, unknown lengths, live, what is refused."""

from __future__ import annotations

import io
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

RATE = 16_000
SLOW = pytest.mark.slow  # each of them starts a process
START = "from biodenoising.cli.denoise import main; main()"


def words(model: Path, *arguments: str | Path) -> list[str]:
    given = [os.fspath(a) for a in arguments]
    return [sys.executable, "-c", START, *given, "--model", str(model)]


def pipe(model: Path, data: bytes, *arguments: str | Path) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        words(model, *arguments), input=data, capture_output=True, check=False, timeout=60
    )


def samples(frames: int = 30_000, channels: int = 1) -> np.ndarray:
    return 0.1 * np.random.default_rng(0).standard_normal((frames, channels))


def wav(audio: np.ndarray, subtype: str = "PCM_16", rate: int = RATE) -> bytes:
    memory = io.BytesIO()
    soundfile.write(memory, audio, rate, format="WAV", subtype=subtype)
    return memory.getvalue()


def of_unknown_length(data: bytes, size: int) -> bytes:
    place = data.index(b"data") + 4
    return (
        data[:4]
        + struct.pack("<I", size)
        + data[8:place]
        + struct.pack("<I", size)
        + data[place + 4 :]
    )


def as_file(tree, biodenoise, audio: np.ndarray, subtype: str = "PCM_16") -> np.ndarray:
    """What the command makes of the same recording as a file."""
    source = tree.add("a.wav", samples=audio, subtype=subtype)
    assert biodenoise(source, tree.output).exit_code == 0
    return soundfile.read(tree.output / "a.wav", dtype="int32", always_2d=True)[0]


# --- what goes through ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "subtype",
    ["PCM_16", *(pytest.param(s, marks=SLOW) for s in ("PCM_24", "PCM_32", "FLOAT", "PCM_U8"))],
)
def test_a_wav_goes_through_as_a_file_would(tree, biodenoise, tiny_model, subtype: str) -> None:
    audio = samples(90_000, 2)
    done = pipe(tiny_model, wav(audio, subtype), "-", "-")
    assert done.returncode == 0, done.stderr
    clean, rate = soundfile.read(io.BytesIO(done.stdout), dtype="int32", always_2d=True)
    assert rate == RATE
    assert soundfile.info(io.BytesIO(done.stdout)).subtype == subtype
    np.testing.assert_array_equal(clean, as_file(tree, biodenoise, audio, subtype))
    (line,) = done.stderr.decode().splitlines()
    assert "standard input: 2 x 16000 Hz" in line


@pytest.mark.parametrize(
    "size", [0xFFFFFFFF, *(pytest.param(s, marks=SLOW) for s in (0, 0x7FFFF000, 0x7FFFF024))]
)
def test_a_length_that_is_not_told_ends_with_the_pipe(tiny_model, size: int) -> None:
    told = wav(samples())
    unknown = of_unknown_length(told, size)
    whole, streamed = (pipe(tiny_model, data, "-", "-", "--quiet") for data in (told, unknown))
    assert (streamed.returncode, streamed.stderr) == (0, b"")
    assert streamed.stdout[:44] == unknown[:44], "the header goes through as it came"
    assert streamed.stdout[44:] == whole.stdout[44:]


def test_sizes_are_mended_where_the_output_is_a_file(tiny_model, tmp_path: Path) -> None:
    unknown = of_unknown_length(wav(samples(30_001)), 0xFFFFFFFF)
    target = tmp_path / "out.wav"
    with open(target, "wb") as handle:
        subprocess.run(words(tiny_model, "-", "-"), input=unknown, stdout=handle, check=True)
    assert soundfile.info(target).frames == 30_001
    done = pipe(tiny_model, unknown, "-", tmp_path / "named.wav")
    assert (done.returncode, done.stdout) == (0, b"")
    assert (tmp_path / "named.wav").read_bytes() == target.read_bytes()
    assert struct.unpack("<I", target.read_bytes()[4:8])[0] == target.stat().st_size - 8


def test_what_surrounds_the_samples_goes_through(tiny_model) -> None:
    plain = wav(samples(1_001))
    note = b"LIST" + struct.pack("<I", 12) + b"INFOICMT" + b"\0\0\0\0"
    data = plain[:36] + note + plain[36:] + note
    data = data[:4] + struct.pack("<I", len(data) - 8) + data[8:]
    done = pipe(tiny_model, data, "-", "-", "--quiet")
    assert len(done.stdout) == len(data)
    assert done.stdout[:64] == data[:64]
    assert done.stdout.endswith(note)


@pytest.mark.parametrize(
    ("name", "subtype"),
    [
        ("s24le", "PCM_24"),
        *(pytest.param(*pair, marks=SLOW)
          for pair in (("s16le", "PCM_16"), ("s32le", "PCM_32"), ("f32le", "FLOAT"))),
    ],
)  # fmt: skip
def test_raw_samples(tiny_model, name: str, subtype: str) -> None:
    data = wav(samples(5_000, 2), subtype)
    start = data.index(b"data") + 8
    told = pipe(tiny_model, data, "-", "-", "--quiet")
    raw = pipe(tiny_model, data[start:], "-", "-", "--raw", f"{RATE},2,{name}", "--quiet")
    assert (raw.returncode, raw.stderr) == (0, b"")
    assert raw.stdout == told.stdout[start:]


@pytest.mark.slow
@pytest.mark.parametrize("live", [False, True])
def test_lengths_are_kept(tiny_model, live: bool) -> None:
    for frames in (0, 1, 700, 20_000):
        data = b"\x01\x00" * frames
        options = ["--raw", f"{RATE},1,s16le", *(["--live"] if live else [])]
        done = pipe(tiny_model, data, "-", "-", *options)
        assert (done.returncode, len(done.stdout)) == (0, len(data)), done.stderr


def test_live_gives_what_a_stream_gives(tiny_model) -> None:
    from biodenoising import Denoiser

    audio = samples(20_000, 2).astype(np.float32)
    done = pipe(tiny_model, wav(audio, "FLOAT"), "-", "-", "--live", "--mix", "0.5")
    assert b"live with tiny: comes out 48 ms later" in done.stderr
    piped = soundfile.read(io.BytesIO(done.stdout), dtype="float32", always_2d=True)[0].T
    stream = Denoiser(tiny_model).stream(RATE, 2, mix=0.5)
    expected = np.concatenate([stream.feed(audio.T), stream.flush()], axis=1)[:, stream.latency :]
    np.testing.assert_allclose(piped, expected, atol=1e-4)


@pytest.mark.parametrize(("live", "said"), [(True, b"live with light: "), (False, b"as for files")])
def test_without_a_name_live_sound_has_the_model_that_hears_it_best(
    live: bool, said: bytes
) -> None:
    words = [sys.executable, "-c", START, "-", "-", *(["--live"] if live else [])]
    done = subprocess.run(
        words, input=wav(samples(4_000)), capture_output=True, check=False, timeout=60
    )
    assert (done.returncode, said in done.stderr) == (0, True), done.stderr


def test_live_answers_before_the_input_ends(tiny_model) -> None:
    process = subprocess.Popen(
        words(tiny_model, "-", "-", "--live", "--raw", f"{RATE},1,s16le"),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdin
    assert process.stdout
    try:
        process.stdin.write(b"\x10\x00" * 4_000)
        process.stdin.flush()
        assert len(process.stdout.read(2 * (4_000 - 764))) == 2 * (4_000 - 764)
        process.stdin.close()
        assert len(process.stdout.read()) == 2 * 764
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.slow
def test_from_and_to_files(tree, biodenoise, tiny_model) -> None:
    audio = samples()
    expected = as_file(tree, biodenoise, audio)
    done = pipe(tiny_model, b"", tree.input / "a.wav", "-")
    shown = soundfile.read(io.BytesIO(done.stdout), dtype="int32", always_2d=True)[0]
    np.testing.assert_array_equal(shown, expected)
    target = tree.root / "b.wav"
    source = (tree.input / "a.wav").read_bytes()
    assert pipe(tiny_model, source, "-", target).returncode == 0
    np.testing.assert_array_equal(
        soundfile.read(target, dtype="int32", always_2d=True)[0], expected
    )
    again = pipe(tiny_model, source, "-", target)
    assert (again.returncode, b"--overwrite" in again.stderr) == (1, True)
    assert pipe(tiny_model, source, "-", target, "--overwrite").returncode == 0
    assert not tree.leftovers()


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("sox"), reason="sox is not installed")
def test_between_two_sox(tiny_model, tmp_path: Path) -> None:
    source, target = tmp_path / "a.wav", tmp_path / "b.wav"
    soundfile.write(source, samples(50_000, 2), RATE, subtype="PCM_24")
    command = " ".join(f"'{word}'" for word in words(tiny_model, "-", "-", "--quiet"))
    subprocess.run(
        ["bash", "-c", f"set -o pipefail; sox -V1 {source} -t wav - | {command} | "
         f"sox -V1 -t wav --ignore-length - {target}"],
        check=True, timeout=60,
    )  # fmt: skip
    assert soundfile.info(target).frames == 50_000
    assert soundfile.info(target).subtype == "PCM_24"


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="ffmpeg is not installed")
def test_between_two_ffmpeg(tiny_model, tmp_path: Path) -> None:
    source, target = tmp_path / "a.flac", tmp_path / "b.flac"
    soundfile.write(source, samples(50_000), RATE)
    command = " ".join(f"'{word}'" for word in words(tiny_model, "-", "-", "--live"))
    ffmpeg = "ffmpeg -nostdin -loglevel error"
    subprocess.run(
        ["bash", "-c", f"set -o pipefail; {ffmpeg} -i {source} -f wav - | {command} | "
         f"{ffmpeg} -i - {target}"],
        check=True, timeout=60,
    )  # fmt: skip
    assert soundfile.info(target).frames == 50_000


# --- what ends early -----------------------------------------------------------------------------


def test_a_closed_pipe_ends_quietly(tiny_model, tmp_path: Path) -> None:
    source = tmp_path / "a.wav"
    soundfile.write(source, samples(300_000), RATE)
    command = " ".join(f"'{word}'" for word in words(tiny_model, "-", "-", "--quiet"))
    shown = subprocess.run(
        ["bash", "-c", f"{command} < {source} | head -c 100 > /dev/null; echo ${{PIPESTATUS[0]}}"],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert (shown.stdout.strip(), shown.stderr) == ("141", "")


def test_a_recording_cut_short_is_noted(tiny_model) -> None:
    data = wav(samples(10_000))[:-2_001]
    done = pipe(tiny_model, data, "-", "-", "--quiet")
    assert (done.returncode, len(done.stdout)) == (0, len(data) - 1)
    done = pipe(tiny_model, data, "-", "-")
    assert b"cut short: its header says 10000 samples, 8999 came" in done.stderr


def test_ctrl_c_ends_the_input_and_completes_the_file(tiny_model, tmp_path: Path) -> None:
    target = tmp_path / "night.wav"
    process = subprocess.Popen(
        words(tiny_model, "-", target, "--live"),
        stdin=subprocess.PIPE, stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    assert process.stdin
    assert process.stderr
    try:
        process.stdin.write(of_unknown_length(wav(samples(8_000)), 0xFFFFFFFF))
        process.stdin.flush()
        process.stderr.readline()  # the model is loaded
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stderr.close()
    assert soundfile.info(target).frames == 8_000
    assert [path.name for path in tmp_path.iterdir()] == ["night.wav"]


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "code", "what"),
    [
        (["-", "-", "--raw", "16000,1"], 2, "is no raw format"),
        (["-", "-", "--raw", "16000,1,mp3"], 2, "is no raw format"),
        (["-", "-", "--raw", "10,1,s16le"], 2, "must lie between"),
        (["-", "-", "--raw", "16000,99,s16le"], 2, "1 to 64 channels"),
        (["in", "out", "--live"], 2, "--live is for pipes"),
        (["in", "out", "--raw", "16000,1,s16le"], 2, "--raw is for pipes"),
        (["-", "-", "--dry-run"], 2, "--dry-run is for files"),
        (["-", "-", "--format", "flac"], 2, "--format is for files"),
        (["-", "-", "--time-expansion", "auto"], 2, "--time-expansion auto is for files"),
        (["-", "-", "--residual", "x"], 2, "--residual is for files"),
        (["-", "-", "--live", "--band", "500-4000"], 2, "leave band and time expansion away"),
        (["-", "."], 2, "is a folder"),
        ([".", "-"], 2, "is a folder"),
        (["nothing.wav", "-"], 1, "cannot be opened"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    biodenoise, arguments: list[str], code: int, what: str
) -> None:
    """Before anything is read: in this process, whose standard input is none of the test's."""
    shown = biodenoise(*arguments)
    assert (shown.exit_code, shown.stdout) == (code, "")
    (line,) = shown.stderr.splitlines()
    assert what in line


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"no sound at all, but long enough", b"is no WAV"),
        (wav(np.zeros((10, 1)))[:30], b"ended within its header"),
        pytest.param(b"", b"ended within its header", marks=SLOW),
    ],
)
def test_what_is_no_sound_is_refused_in_one_line(tiny_model, data: bytes, what: bytes) -> None:
    done = pipe(tiny_model, data, "-", "-")
    assert (done.returncode, done.stdout) == (1, b"")
    assert what in done.stderr
    assert done.stderr.count(b"\n") == 1
