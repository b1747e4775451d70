"""Synthesized recordings of every format, with the metadata field recorders write."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from biodenoising.audio import AudioInfo, open_reader, open_writer

GUANO = b"GUANO|Version: 1.0\nTimestamp: 2024-05-01T21:00:00\nNote: odd length here\n"
INFO = b"INFO" + b"ICMT" + struct.pack("<I", 22) + b"Recorded at 21:00 (UTC)"[:22]
IXML = b"<?xml version='1.0'?><BWFXML><PROJECT>frogs</PROJECT></BWFXML>"
WAMD = struct.pack("<HI", 0, 2) + b"\x01\x00" + struct.pack("<HI", 1, 3) + b"SM4"
CUE = struct.pack("<IIIIIII", 1, 1, 100, int.from_bytes(b"data", "little"), 0, 0, 100)
ADTL = b"adtl" + b"labl" + struct.pack("<II", 10, 1) + b"bird!\0"


def bext() -> bytes:
    body = b"a nightjar".ljust(256, b"\0") + b"recorder".ljust(32, b"\0") + b"ref".ljust(32, b"\0")
    return body + b"2024-05-01" + b"21:00:00" + struct.pack("<QH", 123456, 1) + bytes(254)


def chunk(name: bytes, body: bytes, order: str = "<") -> bytes:
    return name + struct.pack(f"{order}I", len(body)) + body + b"\0" * (len(body) % 2)


def noise(frames: int, channels: int, seed: int = 0) -> NDArray[np.float32]:
    """Noise of shape (channels, frames), within +-0.8."""
    rng = np.random.default_rng(seed)
    return rng.uniform(-0.8, 0.8, (channels, frames)).astype(np.float32)


def fmt_body(subtype: str, rate: int, channels: int, *, extensible: bool = False) -> bytes:
    width = {"PCM_U8": 1, "PCM_16": 2, "PCM_24": 3, "PCM_32": 4, "FLOAT": 4, "DOUBLE": 8}.get(
        subtype, 1
    )
    tag = {"FLOAT": 3, "DOUBLE": 3, "ALAW": 6, "ULAW": 7}.get(subtype, 1)
    base = struct.pack(
        "<HIIHH", channels, rate, rate * width * channels, width * channels, 8 * width
    )
    if not extensible:
        return struct.pack("<H", tag) + base
    guid = struct.pack("<H", tag) + bytes.fromhex("000000001000800000aa00389b71")
    return struct.pack("<H", 0xFFFE) + base + struct.pack("<HHI", 22, 8 * width, 0) + guid


def pcm(samples: NDArray[np.float32], subtype: str, rate: int, endian: str = "LITTLE") -> bytes:
    import io

    memory = io.BytesIO()
    soundfile.write(memory, samples.T, rate, format="RAW", subtype=subtype, endian=endian)
    return memory.getvalue()


def wav(
    path: Path,
    frames: int = 5000,
    *,
    subtype: str = "PCM_16",
    rate: int = 48_000,
    channels: int = 1,
    before: tuple[tuple[bytes, bytes], ...] = (),
    after: tuple[tuple[bytes, bytes], ...] = (),
    extensible: bool = False,
) -> bytes:
    """Write a WAV chunk by chunk; return its sample bytes."""
    raw = pcm(noise(frames, channels), subtype, rate) if frames else b""
    body = b"WAVE" + chunk(b"fmt ", fmt_body(subtype, rate, channels, extensible=extensible))
    body += b"".join(chunk(*one) for one in before) + chunk(b"data", raw)
    body += b"".join(chunk(*one) for one in after)
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
    return raw


def rf64(path: Path, frames: int, *, form: bytes = b"RF64", after: bytes = b"") -> bytes:
    """Write a 64-bit WAV with its sizes in ds64; return its sample bytes."""
    raw = pcm(noise(frames, 2), "PCM_16", 96_000)
    rest = chunk(b"fmt ", fmt_body("PCM_16", 96_000, 2)) + b"data\xff\xff\xff\xff" + raw + after
    ds64 = struct.pack("<QQQI", 4 + 36 + len(rest), len(raw), frames, 0)
    path.write_bytes(form + b"\xff\xff\xff\xffWAVE" + chunk(b"ds64", ds64) + rest)
    return raw


def encoded(
    path: Path, frames: int, *, container: str, subtype: str, rate: int, channels: int = 1,
    seed: int = 0, **options: object,
) -> NDArray[np.float32]:  # fmt: skip
    """Write a file through libsndfile; return what was written, shape (channels, frames)."""
    samples = noise(frames, channels, seed) * np.float32(0.3)
    with soundfile.SoundFile(
        path, "w", rate, channels, subtype, format=container, **options
    ) as sound:
        for start in range(0, frames, 8000):
            sound.write(samples.T[start : start + 8000])
    return samples


def read_all(path: Path, block: int = 1777) -> tuple[NDArray[np.float32], AudioInfo, list[str]]:
    """Read a file block by block; return samples, description and notes."""
    with open_reader(path) as reader:
        parts = [np.zeros((reader.info.channels, 0), np.float32)]
        while (part := reader.read(block)).shape[1]:
            assert part.dtype == np.float32
            assert part.shape[0] == reader.info.channels
            assert part.shape[1] <= block
            parts.append(part)
        assert reader.read(block).shape == (reader.info.channels, 0)
        return np.concatenate(parts, axis=1), reader.info, list(reader.notes)


def copy(source: Path, target: Path, *, block: int = 1777, **options: object) -> AudioInfo:
    """Write what was read; return the source's description."""
    with open_reader(source) as reader, open_writer(target, reader.info, **options) as writer:
        while (part := reader.read(block)).shape[1]:
            writer.write(part)
    return reader.info
