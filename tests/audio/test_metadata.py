"""Everything in a file that is no sample comes back as it was, or where the container changes."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import mutagen.flac
import mutagen.id3
import mutagen.oggopus
import mutagen.oggvorbis
import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recordings import (
    ADTL,
    CUE,
    GUANO,
    INFO,
    IXML,
    WAMD,
    bext,
    chunk,
    copy,
    encoded,
    noise,
    read_all,
    rf64,
    wav,
)
from wavinfo import WavInfoReader

from biodenoising.audio import open_reader, open_writer, verify
from biodenoising.audio.chunks import parse_layout
from biodenoising.audio.flac_blocks import read_blocks

FIELD = (
    (b"bext", bext()), (b"iXML", IXML), (b"LIST", INFO), (b"cue ", CUE), (b"LIST", ADTL),
    (b"guan", GUANO), (b"wamd", WAMD), (b"JUNK", b"x" * 33), (b"id3 ", b"ID3\x04\0\0\0\0\0\0"),
)  # fmt: skip


def denoised(source: Path, target: Path, **options: object) -> None:
    """Write a quieter version, as a model would."""
    with open_reader(source) as reader, open_writer(target, reader.info, **options) as writer:
        while (part := reader.read(999)).shape[1]:
            writer.write(part * np.float32(0.25))


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "FLOAT"])
@pytest.mark.parametrize("frames", [1000, 1001])
@pytest.mark.parametrize("place", ["before", "after", "both"])
def test_wav_chunks_are_byte_identical(
    tmp_path: Path, subtype: str, frames: int, place: str
) -> None:
    source, target = tmp_path / "a.wav", tmp_path / "b.wav"
    raw = wav(
        source, frames, subtype=subtype,
        before=FIELD if place != "after" else (), after=FIELD if place != "before" else (),
    )  # fmt: skip
    denoised(source, target)
    old, new = source.read_bytes(), target.read_bytes()
    start = old.index(raw)
    assert len(new) == len(old)
    assert new[:start] == old[:start]
    assert new[start + len(raw) :] == old[start + len(raw) :]
    assert new[start : start + len(raw)] != raw
    assert GUANO in new
    np.testing.assert_allclose(read_all(target)[0], read_all(source)[0] / 4, atol=0.005)


def test_wavinfo_reads_the_same_from_the_output(tmp_path: Path) -> None:
    source, target = tmp_path / "a.wav", tmp_path / "b.wav"
    wav(source, 1001, before=FIELD[:3], after=FIELD[3:5])
    denoised(source, target)
    old, new = WavInfoReader(str(source)), WavInfoReader(str(target))
    assert old.bext.description == new.bext.description == "a nightjar"
    assert old.bext.time_reference == new.bext.time_reference == 123456
    assert old.info.comment == new.info.comment
    assert "21:00" in new.info.comment
    assert new.ixml.project == "frogs"
    assert list(new.cues.each_cue()) == list(old.cues.each_cue()) == [(1, 100)]
    assert new.data.frame_count == 1001


def test_aiff_chunks_are_byte_identical(tmp_path: Path) -> None:
    source, target = tmp_path / "a.aif", tmp_path / "b.aif"
    encoded(source, 1001, container="AIFF", subtype="PCM_U8", rate=48_000)
    old = source.read_bytes() + b"\0" * (source.stat().st_size % 2)
    tail = chunk(b"NAME", b"nightjar!", ">") + chunk(b"ANNO", b"by the river", ">")
    old += tail
    source.write_bytes(old[:4] + struct.pack(">I", len(old) - 8) + old[8:])
    denoised(source, target)
    new = target.read_bytes()
    start = old.index(b"SSND") + 16
    assert new[:start] == source.read_bytes()[:start]
    assert new.endswith(tail)
    assert len(new) == len(old)
    assert new != source.read_bytes()


NAMES = st.text("abcdefghijklmnopqrstuvwxyz ", min_size=4, max_size=4).filter(
    lambda name: name not in ("data", "fmt ", "fact", "ds64")
)
CHUNKS = st.lists(st.tuples(NAMES.map(str.encode), st.binary(max_size=70)), max_size=6)


@settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    before=CHUNKS, after=CHUNKS, frames=st.integers(0, 600),
    subtype=st.sampled_from(["PCM_U8", "PCM_16", "PCM_24", "FLOAT"]),
    channels=st.integers(1, 5), block=st.integers(1, 700),
)  # fmt: skip
def test_any_chunks_come_back(
    tmp_path: Path, before: list[tuple[bytes, bytes]], after: list[tuple[bytes, bytes]],
    frames: int, subtype: str, channels: int, block: int,
) -> None:  # fmt: skip
    source, target = tmp_path / "a.wav", tmp_path / "b.wav"
    wav(source, frames, subtype=subtype, channels=channels, before=tuple(before),
        after=tuple(after))  # fmt: skip
    info = copy(source, target, block=block)
    verify(target, info, frames)
    assert target.read_bytes() == source.read_bytes()
    with open(target, "rb") as handle:
        layout = parse_layout(handle, target)
    assert layout is not None
    assert layout.sound
    found = [(one.id, one.size) for one in layout.chunks]
    size = layout.encoding.frame_bytes * frames
    sent = [(b"fmt ", 16), *[(name, len(body)) for name, body in before], (b"data", size)]
    assert found == sent + [(name, len(body)) for name, body in after]


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(junk=st.binary(max_size=400), head=st.sampled_from([b"RIFF", b"RF64", b"FORM", b""]))
def test_junk_is_refused_in_one_sentence(tmp_path: Path, junk: bytes, head: bytes) -> None:
    from biodenoising.errors import AudioReadError

    path = tmp_path / "junk.wav"
    kind = {b"FORM": b"\0\0\0\0AIFF", b"": b""}.get(head, b"\0\0\0\0WAVE")
    path.write_bytes(b"?" * (not head) + head + kind + junk)
    with pytest.raises(AudioReadError) as caught:
        read_all(path)
    assert "\n" not in str(caught.value)


def flac_with_everything(path: Path, rate: int = 48_000) -> None:
    encoded(path, 9001, container="FLAC", subtype="PCM_16", rate=rate)
    file = mutagen.flac.FLAC(path)
    file["TITLE"], file["guano"] = "nightjar é", "Loc: 1 2"
    picture = mutagen.flac.Picture()
    picture.data, picture.mime = b"\x89PNG" * 5000, "image/png"
    file.add_picture(picture)
    file.save()
    from biodenoising.audio.flac_blocks import FlacBlock, replace_blocks

    with open(path, "rb") as handle:
        blocks, _ = read_blocks(handle)
    extra = [FlacBlock(2, b"testpayload"), FlacBlock(3, bytes(18))]
    replace_blocks(path, extra + blocks[1:])


@pytest.mark.parametrize("prefix", [b"", b"ID3\x03\0\0\0\0\0\x0a0123456789"])
def test_flac_blocks_are_kept(tmp_path: Path, prefix: bytes) -> None:
    source, target = tmp_path / "a.flac", tmp_path / "b.flac"
    flac_with_everything(source)
    source.write_bytes(prefix + source.read_bytes())
    info = copy(source, target)
    verify(target, info, 9001)
    with open(source, "rb") as old, open(target, "rb") as new:
        before, after = read_blocks(old)[0], read_blocks(new)[0]
    assert [block for block in before[1:] if block.kind != 3] == after[1:]
    assert {block.kind for block in after} >= {0, 2, 4, 6}
    file = mutagen.flac.FLAC(target)
    assert file["title"] == ["nightjar é"]
    assert file.pictures[0].data == b"\x89PNG" * 5000
    np.testing.assert_array_equal(read_all(target)[0], read_all(source)[0])


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_ogg_comments_are_kept(tmp_path: Path, subtype: str) -> None:
    source, target = tmp_path / "a.ogg", tmp_path / "b.ogg"
    encoded(source, 30_000, container="OGG", subtype=subtype, rate=48_000)
    kind = mutagen.oggopus.OggOpus if subtype == "OPUS" else mutagen.oggvorbis.OggVorbis
    file = kind(source)
    file["TITLE"], file["ARTIST"] = ["one", "two"], "x" * 100_000
    file.save()
    info = copy(source, target)
    verify(target, info, 30_000)
    again = kind(target)
    assert again["title"] == ["one", "two"]
    assert list(again.tags) == list(file.tags)


@pytest.mark.parametrize("version", [3, 4])
def test_id3_bytes_are_kept(tmp_path: Path, version: int) -> None:
    source, target = tmp_path / "a.mp3", tmp_path / "b.mp3"
    encoded(source, 50_000, container="MP3", subtype="MPEG_LAYER_III", rate=44_100)
    id3 = mutagen.id3.ID3()
    id3.add(mutagen.id3.TIT2(encoding=1, text=["nightjar"]))
    id3.add(mutagen.id3.APIC(encoding=0, mime="image/png", data=b"\x89PNG" * 9000))
    id3.add(mutagen.id3.PRIV(owner="me", data=b"\x00\xff\xfb\x90\x44"))
    id3.save(source, v2_version=version, v1=2)
    old = source.read_bytes()
    size = old.index(b"\xff", old.rindex(b"\x89PNG") + 4)
    info = copy(source, target)
    verify(target, info, 50_000)
    new = target.read_bytes()
    tags = mutagen.id3.ID3(target)
    assert tags.version[:2] == (2, version)
    assert new[: tags.size] == old[: tags.size]
    assert new[-128:] == old[-128:]
    assert new[-128:].startswith(b"TAG")
    assert size > 36_000
    assert tags.getall("APIC")[0].data == b"\x89PNG" * 9000


def test_wav_to_flac_and_back_is_the_same_file(tmp_path: Path) -> None:
    for subtype in ("PCM_U8", "PCM_16", "PCM_24"):
        source, flac, back = (tmp_path / name for name in ("a.wav", "a.flac", "b.wav"))
        wav(source, 3001, subtype=subtype, channels=2, before=FIELD[:4], after=FIELD[4:])
        info = copy(source, flac, container="FLAC")
        verify(flac, info, 3001, container="FLAC")
        there = copy(flac, back, container="WAV")
        verify(back, there, 3001, container="WAV")
        assert back.read_bytes() == source.read_bytes()
    file = mutagen.flac.FLAC(flac)
    assert file["comment"] == ["Recorded at 21:00 (UTC"]
    with open(flac, "rb") as handle:
        foreign = [block.body for block in read_blocks(handle)[0] if block.kind == 2]
    assert foreign[0] == b"riff" + source.read_bytes()[:12]
    assert foreign[1] == b"riff" + source.read_bytes()[12:36]
    assert b"riff" + chunk(b"guan", GUANO) in foreign
    assert [len(body) for body in foreign if body[4:8] == b"data"] == [12]


def test_rf64_to_flac_and_back_is_the_same_file(tmp_path: Path) -> None:
    source, flac, back = (tmp_path / name for name in ("a.wav", "a.flac", "b.wav"))
    rf64(source, 3000, after=chunk(b"guan", GUANO))
    copy(source, flac, container="flac")
    copy(flac, back, container="wav")
    assert back.read_bytes() == source.read_bytes()


def test_float_to_flac_is_rounded_with_a_note_and_comes_back_as_float(tmp_path: Path) -> None:
    source, flac, back = (tmp_path / name for name in ("a.wav", "a.flac", "b.wav"))
    wav(source, 2000, subtype="FLOAT")
    with open_reader(source) as reader, open_writer(flac, reader.info, container="FLAC") as writer:
        writer.write(reader.read(5000))
    assert "24 bits" in writer.notes[0]
    copy(flac, back, container="WAV")
    assert soundfile.info(back).subtype == "FLOAT"
    np.testing.assert_allclose(read_all(back)[0], read_all(source)[0], atol=2e-7)


@pytest.mark.parametrize(
    ("container", "subtype", "wanted"),
    [("FLAC", "PCM_24", "PCM_24"), ("FLAC", "PCM_S8", "PCM_U8"), ("OGG", "VORBIS", "PCM_16"),
     ("OGG", "OPUS", "PCM_16"), ("MP3", "MPEG_LAYER_III", "PCM_16"), ("AIFF", "PCM_S8", "PCM_U8"),
     ("AIFF", "FLOAT", "FLOAT"), ("AIFF", "ULAW", "ULAW")],
)  # fmt: skip
def test_anything_becomes_wav(tmp_path: Path, container: str, subtype: str, wanted: str) -> None:
    source, target = tmp_path / "a", tmp_path / "b.wav"
    encoded(source, 7001, container=container, subtype=subtype, rate=48_000, channels=2)
    info = copy(source, target, container="wav")
    verify(target, info, 7001, container="wav")
    found = soundfile.info(target)
    assert (found.format, found.subtype, found.frames) == ("WAV", wanted, 7001)
    tolerance = 1e-4 if wanted == "PCM_16" else 0
    np.testing.assert_allclose(read_all(target)[0], read_all(source)[0], atol=tolerance)
    with open(target, "rb") as handle:
        layout = parse_layout(handle, target)
    assert layout is not None
    assert layout.sound
    fact = layout.find(b"fact")
    if wanted in ("FLOAT", "ULAW"):
        assert fact is not None
        assert target.read_bytes()[fact.body : fact.body + 4] == struct.pack("<I", 7001)


@pytest.mark.parametrize(
    ("container", "subtype", "wanted"),
    [
        ("OGG", "VORBIS", "PCM_16"),
        ("MP3", "MPEG_LAYER_III", "PCM_16"),
        ("AIFF", "PCM_24", "PCM_24"),
    ],
)
def test_anything_becomes_flac(tmp_path: Path, container: str, subtype: str, wanted: str) -> None:
    source, target = tmp_path / "a", tmp_path / "b.flac"
    encoded(source, 7001, container=container, subtype=subtype, rate=48_000)
    info = copy(source, target, container="FLAC")
    verify(target, info, 7001, container="FLAC")
    assert soundfile.info(target).subtype == wanted


def test_tags_follow_a_conversion_to_wav(tmp_path: Path) -> None:
    flac, mp3 = tmp_path / "a.flac", tmp_path / "a.mp3"
    flac_with_everything(flac)
    encoded(mp3, 9000, container="MP3", subtype="MPEG_LAYER_III", rate=44_100)
    id3 = mutagen.id3.ID3()
    id3.add(mutagen.id3.TIT2(encoding=3, text=["nightjar é"]))
    id3.save(mp3)
    for source in (flac, mp3):
        target = tmp_path / "b.wav"
        with (
            open_reader(source) as reader,
            open_writer(target, reader.info, container="WAV") as writer,
        ):
            writer.write(reader.read(1 << 20))
        tags = WavInfoReader(str(target), info_encoding="utf-8").info
        assert tags.title == "nightjar é"
        if source is flac:
            assert "guano" in writer.notes[0]


def test_unpadded_odd_chunk_is_understood(tmp_path: Path) -> None:
    source, target = tmp_path / "a.wav", tmp_path / "b.wav"
    raw = wav(source, 500, before=((b"odd ", b"123"),))
    padded = source.read_bytes()
    source.write_bytes(padded.replace(b"123\0data", b"123data"))
    samples, info, _ = read_all(source)
    assert info.frames == 500
    np.testing.assert_allclose(samples, noise(500, 1), atol=1 / 32768)
    copy(source, target)
    assert raw in target.read_bytes()
    # The outermost size was wrong by the missing byte, which every reader tolerates.
    assert target.read_bytes() == source.read_bytes()


def test_samples_can_come_from_memory_images() -> None:
    body = b"WAVE" + chunk(b"data", b"\0" * 8) + chunk(b"fmt ", b"\1\0\1\0" + struct.pack(
        "<IIHH", 8000, 16000, 2, 16))  # fmt: skip
    image = io.BytesIO(b"RIFF" + struct.pack("<I", len(body)) + body)
    layout = parse_layout(image, Path("image"))
    assert layout is not None
    assert (layout.frames, layout.encoding.sample_rate) == (4, 8000)
