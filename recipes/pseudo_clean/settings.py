"""The settings of a run: one YAML file, read into one frozen dataclass.

Nothing unknown, misspelt or mistyped passes; every complaint is one line with the file and the key.
"""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from biodenoising.corpus.manifest import TIERS
from biodenoising.corpus.segments import SegmentSettings
from biodenoising.errors import OptionError
from biodenoising.teachers.candidates import TeacherPlan
from biodenoising.teachers.select import LEAST_GAIN_DB
from biodenoising.training.configuration import read_yaml

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

    Raises OptionError naming the file and the key, TrainingError where it cannot be read.
    """

    def prepare(record: dict[str, Any]) -> None:
        record.update({key: value for key, value in changes.items() if value is not None})
        if isinstance(record.get("segments"), dict):
            # What the file leaves out is as in a recipe, not as in the library.
            record["segments"] = dataclasses.asdict(DEFAULT_SEGMENTS) | record["segments"]
        _expand(record, "run", "")
        if isinstance(record.get("sources"), list):
            for number, source in enumerate(record["sources"]):
                _expand(source, "path", f"sources[{number}].")

    return read_yaml(path, Settings, prepare)


def _expand(record: Any, key: str, where: str) -> None:
    """Put the environment's variables into a path; all of them have to be set."""
    if not isinstance(record, dict) or not isinstance(record.get(key), str):
        return
    expanded = os.path.expanduser(os.path.expandvars(record[key]))
    if "$" in expanded:
        raise OptionError(f"{where}{key} is {expanded}; set that environment variable to a folder")
    record[key] = expanded
