"""One row of a manifest: a piece of audio, where it came from, and what it was made of.

A row that exists is valid: whatever is wrong is said when it is made or read.
"""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import PurePosixPath
from typing import Any

from biodenoising.errors import CorpusError

KINDS = ("vocal", "noise", "soundscape")
STAGES = ("recording", "segment", "candidate", "target")
MEDIA = ("", "air", "water")
TIERS = ("", "open", "copyleft", "noncommercial", "unclear")
SHA256 = re.compile(r"[0-9a-f]{64}|")
LONGEST_LINE_BYTES = 1 << 20
REQUIRED = ("path", "kind")


@dataclass(frozen=True)
class Part:
    """One of several files that were joined end to end: where it is and the hash of its bytes."""

    url: str
    sha256: str


@dataclass(frozen=True)
class Row:
    """One piece of audio. Rates in Hz, times in seconds of the true rate; 0 or "" is unknown.

    Which audio: `path` (relative to the manifest's folder, "/" between folders, "" for audio that
    was not kept), `kind`, `stage`, `sample_rate`, `duration_s`, `sha256` of the file.
    What is heard: `taxon` (scientific name), `common`, `group`, `noise_type`, `medium`.
    Where from: `source`, `recording` (the source's id of the original; splits go by it), `url` and
    `url_sha256` of the original, `member` of the archive at that address, `parts` where several
    originals were joined, `original_format`, `licence`, its `tier`, `attribution`, `quality` (the
    source's own grade), `annotation` (a path).
    How it was cut: `start_s` in the original, `gain_db` applied, `time_expansion` of the original's
    header, `highpass_hz` below which lies no call.
    How good: `est_snr_db` (whole band), `band_snr_db` (best bands), `structure`, `scores` by name.
    How it was made: `parent` (path of the row it was made from), `teacher`, `expansion` (how many
    times slower the teacher heard it), `blend` (share of the denoised sound), `rejected` (why).
    """

    path: str
    kind: str
    stage: str = "segment"
    set: str = ""
    group: str = ""
    taxon: str = ""
    common: str = ""
    noise_type: str = ""
    medium: str = ""
    sample_rate: int = 0
    duration_s: float = 0.0
    start_s: float = 0.0
    gain_db: float = 0.0
    est_snr_db: float | None = None
    band_snr_db: float | None = None
    structure: float | None = None
    time_expansion: float = 1.0
    highpass_hz: float = 0.0
    url: str = ""
    url_sha256: str = ""
    member: str = ""
    sha256: str = ""
    source: str = ""
    recording: str = ""
    licence: str = ""
    tier: str = ""
    attribution: str = ""
    quality: str = ""
    original_format: str = ""
    annotation: str = ""
    notes: str = ""
    added: int = 1
    parts: tuple[Part, ...] = ()
    parent: str = ""
    teacher: str = ""
    expansion: float = 1.0
    blend: float | None = None
    scores: Mapping[str, float] = field(default_factory=dict, hash=False)
    rejected: str = ""

    def __post_init__(self) -> None:
        for name, types in _TYPES.items():
            _check_type(name, getattr(self, name), types)
        for name, known in _CHOICES.items():
            if getattr(self, name) not in known:
                wanted = ", ".join(repr(choice) for choice in known)
                raise CorpusError(f"{name} is {getattr(self, name)!r}, must be one of {wanted}")
        for name in _NOT_NEGATIVE:
            if getattr(self, name) < 0:
                raise CorpusError(f"{name} is {getattr(self, name)}, must not be negative")
        for name in ("time_expansion", "expansion"):
            if getattr(self, name) <= 0:
                raise CorpusError(f"{name} is {getattr(self, name)}, must be above 0")
        for name in ("sha256", "url_sha256"):
            _check_sha256(name, getattr(self, name))
        for name in ("path", "annotation"):
            _check_path(name, getattr(self, name))
        for part in self.parts:
            _check_part(part)
        for name, score in self.scores.items():
            _check_type("a score's name", name, (str,))
            _check_type(f"score {name}", score, (int, float))

    @property
    def end_s(self) -> float:
        """Where the piece ends in its original, in seconds of the true rate."""
        return self.start_s + self.duration_s


_KINDS_OF_TYPES: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "float": (int, float),
    "float | None": (int, float, type(None)),
    "tuple[Part, ...]": (tuple,),
    "Mapping[str, float]": (Mapping,),
}
# Annotations are text here: `from __future__ import annotations` leaves them unevaluated.
_TYPES = {f.name: _KINDS_OF_TYPES[str(f.type)] for f in fields(Row)}
_CHOICES = {"kind": KINDS, "stage": STAGES, "medium": MEDIA, "tier": TIERS}
_NOT_NEGATIVE = ("sample_rate", "duration_s", "start_s", "highpass_hz", "added")
_DEFAULTS = {
    f.name: f.default if f.default_factory is MISSING else f.default_factory() for f in fields(Row)
}
_NAMES = {str: "text", int: "a whole number", float: "a number", tuple: "a list", Mapping: "a map"}


def parse_row(line: bytes | str) -> Row:
    """Return the row that one line holds. Raises CorpusError saying what is wrong with it."""
    if len(line) > LONGEST_LINE_BYTES:
        raise CorpusError(f"is longer than {LONGEST_LINE_BYTES} bytes; it is no row of a manifest")
    try:
        text = line.decode("utf-8") if isinstance(line, bytes) else line
        record = json.loads(text, parse_constant=_refuse, object_pairs_hook=_without_twins)
    except (ValueError, RecursionError) as error:
        raise CorpusError(f"is not valid JSON ({error})") from error
    if not isinstance(record, dict):
        raise CorpusError("is not a JSON object; write {...} with at least path and kind")
    for key in record:
        if key not in _TYPES:
            near = difflib.get_close_matches(key, _TYPES, n=1, cutoff=0.0)
            raise CorpusError(f"unknown key {key!r}; the nearest known one is {near[0]!r}")
    for key in REQUIRED:
        if key not in record:
            raise CorpusError(f"has no {key!r}; every row needs {' and '.join(REQUIRED)}")
    if "parts" in record:
        record["parts"] = _parts(record["parts"])
    return Row(**record)


def row_record(row: Row) -> dict[str, Any]:
    """Return a row as the plain record of its line; what has its default is left out."""
    record: dict[str, Any] = {
        name: value
        for name in _TYPES
        if (value := getattr(row, name)) != _DEFAULTS[name] or name in REQUIRED
    }
    if row.parts:
        record["parts"] = [{"url": part.url, "sha256": part.sha256} for part in row.parts]
    if row.scores:
        record["scores"] = dict(row.scores)
    return record


def row_line(row: Row) -> str:
    """Return a row as one line of JSON, without a line break."""
    return json.dumps(row_record(row), allow_nan=False)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number of JSON")


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(k for k in keys if keys.count(k) > 1)!r} stands twice")
    return record


def _parts(value: object) -> tuple[Part, ...]:
    if not isinstance(value, list):
        raise CorpusError("parts is not a list")
    for part in value:
        if not isinstance(part, dict) or set(part) != {"url", "sha256"}:
            raise CorpusError("parts must each have exactly url and sha256")
    return tuple(Part(**part) for part in value)


def _check_part(part: object) -> None:
    if not isinstance(part, Part):
        raise CorpusError("parts holds something that is no part")
    _check_type("a part's url", part.url, (str,))
    _check_type("a part's sha256", part.sha256, (str,))
    _check_sha256("a part's sha256", part.sha256)


def _check_type(name: str, value: object, types: tuple[type, ...]) -> None:
    # True and False are whole numbers to Python, and not to anybody who writes a manifest.
    if not isinstance(value, types) or isinstance(value, bool):
        wanted = _NAMES.get(types[-1], "a number or null")
        raise CorpusError(f"{name} is {str(value)[:80]!r}, must be {wanted}")
    if isinstance(value, float) and not math.isfinite(value):
        raise CorpusError(f"{name} is {value}, must be finite")


def _check_sha256(name: str, value: str) -> None:
    if not SHA256.fullmatch(value):
        raise CorpusError(f"{name} is {value[:80]!r}, must be 64 hexadecimal digits in lower case")


def _check_path(name: str, value: str) -> None:
    """Refuse what could lead out of the manifest's folder, on any operating system."""
    if not value:
        return
    parts = value.split("/")
    if (
        PurePosixPath(value).is_absolute()
        or ".." in parts
        or "\\" in value
        or "\0" in value
        or parts[0] == "~"
        or "://" in value
        or re.match(r"[A-Za-z]:", value)
    ):
        raise CorpusError(f"{name} {value[:80]!r} must be relative and stay in the corpus folder")
    if any(part in ("", ".") for part in parts):
        raise CorpusError(f"{name} {value[:80]!r} is not in its shortest form")
