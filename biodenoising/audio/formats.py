"""The one table of what can be read and written, and what a recording is described by.

Nothing here opens a file or needs numpy, so a planner may call it for a million names.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from biodenoising.errors import AudioReadError, AudioWriteError, OptionError
from biodenoising.storage import printable

EXTENSIONS: frozenset[str] = frozenset(
    {
        ".wav", ".wave", ".rf64", ".bw64", ".aif", ".aiff", ".aifc",
        ".flac", ".ogg", ".oga", ".opus", ".mp3",
    }
)  # fmt: skip

MIN_RATE_HZ, MAX_RATE_HZ = 1_000, 1_000_000
# What a header may say at all; ReadOptions.max_channels is what is taken.
_MOST_CHANNELS = 1024
DEFAULT_MAX_CHANNELS = 64
# Six weeks in one file; what is longer is a header that lies.
DEFAULT_MAX_HOURS = 1000.0

# Bits that an integer sample keeps; encodings not listed hold floats or are lossy.
INTEGER_BITS = {"PCM_S8": 8, "PCM_U8": 8, "PCM_16": 16, "PCM_24": 24, "PCM_32": 32}

# Bytes of one sample in the encodings whose samples all have the same size.
SAMPLE_BYTES = {
    "PCM_S8": 1, "PCM_U8": 1, "PCM_16": 2, "PCM_24": 3, "PCM_32": 4,
    "FLOAT": 4, "DOUBLE": 8, "ULAW": 1, "ALAW": 1,
}  # fmt: skip

LOSSY_CONTAINERS = frozenset({"OGG", "MP3"})
RIFF_CONTAINERS = frozenset({"WAV", "RF64"})

_TO_FLAC = {
    "PCM_S8": "PCM_S8", "PCM_U8": "PCM_S8", "PCM_16": "PCM_16", "PCM_24": "PCM_24",
    "PCM_32": "PCM_24", "FLOAT": "PCM_24", "DOUBLE": "PCM_24", "ULAW": "PCM_16", "ALAW": "PCM_16",
}  # fmt: skip
_FLAC_MAX_CHANNELS, _FLAC_MAX_RATE_HZ = 8, 655_350
# Rates above this are only found in FLAC frame headers in steps of 10 Hz.
_FLAC_FINE_RATE_HZ = 65_535
# libvorbis 1.3.7 has no tuning above this rate and libsndfile crashes the process on trying.
_VORBIS_MAX_RATE_HZ = 200_000


@dataclass(frozen=True)
class AudioInfo:
    """What a file is, by its content and not by its name.

    `container` is one of WAV, RF64, AIFF, FLAC, OGG, MP3 (WAVE_FORMAT_EXTENSIBLE counts as WAV,
    BW64 as RF64); `subtype` is libsndfile's name of the sample encoding; `sample_rate` is in Hz;
    `frames` is the number of samples per channel that are there or announced; `notes` say what is
    wrong with the file although it can be read.
    """

    path: Path
    container: str
    subtype: str
    sample_rate: int
    channels: int
    frames: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ReadOptions:
    """How a recording is read, and what is refused before anything is decoded.

    `twav` says what becomes of the stretches that an AudioMoth left out (see audio.triggered);
    `salvage` reads on behind damage. A file of more than `max_channels` or `max_hours` is refused.
    """

    twav: Literal["expand", "pass", "refuse"] = "pass"
    salvage: bool = False
    max_channels: int = DEFAULT_MAX_CHANNELS
    max_hours: float = DEFAULT_MAX_HOURS

    def __post_init__(self) -> None:
        if self.twav not in ("expand", "pass", "refuse"):
            raise OptionError(f"twav is {self.twav!r}; choose expand, pass or refuse")
        if not 1 <= self.max_channels <= _MOST_CHANNELS:
            raise OptionError(
                f"max channels is {self.max_channels}; it must lie between 1 and {_MOST_CHANNELS}"
            )
        if not self.max_hours > 0:
            raise OptionError(f"max hours is {self.max_hours:g}; it must be above 0")

    @classmethod
    def unlimited(cls) -> ReadOptions:
        """Return options for a file that was let in before."""
        return cls(max_channels=_MOST_CHANNELS, max_hours=float("inf"))

    def check(self, info: AudioInfo) -> None:
        """Raise AudioReadError where a recording is beyond a limit."""
        name = printable(info.path)
        if info.channels > self.max_channels:
            raise AudioReadError(
                f"{name}: has {info.channels} channels, more than {self.max_channels};"
                " --max-channels raises the limit"
            )
        hours = info.frames / info.sample_rate / 3600
        if hours > self.max_hours:
            raise AudioReadError(
                f"{name}: would be {hours:.6g} hours long, more than {self.max_hours:g};"
                " --max-hours raises the limit"
            )


READ_DEFAULTS = ReadOptions()


def check_limits(path: Path, sample_rate: int, channels: int) -> None:
    """Raise AudioReadError where the rate (Hz) or channel count is out of what we take."""
    if not MIN_RATE_HZ <= sample_rate <= MAX_RATE_HZ:
        raise AudioReadError(
            f"{printable(path)}: the sampling rate is {sample_rate} Hz, and only {MIN_RATE_HZ} to"
            f" {MAX_RATE_HZ} Hz can be processed; correct the header if it is wrong"
        )
    if not 1 <= channels <= _MOST_CHANNELS:
        raise AudioReadError(
            f"{printable(path)}: has {channels} channels, and only 1 to {_MOST_CHANNELS} can be"
            " processed; split the file by channels"
        )


def target_container(source_container: str, container: str | None) -> str:
    """Return the container an output gets: the source's own unless `container` asks for another.

    RF64 already is the WAV of large files, so asking it to become WAV leaves it as it is.

    Raises:
        AudioWriteError: `container` is neither WAV nor FLAC nor the source's own.
    """
    if container is None or container.upper() == source_container:
        return source_container
    wanted = container.upper()
    if wanted not in ("WAV", "FLAC"):
        raise AudioWriteError(f"cannot convert to {container}: choose wav or flac")
    if wanted == "WAV" and source_container in RIFF_CONTAINERS:
        return source_container
    return wanted


def target_subtype(source: AudioInfo, container: str | None) -> str:
    """Return libsndfile's name of the sample encoding that an output gets."""
    target = target_container(source.container, container)
    if target == source.container:
        return source.subtype
    if source.container in LOSSY_CONTAINERS:
        return "PCM_16"
    if target == "FLAC":
        return _TO_FLAC[source.subtype]
    return "PCM_U8" if source.subtype == "PCM_S8" else source.subtype


def check_container(source: AudioInfo, container: str | None = None) -> None:
    """Raise AudioWriteError where an output of `source` in `container` cannot exist.

    Call it before any work: it needs nothing but the description of the source. `container` is
    "WAV", "FLAC" or None for the source's own.
    """
    name = printable(source.path)
    target = target_container(source.container, container)
    rate = source.sample_rate
    if target == "FLAC":
        if source.channels > _FLAC_MAX_CHANNELS:
            raise AudioWriteError(
                f"{name}: FLAC holds at most {_FLAC_MAX_CHANNELS} channels and this file has"
                f" {source.channels}; choose --format wav"
            )
        if rate > _FLAC_MAX_RATE_HZ or (rate > _FLAC_FINE_RATE_HZ and rate % 10):
            raise AudioWriteError(
                f"{name}: FLAC cannot hold {rate} Hz (at most {_FLAC_MAX_RATE_HZ} Hz, and above"
                f" {_FLAC_FINE_RATE_HZ} Hz only steps of 10 Hz); choose --format wav"
            )
    if target == "OGG" and source.subtype == "VORBIS" and rate > _VORBIS_MAX_RATE_HZ:
        raise AudioWriteError(
            f"{name}: the Vorbis encoder works up to {_VORBIS_MAX_RATE_HZ} Hz and this file has"
            f" {rate} Hz; choose --format flac"
        )
    if target == "MP3" and source.subtype != "MPEG_LAYER_III":
        raise AudioWriteError(
            f"{name}: {source.subtype} can be read but not written; choose --format flac"
        )
