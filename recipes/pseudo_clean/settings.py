"""The settings of a run: one YAML file, read into one frozen dataclass.

Nothing unknown, misspelt or mistyped passes; every complaint is one line with the file and the key.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import types
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from biodenoising.corpus.manifest import TIERS
from biodenoising.corpus.segments import SegmentSettings
from biodenoising.errors import OptionError
from biodenoising.storage import printable
from biodenoising.teachers.candidates import TeacherPlan
from biodenoising.teachers.select import LEAST_GAIN_DB

Content = Literal["vocal", "noise", "soundscape"]
SourceKind = Literal[
    "corpus", "folder", "url_manifest", "xeno_canto", "zenodo", "inaturalist", "data_set"
]
NEEDED = {
    "corpus": "path", "folder": "path", "url_manifest": "path", "xeno_canto": "query",
    "zenodo": "record", "inaturalist": "taxon", "data_set": "data_set",
}  # fmt: skip
DEFAULT_SEGMENTS = SegmentSettings(least_gap_s=1.0, longest_s=10.0)
DEFAULT_TEACHERS = (
    TeacherPlan("demucs", (1.0, 2.0), (1.0, 0.75)),
    TeacherPlan("logmmse", (2.0,), (1.0, 0.75)),
    TeacherPlan("noisereduce", (1.0, 2.0), (1.0, 0.75)),
    TeacherPlan("noisereduce-nonstationary", (1.0, 2.0), (1.0, 0.75)),
)


@dataclass(frozen=True)
class SourceSettings:
    """Where recordings come from.

    `corpus` is a folder with a manifest.jsonl and the files it names, `folder` any folder of
    recordings; both are linked, not copied. The others are fetched. `sets` and `kinds` choose rows
    of a corpus or URL manifest; `content`, `licence`, `group`, `medium` and `taxon` say what is
    known of a folder's or service's recordings. `limit` 0 takes all that a service offers.
    """

    kind: SourceKind
    name: str = ""
    path: str = ""
    query: str = ""
    record: int = 0
    taxon: str = ""
    data_set: str = ""
    sets: tuple[str, ...] = ("train",)
    kinds: tuple[Content, ...] = ("vocal", "noise", "soundscape")
    content: Content = "soundscape"
    licence: str = ""
    licences: tuple[str, ...] = ()
    quality: str = ""
    include: tuple[str, ...] = ()
    group: str = ""
    medium: Literal["", "air", "water"] = ""
    limit: int = 0
    address: str = ""

    def __post_init__(self) -> None:
        needed = NEEDED[self.kind]
        if not getattr(self, needed):
            raise OptionError(f"a source of kind {self.kind} needs {needed}")
        if "benchmark" in self.sets:
            raise OptionError("sets must not name benchmark: what measures is never learned from")
        if self.limit < 0:
            raise OptionError("limit must be 0 (all) or more")


@dataclass(frozen=True)
class Settings:
    """All of a run. Only `run`, `jobs` and `limit` leave what comes out of a recording as it is.

    `limit` takes that many recordings, the same ones in any order of arrival (0: all). A call's
    segment has `context_s` on both sides, for the teachers to hear the noise in. Calls shorter than
    `least_call_s` without it are left, and those that were found, not annotated, and stand out by
    less than `least_call_score`: in what is hardly there, teachers keep the clicks. Where nobody
    said below which frequency no call lies, it is taken `rumble_octaves` below the lowest edge
    found. A segment whose signal-to-noise ratio is known to be `clean_snr_db` or more stays as it
    is: what teachers make of clean input is not nearer to it. Shares for validation and test are
    in tenths.
    """

    sources: tuple[SourceSettings, ...]
    run: str = "runs/pseudo_clean"
    jobs: int = 1
    limit: int = 0
    tiers: tuple[str, ...] = ("open", "copyleft", "noncommercial")
    segments: SegmentSettings = DEFAULT_SEGMENTS
    context_s: float = 0.5
    least_call_s: float = 0.0
    least_call_score: float = 12.0
    rumble_octaves: float = 1.0
    teachers: tuple[TeacherPlan, ...] = DEFAULT_TEACHERS
    least_gain_db: float = LEAST_GAIN_DB
    clean_snr_db: float = 26.0
    least_noise_s: float = 1.0
    validation_tenths: int = 1
    test_tenths: int = 0

    def __post_init__(self) -> None:
        if not self.sources:
            raise OptionError("sources is empty; name at least one place with recordings")
        for tier in self.tiers:
            if tier not in TIERS or not tier:
                raise OptionError(f"tiers holds {tier!r}; known: {', '.join(filter(None, TIERS))}")
        if self.jobs < 1:
            raise OptionError("jobs must be 1 or more")
        for name in (
            "limit",
            "context_s",
            "least_call_s",
            "least_call_score",
            "rumble_octaves",
            "least_noise_s",
        ):
            if getattr(self, name) < 0:
                raise OptionError(f"{name} must be 0 or more")
        if 2 * self.context_s > self.segments.least_gap_s:
            raise OptionError(
                "context_s must be at most half of segments.least_gap_s, or segments overlap"
            )
        if not self.teachers:
            raise OptionError("teachers is empty; name at least one")
        names = [plan.name for plan in self.teachers]
        for name in names:
            if names.count(name) > 1:
                raise OptionError(f"teachers names {name} twice; give its expansions together")
        if min(self.validation_tenths, self.test_tenths) < 0 or (
            self.validation_tenths + self.test_tenths > 9
        ):
            raise OptionError("validation_tenths and test_tenths must leave a tenth for training")


def read_settings(path: Path, **changes: Any) -> Settings:
    """Return the settings of a file; `changes` that are not None replace its keys.

    Raises OptionError naming the file and the key.
    """
    name = printable(path)
    try:
        record = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise OptionError(f"{name}: cannot be read ({error.strerror}); name a YAML file") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise OptionError(f"{name}: is not YAML ({reason})") from error
    if isinstance(record, dict):
        record.update({key: value for key, value in changes.items() if value is not None})
    try:
        return typing.cast(Settings, _build(Settings, record, ""))
    except OptionError as error:
        raise OptionError(f"{name}: {error}") from error


def _build(kind: type, record: Any, where: str) -> Any:
    """Return a dataclass of a mapping, and those inside it."""
    place = where.rstrip(".")
    if not isinstance(record, dict):
        raise OptionError(
            f"{place or 'the file'}: expected keys and values, found {_shown(record)}"
        )
    hints = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    for key in record:
        if key not in fields:
            near = difflib.get_close_matches(str(key), fields, n=1, cutoff=0.0)
            raise OptionError(f"unknown key {where}{key}; the nearest known one is {near[0]}")
    for key, field in fields.items():
        if key not in record and field.default is dataclasses.MISSING:
            raise OptionError(f"{where}{key} is missing")
    values = {key: _value(hints[key], value, f"{where}{key}") for key, value in record.items()}
    if kind is Settings and "segments" in record:
        # What the file leaves out is as in a recipe, not as in the library.
        given = {key: getattr(values["segments"], key) for key in record["segments"]}
        values["segments"] = dataclasses.replace(DEFAULT_SEGMENTS, **given)
    try:
        return kind(**values)
    except OptionError as error:
        raise OptionError(f"{place}: {error}" if place else str(error)) from error


def _value(hint: Any, value: Any, where: str) -> Any:
    """Return a value as the type that a key has."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        return _build(typing.cast(type, hint), value, f"{where}.")
    if origin is tuple:
        if not isinstance(value, list):
            raise OptionError(f"{where} must be a list, not {_shown(value)}")
        return tuple(_value(inner[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if origin is Literal:
        if value not in inner:
            raise OptionError(f"{where} must be one of {', '.join(map(str, inner))}, "
                              f"not {_shown(value)}")  # fmt: skip
        return value
    assert not isinstance(hint, types.UnionType)
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint:
        kinds = {float: "a number", int: "a whole number", str: "text"}
        raise OptionError(f"{where} must be {kinds[hint]}, not {_shown(value)}")
    return _expanded(value, where) if where.endswith(("path", "run")) else value


def _expanded(text: str, where: str) -> str:
    """Return a path with the environment's variables in it; all of them have to be set."""
    expanded = os.path.expanduser(os.path.expandvars(text))
    if "$" in expanded:
        raise OptionError(f"{where} is {expanded}; set that environment variable to a folder")
    return expanded


def _shown(value: Any) -> str:
    return repr(value)[:60]
