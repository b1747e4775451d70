"""Which teachers there are, which of them can be used here, and what the others lack."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from biodenoising.errors import TeacherError
from biodenoising.storage import printable
from biodenoising.teachers import (
    cleanunet_dns,
    deepfilternet,
    demucs_dns48,
    gating,
    gtcrn,
    htdemucs,
    nsnet2,
    subtraction,
    suppressors,
)
from biodenoising.teachers.base import Entry, Teacher
from biodenoising.teachers.external import external_teacher
from biodenoising.teachers.student import student_entries, student_teacher

CARD_SUFFIXES = (".json", ".safetensors", ".onnx")


@dataclass(frozen=True)
class TeacherStatus:
    """One line of the list: `rate` in Hz or None for any; `missing` says what to do first."""

    name: str
    licence: str
    rate: int | None
    description: str
    missing: str

    @property
    def available(self) -> bool:
        """Whether it can be used now, without fetching or installing anything."""
        return not self.missing


def list_teachers() -> list[TeacherStatus]:
    """Return all teachers, available or not, without loading or fetching any."""
    return [
        TeacherStatus(e.name, e.licence, e.rate, e.description, e.missing()) for e in _entries()
    ]


@lru_cache(maxsize=16)
def find_teacher(name: str, *, threads: int = 1) -> Teacher:
    """Return a teacher, loaded once in this process.

    Parameters
    ----------
    name : str
        One of `list_teachers()`, the path of a model's card, or `name=cmd {input} {output}`.
    threads : int
        Processor threads it computes with, 0 for all; one by default, since recordings are many.

    Raises
    ------
    TeacherError
        There is none of that name, or its package or weights are missing or damaged; weights that
        are not here are fetched.
    OptionError
        An external command is not written as it should be.
    """
    if "=" in name:
        return external_teacher(name)
    entries = {entry.name: entry for entry in _entries()}
    if name in entries:
        return entries[name].load(threads)
    if name.endswith(CARD_SUFFIXES):
        return student_teacher(name, threads)
    raise TeacherError(
        f"no teacher {printable(name)!r}; choose one of {', '.join(entries)}, a model card's path, "
        "or 'name=cmd {input} {output}'"
    )


def _entries() -> list[Entry]:
    return [
        *gating.ENTRIES,
        *subtraction.ENTRIES,
        *suppressors.ENTRIES,
        *nsnet2.ENTRIES,
        *gtcrn.ENTRIES,
        *deepfilternet.ENTRIES,
        *demucs_dns48.ENTRIES,
        *cleanunet_dns.ENTRIES,
        *htdemucs.ENTRIES,
        *student_entries(),
    ]
