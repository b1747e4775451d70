"""Broken, hostile and odd files: one clear sentence, or the samples that are there with a note."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import signal
import socket
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from recordings import bext, chunk, copy, encoded, fmt_body, noise, pcm, read_all, rf64, wav

from biodenoising.audio import AudioInfo, check_container, open_reader, open_writer, verify
from biodenoising.errors import AudioReadError, AudioWriteError, DiskFullError
from biodenoising.storage import write_error

FORMATS = [
    ("WAV", "PCM_16"), ("WAV", "FLOAT"), ("RF64", "PCM_16"), ("AIFF", "PCM_24"), ("FLAC", "PCM_16"),
    ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III"),
]  # fmt: skip


def refused(path: Path) -> str:
    """Return the one-line reason for which a file is not read."""
    with pytest.raises(AudioReadError) as caught:
        read_all(path)
    message = str(caught.value)
    assert "\n" not in message
    assert path.name in message or "\\" in message
    return message


@pytest.mark.parametrize("percent", [1, 10, 50, 90, 99])
@pytest.mark.parametrize(("container", "subtype"), FORMATS)
def test_a_cut_file_is_never_passed_as_whole(
    tmp_path: Path, container: str, subtype: str, percent: int
) -> None:
    whole, cut, target = tmp_path / "whole", tmp_path / "cut", tmp_path / "out"
    frames = 100_000
    encoded(whole, frames, container=container, subtype=subtype, rate=48_000, channels=2)
    expected = read_all(whole)[0]
    raw = whole.read_bytes()
    cut.write_bytes(raw[: len(raw) * percent // 100])
    # A FLAC decoder loses its way at the cut; OGG and MP3 need their first pages whole.
    if container == "FLAC" or percent <= {"OGG": 10, "MP3": 1}.get(container, 0):
        refused(cut)
        return
    samples, _, notes = read_all(cut)
    assert any("cut short" in note for note in notes)
    there = samples.shape[1]
    assert 0 < there < frames
    if container not in ("OGG", "MP3"):
        assert abs(there - frames * percent // 100) < 300
        np.testing.assert_array_equal(samples, expected[:, :there])
    info = copy(cut, target)
    verify(target, info, there)
    again, _, notes = read_all(target)
    assert notes == []
    assert again.shape[1] == there
    assert soundfile.info(target).frames == there


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 0x7FFFFFF0])
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
def test_a_recorder_that_lost_power(tmp_path: Path, subtype: str, size: int) -> None:
    source, target = tmp_path / "a.wav", tmp_path / "b.wav"
    raw = wav(source, 5000, subtype=subtype, before=((b"bext", bext()), (b"fact", b"\0" * 4)))
    whole = read_all(source)[0]
    broken = bytearray(source.read_bytes())
    start = broken.index(raw)
    broken[start - 4 : start] = struct.pack("<I", size)
    broken[4:8] = struct.pack("<I", size)
    source.write_bytes(broken + b"\x07")
    samples, info, notes = read_all(source)
    np.testing.assert_array_equal(samples, whole)
    assert info.frames == 5000
    assert len(notes) == 1
    assert "5000" in notes[0]
    copy(source, target)
    verify(target, info, 5000)
    new = target.read_bytes()
    assert new[8 : start - 24] == bytes(broken[8 : start - 24])
    assert new[start : start + len(raw)] == raw
    assert struct.unpack("<I", new[4:8])[0] == len(new) - 8
    assert struct.unpack("<I", new[start - 4 : start])[0] == len(raw)
    fact = new.index(b"fact")
    assert struct.unpack("<I", new[fact + 8 : fact + 12])[0] == 5000
    assert read_all(target)[2] == []
    assert soundfile.info(target).frames == 5000


def test_aiff_of_a_recorder_that_lost_power(tmp_path: Path) -> None:
    source, target = tmp_path / "a.aif", tmp_path / "b.aif"
    encoded(source, 5000, container="AIFF", subtype="PCM_24", rate=48_000)
    whole = read_all(source)[0]
    broken = bytearray(source.read_bytes())
    for name, offset in ((b"FORM", 4), (b"SSND", 4), (b"COMM", 10)):
        start = broken.index(name) + offset
        broken[start : start + 4] = bytes(4)
    repaired = source.read_bytes()
    source.write_bytes(broken)
    samples, info, notes = read_all(source)
    np.testing.assert_array_equal(samples, whole)
    assert len(notes) == 1
    copy(source, target)
    verify(target, info, 5000)
    assert target.read_bytes() == repaired


def test_rf64_without_sizes(tmp_path: Path) -> None:
    source, target = tmp_path / "a.wav", tmp_path / "b.wav"
    rf64(source, 5000)
    whole = source.read_bytes()
    source.write_bytes(whole[:20] + bytes(24) + whole[44:])
    _, info, notes = read_all(source)
    assert info.frames == 5000
    assert len(notes) == 1
    copy(source, target)
    assert target.read_bytes() == whole


def test_header_without_samples_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    wav(path, 5000)
    path.write_bytes(path.read_bytes()[:44])
    assert "no samples" in refused(path)


def test_wrong_outermost_size_is_corrected_and_nothing_else(tmp_path: Path) -> None:
    source, target = tmp_path / "a.wav", tmp_path / "b.wav"
    wav(source, 500, after=((b"guan", b"a: b"),))
    whole = source.read_bytes()
    source.write_bytes(whole[:4] + bytes(4) + whole[8:])
    copy(source, target)
    assert target.read_bytes() == whole


def test_over_4_gb_becomes_rf64(tmp_path: Path) -> None:
    source, target = tmp_path / "a.wav", tmp_path / "b.wav"
    wav(source, 0)
    head = source.read_bytes()
    with open(source, "r+b") as handle:
        handle.truncate(len(head) + (1 << 32) + 6)
    with open_reader(source) as reader:
        info = reader.info
        assert info.frames == (1 << 31) + 3
        assert reader.read(1000).shape == (1, 1000)
    with open_writer(target, info) as writer:
        writer.write(noise(1000, 1))
    assert target.read_bytes()[:4] == b"RF64"
    assert soundfile.info(target).frames == 1000
    assert soundfile.info(target).format == "RF64"
    verify(target, info, 1000)


def test_flac_of_over_4_gb_becomes_rf64(tmp_path: Path) -> None:
    source, target = tmp_path / "a.flac", tmp_path / "b.wav"
    encoded(source, 100, container="FLAC", subtype="PCM_24", rate=48_000)
    info = AudioInfo(source, "FLAC", "PCM_24", 48_000, 1, 1 << 31, ())
    with open_writer(target, info, container="WAV") as writer:
        writer.write(noise(1000, 1))
    assert (soundfile.info(target).format, soundfile.info(target).frames) == ("RF64", 1000)
    verify(target, info, 1000, container="WAV")


def test_what_is_no_recording(tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("these are field notes\n" * 100)
    (tmp_path / "text.mp3").write_text("these are field notes\n" * 100)
    (tmp_path / "empty.wav").touch()
    (tmp_path / "folder.wav").mkdir()
    (tmp_path / "dangling.wav").symlink_to(tmp_path / "nothing")
    (tmp_path / "loop.wav").symlink_to(tmp_path / "loop.wav")
    os.mkfifo(tmp_path / "pipe.wav")
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(tmp_path / "socket.wav"))
        assert "pipe, socket or device" in refused(tmp_path / "socket.wav")
    assert "pipe, socket or device" in refused(tmp_path / "pipe.wav")
    assert "pipe, socket or device" in refused(Path("/dev/zero"))
    assert "no audio file" in refused(tmp_path / "text.wav")
    assert "damaged" in refused(tmp_path / "text.mp3")
    assert "is empty" in refused(tmp_path / "empty.wav")
    assert "is a folder" in refused(tmp_path / "folder.wav")
    assert "cannot be opened" in refused(tmp_path / "dangling.wav")
    assert "cannot be opened" in refused(tmp_path / "loop.wav")
    assert "cannot be opened" in refused(tmp_path / "missing.wav")
    for other in ("CAF", "AU", "W64"):
        soundfile.write(tmp_path / "other.wav", np.zeros(100), 48_000, format=other)
        refused(tmp_path / "other.wav")


def test_no_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wav(tmp_path / "a.wav")
    (tmp_path / "a.wav").chmod(0)
    if os.geteuid() == 0:
        # The superuser may read anything, so the refusal is simulated.
        def deny(*_: object, **__: object) -> None:
            raise PermissionError(errno.EACCES, "Permission denied")

        monkeypatch.setattr("builtins.open", deny)
    assert "Permission denied" in refused(tmp_path / "a.wav")


@pytest.mark.parametrize(
    "name",
    [b"a\nb", b"\xff\xfe", b"-rf", "frosch ü 蛙 🐸".encode(), b"%s {x} 'q\"", b"x" * 250],
)
@pytest.mark.parametrize(
    ("container", "subtype"),
    [("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("MP3", "MPEG_LAYER_III")],
)
def test_names_of_any_bytes(tmp_path: Path, name: bytes, container: str, subtype: str) -> None:
    plain = tmp_path / "plain"
    encoded(plain, 5000, container=container, subtype=subtype, rate=48_000)
    folder = tmp_path / os.fsdecode(name)
    folder.mkdir()
    source, target = folder / os.fsdecode(name[:200] + b".x"), folder / os.fsdecode(b"o" + name[:9])
    shutil.copy(plain, source)
    info = copy(source, target)
    verify(target, info, 5000)
    assert soundfile.info(os.fsencode(target)).frames == 5000
    source.write_bytes(b"text")
    with pytest.raises(AudioReadError) as caught:
        open_reader(source)
    message = str(caught.value)
    assert "\n" not in message
    message.encode("utf-8")


def test_encodings_that_are_refused_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros(4000), 8000, format="WAV", subtype="IMA_ADPCM")
    assert "IMA ADPCM" in refused(path)
    soundfile.write(path, np.zeros(4000), 8000, format="WAV", subtype="MS_ADPCM")
    assert "Microsoft ADPCM" in refused(path)
    soundfile.write(path, np.zeros(4000), 8000, format="WAV", subtype="GSM610")
    assert "GSM" in refused(path)
    soundfile.write(path, np.zeros(4000), 8000, format="AIFF", subtype="IMA_ADPCM")
    assert "ima4" in refused(path)


@pytest.mark.parametrize(
    ("rate", "channels", "word"),
    [(999, 1, "999 Hz"), (1_000_001, 1, "1000001 Hz"), (0, 1, "0 Hz"), (2_000_000_000, 1, "Hz"),
     (48_000, 65, "65 channels"), (48_000, 1024, "1024 channels"), (48_000, 0, "0 channels")],
)  # fmt: skip
def test_limits(tmp_path: Path, rate: int, channels: int, word: str) -> None:
    body = b"WAVE" + chunk(
        b"fmt ", struct.pack("<HHIIHH", 1, channels, rate, 0, (2 * channels) & 0xFFFF, 16)
    )
    body += chunk(b"data", bytes(4096 * 4))
    (tmp_path / "a.wav").write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
    assert word in refused(tmp_path / "a.wav")


@pytest.mark.parametrize(
    "chunks",
    [
        chunk(b"data", bytes(100)),
        chunk(b"fmt ", fmt_body("PCM_16", 48_000, 1)),
        chunk(b"fmt ", b"\1\0"),
        chunk(b"fmt ", fmt_body("PCM_16", 48_000, 1)) + chunk(b"data", bytes(8)) * 2,
        chunk(b"fmt ", fmt_body("PCM_16", 48_000, 1)) * 2 + chunk(b"data", bytes(8)),
        b"JUNK\xff\xff\xff\xff" + bytes(100),
        b"\0" * 1000,
    ],
)
def test_contradictory_wavs_are_refused(tmp_path: Path, chunks: bytes) -> None:
    body = b"WAVE" + chunks
    (tmp_path / "a.wav").write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
    refused(tmp_path / "a.wav")


def test_too_many_chunks_are_refused_quickly(tmp_path: Path) -> None:
    body = b"WAVE" + b"JUNK\0\0\0\0" * 100_001
    (tmp_path / "a.wav").write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
    assert "chunks" in refused(tmp_path / "a.wav")


def test_12_bit_samples_are_noted(tmp_path: Path) -> None:
    fmt = struct.pack("<HHIIHH", 1, 1, 48_000, 96_000, 2, 12)
    body = b"WAVE" + chunk(b"fmt ", fmt) + chunk(b"data", pcm(noise(100, 1), "PCM_16", 48_000))
    source = tmp_path / "a.wav"
    source.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
    _, info, notes = read_all(source)
    assert (info.subtype, info.frames) == ("PCM_16", 100)
    assert "12-bit" in notes[0]
    copy(source, tmp_path / "b.wav")
    verify(tmp_path / "b.wav", info, 100)
    assert (tmp_path / "b.wav").read_bytes() == source.read_bytes()


def test_content_counts_not_the_name(tmp_path: Path) -> None:
    encoded(tmp_path / "a.wav", 3000, container="FLAC", subtype="PCM_16", rate=48_000)
    info = copy(tmp_path / "a.wav", tmp_path / "b.wav")
    assert info.container == "FLAC"
    assert soundfile.info(tmp_path / "b.wav").format == "FLAC"


def test_damage_in_the_middle_tells_the_second(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    encoded(path, 200_000, container="FLAC", subtype="PCM_16", rate=48_000)
    raw = bytearray(path.read_bytes())
    middle = len(raw) // 2
    raw[middle : middle + 40_000] = bytes(40_000)
    path.write_bytes(raw)
    message = refused(path)
    second = float(message.split("beyond ")[1].split(" s")[0])
    assert 1 < second < 2.2


def test_a_file_that_shrinks_while_read_is_noted(tmp_path: Path) -> None:
    wav(tmp_path / "a.wav", 500_000)
    with open_reader(tmp_path / "a.wav") as reader:
        count = reader.read(1000).shape[1]
        os.truncate(tmp_path / "a.wav", 200_044)
        while (part := reader.read(5000)).shape[1]:
            count += part.shape[1]
        assert count == 100_000
        assert "cut short" in reader.notes[0]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("container", "subtype"), FORMATS)
def test_numbers_that_are_none_never_reach_the_encoder(
    tmp_path: Path, container: str, subtype: str, bad: float
) -> None:
    encoded(tmp_path / "a", 500, container=container, subtype=subtype, rate=48_000)
    with open_reader(tmp_path / "a") as reader:
        info = reader.info
    block = np.zeros((1, 100), np.float32)
    block[0, 50] = bad
    writer = open_writer(tmp_path / "b", info)
    with pytest.raises(AudioWriteError, match="not a finite number"):
        writer.write(block)
    writer.abort()


def test_wrong_shape_is_refused(tmp_path: Path) -> None:
    wav(tmp_path / "a.wav", 500, channels=2)
    with open_reader(tmp_path / "a.wav") as reader:
        info = reader.info
    with open_writer(tmp_path / "b.wav", info) as writer:
        for shape in ((100,), (1, 100), (100, 2), (2, 3, 4)):
            with pytest.raises(AudioWriteError, match="shape"):
                writer.write(np.zeros(shape, np.float32))
        writer.write(np.zeros((2, 0), np.float32))
        writer.write(np.ones((2, 7), np.float32)[:, ::-1])
    assert soundfile.info(tmp_path / "b.wav").frames == 7


def test_containers_are_checked_before_any_work() -> None:
    wide = AudioInfo(Path("a.wav"), "WAV", "PCM_16", 48_000, 9, 10, ())
    fast = AudioInfo(Path("a.wav"), "WAV", "PCM_16", 1_000_000, 1, 10, ())
    odd = AudioInfo(Path("a.wav"), "WAV", "PCM_16", 96_001, 1, 10, ())
    vorbis = AudioInfo(Path("a.ogg"), "OGG", "VORBIS", 250_000, 1, 10, ())
    layer2 = AudioInfo(Path("a.mp3"), "MP3", "MPEG_LAYER_II", 44_100, 1, 10, ())
    for info in (wide, fast, odd):
        check_container(info)
        with pytest.raises(AudioWriteError, match="FLAC"):
            check_container(info, "FLAC")
    for info in (vorbis, layer2):
        check_container(info, "WAV")
        with pytest.raises(AudioWriteError, match="--format flac"):
            check_container(info)
    with pytest.raises(AudioWriteError, match="choose wav or flac"):
        check_container(wide, "mp3")


def test_verify_sees_what_is_wrong(tmp_path: Path) -> None:
    wav(tmp_path / "a.wav", 5000)
    info = copy(tmp_path / "a.wav", tmp_path / "b.wav")
    verify(tmp_path / "b.wav", info, 5000)
    with pytest.raises(AudioWriteError, match="5000"):
        verify(tmp_path / "b.wav", info, 4999)
    with pytest.raises(AudioWriteError, match="FLAC"):
        verify(tmp_path / "b.wav", info, 5000, container="FLAC")
    os.truncate(tmp_path / "b.wav", 5000)
    with pytest.raises(AudioWriteError, match="cut short"):
        verify(tmp_path / "b.wav", info, 5000)


@pytest.mark.parametrize(("container", "subtype"), FORMATS)
def test_verify_sees_a_cut_output(tmp_path: Path, container: str, subtype: str) -> None:
    encoded(tmp_path / "a", 60_000, container=container, subtype=subtype, rate=48_000)
    info = copy(tmp_path / "a", tmp_path / "b")
    verify(tmp_path / "b", info, 60_000)
    os.truncate(tmp_path / "b", (tmp_path / "b").stat().st_size * 9 // 10)
    with pytest.raises(AudioWriteError):
        verify(tmp_path / "b", info, 60_000)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_full_disk_is_told_from_a_broken_one(tmp_path: Path, number: int) -> None:
    assert isinstance(write_error(tmp_path / "a", OSError(number, "x")), DiskFullError)
    assert not isinstance(write_error(tmp_path / "a", OSError(errno.EIO, "x")), DiskFullError)


def test_libsndfile_without_a_reason_on_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = soundfile.LibsndfileError(2)
    assert not isinstance(write_error(tmp_path / "a", error), DiskFullError)
    usage = type("Usage", (), {"free": 100})
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    assert isinstance(write_error(tmp_path / "a", error), DiskFullError)


@pytest.mark.parametrize(("container", "subtype"), FORMATS)
def test_a_failing_write_is_raised_not_swallowed(
    tmp_path: Path, container: str, subtype: str
) -> None:
    encoded(tmp_path / "a", 300_000, container=container, subtype=subtype, rate=48_000)
    code = (
        "import sys; from pathlib import Path; from recordings import copy\n"
        "from biodenoising.errors import AudioWriteError\n"
        "try: copy(Path(sys.argv[1]), Path(sys.argv[2]))\n"
        "except AudioWriteError as error: print('refused', error)\n"
        "else: print('passed')\n"
    )

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    done = subprocess.run(
        [sys.executable, "-B", "-c", code, str(tmp_path / "a"), str(tmp_path / "b")],
        capture_output=True, text=True, preexec_fn=limit, timeout=60, check=False,
        cwd=Path(__file__).parent,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("refused")
    assert done.stdout.count("\n") == 1
    assert (tmp_path / "b").stat().st_size <= 20_000


def test_memory_does_not_grow_with_length(tmp_path: Path) -> None:
    import tracemalloc

    source, target = tmp_path / "a.wav", tmp_path / "b.wav"
    junk = (b"JUNK", bytes(8_000_000))
    wav(source, 4_000_000, before=(junk,), after=(junk,))
    tracemalloc.start()
    copy(source, target, block=50_000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 6_000_000
    assert target.read_bytes() == source.read_bytes()


@pytest.mark.parametrize(("container", "subtype"), FORMATS)
def test_flipped_bytes_are_read_or_refused_and_nothing_else(
    tmp_path: Path, container: str, subtype: str
) -> None:
    encoded(tmp_path / "a", 3000, container=container, subtype=subtype, rate=48_000, channels=2)
    whole = (tmp_path / "a").read_bytes()
    rng = np.random.default_rng(3)
    read, refusals = 0, 0
    for _ in range(40):
        raw = bytearray(whole)
        for _ in range(int(rng.integers(1, 4))):
            raw[int(rng.integers(rng.choice([64, len(raw)])))] = int(rng.integers(256))
        (tmp_path / "b").write_bytes(raw)
        try:
            samples, info, _ = read_all(tmp_path / "b")
            copy(tmp_path / "b", tmp_path / "c")
            verify(tmp_path / "c", info, samples.shape[1])
            read += 1
        except (AudioReadError, AudioWriteError):
            refusals += 1
    assert read + refusals == 40
    if container in ("WAV", "RF64", "AIFF"):
        assert min(read, refusals) > 0


def test_naming_formats_needs_no_numpy() -> None:
    code = (
        "import sys; from biodenoising.audio import EXTENSIONS, check_container\n"
        "assert '.wav' in EXTENSIONS; sys.exit('numpy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_public_name_resolves() -> None:
    from biodenoising import audio

    assert set(audio.__all__) == set(audio._HOMES)
    assert all(getattr(audio, name) is not None for name in audio.__all__)
