"""WAV, RF64 and AIFF files that are their source but for the samples.

Everything before and after the samples is copied byte by byte from a template, which is the source
itself or a file image in memory. Sizes in the header are only touched where they would be wrong.
"""

from __future__ import annotations

import contextlib
import struct
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from biodenoising.audio.chunks import UNKNOWN_SIZE, Layout
from biodenoising.errors import AudioWriteError
from biodenoising.storage import printable

_COPY_BYTES = 1 << 20
_DS64_BYTES = 28


class ChunkSink:
    """Writes samples into a copy of a template.

    Args:
        path: file to write; it is truncated.
        template: readable file or image with that layout; closed by `finish` and `abort`.
        layout: where things lie in the template.
        frames: number of frames to expect, which decides between 32 and 64-bit sizes.
    """

    def __init__(self, path: Path, template: BinaryIO, layout: Layout, frames: int) -> None:
        self._path = path
        self._template = template
        self._layout = layout
        self._frames = 0
        self._shift = self._room_for_64_bits(frames)
        self._out = open(path, "wb", _COPY_BYTES)  # noqa: SIM115 - closed by finish or abort
        self._copy_head()

    def _room_for_64_bits(self, frames: int) -> int:
        """Return how many bytes a ds64 chunk adds to the header."""
        has_ds64 = self._layout.find(b"ds64") is not None
        if self._layout.container == "RF64":
            return 0 if has_ds64 else 8 + _DS64_BYTES
        missing = (frames - self._layout.frames) * self._layout.encoding.frame_bytes
        if self._keeps_sizes(frames) or self._layout.file_size + missing <= UNKNOWN_SIZE:
            return 0
        if self._layout.form != b"RIFF":
            raise AudioWriteError(
                f"{printable(self._path)}: would exceed the 4 GB that its container can hold;"
                " choose --format wav"
            )
        return 8 + _DS64_BYTES

    def _keeps_sizes(self, frames: int) -> bool:
        return self._layout.sound and frames == self._layout.frames

    def _copy_head(self) -> None:
        # The header's own offsets only move where 32 bits cannot tell the size.
        if not self._shift:
            self._copy(0, self._layout.data_start)
            return
        form = b"BW64" if self._layout.form == b"BW64" else b"RF64"
        self._out.write(form + struct.pack("<I", UNKNOWN_SIZE) + b"WAVE")
        self._out.write(b"ds64" + struct.pack("<I", _DS64_BYTES) + bytes(_DS64_BYTES))
        self._copy(12, self._layout.data_start)

    def _copy(self, start: int, end: int) -> None:
        self._template.seek(start)
        left = end - start
        while left > 0:
            piece = self._template.read(min(left, _COPY_BYTES))
            if not piece:
                raise AudioWriteError(
                    f"{printable(self._path)}: its source has become shorter; start again"
                )
            self._out.write(piece)
            left -= len(piece)

    def write(self, block: NDArray[np.float32]) -> None:
        """Append samples of shape (channels, samples), within full scale."""
        self._out.write(self._layout.encoding.encode(block))
        self._frames += block.shape[1]

    def finish(self) -> None:
        """Append what follows the samples, correct the sizes where they changed, and close."""
        layout = self._layout
        data_bytes = self._frames * layout.encoding.frame_bytes
        if self._keeps_sizes(self._frames) and not self._shift:
            # This takes along the pad byte and bytes of a frame that was never completed.
            self._copy(layout.data_end, layout.file_size)
            self._patch_riff_size()
        else:
            self._out.write(b"\0" * (data_bytes % 2))
            if layout.sound:
                stated_end = layout.data.body + layout.data.size
                self._copy(
                    min(stated_end + layout.data.size % 2, layout.file_size), layout.file_size
                )
            self._patch_sizes(data_bytes, self._out.tell())
        self._template.close()
        # Closing writes what is buffered, so it may be what finds the disk full.
        self._out.close()

    def abort(self) -> None:
        """Close without completing; what was written is worthless."""
        self._template.close()
        # The failed write is tried again on closing and fails again; the first error counts.
        with contextlib.suppress(OSError):
            self._out.close()

    def _patch(self, position: int, form: str, *values: int) -> None:
        """Overwrite numbers at a position of the output."""
        self._out.seek(position)
        self._out.write(struct.pack(self._layout.order + form, *values))

    def _patch_riff_size(self) -> None:
        """Correct the outermost size of a file whose sample data is stated right."""
        layout = self._layout
        if layout.container == "RF64":
            return
        self._template.seek(4)
        (stated,) = struct.unpack(f"{layout.order}I", self._template.read(4))
        # Many recorders forget the pad byte; a size that is off by one harms no reader.
        if not layout.data_end <= 8 + stated <= layout.file_size + 1:
            self._patch(4, "I", min(layout.file_size - 8, UNKNOWN_SIZE))

    def _patch_sizes(self, data_bytes: int, total: int) -> None:
        layout, shift = self._layout, self._shift
        data_size = data_bytes + layout.data_start - layout.data.body
        if layout.container == "RF64" or shift:
            ds64 = layout.find(b"ds64")
            # A chunk that was added sits right behind the 12 bytes of the form.
            body = 20 if ds64 is None else ds64.body
            self._patch(body, "QQQ", total - 8, data_bytes, self._frames)
            self._patch(4, "I", UNKNOWN_SIZE)
            self._patch(layout.data.start + 4 + shift, "I", UNKNOWN_SIZE)
        elif total - 8 > UNKNOWN_SIZE:
            raise AudioWriteError(
                f"{printable(self._path)}: has grown beyond the 4 GB that its container can hold"
            )
        else:
            self._patch(4, "I", total - 8)
            self._patch(layout.data.start + 4, "I", data_size)
        frames = min(self._frames, UNKNOWN_SIZE)
        fact, comm = layout.find(b"fact"), layout.find(b"COMM")
        if comm is not None and layout.form == b"FORM":
            self._patch(comm.body + 2, "I", frames)
        elif fact is not None and fact.size >= 4 and fact.start < layout.data.start:
            self._patch(fact.body + shift, "I", frames)
