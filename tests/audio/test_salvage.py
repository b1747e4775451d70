"""Damaged files and dying disks: with --salvage what can be read is kept in its place."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
from recordings import encoded, noise, wav

from biodenoising.audio import ReadOptions, open_reader
from biodenoising.audio import salvage as salvage_module
from biodenoising.errors import AudioReadError

SALVAGE = ReadOptions(salvage=True)


def salvaged(path: Path, block: int = 30_000) -> tuple[np.ndarray, list[str]]:
    parts = []
    with open_reader(path, SALVAGE) as reader:
        while (part := reader.read(block)).shape[1]:
            parts.append(part)
        return np.concatenate(parts, axis=1), reader.notes


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("percent", [1, 10, 50, 90, 99])
def test_a_cut_flac_keeps_what_decodes(tmp_path: Path, percent: int, channels: int) -> None:
    path = tmp_path / "a.flac"
    encoded(path, 200_000, container="FLAC", subtype="PCM_16", rate=48_000, channels=channels)
    whole = soundfile.read(path, dtype="float32", always_2d=True)[0].T
    os.truncate(path, path.stat().st_size * percent // 100)
    if percent == 1:  # less than one block of sound
        with pytest.raises(AudioReadError, match="none can be decoded"):
            salvaged(path)
        return
    samples, notes = salvaged(path)
    there = samples.shape[1]
    assert 200_000 * percent / 100 - 6_000 < there < 200_000
    np.testing.assert_array_equal(samples, whole[:, :there])
    (note,) = notes
    assert f"the last {(200_000 - there) / 48_000:.3f} s are missing" in note
    with open_reader(path) as reader, pytest.raises(AudioReadError, match="beyond"):
        reader.read(1 << 20)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("faults", [1, 3])
def test_damage_within_a_flac_is_silence_in_its_place(
    tmp_path: Path, faults: int, channels: int
) -> None:
    path = tmp_path / "a.flac"
    encoded(path, 400_000, container="FLAC", subtype="PCM_16", rate=48_000, channels=channels)
    whole = soundfile.read(path, dtype="float32", always_2d=True)[0].T
    raw = bytearray(path.read_bytes())
    for fault in range(1, faults + 1):
        at = len(raw) * fault // (faults + 1)
        raw[at : at + 20_000] = bytes(20_000)
    path.write_bytes(raw)
    samples, notes = salvaged(path)
    assert samples.shape[1] == 400_000
    differs = np.flatnonzero((samples != whole).any(axis=0))
    assert not samples[:, differs].any()  # never invented sound
    assert 0 < len(differs) < faults * (20_000 + 14_000)
    (note,) = notes
    assert note.startswith("salvaged")
    assert note.count("-") >= faults


@pytest.mark.parametrize("name", ["a.ogg", "a.mp3"])
def test_what_an_ogg_or_mp3_gives_is_kept(tmp_path: Path, name: str) -> None:
    subtype = {"a.ogg": "VORBIS", "a.mp3": "MPEG_LAYER_III"}[name]
    path = tmp_path / name
    encoded(path, 300_000, container=name[2:].upper(), subtype=subtype, rate=48_000)
    os.truncate(path, path.stat().st_size // 2)
    samples, notes = salvaged(path)
    assert 100_000 < samples.shape[1] < 200_000
    assert "cut short" in " ".join(notes)


class BadSectors:
    """read_at on a disk whose bytes in `bad` cannot be read."""

    def __init__(self, *bad: range) -> None:
        self._bad = bad
        self._inner = salvage_module.read_at

    def __call__(self, number: int, count: int, position: int) -> bytes:
        if any(position < r.stop and r.start < position + count for r in self._bad):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return self._inner(number, count, position)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "FLOAT", "ULAW"])
def test_bad_sectors_are_silence(tmp_path: Path, monkeypatch, subtype: str) -> None:
    path = tmp_path / "a.wav"
    wav(path, 60_000, subtype=subtype, channels=2)
    with open_reader(path) as reader:
        whole = reader.read(60_000)
    bad = BadSectors(range(0x5000, 0x7000), range(0xA010, 0xA020))
    monkeypatch.setattr(salvage_module, "read_at", bad)
    samples, notes = salvaged(path)
    assert samples.shape == whole.shape
    lost = np.flatnonzero((samples != whole).any(axis=0))
    assert not samples[:, lost].any()
    width = {"PCM_U8": 2, "PCM_16": 4, "PCM_24": 6, "FLOAT": 8, "ULAW": 2}[subtype]
    assert 0.9 * 0x3000 / width < len(lost) <= 0x3000 / width + 2
    (note,) = notes
    assert note.count("-") == 2
    told = float(note.split()[1])
    assert told == pytest.approx(len(lost) / 48_000, abs=1e-3)


def test_a_whole_disk_gone_is_an_error(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "a.wav"
    wav(path, 5_000)
    monkeypatch.setattr(salvage_module, "read_at", BadSectors(range(1 << 40)))
    samples, notes = salvaged(path)
    assert not samples.any()
    assert "5000" in notes[0] or "0.104 s" in notes[0]


def test_what_is_sound_stays_so(tmp_path: Path) -> None:
    for name, container, subtype in (
        ("a.flac", "FLAC", "PCM_24"), ("a.ogg", "OGG", "VORBIS"), ("a.wav", "WAV", "PCM_16"),
    ):  # fmt: skip
        path = tmp_path / name
        encoded(path, 70_000, container=container, subtype=subtype, rate=48_000, channels=2)
        with open_reader(path) as reader:
            plain = np.concatenate([reader.read(9_000) for _ in range(8)], axis=1)
        samples, notes = salvaged(path, 9_000)
        np.testing.assert_array_equal(samples, plain)
        assert notes == []


def test_a_run_says_which_seconds_are_missing(tree, biodenoise) -> None:
    samples = noise(160_000, 1).T * np.float32(0.3)
    path = tree.add("a.flac", samples=samples)
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2 : len(raw) // 2 + 9_000] = bytes(9_000)
    path.write_bytes(raw)
    plain = biodenoise(tree.input, tree.output)
    assert plain.exit_code == 1
    assert "a.flac" in plain.stderr
    assert not tree.outputs()
    result = biodenoise(tree.input, tree.output, "--salvage")
    assert result.exit_code == 0, result.output
    assert "salvaged" in result.stdout
    assert tree.rows()[-1]["notes"]
    after = soundfile.read(tree.output / "a.flac")[0]
    assert len(after) == 160_000
    first, last = next(
        (float(a), float(b))
        for a, b in [tree.rows()[-1]["notes"][0].split("(")[1].split(" s")[0].split("-")]
    )
    assert not after[round(first * 16_000) + 8 : round(last * 16_000) - 8].any()
    assert after[: round(first * 16_000)].any()
