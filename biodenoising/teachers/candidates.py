"""What several teachers make of one segment: each at its expansions, each blended with the input.

Candidates are made one after the other and scored at once by whoever asks for them; nothing is
written. A teacher that cannot be loaded or that fails on a segment is left out and named.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from biodenoising.errors import OptionError, TeacherError
from biodenoising.teachers.base import Wave
from biodenoising.teachers.expansion import LARGEST_EXPANSION, blend, denoise_at
from biodenoising.teachers.registry import find_teacher


@dataclass(frozen=True)
class TeacherPlan:
    """How one teacher is used: `name` as in `find_teacher`, expansions from native, blends.

    An expansion of 2 has it hear the segment twice as slowly; a blend is the share of the denoised
    sound, the rest being the input. A blend of 1 - 10 ** (-F / 20) turns nothing down by more than
    F dB.
    """

    name: str
    expansions: tuple[float, ...] = (1.0,)
    blends: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise OptionError("a teacher has no name; see the list of teachers")
        if not self.expansions or not self.blends:
            raise OptionError(f"teacher {self.name}: give at least one expansion and one blend")
        for expansion in self.expansions:
            if not 1 / LARGEST_EXPANSION <= expansion <= LARGEST_EXPANSION:
                raise OptionError(
                    f"teacher {self.name}: expansion {expansion:g} must lie between "
                    f"1/{LARGEST_EXPANSION:g} and {LARGEST_EXPANSION:g}"
                )
        for share in self.blends:
            if not 0 < share <= 1:
                raise OptionError(f"teacher {self.name}: blend {share:g} must lie above 0, up to 1")


@dataclass(frozen=True)
class Candidate:
    """A denoised segment, `audio` of shape (samples,), and how it was made."""

    teacher: str
    expansion: float
    blend: float
    audio: Wave

    @property
    def name(self) -> str:
        """What tells it from the other candidates of its segment."""
        share = "" if self.blend == 1 else f" blend {self.blend:g}"
        return f"{self.teacher} x{self.expansion:g}{share}"


def make_candidates(
    noisy: Wave, sample_rate: float, plans: Sequence[TeacherPlan], problems: list[str]
) -> Iterator[Candidate]:
    """Yield the candidates for a segment, shape (samples,), float32, at `sample_rate` Hz.

    One line is added to `problems` for every teacher that could not be loaded or that failed on
    this segment; the others go on. Raises AudioValueError for what is no segment.
    """
    for plan in plans:
        try:
            teacher = find_teacher(plan.name)
            for expansion in plan.expansions:
                denoised = denoise_at(teacher, noisy, sample_rate, expansion)
                for share in plan.blends:
                    audio = denoised if share == 1 else blend(noisy, denoised, share)
                    yield Candidate(plan.name, expansion, share, audio)
        except TeacherError as error:
            problems.append(str(error))


def loadable(plans: Sequence[TeacherPlan]) -> tuple[list[tuple[TeacherPlan, str]], list[str]]:
    """Return the plans whose teachers can be loaded, with their versions, and one line each else.

    The line says what is missing and how to get it.
    """
    usable: list[tuple[TeacherPlan, str]] = []
    problems = []
    for plan in plans:
        try:
            usable.append((plan, find_teacher(plan.name).version))
        except (TeacherError, OptionError) as error:
            problems.append(str(error))
    return usable, problems
