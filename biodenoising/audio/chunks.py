"""Where things lie in a WAV, RF64 or AIFF file, also where its recorder lost power.

A layout is found by walking the chunks and believing the file's size before its header. Only the
positions are kept: a hostile or huge file costs a few bytes for each chunk.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from biodenoising.audio.encodings import Encoding, parse_comm, parse_fmt
from biodenoising.errors import AudioReadError
from biodenoising.storage import printable

# The size a streaming or 64-bit writer puts where 32 bits do not tell the length.
UNKNOWN_SIZE = 0xFFFFFFFF
_MAX_CHUNKS = 100_000
# Fewer bytes than this behind the last chunk are padding.
_STRAY_BYTES = 1024
# A fmt, COMM or ds64 chunk is at most this long; the rest of a longer one says nothing we use.
_HEADER_BYTES = 4096


@dataclass(frozen=True)
class Chunk:
    """One chunk: its id, where its 8-byte header starts, and its body's size in bytes."""

    id: bytes
    start: int
    size: int

    @property
    def body(self) -> int:
        """Offset of the first byte after the chunk's header."""
        return self.start + 8


@dataclass(frozen=True)
class Layout:
    """Positions (bytes from the start of the file) and encoding of a file made of chunks.

    `form` is RIFF, RIFX, RF64, BW64 or FORM; `order` is struct's sign for its byte order; samples
    lie in [data_start, data_end); `sound` says that every size in the header fits the file;
    `declared` is the number of frames the header tells, None where it tells none.
    """

    form: bytes
    order: str
    encoding: Encoding
    chunks: tuple[Chunk, ...]
    data: Chunk
    data_start: int
    frames: int
    declared: int | None
    file_size: int
    sound: bool
    notes: tuple[str, ...]

    @property
    def container(self) -> str:
        """WAV, RF64 or AIFF."""
        if self.form == b"FORM":
            return "AIFF"
        return "RF64" if self.form in (b"RF64", b"BW64") else "WAV"

    @property
    def data_end(self) -> int:
        """Offset of the first byte after the last whole frame."""
        return self.data_start + self.frames * self.encoding.frame_bytes

    def find(self, name: bytes) -> Chunk | None:
        """Return the first chunk of that id."""
        return next((chunk for chunk in self.chunks if chunk.id == name), None)


def parse_layout(handle: BinaryIO, path: Path) -> Layout | None:
    """Return the layout of a WAV, RF64 or AIFF file; None where the content is something else.

    Raises:
        AudioReadError: the file is cut before its samples, contradicts itself or holds samples in
            an encoding that is not of a fixed size.
        OSError: reading fails.
    """
    file_size = handle.seek(0, 2)
    handle.seek(0)
    head = handle.read(12)
    form, kind = head[:4], head[8:12]
    if form not in (b"RIFF", b"RIFX", b"RF64", b"BW64", b"FORM"):
        return None
    is_aiff = form == b"FORM"
    if kind not in ((b"AIFF", b"AIFC") if is_aiff else (b"WAVE",)):
        raise AudioReadError(
            f"{printable(path)}: is a {form.decode()} file but holds no audio that can be read;"
            " convert it to WAV first"
        )
    order = ">" if form in (b"RIFX", b"FORM") else "<"
    data_id = b"SSND" if is_aiff else b"data"
    chunks = _walk(handle, path, order, data_id, file_size)
    data = _only(chunks, data_id, path)
    notes: list[str] = []
    if is_aiff:
        comm = _body(handle, _only(chunks, b"COMM", path))
        encoding, declared = parse_comm(comm, kind, path)
        data_start = _aiff_data_start(handle, data, order)
    else:
        fmt = _body(handle, _only(chunks, b"fmt ", path))
        encoding, declared = parse_fmt(fmt, order, path, notes), None
        data_start = data.body
    return _measure(form, order, encoding, chunks, data, data_start, declared, file_size, notes)


def _measure(
    form: bytes,
    order: str,
    encoding: Encoding,
    chunks: list[Chunk],
    data: Chunk,
    data_start: int,
    comm_frames: int | None,
    file_size: int,
    notes: list[str],
) -> Layout:
    """Decide how many frames are there, and whether the header tells the truth about them."""
    there = max(0, file_size - data_start)
    stated = max(0, data.size - (data_start - data.body))
    # A data chunk of size 0 with sound chunks behind it simply has no samples.
    is_last = data is chunks[-1]
    lost_power = data.size in (0, UNKNOWN_SIZE) or (form == b"FORM" and stated == 0)
    declared: int | None = stated // encoding.frame_bytes
    sound = True
    if lost_power and is_last and there:
        # A frame that was cut in the middle is dropped: half a sample is noise.
        frames = there // encoding.frame_bytes
        notes.append(
            f"the header does not tell the length; {frames} samples were found by the file's size"
        )
        declared, sound = None, False
    elif stated > there:
        frames = there // encoding.frame_bytes
        notes.append(f"data cut short: header says {declared} samples, {frames} are there")
        sound = False
    else:
        frames = stated // encoding.frame_bytes
    tail = file_size - (data.body + data.size)
    if sound and is_last and tail >= _STRAY_BYTES:
        notes.append(
            f"{tail} bytes behind the samples are no chunk: samples that the header does not count,"
            " or rubbish"
        )
    if comm_frames is not None and comm_frames != frames and sound:
        # The sample chunk may be padded to whole blocks; then COMM tells the length.
        if 0 < comm_frames < frames:
            frames = declared = comm_frames
        else:
            notes.append(f"header says {comm_frames} samples, {frames} are there")
            declared, sound = comm_frames or None, False
    return Layout(
        form, order, encoding, tuple(chunks), data, data_start, frames, declared, file_size,
        sound, tuple(notes),
    )  # fmt: skip


def _walk(handle: BinaryIO, path: Path, order: str, data_id: bytes, file_size: int) -> list[Chunk]:
    """Return the chunks up to the end of the file or to where they stop making sense."""
    wide: dict[bytes, int] = {}
    found: list[Chunk] = []
    for chunk in _steps(handle, order, file_size, 12, wide):
        if len(found) >= _MAX_CHUNKS:
            raise AudioReadError(
                f"{printable(path)}: has more than {_MAX_CHUNKS} chunks; the file is damaged"
            )
        if chunk.id == b"ds64":
            wide.update(_parse_ds64(_body(handle, chunk)))
        found.append(chunk)
        if chunk.id == data_id and chunk.size == 0:
            # A recorder that lost power leaves size 0: samples, not chunks, follow.
            rest = list(_steps(handle, order, file_size, chunk.body, wide))
            if not _fills(rest, file_size):
                return found
    return found


def _fills(chunks: list[Chunk], file_size: int) -> bool:
    """Tell whether chunks reach the end of the file and not beyond, but for a pad byte."""
    if not chunks:
        return False
    end = chunks[-1].body + chunks[-1].size
    return end <= file_size <= end + 1


def _steps(
    handle: BinaryIO, order: str, file_size: int, start: int, wide: dict[bytes, int]
) -> Iterator[Chunk]:
    """Yield chunk after chunk from `start`; stop at the end or at an id that is not one."""
    position = start
    while position + 8 <= file_size:
        handle.seek(position)
        name, size = struct.unpack(f"{order}4sI", handle.read(8))
        # Behind the samples anything may follow; it is copied without being understood.
        if not _is_id(name):
            return
        if size == UNKNOWN_SIZE:
            size = wide.get(name, size)
        yield Chunk(name, position, size)
        position += 8 + size
        # A size of 64 bits may lead to where no file can be read.
        if size % 2 and not (position < file_size and _pad_is_missing(handle, position)):
            position += 1


def _is_id(name: bytes) -> bool:
    # AIFF has '(c) ', and old Macintosh software wrote the sign itself.
    return len(name) == 4 and all(32 <= byte < 127 or byte == 0xA9 for byte in name)


def _pad_is_missing(handle: BinaryIO, position: int) -> bool:
    """Tell whether a chunk of odd size is followed at once by the next chunk's id."""
    handle.seek(position)
    ahead = handle.read(5)
    return _is_id(ahead[:4]) and not _is_id(ahead[1:5])


def _body(handle: BinaryIO, chunk: Chunk) -> bytes:
    handle.seek(chunk.body)
    return handle.read(min(chunk.size, _HEADER_BYTES))


def _parse_ds64(body: bytes) -> dict[bytes, int]:
    """Return the 64-bit sizes (bytes) by chunk id."""
    if len(body) < 28:
        return {}
    (data_size,) = struct.unpack_from("<Q", body, 8)
    (count,) = struct.unpack_from("<I", body, 24)
    sizes = {b"data": int(data_size)}
    for index in range(min(count, (len(body) - 28) // 12)):
        name, size = struct.unpack_from("<4sQ", body, 28 + 12 * index)
        sizes.setdefault(name, size)
    return sizes


def _aiff_data_start(handle: BinaryIO, data: Chunk, order: str) -> int:
    """Return where an SSND chunk's samples start: after its offset, block size and alignment."""
    head = _body(handle, data)[:8] if data.size else b""
    offset = struct.unpack(f"{order}I", head[:4])[0] if len(head) == 8 else 0
    return data.body + 8 + int(offset)


def _only(chunks: list[Chunk], name: bytes, path: Path) -> Chunk:
    found = [chunk for chunk in chunks if chunk.id == name]
    if len(found) == 1:
        return found[0]
    what = "no" if not found else str(len(found))
    hint = "it is cut short or damaged" if not found else "it is unclear which one counts"
    raise AudioReadError(f"{printable(path)}: has {what} '{name.decode().strip()}' chunk; {hint}")
