"""Blocks of samples into a file that is like its source, or a WAV or FLAC of it.

The writer fills a temporary file that its caller made, and neither renames nor removes it.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from biodenoising.audio import tags, wav_image
from biodenoising.audio.chunk_sink import ChunkSink
from biodenoising.audio.chunks import Layout, parse_layout
from biodenoising.audio.codec_sink import CodecSink
from biodenoising.audio.codecs import count_frames
from biodenoising.audio.failures import write_errors
from biodenoising.audio.formats import (
    INTEGER_BITS,
    RIFF_CONTAINERS,
    AudioInfo,
    ReadOptions,
    check_container,
    target_container,
    target_subtype,
)
from biodenoising.audio.reader import open_reader
from biodenoising.errors import AudioReadError, AudioWriteError
from biodenoising.storage import printable

Block = NDArray[np.float32]

# The same samples give the same bytes, dithered or not.
_DITHER_SEED = 20_240_229


class Sink(Protocol):
    """Something that takes blocks and becomes a file."""

    def write(self, block: Block) -> None:
        """Append samples of shape (channels, samples)."""

    def finish(self) -> None:
        """Complete the file."""

    def abort(self) -> None:
        """Give the file up."""


class AudioWriter:
    """Writes one file forward; a context manager that completes it unless an exception passes.

    `clipped` counts the samples, of each channel, that full scale cut so far; `notes` tells what
    of the source could not be kept.
    """

    def __init__(
        self, path: Path, source: AudioInfo, sink: Sink, *, subtype: str, dither: bool,
        notes: Sequence[str] = (),
    ) -> None:  # fmt: skip
        self.clipped = 0
        self.notes: list[str] = list(notes)
        self._path = path
        self._channels = source.channels
        self._sink = sink
        self._bits = 16 if subtype in ("ULAW", "ALAW") else INTEGER_BITS.get(subtype)
        # float32 holds every step of 24 bits, and none finer.
        self._rounds = INTEGER_BITS.get(subtype, 32) <= 24
        self._noise = np.random.default_rng(_DITHER_SEED) if dither else None
        self._closed = False

    def __enter__(self) -> AudioWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def write(self, block: Block) -> None:
        """Append samples, float32 of shape (channels, samples), full scale 1.

        Raises:
            AudioWriteError: the shape does not fit, a sample is NaN or infinite, or writing fails.
            DiskFullError: there is no space left.
        """
        if self._closed:
            raise AudioWriteError(f"{printable(self._path)}: is already complete")
        if block.ndim != 2 or block.shape[0] != self._channels:
            raise AudioWriteError(
                f"{printable(self._path)}: takes blocks of shape ({self._channels}, samples), not"
                f" {block.shape}"
            )
        if not np.isfinite(block).all():
            raise AudioWriteError(
                f"{printable(self._path)}: a sample is not a finite number; the model or the"
                " recording is at fault, nothing was written of this block"
            )
        ready = self._fit(np.asarray(block, np.float32))
        with write_errors(self._path):
            self._sink.write(ready)

    def close(self) -> None:
        """Complete the file with everything that belongs behind the samples.

        Raises:
            AudioWriteError: writing fails; the file is then worthless.
            DiskFullError: there is no space left.
        """
        if self._closed:
            return
        self._closed = True
        try:
            with write_errors(self._path):
                self._sink.finish()
        except AudioWriteError:
            self._sink.abort()
            raise
        if isinstance(self._sink, CodecSink):
            self.notes.extend(self._sink.notes)

    def abort(self) -> None:
        """Close the file without completing it."""
        if not self._closed:
            self._closed = True
            self._sink.abort()

    def _fit(self, block: Block) -> Block:
        """Return the block within what an integer encoding holds, counting what was cut."""
        if self._bits is None:
            return block
        # A sample counts as cut when even rounding cannot bring it into the range.
        half_step = np.float32(2.0**-self._bits)
        top, bottom = np.float32(1) - half_step, np.float32(-1) - half_step
        self.clipped += int(np.count_nonzero((block > top) | (block < bottom)))
        block = np.clip(block, np.float32(-1), np.float32(1))
        if not self._rounds:
            return block
        # libsndfile rounds towards minus infinity, which is an offset of half a step; whole steps
        # pass through it unchanged.
        steps = np.float32(2.0 ** (self._bits - 1))
        scaled = block * steps
        if self._noise is not None:
            pairs = self._noise.random((block.shape[1], block.shape[0], 2), np.float32)
            scaled += (pairs[..., 0] - pairs[..., 1]).T
        fitted: Block = np.clip(np.rint(scaled), -steps, steps - np.float32(1)) / steps
        return fitted


def open_writer(
    path: Path, source: AudioInfo, *, container: str | None = None, dither: bool = False
) -> AudioWriter:
    """Open `path` for the output of `source`; the source file must still be there.

    Args:
        path: file to write, truncated if it exists.
        source: description of the recording, as its reader gave it.
        container: "WAV" or "FLAC" to convert; None keeps the source's.
        dither: add triangular noise of one step before rounding to integers of up to 24 bits.

    Raises:
        AudioWriteError: the container cannot hold the recording, or writing fails.
        DiskFullError: there is no space left, or the disk is read-only.
    """
    check_container(source, container)
    target = target_container(source.container, container)
    subtype = target_subtype(source, container)
    notes: list[str] = []
    with write_errors(path):
        if target in RIFF_CONTAINERS or target == "AIFF":
            template, layout = _template(source, target, subtype, notes)
            subtype = layout.encoding.subtype
            try:
                sink: Sink = ChunkSink(path, template, layout, source.frames)
            except (OSError, AudioWriteError):
                template.close()
                raise
        else:
            sink = CodecSink(path, source, target, subtype)
            if source.subtype in ("PCM_32", "FLOAT", "DOUBLE"):
                notes.append(f"{source.subtype} samples were rounded to 24 bits for FLAC")
    return AudioWriter(path, source, sink, subtype=subtype, dither=dither, notes=notes)


def _template(
    source: AudioInfo, target: str, subtype: str, notes: list[str]
) -> tuple[BinaryIO, Layout]:
    """Return the file or image whose bytes surround the samples, and its layout."""
    # The source itself is the template, so nothing of it has to be understood to be kept.
    if target == source.container:
        handle: BinaryIO = open(source.path, "rb")  # noqa: SIM115 - the sink closes it
    else:
        handle = io.BytesIO(_image(source, subtype, notes))
    try:
        layout = parse_layout(handle, source.path)
    except (OSError, AudioReadError):
        handle.close()
        raise
    encoding = None if layout is None else layout.encoding
    if (
        layout is None
        or encoding is None
        or (encoding.sample_rate, encoding.channels) != (source.sample_rate, source.channels)
    ):
        handle.close()
        raise AudioReadError(f"{printable(source.path)}: is no longer what it was when opened")
    return handle, layout


def _image(source: AudioInfo, subtype: str, notes: list[str]) -> bytes:
    """Return a WAV without samples for a source of another container."""
    if source.container == "FLAC":
        kept = wav_image.restored(source)
        if kept is not None:
            return kept
    try:
        if source.container == "AIFF":
            with open(source.path, "rb") as handle:
                layout = parse_layout(handle, source.path)
                found = tags.chunk_tags(handle, layout) if layout is not None else []
        else:
            found = tags.codec_tags(source)
    except tags.TagError as error:
        notes.append(str(error))
        found = []
    image, dropped = wav_image.generated(source, subtype, found)
    if dropped:
        notes.append("WAV has no place for these tags: " + ", ".join(sorted(set(dropped))))
    return image


def verify(path: Path, source: AudioInfo, frames: int, *, container: str | None = None) -> None:
    """Re-open a written file and compare it with what it should be.

    Compressed files are decoded to their end, since their headers say nothing about what follows.

    Args:
        path: the file to check.
        source: the recording it was made from.
        frames: samples per channel that were written.
        container: what `open_writer` was given.

    Raises:
        AudioWriteError: container, rate, channels or length differ, or it cannot be read.
    """
    wanted = target_container(source.container, container)
    try:
        with open_reader(path, ReadOptions.unlimited()) as reader:
            info = reader.info
        # For chunks the file's size was compared; compressed headers promise what they like.
        counted = info.frames
        if info.container not in RIFF_CONTAINERS | {"AIFF"}:
            counted = count_frames(path)
    except AudioReadError as error:
        raise AudioWriteError(f"was written but cannot be read again: {error}") from error
    # RF64 is what a WAV of more than 4 GB is called.
    family = ["WAV" if name == "RF64" else name for name in (wanted, info.container)]
    found = (family[1], info.sample_rate, info.channels, counted)
    expected = (family[0], source.sample_rate, source.channels, frames)
    # A note that the source did not have tells of damage done in writing.
    fresh = [note for note in info.notes if note not in source.notes and frames]
    if found != expected or fresh:
        why = "".join(f" ({note})" for note in fresh)
        raise AudioWriteError(
            f"{printable(path)}: was written as {found} instead of {expected} (container, Hz,"
            f" channels, samples){why}; try again"
        )
