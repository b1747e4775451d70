"""FLAC, OGG and MP3 through libsndfile, read strictly forward.

libsndfile tells the truth about neither a cut OGG (it opens as a shorter one) nor an MP3 without a
length (it stops at a guess), so both are looked at before.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from biodenoising.audio import ogg
from biodenoising.audio.formats import AudioInfo, check_limits
from biodenoising.audio.mpeg import MpegStream, Spliced, scan_mpeg
from biodenoising.errors import AudioReadError
from biodenoising.signals import interrupts_held
from biodenoising.storage import printable

# What libsndfile reports where the header states no length at all.
_NO_LENGTH = 1 << 62
_COUNT_FRAMES = 1 << 16
_SUBTYPES = {
    "FLAC": ("PCM_S8", "PCM_16", "PCM_24"),
    "OGG": ("VORBIS", "OPUS"),
    "MP3": ("MPEG_LAYER_I", "MPEG_LAYER_II", "MPEG_LAYER_III"),
}


class Sequential(soundfile.SoundFile):  # type: ignore[misc, unused-ignore]
    """A SoundFile that is never repositioned.

    soundfile seeks after every read of a seekable file, which makes the decoders start over at
    each block: they then complain on stderr (MP3), or lose the last good frames (cut FLAC).
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        with interrupts_held():
            super().__init__(*arguments, **options)

    def read(self, *arguments: Any, **options: Any) -> Any:
        """Read as a SoundFile does, and not be broken off in it."""
        with interrupts_held():
            return super().read(*arguments, **options)

    def seekable(self) -> bool:
        """Deny it."""
        return False


def native(path: Path) -> str | bytes:
    """Return a path as soundfile takes it, whatever bytes it is made of."""
    return os.fspath(path) if os.name == "nt" else os.fsencode(path)


class CodecDecoder:
    """Decodes a compressed file forward."""

    def __init__(self, sound: Sequential, spliced: Spliced | None = None) -> None:
        self._sound = sound
        self._spliced = spliced

    def read(self, frames: int) -> NDArray[np.float32]:
        """Return the next samples, shape (channels, at most `frames`)."""
        block = self._sound.read(frames, dtype="float32", always_2d=True)
        # C code swallowed the exception and took the failure for the end of the file.
        if self._spliced is not None and self._spliced.error is not None:
            raise self._spliced.error
        return np.ascontiguousarray(block.T)

    def close(self) -> None:
        """Close the file."""
        self._sound.close()
        if self._spliced is not None:
            self._spliced.close()


def open_codec(path: Path, head: bytes, *, salvage: bool = False) -> tuple[AudioInfo, CodecDecoder]:
    """Open a file that is not made of chunks; `head` is its first bytes.

    With `salvage`, what decodes of a FLAC without a stated length counts as its length.

    Raises:
        AudioReadError: its content is no FLAC, OGG or MP3, or it holds nothing to decode.
    """
    name = printable(path)
    # An MP3 may start with anything, so its name is believed where its first bytes say nothing.
    is_mp3 = head[:3] == b"ID3" or head[:1] == b"\xff" or path.suffix.lower() == ".mp3"
    if head[:4] not in (b"fLaC", b"OggS") and not is_mp3:
        raise AudioReadError(
            f"{name}: is no audio file that can be read (WAV, RF64, AIFF, FLAC, OGG and MP3 can);"
            " leave it out or convert it"
        )
    stream = scan_mpeg(path) if is_mp3 else None
    spliced = Spliced(path, stream) if stream is not None and stream.needs_length else None
    try:
        sound = Sequential(spliced if spliced is not None else native(path))
    # soundfile raises TypeError for a name that ends in .raw, whatever the content.
    except (soundfile.SoundFileError, TypeError) as error:
        if spliced is not None:
            spliced.close()
        raise AudioReadError(
            f"{name}: cannot be decoded; the file is damaged, cut short at its start or no audio"
        ) from error
    try:
        info = _describe(path, sound, stream, salvage=salvage)
    except AudioReadError:
        CodecDecoder(sound, spliced).close()
        raise
    return info, CodecDecoder(sound, spliced)


def _describe(
    path: Path, sound: Sequential, stream: MpegStream | None, *, salvage: bool
) -> AudioInfo:
    name = printable(path)
    container, subtype = sound.format, sound.subtype
    if subtype not in _SUBTYPES.get(container, ()):
        raise AudioReadError(
            f"{name}: is {container} with {subtype}, which is not supported; convert it first"
        )
    check_limits(path, sound.samplerate, sound.channels)
    notes: list[str] = []
    frames = sound.frames
    if container == "OGG":
        frames = _ogg_frames(path, frames, notes)
    elif frames >= _NO_LENGTH:
        frames = count_frames(path, salvage=salvage)
        notes.append(f"the header does not tell the length; {frames} samples were counted")
    elif stream is not None and stream.needs_length:
        notes.append(f"the header does not tell the length; {frames} samples were counted")
    return AudioInfo(
        path, container, subtype, sound.samplerate, sound.channels, frames, tuple(notes)
    )


def count_frames(path: Path, *, salvage: bool = False) -> int:
    """Return how many samples per channel decode from a file, by decoding all of it.

    Raises:
        AudioReadError: it cannot be decoded to its end, unless `salvage` asks for what there is.
    """
    total = 0
    try:
        with Sequential(native(path)) as sound:
            while step := len(sound.read(_COUNT_FRAMES, dtype="float32", always_2d=True)):
                total += step
    except soundfile.SoundFileError as error:
        if salvage and total:
            return total
        raise AudioReadError(
            f"{printable(path)}: cannot be decoded after {total} samples; the file is damaged"
        ) from error
    return total


def _ogg_frames(path: Path, frames: int, notes: list[str]) -> int:
    """Return an OGG's length; note where it ends without its last page."""
    with open(path, "rb") as handle:
        complete = ogg.is_complete(handle)
    if complete:
        return frames
    # libsndfile takes the last whole page for the end and reports nothing.
    if frames == 0:
        raise AudioReadError(
            f"{printable(path)}: is cut off before its first samples; the recording is lost"
        )
    notes.append(f"cut short: the end of the stream is missing, {frames} samples are there")
    return frames
