"""What was read and is written again is what it was: samples, length, container, encoding."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from recordings import copy, encoded, noise, read_all, rf64, wav

from biodenoising.audio import open_reader, open_writer, verify
from biodenoising.audio.flac_blocks import empty_flac
from biodenoising.audio.mpeg import scan_mpeg

RATES = (1_000, 8_000, 11_025, 16_000, 44_100, 48_000, 96_000, 192_000, 250_000, 384_000, 500_000)
EXACT = ("PCM_U8", "PCM_16", "PCM_24", "FLOAT", "ALAW")


@pytest.mark.parametrize("extensible", [False, True])
@pytest.mark.parametrize("subtype", [*EXACT, "ULAW", "PCM_32", "DOUBLE"])
def test_wav_comes_back_byte_by_byte(tmp_path: Path, subtype: str, extensible: bool) -> None:
    source, target = tmp_path / "a.wav", tmp_path / "b.wav"
    wav(source, 4001, subtype=subtype, channels=3, extensible=extensible)
    info = copy(source, target)
    assert (info.container, info.subtype, info.frames) == ("WAV", subtype, 4001)
    verify(target, info, 4001)
    samples, _, notes = read_all(source)
    expected, _ = soundfile.read(source, dtype="float32", always_2d=True)
    np.testing.assert_array_equal(samples.T, expected)
    assert notes == []
    assert target.stat().st_size == source.stat().st_size
    if subtype in EXACT:
        assert target.read_bytes() == source.read_bytes()
    else:
        again, _, _ = read_all(target)
        np.testing.assert_array_equal(again, samples)


def test_all_16_bit_values_survive(tmp_path: Path) -> None:
    values = np.arange(-32768, 32768, dtype=np.int16)
    soundfile.write(tmp_path / "a.wav", values, 48_000, subtype="PCM_16")
    copy(tmp_path / "a.wav", tmp_path / "b.wav", block=10_000)
    assert (tmp_path / "b.wav").read_bytes() == (tmp_path / "a.wav").read_bytes()


def test_float_samples_beyond_full_scale_survive(tmp_path: Path) -> None:
    odd = np.array([3.5, -2.0, 1e-30, -0.0, 1e30, 1.0], np.float32)
    soundfile.write(tmp_path / "a.wav", odd, 48_000, subtype="FLOAT")
    copy(tmp_path / "a.wav", tmp_path / "b.wav")
    assert (tmp_path / "b.wav").read_bytes() == (tmp_path / "a.wav").read_bytes()


@pytest.mark.parametrize("rate", [*RATES, 655_350, 1_000_000])
def test_wav_at_every_rate(tmp_path: Path, rate: int) -> None:
    wav(tmp_path / "a.wav", 300, rate=rate)
    info = copy(tmp_path / "a.wav", tmp_path / "b.wav")
    assert info.sample_rate == rate
    assert (tmp_path / "b.wav").read_bytes() == (tmp_path / "a.wav").read_bytes()


@pytest.mark.parametrize("channels", [1, 2, 3, 8, 9, 64])
@pytest.mark.parametrize(
    ("container", "suffix", "subtype"),
    [("WAV", "wav", "PCM_24"), ("AIFF", "aif", "PCM_24"), ("FLAC", "flac", "PCM_24"),
     ("OGG", "ogg", "VORBIS"), ("OGG", "opus", "OPUS")],
)  # fmt: skip
def test_every_channel_count(
    tmp_path: Path, channels: int, container: str, suffix: str, subtype: str
) -> None:
    if container == "FLAC":
        channels = min(channels, 8)
    source, target = tmp_path / f"a.{suffix}", tmp_path / f"b.{suffix}"
    encoded(source, 3001, container=container, subtype=subtype, rate=48_000, channels=channels)
    info = copy(source, target)
    assert info.channels == channels
    verify(target, info, 3001)
    if container not in ("OGG",):
        np.testing.assert_array_equal(read_all(target)[0], read_all(source)[0])


@pytest.mark.parametrize("subtype", ["PCM_S8", "PCM_16", "PCM_24"])
@pytest.mark.parametrize("rate", [*RATES, 655_350])
def test_flac_is_bit_exact(tmp_path: Path, rate: int, subtype: str) -> None:
    source, target = tmp_path / "a.flac", tmp_path / "b.flac"
    encoded(source, 5003, container="FLAC", subtype=subtype, rate=rate, channels=2)
    info = copy(source, target)
    verify(target, info, 5003)
    found = soundfile.info(target)
    assert (found.format, found.subtype, found.frames) == ("FLAC", subtype, 5003)
    np.testing.assert_array_equal(read_all(target)[0], read_all(source)[0])


@pytest.mark.parametrize(
    "subtype",
    ["PCM_S8", "PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"],
)
def test_aiff_is_bit_exact(tmp_path: Path, subtype: str) -> None:
    source, target = tmp_path / "a.aiff", tmp_path / "b.aiff"
    encoded(source, 4001, container="AIFF", subtype=subtype, rate=44_100, channels=2)
    info = copy(source, target)
    assert (info.container, info.sample_rate, info.frames) == ("AIFF", 44_100, 4001)
    samples, _, _ = read_all(source)
    expected, _ = soundfile.read(source, dtype="float32", always_2d=True)
    np.testing.assert_array_equal(samples.T, expected)
    verify(target, info, 4001)
    np.testing.assert_array_equal(read_all(target)[0], samples)
    # u-law has two codes for zero, of which one comes back.
    if subtype not in ("PCM_32", "DOUBLE", "ULAW"):
        assert target.read_bytes() == source.read_bytes()


def test_little_endian_aiff(tmp_path: Path) -> None:
    soundfile.write(
        tmp_path / "a.aif", noise(900, 2).T, 32_000, subtype="PCM_16", format="AIFF",
        endian="LITTLE",
    )  # fmt: skip
    assert b"sowt" in (tmp_path / "a.aif").read_bytes()
    copy(tmp_path / "a.aif", tmp_path / "b.aif")
    assert (tmp_path / "b.aif").read_bytes() == (tmp_path / "a.aif").read_bytes()


def test_big_endian_wav(tmp_path: Path) -> None:
    soundfile.write(
        tmp_path / "a.wav", noise(900, 2).T, 32_000, subtype="PCM_24", format="WAV", endian="BIG"
    )
    assert (tmp_path / "a.wav").read_bytes()[:4] == b"RIFX"
    expected, _ = soundfile.read(tmp_path / "a.wav", dtype="float32")
    np.testing.assert_array_equal(read_all(tmp_path / "a.wav")[0].T, expected)
    copy(tmp_path / "a.wav", tmp_path / "b.wav")
    assert (tmp_path / "b.wav").read_bytes() == (tmp_path / "a.wav").read_bytes()


@pytest.mark.parametrize("form", [b"RF64", b"BW64"])
def test_rf64_comes_back_byte_by_byte(tmp_path: Path, form: bytes) -> None:
    raw = rf64(tmp_path / "a.wav", 5000, form=form, after=b"guan\x04\0\0\0abcd")
    info = copy(tmp_path / "a.wav", tmp_path / "b.wav")
    assert (info.container, info.frames) == ("RF64", 5000)
    assert len(raw) == 20_000
    assert (tmp_path / "b.wav").read_bytes() == (tmp_path / "a.wav").read_bytes()
    verify(tmp_path / "b.wav", info, 5000)


LOSSY = [
    ("OGG", "VORBIS", (8_000, 16_000, 22_050, 44_100, 48_000, 96_000, 192_000, 200_000)),
    ("OGG", "OPUS", (8_000, 12_000, 16_000, 24_000, 48_000)),
    ("MP3", "MPEG_LAYER_III",
     (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("container", "subtype", "rate"),
    [(container, subtype, rate) for container, subtype, rates in LOSSY for rate in rates],
)
def test_lossy_length_and_delay_are_exact(
    tmp_path: Path, container: str, subtype: str, rate: int
) -> None:
    for frames in (1, 1151, 20_011):
        source, target = tmp_path / f"a{frames}", tmp_path / f"b{frames}"
        encoded(source, frames, container=container, subtype=subtype, rate=rate, channels=2)
        info = copy(source, target)
        assert (info.container, info.subtype, info.sample_rate) == (container, subtype, rate)
        verify(target, info, frames)
        before, after = read_all(source)[0], read_all(target)[0]
        assert after.shape == before.shape == (2, frames)
    middle = slice(6000, 14_000)
    lags = range(-300, 301)
    overlap = [
        float(np.dot(before[0, middle], after[0, middle.start + lag : middle.stop + lag]))
        for lag in lags
    ]
    assert lags[int(np.argmax(overlap))] == 0


@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE", "AVERAGE"])
@pytest.mark.parametrize(("rate", "level"), [(44_100, 0.0), (44_100, 0.6), (22_050, 0.4)])
def test_mp3_keeps_its_bitrate(tmp_path: Path, rate: int, level: float, mode: str) -> None:
    source, target = tmp_path / "a.mp3", tmp_path / "b.mp3"
    encoded(
        source, 2 * rate, container="MP3", subtype="MPEG_LAYER_III", rate=rate, channels=2,
        compression_level=level, bitrate_mode=mode,
    )  # fmt: skip
    copy(source, target)
    before, after = scan_mpeg(source), scan_mpeg(target)
    assert before is not None
    assert after is not None
    assert before.is_constant == after.is_constant == (mode == "CONSTANT")
    if mode == "CONSTANT":
        assert before.first.kbps == after.first.kbps
    assert 0.85 < after.mean_kbps / before.mean_kbps < 1.3


def test_mp3_of_a_bitrate_without_room_for_its_length_gets_a_higher_one(tmp_path: Path) -> None:
    source, target = tmp_path / "a.mp3", tmp_path / "b.mp3"
    encoded(
        source, 30_011, container="MP3", subtype="MPEG_LAYER_III", rate=22_050,
        compression_level=0.75, bitrate_mode="CONSTANT",
    )  # fmt: skip
    info = copy(source, target)
    assert "does not tell the length" in info.notes[0]
    verify(target, info, info.frames)
    stream = scan_mpeg(target)
    assert stream is not None
    assert stream.stated is not None
    assert 48 < stream.first.kbps <= 64


@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_foreign_mp3_without_length_is_read_to_its_end(
    tmp_path: Path, rate: int, mode: str
) -> None:
    whole, bare = tmp_path / "whole.mp3", tmp_path / "bare.mp3"
    frames = 2 * rate + 7
    encoded(
        whole, frames, container="MP3", subtype="MPEG_LAYER_III", rate=rate, channels=2,
        bitrate_mode=mode, compression_level=0.3,
    )  # fmt: skip
    stream = scan_mpeg(whole)
    assert stream is not None
    bare.write_bytes(whole.read_bytes()[stream.audio_start :])
    samples, info, notes = read_all(bare)
    assert samples.shape[1] == info.frames == stream.frames * stream.first.samples
    assert samples.shape[1] >= frames
    assert [note for note in notes if "does not tell the length" in note] == notes
    # Without a length no decoder cuts the encoder's delay: 576 + 529 samples.
    expected = read_all(whole)[0]
    np.testing.assert_allclose(samples[:, 1105 : 1105 + frames], expected, atol=1e-4)
    copied = copy(bare, tmp_path / "c.mp3")
    verify(tmp_path / "c.mp3", copied, info.frames)


def test_vorbis_quality_follows_the_source(tmp_path: Path) -> None:
    sizes = []
    for index, level in enumerate((0.1, 0.5, 0.9)):
        source, target = tmp_path / f"a{index}.ogg", tmp_path / f"b{index}.ogg"
        encoded(
            source, 60_000, container="OGG", subtype="VORBIS", rate=44_100,
            compression_level=level,
        )  # fmt: skip
        copy(source, target)
        sizes.append(target.stat().st_size)
        assert 0.9 < sizes[-1] / source.stat().st_size < 1.2
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize(
    ("container", "subtype"),
    [("WAV", "PCM_16"), ("RF64", "FLOAT"), ("AIFF", "PCM_16"), ("FLAC", "PCM_16"),
     ("OGG", "VORBIS")],
)  # fmt: skip
def test_no_samples_at_all(tmp_path: Path, container: str, subtype: str) -> None:
    source, target = tmp_path / "a", tmp_path / "b"
    if container == "FLAC":
        source.write_bytes(empty_flac(48_000, 2, 16))
    else:
        encoded(source, 0, container=container, subtype=subtype, rate=48_000, channels=2)
    samples, info, notes = read_all(source)
    assert samples.shape == (2, 0)
    assert (info.container, info.frames) == (container, 0)
    assert len(notes) == (container == "FLAC")
    copy(source, target)
    verify(target, info, 0)


def test_dither_is_off_by_default_reproducible_and_independent_of_blocks(tmp_path: Path) -> None:
    wav(tmp_path / "a.wav", 5000, channels=2)
    for name, block, dither in (("b", 1000, True), ("c", 777, True), ("d", 777, False)):
        copy(tmp_path / "a.wav", tmp_path / f"{name}.wav", block=block, dither=dither)
    plain, dithered = (tmp_path / "a.wav").read_bytes(), (tmp_path / "b.wav").read_bytes()
    assert (tmp_path / "d.wav").read_bytes() == plain
    assert (tmp_path / "c.wav").read_bytes() == dithered != plain
    difference = (read_all(tmp_path / "b.wav")[0] - read_all(tmp_path / "a.wav")[0]) * 32768
    # Triangular noise moves a quarter of the samples that lie on a step to one of its neighbours.
    assert set(np.unique(difference)) == {-1, 0, 1}
    assert 0.23 < difference.var() < 0.27
    assert abs(difference.mean()) < 0.02


def test_integers_are_rounded_to_the_nearest_step_without_offset(tmp_path: Path) -> None:
    for subtype, bits in (("PCM_U8", 8), ("PCM_16", 16), ("PCM_24", 24)):
        wav(tmp_path / "a.wav", 100, subtype=subtype)
        samples = noise(20_000, 1, seed=7)
        with open_reader(tmp_path / "a.wav") as reader:
            info = reader.info
        with open_writer(tmp_path / "b.wav", info) as writer:
            writer.write(samples)
        error = (read_all(tmp_path / "b.wav")[0] - samples).astype(np.float64) * 2 ** (bits - 1)
        assert np.abs(error).max() <= 0.5
        assert abs(error.mean()) < 0.02


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "ULAW", "ALAW"])
def test_overs_are_cut_and_counted_never_wrapped(tmp_path: Path, subtype: str) -> None:
    wav(tmp_path / "a.wav", 100, subtype=subtype)
    with open_reader(tmp_path / "a.wav") as reader:
        info = reader.info
    with open_writer(tmp_path / "b.wav", info) as writer:
        writer.write(np.array([[1.5, -1.5, 0.5, -1.0, 1e30]], np.float32))
        assert writer.clipped == 3
    samples, _, _ = read_all(tmp_path / "b.wav")
    np.testing.assert_allclose(samples[0], [1, -1, 0.5, -1, 1], atol=0.04)


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24"])
def test_an_empty_wav_becomes_an_empty_flac_and_comes_back(tmp_path: Path, subtype: str) -> None:
    wav(tmp_path / "a.wav", 0, subtype=subtype, channels=2, after=((b"guan", b"x: 1"),))
    info = copy(tmp_path / "a.wav", tmp_path / "b.flac", container="FLAC")
    verify(tmp_path / "b.flac", info, 0, container="FLAC")
    assert soundfile.info(tmp_path / "b.flac").subtype == subtype
    copy(tmp_path / "b.flac", tmp_path / "c.wav", container="WAV")
    assert (tmp_path / "c.wav").read_bytes() == (tmp_path / "a.wav").read_bytes()


@pytest.mark.parametrize(
    ("container", "subtype"),
    [("FLAC", "PCM_24"), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III")],
)
def test_same_samples_same_bytes_whatever_the_blocks(
    tmp_path: Path, container: str, subtype: str
) -> None:
    encoded(tmp_path / "a", 50_003, container=container, subtype=subtype, rate=48_000, channels=2)
    outputs = set()
    for block in (1_000, 7_777, 8_192, 200_000):
        info = copy(tmp_path / "a", tmp_path / "b", block=block)
        outputs.add((tmp_path / "b").read_bytes())
    assert len(outputs) == 1
    verify(tmp_path / "b", info, 50_003)
    if container == "OGG":
        assert outputs.pop()[14:18] == (tmp_path / "a").read_bytes()[14:18]
