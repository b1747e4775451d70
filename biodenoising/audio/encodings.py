"""How samples of a fixed size are stored: read from `fmt ` and COMM chunks, decoded and encoded.

libsndfile does the sample arithmetic, as headerless data in memory, so that WAV and AIFF data is
scaled exactly as libsndfile scales it. PCM_32 and DOUBLE lose their last bits in float32; all
smaller integers and FLOAT come out as they went in, bit by bit.
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from biodenoising.audio.formats import SAMPLE_BYTES, check_limits
from biodenoising.errors import AudioReadError
from biodenoising.signals import interrupts_held
from biodenoising.storage import printable

_WAVE_PCM, _WAVE_FLOAT, _WAVE_EXTENSIBLE = 0x0001, 0x0003, 0xFFFE
_PCM_BY_BYTES = {1: "PCM_U8", 2: "PCM_16", 3: "PCM_24", 4: "PCM_32"}
_FLOAT_BY_BYTES = {4: "FLOAT", 8: "DOUBLE"}
_LAW_BY_TAG = {0x0006: "ALAW", 0x0007: "ULAW"}
_REFUSED_TAGS = {
    0x0002: "Microsoft ADPCM", 0x0011: "IMA ADPCM", 0x0031: "GSM 6.10", 0x0050: "MPEG layer I/II",
    0x0055: "MP3", 0x0064: "G.721 ADPCM", 0x00FF: "AAC", 0x0161: "Windows Media Audio",
    0xF1AC: "FLAC",
}  # fmt: skip

# AIFF-C compression type -> (encoding or None for PCM by its width, byte order).
_AIFC_TYPES: dict[bytes, tuple[str | None, str]] = {
    b"NONE": (None, "BIG"), b"twos": (None, "BIG"), b"in24": ("PCM_24", "BIG"),
    b"in32": ("PCM_32", "BIG"), b"sowt": (None, "LITTLE"), b"42ni": ("PCM_24", "LITTLE"),
    b"23ni": ("PCM_32", "LITTLE"), b"raw ": ("PCM_U8", "BIG"), b"fl32": ("FLOAT", "BIG"),
    b"FL32": ("FLOAT", "BIG"), b"fl64": ("DOUBLE", "BIG"), b"FL64": ("DOUBLE", "BIG"),
    b"ulaw": ("ULAW", "BIG"), b"ULAW": ("ULAW", "BIG"), b"alaw": ("ALAW", "BIG"),
    b"ALAW": ("ALAW", "BIG"),
}  # fmt: skip


@dataclass(frozen=True)
class Encoding:
    """Sample format: libsndfile's subtype, byte order (LITTLE or BIG), rate in Hz, channels."""

    subtype: str
    endian: str
    sample_rate: int
    channels: int

    @property
    def frame_bytes(self) -> int:
        """Bytes that one sample of all channels takes."""
        return SAMPLE_BYTES[self.subtype] * self.channels

    def decode(self, raw: bytes) -> NDArray[np.float32]:
        """Return stored bytes (whole frames) as samples of shape (channels, frames)."""
        if not raw:
            return np.zeros((self.channels, 0), np.float32)
        with interrupts_held():
            samples, _ = soundfile.read(
                io.BytesIO(raw), dtype="float32", always_2d=True, samplerate=self.sample_rate,
                channels=self.channels, format="RAW", subtype=self.subtype, endian=self.endian,
            )  # fmt: skip
        _require(len(samples) == len(raw) // self.frame_bytes)
        return np.ascontiguousarray(samples.T)

    def encode(self, block: NDArray[np.float32]) -> bytes:
        """Return samples of shape (channels, frames), within full scale, as stored bytes."""
        if not block.shape[1]:
            return b""
        memory = io.BytesIO()
        with interrupts_held():
            soundfile.write(
                memory, np.ascontiguousarray(block.T), self.sample_rate, format="RAW",
                subtype=self.subtype, endian=self.endian,
            )  # fmt: skip
        raw = memory.getvalue()
        _require(len(raw) == block.shape[1] * self.frame_bytes)
        return raw


def _require(whole: bool) -> None:
    """Raise RuntimeError where samples got lost between memory and libsndfile."""
    if not whole:
        # Only an exception in a call back into Python does that, such as an alarm's of the caller.
        raise RuntimeError("samples were lost: something broke into the call of libsndfile")


def parse_fmt(body: bytes, order: str, path: Path, notes: list[str]) -> Encoding:
    """Return the encoding a WAV's `fmt ` chunk describes; odd things go to `notes`.

    Raises:
        AudioReadError: the encoding is compressed, contradictory or out of limits.
    """
    if len(body) < 16:
        raise AudioReadError(f"{printable(path)}: has a damaged 'fmt' chunk; it cannot be read")
    tag, channels, rate, _, align, bits = struct.unpack_from(f"{order}HHIIHH", body)
    # The first two bytes of an extensible format's GUID are the plain format tag.
    if tag == _WAVE_EXTENSIBLE and len(body) >= 40:
        (tag,) = struct.unpack_from(f"{order}H", body, 24)
    check_limits(path, rate, channels)
    width = (bits + 7) // 8
    # 24 bits may be stored in 4 bytes each; the block size decides, as in libsndfile.
    if channels and align % channels == 0 and align // channels in (1, 2, 3, 4, 8):
        width = align // channels
    subtype = {
        _WAVE_PCM: _PCM_BY_BYTES.get(width),
        _WAVE_FLOAT: _FLOAT_BY_BYTES.get(width),
    }.get(tag, _LAW_BY_TAG.get(tag) if width == 1 else None)
    if subtype is None:
        name = _REFUSED_TAGS.get(tag, f"format 0x{tag:04X} with {bits} bits")
        raise AudioReadError(
            f"{printable(path)}: its samples are encoded as {name}, which is not supported;"
            " convert it to PCM first"
        )
    if tag == _WAVE_PCM and bits != 8 * width:
        notes.append(f"{bits}-bit samples are stored in {width} bytes each and treated as such")
    return Encoding(subtype, "BIG" if order == ">" else "LITTLE", rate, channels)


def parse_comm(body: bytes, kind: bytes, path: Path) -> tuple[Encoding, int]:
    """Return the encoding and the number of frames an AIFF's COMM chunk describes.

    Raises:
        AudioReadError: the encoding is compressed, contradictory or out of limits.
    """
    if len(body) < (22 if kind == b"AIFC" else 18):
        raise AudioReadError(f"{printable(path)}: its COMM chunk is cut short; the file is damaged")
    channels, frames, bits = struct.unpack_from(">hIh", body)
    rate = _extended(body[8:18])
    check_limits(path, rate, channels)
    compression = body[18:22] if kind == b"AIFC" else b"NONE"
    subtype, endian = _AIFC_TYPES.get(compression, (None, ""))
    if endian and subtype is None:
        # One byte is signed in AIFF and unsigned in WAV.
        subtype = {**_PCM_BY_BYTES, 1: "PCM_S8"}.get((bits + 7) // 8)
    if subtype is None:
        what = compression.decode("ascii", "backslashreplace").strip()
        raise AudioReadError(
            f"{printable(path)}: its samples are encoded as '{what}' with {bits} bits, which is not"
            " supported; convert it to PCM first"
        )
    return Encoding(subtype, endian, rate, channels), frames


def _extended(raw: bytes) -> int:
    """Return an 80-bit IEEE number rounded to an integer; 0 where it is no sensible rate."""
    exponent, mantissa = struct.unpack(">hQ", raw)
    # Rates lie within 2**64, and a hostile exponent must not make a number of 10 000 digits.
    shift = exponent - 16383 - 63
    if not -63 <= shift <= 0:
        return 0
    rate: float = mantissa * 2.0**shift
    return round(rate)
