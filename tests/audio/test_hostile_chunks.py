"""WAVs whose chunks are odd or hostile: kept to the byte, or refused in one sentence."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from recordings import GUANO, chunk, copy, fmt_body, noise, pcm, read_all

from biodenoising.audio import AudioInfo, verify
from biodenoising.errors import AudioReadError

FRAMES, RATE = 4_000, 48_000
SAMPLES = pcm(noise(FRAMES, 1), "PCM_16", RATE)


def nested_lists(depth: int) -> bytes:
    body = b"INFO"
    for _ in range(depth):
        body = b"INFO" + chunk(b"LIST", body)
    return body


# Content is nobody's business but the chunk's reader's: all of it goes through.
CONTENTS: dict[str, tuple[bytes, bytes]] = {
    "lists in lists": (b"LIST", nested_lists(2_000)), "bext of 1 MB": (b"bext", bytes(1 << 20)),
    "short bext": (b"bext", b"x"), "empty bext": (b"bext", b""), "GUANO": (b"guan", GUANO),
    "GUANO no UTF-8": (b"guan", b"GUANO|Version: 1.0\nNote: \xff\xfe\xe9\n"),
    "GUANO of NULs": (b"guan", bytes(5_000)), "GUANO of 20 MB": (b"guan", b"Note: x\n" * 2_500_000),
    "GUANO twice a key": (b"guan", GUANO + GUANO), "GUANO without end": (b"guan", b"x" * 100_001),
    "cue count beyond": (b"cue ", struct.pack("<I", 0xFFFFFFFF) + bytes(24)),
    "cue cut": (b"cue ", b"\1"), "fact of 4 billion": (b"fact", struct.pack("<I", 0xFFFFFFFF)),
    "fact of none": (b"fact", bytes(4)), "fact cut": (b"fact", b"\1"),
    "smpl loops beyond": (b"smpl", bytes(28) + b"\xff" * 8), "plst": (b"plst", b"\xff" * 4),
    "iXML bomb": (b"iXML", b'<!DOCTYPE a [<!ENTITY b "bbbb">]><a>&b;</a>'),
    "id3": (b"id3 ", b"ID3"),
    "wamd": (b"wamd", b"\xff" * 999), "JUNK": (b"JUNK", bytes(4_096)), "empty": (b"PAD ", b""),
    "name of NULs": (b"\0\0\0\0", b"abcd"), "name of no text": (b"\xff\xfe\xfd\xfc", b"abcd"),
    "a WAV in a chunk": (b"wave", b"RIFF\4\0\0\0WAVEfmt "), "odd length": (b"note", b"abc"),
    "ds64 in a RIFF": (b"ds64", bytes(28)), "axml": (b"axml", b"<" * 10_000),
}  # fmt: skip


def read_or_refused(path: Path) -> tuple[NDArray[np.float32], AudioInfo, list[str]] | None:
    """Return what `read_all` does, or nothing where it refuses the file in one line."""
    try:
        return read_all(path)
    except AudioReadError as error:
        refusal = str(error)
    assert refusal.isprintable()
    assert path.name in refusal
    return None


def riff(*chunks: bytes, size: int | None = None) -> bytes:
    body = b"WAVE" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body) if size is None else size) + body


@pytest.mark.parametrize("place", ["before", "after", "both"])
@pytest.mark.parametrize("what", CONTENTS)
def test_a_chunk_of_any_content_is_kept_to_the_byte(tmp_path: Path, what: str, place: str) -> None:
    own = chunk(*CONTENTS[what])
    parts = [chunk(b"fmt ", fmt_body("PCM_16", RATE, 1)), chunk(b"data", SAMPLES)]
    if place in ("before", "both"):
        parts.insert(1, own)
    if place in ("after", "both"):
        parts.append(own)
    (tmp_path / "a.wav").write_bytes(riff(*parts))
    if what.startswith("name of") and place != "after":  # taken for damage before the samples
        with pytest.raises(AudioReadError, match="has no 'data' chunk"):
            read_all(tmp_path / "a.wav")
        return
    samples, info, _ = read_all(tmp_path / "a.wav")
    assert samples.shape == (1, FRAMES)
    copy(tmp_path / "a.wav", tmp_path / "b.wav")
    verify(tmp_path / "b.wav", info, FRAMES)
    assert (tmp_path / "b.wav").read_bytes() == (tmp_path / "a.wav").read_bytes()


FMT = fmt_body("PCM_16", RATE, 1)


def fields(tag: int, channels: int, rate: int, rate_bytes: int, align: int, bits: int) -> bytes:
    return struct.pack("<HHIIHH", tag, channels, rate, rate_bytes, align, bits)


FORMATS: dict[str, bytes] = {
    "align 0": fields(1, 1, RATE, 0, 0, 16), "align 65535": fields(1, 1, RATE, 0, 65_535, 16),
    "0 bits": fields(1, 1, RATE, 0, 2, 0), "255 bits": fields(1, 1, RATE, 0, 32, 255),
    "33 bits": fields(1, 1, RATE, 0, 5, 33), "1 bit": fields(1, 1, RATE, 0, 1, 1),
    "float of 16 bits": fields(3, 1, RATE, 0, 2, 16), "tag 0": fields(0, 1, RATE, 0, 2, 16),
    "ADPCM, align 0": fields(2, 1, RATE, 0, 0, 4) + struct.pack("<HH", 2, 0),
    "IMA ADPCM, align 0": fields(17, 1, RATE, 0, 0, 4) + struct.pack("<HH", 2, 0),
    "G.726": fields(0x45, 1, RATE, 0, 1, 4), "MP3 in a WAV": fields(0x55, 1, RATE, 0, 1, 0),
    "unknown tag": fields(0x1234, 1, RATE, 0, 2, 16),
    "tag 65535": fields(65_535, 1, RATE, 0, 2, 16),
    "extensible, cut": fields(65_534, 1, RATE, 0, 2, 16),
    "extensible, no guid": fields(65_534, 1, RATE, 0, 2, 16) + struct.pack("<HHI", 22, 16, 0),
    "extensible, strange guid": fields(65_534, 1, RATE, 0, 2, 16) + struct.pack("<HHI", 22, 16, 0)
    + b"\xee" * 16, "65535 channels": fields(1, 65_535, RATE, 0, 2, 16),
    "4 billion Hz": fields(1, 1, 0xFFFFFFFF, 0, 2, 16), "cut to 15": FMT[:15], "cut to 8": FMT[:8],
    "empty": b"", "of a megabyte": FMT + bytes(1 << 20), "of noise": b"\x5a" * 16,
    "all ones": b"\xff" * 40, "two bytes more": FMT + b"\xff\xff",
}  # fmt: skip


@pytest.mark.parametrize("what", FORMATS)
def test_a_format_that_makes_no_sense(tmp_path: Path, what: str) -> None:
    raw = riff(chunk(b"fmt ", FORMATS[what]), chunk(b"data", SAMPLES))
    (tmp_path / "a.wav").write_bytes(raw)
    read = read_or_refused(tmp_path / "a.wav")
    if read is None:
        return
    samples, info, _ = read
    assert np.isfinite(samples).all()
    assert 0 < samples.shape[1] <= 2 * FRAMES
    assert 1_000 <= info.sample_rate <= 1_000_000


@pytest.mark.parametrize("size", [1, 3, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF])
@pytest.mark.parametrize("name", [b"LIST", b"fmt ", b"bext", b"data", b"RIFF", b"ds64", b"fact"])
@pytest.mark.parametrize("place", ["before", "after"])
def test_a_chunk_that_claims_another_size(tmp_path: Path, name: bytes, size: int, place: str):
    """Samples come out whole, cut short with a note, or the file is refused in one line."""
    liar = name + struct.pack("<I", size) + b"abcd"
    parts = [chunk(b"fmt ", FMT), chunk(b"data", SAMPLES)]
    parts.insert(1 if place == "before" else 2, liar)
    (tmp_path / "a.wav").write_bytes(riff(*parts))
    read = read_or_refused(tmp_path / "a.wav")
    if read is None:
        return
    samples, _, notes = read
    # A run notes a file without samples by itself.
    assert samples.shape[1] in (0, FRAMES) or notes
