"""Blocks of samples out of any supported file, and honesty about how many there were.

WAV, RF64 and AIFF are read by their layout; FLAC, OGG and MP3 by libsndfile, strictly forward.
What a header announces and a file does not hold becomes a note, never invented samples.
"""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from biodenoising.audio.chunks import Layout, parse_layout
from biodenoising.audio.codecs import open_codec
from biodenoising.audio.formats import DEFAULT_MAX_HOURS, READ_DEFAULTS, AudioInfo, ReadOptions
from biodenoising.audio.salvage import SalvagingCodec, SectorDecoder
from biodenoising.audio.triggered import TriggeredDecoder, count_omitted, may_be_triggered
from biodenoising.audio.untouched import Untouched
from biodenoising.errors import AudioReadError
from biodenoising.storage import printable

Block = NDArray[np.float32]


class Decoder(Protocol):
    """Something that yields blocks of shape (channels, samples), an empty one at the end."""

    def read(self, frames: int) -> Block:
        """Return at most `frames` samples per channel; none means the end."""

    def close(self) -> None:
        """Give the file back."""


class LayoutDecoder:
    """Decodes the sample region of a file whose layout is known."""

    def __init__(self, handle: BinaryIO, layout: Layout) -> None:
        self._handle = handle
        self._encoding = layout.encoding
        self._left = layout.frames
        handle.seek(layout.data_start)

    def read(self, frames: int) -> Block:
        """Return at most `frames` samples per channel; fewer where the file has shrunk."""
        size = self._encoding.frame_bytes
        raw = self._handle.read(min(frames, self._left) * size)
        whole = len(raw) // size
        self._left -= whole
        return self._encoding.decode(raw[: whole * size])

    def close(self) -> None:
        """Close the file."""
        self._handle.close()


class AudioReader:
    """Reads one file forward; a context manager.

    `info` is what was known on opening; `notes` starts with its notes and grows while reading;
    `untouched` are the stretches read so far that no model should change.
    """

    def __init__(
        self,
        info: AudioInfo,
        decoder: Decoder,
        untouched: Untouched | None = None,
        max_hours: float = DEFAULT_MAX_HOURS,
    ) -> None:
        self.info = info
        self.notes: list[str] = list(info.notes)
        self.untouched = untouched or Untouched()
        self.is_triggered = isinstance(decoder, TriggeredDecoder)
        # A header may tell less than what decodes.
        self._most = max_hours * 3600 * info.sample_rate
        self._decoder = decoder
        self._done = 0
        self._ended = False

    def __enter__(self) -> AudioReader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the file back; reading is over."""
        self._decoder.close()

    def read(self, frames: int) -> Block:
        """Return the next block, float32 of shape (channels, samples), full scale 1.

        It has `frames` samples but at the end, and none after the end. A FLOAT file's samples are
        delivered as they are, NaN and overs included; PCM_32 and DOUBLE are rounded to float32.

        Raises:
            AudioReadError: the file cannot be decoded from here on; the message tells the second.
        """
        parts: list[Block] = []
        wanted = frames
        while wanted > 0 and not self._ended:
            part = self._read_once(wanted)
            # Only an empty read is the end: decoders may give less than they were asked for.
            if not part.shape[1]:
                self._ended = True
                self._settle()
            parts.append(part)
            wanted -= part.shape[1]
        if len(parts) == 1:
            return parts[0]
        return np.concatenate([np.zeros((self.info.channels, 0), np.float32), *parts], axis=1)

    def _read_once(self, frames: int) -> Block:
        try:
            part = self._decoder.read(frames)
        except (OSError, RuntimeError) as error:
            second = self._done / self.info.sample_rate
            raise AudioReadError(
                f"{printable(self.info.path)}: cannot be read beyond {second:.2f} s"
                f" ({_reason(error)}); the file or its disk is damaged there"
            ) from error
        self._done += part.shape[1]
        if self._done > self._most:
            hours = self._most / 3600 / self.info.sample_rate
            raise AudioReadError(
                f"{printable(self.info.path)}: is longer than its header says, and than"
                f" {hours:g} hours; --max-hours raises the limit"
            )
        return part

    def _settle(self) -> None:
        """Compare what came with what was announced."""
        announced, rate = self.info.frames, self.info.sample_rate
        self.notes.extend(self.untouched.notes(rate))
        if self._done == 0 and announced > 0:
            raise AudioReadError(
                f"{printable(self.info.path)}: announces {announced} samples but none can be"
                " decoded; the file is damaged"
            )
        if self._done < announced:
            self.notes.append(
                f"cut short: header says {announced} samples, {self._done} could be decoded;"
                f" the last {(announced - self._done) / rate:.3f} s are missing"
            )
        elif self._done > announced:
            self.notes.append(f"longer than announced: {self._done} samples instead of {announced}")


def open_reader(path: Path, options: ReadOptions = READ_DEFAULTS) -> AudioReader:
    """Open a recording for reading, whatever its name says it is.

    Raises:
        AudioReadError: it is no regular file, cannot be opened, is no supported audio, holds no
            samples although it should, or is out of limits (1 kHz to 1 MHz, and those of
            `options`).
    """
    handle = _open_regular(path)
    try:
        layout = parse_layout(handle, path)
        if layout is None:
            head = _head(handle)
            handle.close()
            return _open_codec(path, head, options)
        untouched = Untouched()
        info = describe(path, layout)
        info, decoder = _decoder(handle, info, layout, untouched, options)
        options.check(info)
        return AudioReader(info, decoder, untouched, options.max_hours)
    except OSError as error:
        handle.close()
        raise AudioReadError(
            f"{printable(path)}: cannot be read ({_reason(error)}); check the disk"
        ) from error
    except AudioReadError:
        handle.close()
        raise


def _decoder(
    handle: BinaryIO, info: AudioInfo, layout: Layout, untouched: Untouched, options: ReadOptions
) -> tuple[AudioInfo, Decoder]:
    """Return what decodes a file made of chunks, and its description as that delivers it."""
    number = omitted = 0
    if may_be_triggered(handle, info.path, layout):
        number, omitted = count_omitted(handle, layout)
    if number:
        left_out = f"{omitted / info.sample_rate:.1f} s of silence left out in {number} places"
        if options.twav == "refuse":
            raise AudioReadError(
                f"{printable(info.path)}: is a triggered AudioMoth recording (T.WAV),"
                f" {left_out}; --twav pass or expand takes it"
            )
        expand = options.twav == "expand"
        kept = "its counters kept (--twav expand puts it in again)"
        what = "put in again" if expand else kept
        note = f"triggered AudioMoth recording: {left_out}, {what}"
        frames = info.frames + omitted * expand
        info = replace(info, frames=frames, notes=(*info.notes, note))
        return info, TriggeredDecoder(handle, layout, untouched, expand=expand)
    if options.salvage:
        return info, SectorDecoder(handle, layout, untouched)
    return info, LayoutDecoder(handle, layout)


def _open_codec(path: Path, head: bytes, options: ReadOptions) -> AudioReader:
    info, codec = open_codec(path, head, salvage=options.salvage)
    try:
        options.check(info)
    except AudioReadError:
        codec.close()
        raise
    if not options.salvage:
        return AudioReader(info, codec, max_hours=options.max_hours)
    untouched = Untouched()
    decoder = SalvagingCodec(codec, info, untouched)
    return AudioReader(info, decoder, untouched, options.max_hours)


def describe(path: Path, layout: Layout) -> AudioInfo:
    """Return the public description of a file with that layout."""
    encoding = layout.encoding
    if layout.frames == 0 and (layout.declared or not layout.sound):
        # A file that ends within its header must not pass as an empty recording.
        raise AudioReadError(
            f"{printable(path)}: has a header but no samples; the recording is lost or cut off"
        )
    return AudioInfo(
        path, layout.container, encoding.subtype, encoding.sample_rate, encoding.channels,
        layout.frames, layout.notes,
    )  # fmt: skip


def _open_regular(path: Path) -> BinaryIO:
    """Open a file after making sure that opening it cannot wait for anybody."""
    name = printable(path)
    try:
        # Opening a pipe waits for its other end, so it is recognised before.
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            what = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe, socket or device"
            raise AudioReadError(f"{name}: is {what}, not a recording; give a file")
        if status.st_size == 0:
            raise AudioReadError(f"{name}: is empty; the recording was never written")
        return open(path, "rb")
    except (OSError, ValueError) as error:
        raise AudioReadError(
            f"{name}: cannot be opened ({_reason(error)}); check that it exists and may be read"
        ) from error


def _head(handle: BinaryIO) -> bytes:
    # Enough to recognise a container; the decoder looks at the rest.
    handle.seek(0)
    return handle.read(16)


def _reason(error: BaseException) -> str:
    """Return a foreign error's own words on one line."""
    text = getattr(error, "error_string", None) or getattr(error, "strerror", None) or str(error)
    return " ".join(str(text).split()).rstrip(".")
