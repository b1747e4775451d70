"""Titles, comments and dates carried between containers that name them differently.

Within one container metadata is copied as it is; this is for conversions, and for OGG, whose
comments mutagen rewrites. A tag is a pair of a Vorbis comment name and its text.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from biodenoising.audio.chunks import Layout
from biodenoising.audio.formats import AudioInfo

Tags = list[tuple[str, str]]

_INFO_TO_VORBIS = {
    b"INAM": "TITLE", b"IART": "ARTIST", b"IPRD": "ALBUM", b"ICMT": "COMMENT", b"ICRD": "DATE",
    b"IGNR": "GENRE", b"ICOP": "COPYRIGHT", b"ISFT": "ENCODER", b"ITRK": "TRACKNUMBER",
    b"IKEY": "KEYWORDS", b"ISBJ": "SUBJECT", b"IENG": "ENGINEER", b"ISRC": "SOURCE",
}  # fmt: skip
_VORBIS_TO_INFO = {
    **{name: key for key, name in _INFO_TO_VORBIS.items()}, "DESCRIPTION": b"ICMT",
}  # fmt: skip
_AIFF_TO_VORBIS = {b"NAME": "TITLE", b"AUTH": "ARTIST", b"(c) ": "COPYRIGHT", b"ANNO": "COMMENT"}
_ID3_TO_VORBIS = {
    "TIT2": "TITLE", "TPE1": "ARTIST", "TALB": "ALBUM", "TDRC": "DATE", "TYER": "DATE",
    "TCON": "GENRE", "TCOP": "COPYRIGHT", "TRCK": "TRACKNUMBER", "TSSE": "ENCODER",
    "COMM": "COMMENT",
}  # fmt: skip
# Longer texts are no tags a person wrote; they stay in the source.
_MAX_TEXT_BYTES = 1 << 20


class TagError(ValueError):
    """Metadata is damaged: the samples are not concerned."""


def chunk_tags(handle: BinaryIO, layout: Layout) -> Tags:
    """Return the tags in a WAV's LIST/INFO chunks or an AIFF's text chunks."""
    tags: Tags = []
    for chunk in layout.chunks:
        if chunk.size > _MAX_TEXT_BYTES:
            continue
        handle.seek(chunk.body)
        if chunk.id in _AIFF_TO_VORBIS and layout.form == b"FORM":
            tags.append((_AIFF_TO_VORBIS[chunk.id], _text(handle.read(chunk.size))))
        elif chunk.id == b"LIST":
            tags.extend(_info_tags(handle.read(chunk.size), layout.order))
    return [(name, text) for name, text in tags if text]


def _info_tags(body: bytes, order: str) -> Tags:
    tags: Tags = []
    position = 4
    while body[:4] == b"INFO" and position + 8 <= len(body):
        name, size = struct.unpack_from(f"{order}4sI", body, position)
        text = _text(body[position + 8 : position + 8 + size])
        tags.append((_INFO_TO_VORBIS.get(name, name.decode("ascii", "replace").strip()), text))
        position += 8 + size + size % 2
    return tags


def _text(raw: bytes) -> str:
    # INFO has no stated encoding; what is not UTF-8 was written by an old Windows program.
    raw = raw.rstrip(b"\0")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def info_chunk(tags: Tags) -> tuple[bytes, list[str]]:
    """Return a LIST/INFO chunk with the tags, and the names of those it has no place for."""
    fields: dict[bytes, str] = {}
    dropped: list[str] = []
    for name, text in tags:
        key = _VORBIS_TO_INFO.get(name.upper())
        if key is None:
            dropped.append(name)
        else:
            fields[key] = f"{fields[key]}; {text}" if key in fields else text
    body = b"INFO"
    for key, text in fields.items():
        raw = text.encode("utf-8", "surrogateescape") + b"\0"
        body += key + struct.pack("<I", len(raw)) + raw + b"\0" * (len(raw) % 2)
    return (b"LIST" + struct.pack("<I", len(body)) + body if fields else b""), dropped


def comment_block(tags: Tags) -> bytes:
    """Return the body of a FLAC VORBIS_COMMENT block."""
    # FLAC comments start with who wrote them, then little-endian lengths and UTF-8 texts.
    vendor = b"biodenoising"
    body = struct.pack("<I", len(vendor)) + vendor + struct.pack("<I", len(tags))
    for name, text in tags:
        key = "".join(char for char in name if " " <= char <= "}" and char != "=")
        raw = f"{key}={text}".encode("utf-8", "surrogateescape")
        body += struct.pack("<I", len(raw)) + raw
    return body


def codec_tags(source: AudioInfo) -> Tags:
    """Return the tags of a FLAC, OGG or MP3 file.

    Raises:
        TagError: its metadata is damaged.
        OSError: it cannot be read.
    """
    with _mutagen_errors():
        if source.container == "MP3":
            return _id3_tags(source.path)
        return _comments(_open(source.path, source))


def copy_ogg_tags(source: AudioInfo, path: Path) -> None:
    """Give the OGG file at `path` the comments of `source`.

    Raises:
        TagError: metadata is damaged.
        OSError: a file cannot be read or written.
    """
    with _mutagen_errors():
        found = _comments(_open(source.path, source))
        if found:
            output = _open(path, source)
            output.tags[:] = found
            output.save()


@contextmanager
def _mutagen_errors() -> Iterator[None]:
    """Turn mutagen's errors into OSError or TagError, as they have one or the other cause."""
    import mutagen

    try:
        yield
    except mutagen.MutagenError as error:
        if isinstance(error.__context__, OSError):
            raise error.__context__ from error
        raise TagError(f"its tags could not be copied ({' '.join(str(error).split())})") from error


def _open(path: Path, source: AudioInfo) -> Any:
    """Return mutagen's view of a file of the same kind as `source`."""
    import mutagen.flac
    import mutagen.oggopus
    import mutagen.oggvorbis

    if source.container == "FLAC":
        kind: Any = mutagen.flac.FLAC
    else:
        opus = source.subtype == "OPUS"
        kind = mutagen.oggopus.OggOpus if opus else mutagen.oggvorbis.OggVorbis
    return kind(path)


def _comments(opened: Any) -> Tags:
    return [(str(name), str(text)) for name, text in opened.tags or []]


def _id3_tags(path: Path) -> Tags:
    import mutagen.id3

    kind: Any = mutagen.id3.ID3
    try:
        frames = kind(path).values()
    except mutagen.id3.ID3NoHeaderError:
        return []
    named = [(_ID3_TO_VORBIS.get(frame.FrameID), frame) for frame in frames]
    return [(name, str(text)) for name, frame in named if name for text in frame.text]
