"""Triggered AudioMoth recordings (T.WAV): counters are no sound, and none is lost."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
from recordings import chunk, fmt_body, read_all

from biodenoising.audio import ReadOptions, open_reader
from biodenoising.audio.triggered import counters
from biodenoising.errors import AudioReadError, OptionError

COMMENT = b"Recorded at 21:00:00 01/05/2024 (UTC) by AudioMoth 24F3190361DA3578 at medium gain."


def counter(blocks: int) -> bytes:
    """The block of 512 bytes that stands for so many silent ones."""
    bits = [1 if blocks >> bit & 1 else -1 for bit in range(32)]
    return np.array(bits + [0] * 224, "<i2").tobytes()


def sound(blocks: int, seed: int = 0) -> bytes:
    return np.random.default_rng(seed).integers(-9000, 9000, 256 * blocks).astype("<i2").tobytes()


def triggered(path: Path, parts: list[bytes], *, comment: bytes = COMMENT) -> tuple[int, bytes]:
    """Write a header of 488 bytes as the recorder's, samples up to byte 512, then the parts."""
    info = b"INFO" + chunk(b"ICMT", comment.ljust(384, b"\0")) + chunk(b"IART", b"x".ljust(12))
    head = chunk(b"fmt ", fmt_body("PCM_16", 48_000, 1)) + chunk(b"LIST", info)
    fill = sound(1, 9)[: -(12 + len(head) + 8) % 512]
    data = fill + b"".join(parts)
    body = b"WAVE" + head + chunk(b"data", data)
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
    return len(fill) // 2, data


def unpacked(data: bytes, fill: int) -> np.ndarray:
    """The samples at full length, worked out block by block in the plainest way."""
    out = [np.frombuffer(data[: 2 * fill], "<i2")]
    for start in range(2 * fill, len(data), 512):
        block = np.frombuffer(data[start : start + 512], "<i2")
        is_counter = len(block) == 256 and set(block[:32]) <= {1, -1} and not block[32:].any()
        number = sum(1 << bit for bit in range(32) if block[bit] == 1) if is_counter else 0
        out.append(np.zeros(256 * number, "<i2") if number else block)
    return np.concatenate(out)


PARTS = {
    "one": [sound(3), counter(40), sound(2, 1)],
    "first and last": [counter(7), sound(1), counter(900)],
    "two in a row": [sound(1), counter(1), counter(2), sound(5)],
    "unfinished block": [sound(4), counter(3), sound(1)[:100]],
    "many": [part for n in range(1, 700) for part in (sound(1, n), counter(n))],
}


@pytest.mark.parametrize("parts", PARTS.values(), ids=PARTS)
@pytest.mark.parametrize("block", [1, 255, 256, 100_000])
def test_expanding_gives_the_time_line_back(tmp_path: Path, parts: list[bytes], block: int) -> None:
    path = tmp_path / "20240501_210000T.WAV"
    fill, data = triggered(path, parts)
    wanted = unpacked(data, fill)
    if block == 1:
        wanted = wanted[:3000]
    got = []
    with open_reader(path, ReadOptions(twav="expand")) as reader:
        assert reader.info.frames == len(unpacked(data, fill))
        while (part := reader.read(block)).shape[1] and len(got) * block < len(wanted):
            got.append(part)
    np.testing.assert_array_equal(np.concatenate(got, axis=1)[0] * 32768, wanted)


def test_passing_is_silent_in_the_counters(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"  # the header tells, whatever the name
    fill, data = triggered(path, PARTS["one"])
    samples, info, notes = read_all(path)
    assert info.frames == len(data) // 2
    wanted = np.frombuffer(data, "<i2").copy()
    wanted[fill + 768 : fill + 1024] = 0
    np.testing.assert_array_equal(samples[0] * 32768, wanted)
    assert "T.WAV" not in notes[0]
    assert f"{39 * 256 / 48_000:.1f} s of silence left out in 1 places" in notes[0]


def test_refusing_names_the_options(tmp_path: Path) -> None:
    triggered(tmp_path / "x.wav", PARTS["one"])
    with pytest.raises(AudioReadError, match="--twav pass or expand"):
        open_reader(tmp_path / "x.wav", ReadOptions(twav="refuse"))
    with pytest.raises(OptionError, match="expand, pass or refuse"):
        ReadOptions(twav="maybe")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "comment", "parts"),
    [
        ("x.wav", b"a field recorder", PARTS["one"]),
        ("20240501_210000T.WAV", COMMENT, [sound(3)]),
        ("20240501_210000T.WAV", COMMENT, [sound(3), counter(0), bytes(512)]),
        ("20240501_210000T.WAV", COMMENT, [sound(3)[:100], counter(40), sound(2)]),
    ],
)  # fmt: skip
def test_other_recordings_are_left_alone(tmp_path: Path, name, comment, parts) -> None:
    _, data = triggered(tmp_path / name, parts, comment=comment)
    with open_reader(tmp_path / name, ReadOptions(twav="refuse")) as reader:
        assert reader.notes == []
        np.testing.assert_array_equal(reader.read(1 << 20)[0] * 32768, np.frombuffer(data, "<i2"))


def test_a_counter_of_hours_is_refused_before_decoding(tmp_path: Path) -> None:
    triggered(tmp_path / "x.wav", [sound(1), counter(2**32 - 1)])
    with pytest.raises(AudioReadError, match="--max-hours"):
        open_reader(tmp_path / "x.wav", ReadOptions(twav="expand"))


def test_every_number_is_decoded() -> None:
    numbers = [1, 2, 3, 255, 2**31 - 1, 2**31, 2**32 - 1]
    blocks = np.frombuffer(b"".join(counter(n) for n in numbers), "<i2").reshape(-1, 256)
    assert counters(blocks).tolist() == numbers
    spoiled = blocks.copy()
    spoiled[:, 255] = 1
    assert not counters(spoiled).any()


@pytest.fixture
def moth(tree):
    (tree.input / "20240501").mkdir()
    path = tree.input / "20240501" / "20240501_210000T.WAV"
    fill, data = triggered(path, [sound(40), counter(60), sound(70, 1), counter(3)])
    return tree, path, fill, data


def test_a_run_passes_counters_on_byte_for_byte(moth, biodenoise) -> None:
    tree, path, fill, data = moth
    result = biodenoise(tree.input, tree.output, "--residual", tree.residual)
    assert result.exit_code == 0, result.output
    assert "triggered AudioMoth recording" in result.stdout
    for folder in (tree.output, tree.residual):
        after = (folder / "20240501" / path.name).read_bytes()
        before = path.read_bytes()
        assert len(after) == len(before)
        start = len(before) - len(data)
        assert after[:start] == before[:start]
        for at in (start + 2 * fill + 40 * 512, len(before) - 512):
            assert after[at : at + 512] == before[at : at + 512]
        assert after[start : start + 40 * 512] != before[start : start + 40 * 512]
    assert "1 skipped" in biodenoise(tree.input, tree.output, "--residual", tree.residual).stdout


def test_a_run_expands_with_true_silence(moth, biodenoise) -> None:
    tree, path, fill, data = moth
    result = biodenoise(tree.input, tree.output, "--twav", "expand")
    assert result.exit_code == 0, result.output
    after, _ = soundfile.read(tree.output / "20240501" / path.name, dtype="int16")
    assert len(after) == len(unpacked(data, fill))
    gap = slice(fill + 40 * 256, fill + 100 * 256)
    assert not after[gap].any()
    assert after[: gap.start].any()
    refused = biodenoise(tree.input, tree.output)  # other settings, other content
    assert refused.exit_code == 1
    assert "--overwrite" in refused.stderr


def test_dither_would_spoil_counters(moth, biodenoise) -> None:
    tree, *_ = moth
    result = biodenoise(tree.input, tree.output, "--dither")
    assert result.exit_code == 1
    assert "--twav expand" in result.stderr
    assert biodenoise(tree.input, tree.output, "--dither", "--twav", "expand").exit_code == 0
