"""FLAC, OGG and MP3 outputs: encoded by libsndfile at the source's quality, metadata put back.

The length comes back exactly: Vorbis, Opus and FLAC state it, and an MP3 gets a bitrate at which
its first frame has room for the LAME tag that states it.
"""

from __future__ import annotations

import io
import os
import struct
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile
from numpy.typing import NDArray

from biodenoising.audio import flac_blocks, ogg, tags
from biodenoising.audio.chunks import parse_layout
from biodenoising.audio.codecs import Sequential, native
from biodenoising.audio.flac_blocks import FlacBlock
from biodenoising.audio.formats import INTEGER_BITS, LOSSY_CONTAINERS, AudioInfo
from biodenoising.audio.mpeg import MpegStream, kbps_table, scan_mpeg
from biodenoising.errors import AudioWriteError
from biodenoising.signals import interrupts_held

# libvorbis allocates on the stack what one call hands it, and crashes on long blocks.
_STEP_FRAMES = 8192
_OPUS_KBPS = (6.0, 256.0)
# Bytes of a LAME tag behind a frame's header and side information.
_LAME_TAG_BYTES = 160
_TAIL_TAGS = (b"TAG", b"APETAGEX", b"LYRICSBEGIN", b"ID3")
_COPY_BYTES = 1 << 20


class CodecSink:
    """Writes a compressed file through libsndfile, then its metadata.

    Args:
        path: file to write; it is truncated.
        source: what the recording was; its metadata is read when the output is finished.
        container: FLAC, OGG or MP3.
        subtype: libsndfile's name of the encoding.
    """

    def __init__(self, path: Path, source: AudioInfo, container: str, subtype: str) -> None:
        self.notes: list[str] = []
        self._path = path
        self._source = source
        self._container = container
        self._frames = 0
        self._pending = np.zeros((0, source.channels), np.float32)
        self._stream = scan_mpeg(source.path) if container == "MP3" else None
        bits = INTEGER_BITS.get(subtype, 16)
        self._empty = flac_blocks.empty_flac(source.sample_rate, source.channels, bits)
        level, mode = None, None
        if container == "MP3":
            level, mode = _mp3_quality(self._stream)
        elif container == "OGG":
            level = _opus_level(source) if subtype == "OPUS" else _vorbis_level(source)
        # Unlike libsndfile, Python says why a file cannot be made.
        path.write_bytes(b"")
        self._sound = Sequential(
            native(path), "w", source.sample_rate, source.channels, subtype, format=container,
            compression_level=level, bitrate_mode=mode,
        )  # fmt: skip

    def write(self, block: NDArray[np.float32]) -> None:
        """Append samples of shape (channels, samples)."""
        pending = np.concatenate([self._pending, block.T])
        # Vorbis output depends on how its input is divided, so it is always divided alike.
        whole = len(pending) - len(pending) % _STEP_FRAMES
        for start in range(0, whole, _STEP_FRAMES):
            self._sound.write(pending[start : start + _STEP_FRAMES])
        self._pending = pending[whole:].copy()
        self._frames += block.shape[1]

    def finish(self) -> None:
        """Close the stream and add the source's metadata."""
        if len(self._pending):
            self._sound.write(self._pending)
        self._sound.close()
        try:
            if self._container == "FLAC":
                if not self._frames:
                    # libsndfile writes nothing at all then, not even a header.
                    self._path.write_bytes(self._empty)
                flac_blocks.replace_blocks(self._path, self._flac_blocks())
            elif self._container == "OGG":
                tags.copy_ogg_tags(self._source, self._path)
                ogg.copy_serial(self._source.path, self._path)
            elif self._stream is not None:
                _copy_mp3_tags(self._source.path, self._stream, self._path)
        except tags.TagError as error:
            self.notes.append(str(error))

    def abort(self) -> None:
        """Close without completing; what was written is worthless."""
        self._sound.close()

    def _flac_blocks(self) -> list[FlacBlock]:
        """Return the metadata blocks that the source's metadata becomes."""
        source = self._source
        if source.container in LOSSY_CONTAINERS:
            return [_comments(tags.codec_tags(source))]
        with open(source.path, "rb") as handle:
            if source.container == "FLAC":
                blocks, _ = flac_blocks.read_blocks(handle)
                generated = (flac_blocks.STREAMINFO, flac_blocks.SEEKTABLE)
                return [block for block in blocks if block.kind not in generated]
            layout = parse_layout(handle, source.path)
            if layout is None:
                raise AudioWriteError(f"{self._path}: its source has changed; start again")
            blocks, notes = flac_blocks.foreign_blocks(handle, layout)
            self.notes.extend(notes)
            return [_comments(tags.chunk_tags(handle, layout)), *blocks]


def _comments(found: tags.Tags) -> FlacBlock:
    return FlacBlock(flac_blocks.VORBIS_COMMENT, tags.comment_block(found))


def _mp3_quality(stream: MpegStream | None) -> tuple[float | None, str | None]:
    """Return libsndfile's compression level and bitrate mode that meet the source's bitrate."""
    if stream is None or not stream.frames:
        return None, None
    first = stream.first
    table = kbps_table(first)
    bytes_per_kbps = first.samples * 125 / first.sample_rate
    needed = (4 + first.side_bytes + _LAME_TAG_BYTES) / bytes_per_kbps
    # A variable bitrate follows the samples; its average is what can be asked for.
    if stream.is_constant:
        mode, wanted = "CONSTANT", max(float(first.kbps), needed)
        wanted = next((float(kbps) for kbps in table if kbps >= wanted), float(table[-1]))
    else:
        mode, wanted = "AVERAGE", stream.mean_kbps
    level = (table[-1] - wanted) / (table[-1] - table[0])
    # libsndfile refuses the level 1.0 itself.
    return min(max(level, 0.0), 0.99), mode


def _opus_level(source: AudioInfo) -> float:
    """Return the compression level at which an Opus stream gets the source's bitrate."""
    seconds = max(source.frames / source.sample_rate, 1e-3)
    kbps = os.path.getsize(source.path) * 8e-3 / seconds / source.channels
    low, high = _OPUS_KBPS
    return min(max((high - kbps) / (high - low), 0.0), 0.99)


def _vorbis_level(source: AudioInfo) -> float:
    """Return the highest compression at which a Vorbis stream is not of less quality.

    The encoder itself is asked which nominal bitrate each quality has at this rate and number of
    channels.
    """
    with open(source.path, "rb") as handle:
        wanted = _nominal_bitrate(handle.read(4096))
    if wanted <= 0:
        seconds = max(source.frames / source.sample_rate, 1e-3)
        wanted = int(os.path.getsize(source.path) * 8 / seconds)
    for tenth in range(10, 0, -1):
        memory = io.BytesIO()
        with interrupts_held(), soundfile.SoundFile(
            memory, "w", source.sample_rate, source.channels, "VORBIS", format="OGG",
            compression_level=tenth / 10,
        ):  # fmt: skip
            pass
        if _nominal_bitrate(memory.getvalue()) >= wanted:
            return tenth / 10
    return 0.0


def _nominal_bitrate(head: bytes) -> int:
    """Return the bitrate (bit/s) that a Vorbis identification header states, 0 for none."""
    mark = head.find(b"\x01vorbis")
    if mark < 0 or len(head) < mark + 28:
        return 0
    return int(struct.unpack_from("<i", head, mark + 20)[0])


def _copy_mp3_tags(source: Path, stream: MpegStream, path: Path) -> None:
    """Put the source's ID3v2 tags before, and ID3v1, APE or lyrics tags behind the frames."""
    with open(source, "rb") as old, open(path, "r+b") as new:
        old_end = old.seek(0, os.SEEK_END)
        flac_blocks.make_room(new, 0, stream.tag_end)
        _copy(old, 0, stream.tag_end, new, 0)
        # A cut file ends in half a frame, which is no tag.
        old.seek(stream.audio_end)
        if old.read(11).startswith(_TAIL_TAGS):
            _copy(old, stream.audio_end, old_end, new, new.seek(0, os.SEEK_END))


def _copy(old: BinaryIO, start: int, end: int, new: BinaryIO, position: int) -> None:
    old.seek(start)
    new.seek(position)
    left = end - start
    while left > 0 and (piece := old.read(min(left, _COPY_BYTES))):
        new.write(piece)
        left -= len(piece)
