"""Sound through pipes: WAV or samples without a header, read and written strictly forward.

A header goes through as it came, with all it holds, and so does what follows the samples. Where it
does not tell the length, as sox, ffmpeg and arecord write it into a pipe, samples are read up to
the end; the sizes are mended where the output turns out to be a file.
"""

from __future__ import annotations

import os
import stat
import struct
from dataclasses import dataclass
from io import RawIOBase
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from biodenoising.audio.encodings import Encoding, parse_fmt
from biodenoising.audio.formats import DEFAULT_MAX_CHANNELS, MAX_RATE_HZ, MIN_RATE_HZ
from biodenoising.errors import AudioReadError, OptionError
from biodenoising.storage import printable

Block = NDArray[np.float32]

RAW_FORMATS = {"s16le": "PCM_16", "s24le": "PCM_24", "s32le": "PCM_32", "f32le": "FLOAT"}
# Sizes from here on stand for a length that is not known: sox writes 0x7FFFF000 or a little more,
# arecord 0x7FFFFFFF, ffmpeg 0xFFFFFFFF.
UNKNOWN_FROM = 0x7FFFF000
MOST_HEADER_BYTES = 1 << 24


class PipeClosedError(Exception):
    """The reader of our output is gone, as `head` goes when it has seen enough: no failure."""


@dataclass(frozen=True)
class Head:
    """What came before the samples: their encoding, the header's bytes, frames if it tells them."""

    encoding: Encoding
    raw: bytes
    frames: int | None


def raw_head(text: str) -> Head:
    """Return what RATE,CHANNELS,FORMAT says. Raises OptionError."""
    try:
        rate, channels, name = (word.strip() for word in text.split(","))
        encoding = Encoding(RAW_FORMATS[name.lower()], "LITTLE", int(rate), int(channels))
    except (ValueError, KeyError):
        raise OptionError(
            f"{text!r} is no raw format; write RATE,CHANNELS,FORMAT such as 48000,1,s16le with "
            f"{', '.join(RAW_FORMATS)}"
        ) from None
    if not MIN_RATE_HZ <= encoding.sample_rate <= MAX_RATE_HZ:
        raise OptionError(f"{text}: the rate must lie between {MIN_RATE_HZ} and {MAX_RATE_HZ} Hz")
    if not 1 <= encoding.channels <= DEFAULT_MAX_CHANNELS:
        raise OptionError(f"{text}: there may be 1 to {DEFAULT_MAX_CHANNELS} channels")
    return Head(encoding, b"", None)


class PipeReader:
    """Reads sound forward from a raw handle; `head` as given, or of the WAV it finds.

    Raises:
        AudioReadError: it is no WAV, or one that cannot be read.
    """

    def __init__(self, handle: RawIOBase, name: Path, head: Head | None = None) -> None:
        self._handle, self._name = handle, name
        self._rest = b""  # of a frame
        self.notes: list[str] = []
        self.head = head or self._wav_head()
        self._left = self.head.frames
        self._done = 0

    def read(self, frames: int) -> Block:
        """Return what is there, at most `frames`: shape (channels, samples), none at the end."""
        size = self.head.encoding.frame_bytes
        wanted = frames if self._left is None else min(frames, self._left)
        raw = self._rest
        while wanted and len(raw) < size:
            more = self._take(wanted * size - len(raw))
            if not more:
                self._settle(len(raw))
                raw = b""
                break
            raw += more
        whole = len(raw) // size * size
        self._rest = raw[whole:]
        self._done += whole // size
        if self._left is not None:
            self._left -= whole // size
        return self.head.encoding.decode(raw[:whole])

    def read_whole(self, frames: int) -> Block:
        """Return `frames` samples per channel, fewer only at the end."""
        parts = [np.zeros((self.head.encoding.channels, 0), np.float32)]
        while frames and (part := self.read(frames)).shape[1]:
            parts.append(part)
            frames -= part.shape[1]
        return np.concatenate(parts, axis=1)

    def read_behind(self) -> bytes:
        """Return the next bytes of what follows the samples, none at the end."""
        return b"" if self._left is None else self._take(1 << 16)

    def _settle(self, torn: int) -> None:
        if self._left:
            self.notes.append(
                f"{printable(self._name)} was cut short: its header says {self._done + self._left} "
                f"samples, {self._done} came"
            )
            self._left = 0
        elif torn:
            self.notes.append(f"{printable(self._name)} ended within a sample, which was dropped")

    def _take(self, size: int) -> bytes:
        try:
            return self._handle.read(size) or b""
        except OSError as error:
            raise AudioReadError(
                f"{printable(self._name)}: cannot be read any further ({error.strerror})"
            ) from error

    def _exactly(self, size: int) -> bytes:
        raw = b""
        while len(raw) < size:
            more = self._take(size - len(raw))
            if not more:
                raise AudioReadError(
                    f"{printable(self._name)}: ended within its header; nothing was piped in, or "
                    "what made it has failed"
                )
            raw += more
        return raw

    def _wav_head(self) -> Head:
        raw = self._exactly(12)
        if raw[:4] not in (b"RIFF", b"RIFX", b"RF64", b"BW64") or raw[8:] != b"WAVE":
            raise AudioReadError(
                f"{printable(self._name)}: is no WAV; write WAV into the pipe (sox: -t wav, "
                "ffmpeg: -f wav) or say what the samples are by --raw"
            )
        order = ">" if raw[:4] == b"RIFX" else "<"
        encoding, wide = None, None
        while True:
            head = self._exactly(8)
            raw += head
            name, size = struct.unpack(f"{order}4sI", head)
            if name == b"data":
                break
            if len(raw) + size > MOST_HEADER_BYTES:
                raise AudioReadError(
                    f"{printable(self._name)}: its header is damaged, no samples were found"
                )
            body = self._exactly(size + size % 2)
            raw += body
            if name == b"fmt ":
                encoding = parse_fmt(body, order, self._name, self.notes)
            if name == b"ds64" and size >= 16:
                (wide,) = struct.unpack_from("<Q", body, 8)
        if encoding is None:
            raise AudioReadError(f"{printable(self._name)}: has no 'fmt' chunk before its samples")
        if size == 0xFFFFFFFF and wide:
            size = wide
        elif size == 0 or size >= UNKNOWN_FROM:
            return Head(encoding, raw, None)
        return Head(encoding, raw, size // encoding.frame_bytes)


class PipeSink:
    """Writes a header, samples and what follows to a raw handle; audio.writer's Sink."""

    def __init__(self, handle: RawIOBase, head: Head) -> None:
        self._handle, self._head = handle, head
        self._bytes = 0
        self._mendable = _is_new_file(handle)
        self._send(head.raw)

    def write(self, block: Block) -> None:
        """Append samples of shape (channels, samples)."""
        raw = self._head.encoding.encode(block)
        self._bytes += len(raw)
        self._send(raw)

    def write_behind(self, raw: bytes) -> None:
        """Append bytes that follow the samples."""
        self._send(raw)

    def finish(self) -> None:
        """Mend the header's sizes where they turned out otherwise and the output is a file."""
        head = self._head
        announced = None if head.frames is None else head.frames * head.encoding.frame_bytes
        if not head.raw or self._bytes == announced or not self._mendable:
            return
        if self._bytes % 2:
            self._send(b"\0")
        total = len(head.raw) + self._bytes + self._bytes % 2 - 8
        if total >= 0xFFFFFFFF or head.raw[:4] not in (b"RIFF", b"RIFX"):
            return
        order = ">" if head.raw[:4] == b"RIFX" else "<"
        for place, size in ((4, total), (len(head.raw) - 4, self._bytes)):
            self._handle.seek(place)
            self._send(struct.pack(f"{order}I", size))
        self._handle.seek(0, os.SEEK_END)

    def abort(self) -> None:
        """Leave everything as it is."""

    def _send(self, raw: bytes) -> None:
        view = memoryview(raw)
        try:
            while view:
                view = view[self._handle.write(view) or 0 :]
        except BrokenPipeError as error:
            raise PipeClosedError from error


def _is_new_file(handle: RawIOBase) -> bool:
    """Tell whether the handle is a file written from its first byte on, not appended to."""
    status = os.fstat(handle.fileno())
    if not stat.S_ISREG(status.st_mode) or handle.tell() != 0:
        return False
    try:
        import fcntl
    except ImportError:
        return True
    return not fcntl.fcntl(handle.fileno(), fcntl.F_GETFL) & os.O_APPEND
