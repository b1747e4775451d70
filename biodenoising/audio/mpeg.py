"""What an MP3's frame headers say: bitrates, the true number of frames, and the tags around them.

An MP3 without a Xing header does not state its length. libsndfile then guesses from the first
frame's bitrate and stops there, so a recording of variable bitrate would silently lose its end.
Such a file is given to the decoder with a Xing header spliced in front, counted here.
"""

from __future__ import annotations

import io
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_KBPS_MPEG1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_KBPS_MPEG2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_RATES_HZ = (44_100, 48_000, 32_000)
_SYNC_SEARCH_BYTES = 1 << 16
_READ_BYTES = 1 << 20
# Samples by which every layer III decoder lags behind its encoder.
_DECODER_DELAY = 529


@dataclass(frozen=True)
class FrameHeader:
    """One MPEG layer III frame: version 1 or 2 (2.5 counts as 2), rate in Hz, size in bytes."""

    version: int
    sample_rate: int
    channels: int
    kbps: int
    size: int

    @property
    def samples(self) -> int:
        """Samples per channel that the frame decodes to."""
        return 1152 if self.version == 1 else 576

    @property
    def side_bytes(self) -> int:
        """Bytes of side information, behind which a Xing header sits."""
        if self.version == 1:
            return 17 if self.channels == 1 else 32
        return 9 if self.channels == 1 else 17


@dataclass(frozen=True)
class MpegStream:
    """An MP3's frames: offsets in bytes of the audio, what precedes and what follows it.

    `audio_start` is the first frame with sound, `tag_end` the end of ID3v2 tags before it,
    `audio_end` the end of the last frame; `stated` the frames its Xing header tells, if any.
    """

    first: FrameHeader
    first_bytes: bytes
    tag_end: int
    audio_start: int
    audio_end: int
    frames: int
    stated: int | None
    kbps_seen: frozenset[int]

    @property
    def needs_length(self) -> bool:
        """Whether a decoder would have to guess how long the recording is."""
        # Joined or edited files go on after what their first header states.
        return self.stated is None or self.frames > self.stated + 1

    @property
    def is_constant(self) -> bool:
        """Whether all frames have one bitrate."""
        return len(self.kbps_seen) == 1

    @property
    def mean_kbps(self) -> float:
        """Average bitrate over the frames with sound, in kbit/s."""
        seconds = self.frames * self.first.samples / self.first.sample_rate
        return 8e-3 * (self.audio_end - self.audio_start) / seconds if seconds else 0.0


def parse_header(raw: bytes) -> FrameHeader | None:
    """Return the layer III frame header in the first four bytes, or None."""
    if len(raw) < 4:
        return None
    (word,) = struct.unpack_from(">I", raw)
    version_bits, layer_bits = (word >> 19) & 3, (word >> 17) & 3
    kbps_index, rate_index = (word >> 12) & 15, (word >> 10) & 3
    if word >> 21 != 0x7FF or version_bits == 1 or layer_bits != 1:
        return None
    if kbps_index in (0, 15) or rate_index == 3:
        return None
    version = 1 if version_bits == 3 else 2
    rate = _RATES_HZ[rate_index] >> {3: 0, 2: 1, 0: 2}[version_bits]
    kbps = (_KBPS_MPEG1 if version == 1 else _KBPS_MPEG2)[kbps_index]
    padding = (word >> 9) & 1
    size = (144_000 if version == 1 else 72_000) * kbps // rate + padding
    return FrameHeader(version, rate, 1 if (word >> 6) & 3 == 3 else 2, kbps, size)


def kbps_table(header: FrameHeader) -> tuple[int, ...]:
    """Return the bitrates (kbit/s, ascending) that an encoder may use at that rate."""
    table = _KBPS_MPEG1 if header.version == 1 else _KBPS_MPEG2
    # MPEG 2.5 encoders stop at 64 kbit/s, as libsndfile's scale does.
    return tuple(kbps for kbps in table[1:] if header.sample_rate >= 16_000 or kbps <= 64)


def id3v2_end(handle: BinaryIO) -> int:
    """Return where the ID3v2 tags at the start of a file end (0 without any)."""
    position = 0
    while True:
        handle.seek(position)
        head = handle.read(10)
        if len(head) < 10 or head[:3] != b"ID3":
            return position
        size = 0
        for byte in head[6:10]:
            size = (size << 7) | (byte & 0x7F)
        position += 10 + size + (10 if head[5] & 0x10 else 0)


def scan_mpeg(path: Path) -> MpegStream | None:
    """Walk an MP3's frame headers; None where its content is not layer III as we know it."""
    with open(path, "rb") as handle:
        tag_end = id3v2_end(handle)
        handle.seek(tag_end)
        start = _first_frame(handle.read(_SYNC_SEARCH_BYTES))
        if start is None:
            return None
        handle.seek(tag_end + start)
        first_bytes = handle.read(_READ_BYTES)[:4096]
        first = parse_header(first_bytes)
        if first is None:
            return None
        audio_start, stated = tag_end + start, None
        mark = 4 + first.side_bytes
        if first_bytes[mark : mark + 4] in (b"Xing", b"Info"):
            audio_start += first.size
            words = first_bytes[mark + 4 : mark + 12]
            if len(words) == 8:  # else the file ends there
                flags, count = struct.unpack(">II", words)
                stated = count if flags & 1 else None
        audio_end, frames, seen = _walk(handle, audio_start, first)
    return MpegStream(
        first, first_bytes[:4], tag_end, audio_start, audio_end, frames, stated,
        frozenset(seen) or frozenset({first.kbps}),
    )  # fmt: skip


def _first_frame(raw: bytes) -> int | None:
    """Return the offset of the first header that another one follows."""
    position = raw.find(b"\xff")
    while position >= 0:
        header = parse_header(raw[position : position + 4])
        if header is not None:
            follower = position + header.size
            # A picture in a tag may look like a header, but hardly like two in a row.
            if follower >= len(raw) or parse_header(raw[follower : follower + 4]) is not None:
                return position
        position = raw.find(b"\xff", position + 1)
    return None


def _walk(handle: BinaryIO, start: int, first: FrameHeader) -> tuple[int, int, set[int]]:
    """Return the end of the last whole frame, the number of frames, and the bitrates seen."""
    seen: set[int] = set()
    frames, end, base, buffer = 0, start, start, b""
    size = handle.seek(0, os.SEEK_END)
    position = start
    while True:
        if position + 4 > base + len(buffer):
            handle.seek(position)
            base, buffer = position, handle.read(_READ_BYTES)
        header = parse_header(buffer[position - base : position - base + 4])
        if header is not None and position + header.size <= size:
            frames += 1
            seen.add(header.kbps)
            position += header.size
            end = position
            continue
        # Damage is skipped as a decoder skips it; tags at the end have no frames behind them.
        skipped = _resync(buffer[position - base + 1 :], first)
        if skipped is None:
            return end, frames, seen
        position += 1 + skipped


def _resync(raw: bytes, first: FrameHeader) -> int | None:
    """Return the distance to the next pair of frames after damage, within what was read."""
    position = raw.find(b"\xff")
    while position >= 0:
        header = parse_header(raw[position : position + 4])
        if header is not None and header.sample_rate == first.sample_rate:
            follower = parse_header(raw[position + header.size : position + header.size + 4])
            if follower is not None and follower.sample_rate == first.sample_rate:
                return position
        position = raw.find(b"\xff", position + 1)
    return None


def _length_frames(stream: MpegStream) -> bytes:
    """Return a frame that states how many frames follow, and one silent frame.

    A decoder that is told a length also cuts its own delay off the start. The silent frame is
    there to be cut, so that every sample lies where a plain decoder puts it.
    """
    # Highest bitrate, no checksum, no padding: room enough for the header whatever the first was.
    word = struct.unpack(">I", stream.first_bytes)[0]
    raw = struct.pack(">I", (word | 0x10000) & ~0xF200 | 0xE000)
    header = parse_header(raw)
    if header is None:
        raise ValueError("a frame header that was parsed before has become invalid")
    delay = header.samples - _DECODER_DELAY
    body = raw + bytes(header.side_bytes) + b"Xing" + struct.pack(">II", 1, stream.frames + 1)
    body += b"LAME3.100" + bytes(12) + (delay << 12).to_bytes(3, "big")
    return body.ljust(header.size, b"\0") + raw.ljust(header.size, b"\0")


class Spliced(io.RawIOBase):
    """A read-only file: a Xing header, then the frames of an MP3 that has none.

    libsndfile calls it from C, where exceptions vanish; a failing read is kept in `error`.
    """

    def __init__(self, path: Path, stream: MpegStream) -> None:
        super().__init__()
        self.error: OSError | None = None
        self._prefix = _length_frames(stream)
        self._offset = stream.audio_start - len(self._prefix)
        self._size = stream.audio_end - self._offset
        self._position = 0
        self._handle = open(path, "rb")  # noqa: SIM115 - closed by close()

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes, at most `size`; none at the end or after an error."""
        left = max(0, self._size - self._position)
        size = left if size < 0 else min(size, left)
        raw = self._prefix[self._position : self._position + size]
        if len(raw) < size:
            try:
                self._handle.seek(self._position + len(raw) + self._offset)
                raw += self._handle.read(size - len(raw))
            except OSError as error:
                self.error = error
        self._position += len(raw)
        return raw

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill a buffer; return how many bytes were put in."""
        raw = self.read(len(buffer))
        buffer[: len(raw)] = raw
        return len(raw)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Set the position; return it."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def close(self) -> None:
        """Close the file behind."""
        if not self.closed:
            self._handle.close()
        super().close()
