"""Clips of a manifest: where their audio is, whether it is what the manifest says, their samples.

A clip is read from a local mirror (its own SHA-256 is checked) or rebuilt from the original at its
URL (the original's SHA-256 is checked by pooch), cut by the corpus's rule: loudest channel, mean
subtracted, from `start_s` for `duration_s` of the true rate, mean subtracted, scaled by `gain_db`.
"""

from __future__ import annotations

import hashlib
import importlib
import json
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray
from scipy import signal

from biodenoising import AudioReadError, BiodenoisingError

Samples = NDArray[np.float64]

HIGHPASS_ORDER = 4
DECODABLE = frozenset({"wav", "ogg", "mp3", "flac", "aiff"})


@dataclass(frozen=True)
class Clip:
    """One row of a manifest; rates in Hz, durations in seconds of the true rate."""

    path: str
    kind: str
    group: str
    taxon: str
    noise_type: str
    medium: str
    sample_rate: int
    duration_s: float
    sha256: str = ""
    start_s: float = 0.0
    gain_db: float = 0.0
    highpass_hz: float = 0.0
    url: str = ""
    url_sha256: str = ""
    original_format: str = "wav"
    licence: str = ""
    recording: str = ""
    added: int = 1
    parts: tuple[dict[str, str], ...] = field(default=(), hash=False)

    @property
    def name(self) -> str:
        """The file's name without folder and ending."""
        return Path(self.path).stem


def read_manifest(path: Path) -> list[Clip]:
    """Return the clips of a JSON-lines manifest, in its order."""
    known = {f.name for f in fields(Clip)}
    clips = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            row: dict[str, Any] = json.loads(line)
            row["parts"] = tuple(row.get("parts", ()))
            clips.append(Clip(**{key: value for key, value in row.items() if key in known}))
        except (ValueError, TypeError) as error:
            raise BiodenoisingError(f"{path}, line {number} is no clip: {error}") from error
    return clips


def load_clip(clip: Clip, *, mirror: Path | None, cache: Path | None) -> Samples:
    """Return the clip's samples at its own rate, shape (samples,), mono, unfiltered.

    Without a `mirror` the original is fetched into `cache`. A missing file, other bytes than the
    manifest's and a wrong rate raise AudioReadError.
    """
    if mirror is not None:
        return _from_mirror(clip, mirror / clip.path)
    if cache is None:
        raise AudioReadError(f"{clip.path}: no local corpus, and fetching was not asked for")
    return _from_url(clip, cache)


def highpassed(samples: Samples, sample_rate: float, cutoff_hz: float) -> Samples:
    """Return samples without what lies below `cutoff_hz`, zero-phase Butterworth of order 4."""
    if not 0 < cutoff_hz < sample_rate / 2:
        return samples
    sos = signal.butter(HIGHPASS_ORDER, cutoff_hz, "highpass", fs=sample_rate, output="sos")
    reach = min(3 * (2 * len(sos) + 1), len(samples) - 1)
    return np.asarray(signal.sosfiltfilt(sos, samples, padlen=reach))


def read_audio(path: Path) -> tuple[Samples, int]:
    """Return samples of shape (samples, channels) in float64 and the rate in Hz."""
    try:
        samples, rate = soundfile.read(path, dtype="float64", always_2d=True)
    except (soundfile.LibsndfileError, OSError) as error:
        raise AudioReadError(f"{path} cannot be read as audio: {error}") from error
    return np.asarray(samples), int(rate)


def _from_mirror(clip: Clip, path: Path) -> Samples:
    if not path.is_file():
        raise AudioReadError(f"{path} is missing; is the corpus folder complete?")
    if clip.sha256 and hashlib.sha256(path.read_bytes()).hexdigest() != clip.sha256:
        raise AudioReadError(f"{path} is not the file of the manifest: its SHA-256 differs")
    samples, rate = read_audio(path)
    if rate != clip.sample_rate:
        raise AudioReadError(f"{path} is at {rate} Hz, its manifest says {clip.sample_rate} Hz")
    return np.asarray(samples[:, 0])


def _from_url(clip: Clip, cache: Path) -> Samples:
    if clip.original_format not in DECODABLE:
        raise AudioReadError(
            f"{clip.path} was converted from {clip.original_format}: only a local corpus has it"
        )
    pieces = clip.parts or ({"url": clip.url, "sha256": clip.url_sha256},)
    originals = [_fetch(piece["url"], piece["sha256"], cache) for piece in pieces]
    audio = np.concatenate([read_audio(path)[0] for path in originals])
    return cut(audio, clip)


def cut(audio: Samples, clip: Clip) -> Samples:
    """Return the clip cut out of its decoded original, shape (samples, channels)."""
    loudest = audio[:, int(np.argmax(audio.std(axis=0)))]
    start = round(clip.start_s * clip.sample_rate)
    piece = (loudest - loudest.mean())[start : start + round(clip.duration_s * clip.sample_rate)]
    if len(piece) == 0:
        raise AudioReadError(f"{clip.path}: the original at {clip.url} ends before the clip starts")
    return np.asarray((piece - piece.mean()) * 10 ** (clip.gain_db / 20))


def _fetch(url: str, sha256: str, cache: Path) -> Path:
    pooch = importlib.import_module("pooch")
    try:
        return Path(pooch.retrieve(url, known_hash=f"sha256:{sha256}", path=cache))
    except (OSError, ValueError) as error:
        raise AudioReadError(f"{url} could not be fetched: {error}") from error
