"""WAV files without samples, in memory: the templates for outputs whose source was no WAV."""

from __future__ import annotations

import io
import struct

from biodenoising.audio import tags
from biodenoising.audio.chunks import parse_layout
from biodenoising.audio.flac_blocks import read_blocks, riff_image
from biodenoising.audio.formats import SAMPLE_BYTES, AudioInfo
from biodenoising.errors import AudioReadError

_FORMAT_TAGS = {"FLOAT": 3, "DOUBLE": 3, "ALAW": 6, "ULAW": 7}


def restored(source: AudioInfo) -> bytes | None:
    """Return the WAV that a FLAC was made from, as its foreign metadata keeps it.

    None where there is none, or where it describes another rate or number of channels.
    """
    with open(source.path, "rb") as handle:
        blocks, _ = read_blocks(handle)
    image = riff_image(blocks)
    if image is None:
        return None
    try:
        layout = parse_layout(io.BytesIO(image), source.path)
    except AudioReadError:
        return None
    if layout is None or layout.frames:
        return None
    encoding = layout.encoding
    # Another program may have resampled the FLAC and kept the chunks.
    fits = (encoding.sample_rate, encoding.channels) == (source.sample_rate, source.channels)
    return image if fits else None


def generated(source: AudioInfo, subtype: str, found: tags.Tags) -> tuple[bytes, list[str]]:
    """Return a plain WAV header with an INFO chunk, and the names of tags it has no place for."""
    width = SAMPLE_BYTES[subtype]
    frame_bytes = width * source.channels
    tag = _FORMAT_TAGS.get(subtype, 1)
    fmt = struct.pack(
        "<HHIIHH", tag, source.channels, source.sample_rate, frame_bytes * source.sample_rate,
        frame_bytes, 8 * width,
    )  # fmt: skip
    extra = b""
    if tag != 1:
        # Encodings other than PCM carry an extension size and tell their length in samples.
        fmt += b"\0\0"
        extra = b"fact" + struct.pack("<II", 4, 0)
    info, dropped = tags.info_chunk(found)
    body = b"WAVEfmt " + struct.pack("<I", len(fmt)) + fmt + extra + info + b"data\0\0\0\0"
    return b"RIFF" + struct.pack("<I", len(body)) + body, dropped
