"""Candidates: every teacher at its expansions and blends, those that fail left out and named."""

from __future__ import annotations

import numpy as np
import pytest

from biodenoising.errors import OptionError, TeacherError
from biodenoising.teachers import candidates
from biodenoising.teachers.base import Teacher
from biodenoising.teachers.candidates import TeacherPlan, loadable, make_candidates
from biodenoising.teachers.expansion import blend, denoise_at

RATE_HZ = 8_000
NOISY = np.random.default_rng(1).normal(0, 0.1, RATE_HZ).astype(np.float32)


def failing(heard, rate):
    raise TeacherError("teacher moody: not today")


TEACHERS = {
    "half": Teacher("half", "none", None, lambda heard, rate: heard / 2, "half 1"),
    "moody": Teacher("moody", "none", None, failing, "moody 1"),
}


@pytest.fixture(autouse=True)
def _teachers(monkeypatch) -> None:
    def find(name):
        if name not in TEACHERS:
            raise TeacherError(f"teacher {name}: it needs a package: pip install {name}")
        return TEACHERS[name]

    monkeypatch.setattr(candidates, "find_teacher", find)


def test_all_expansions_and_blends() -> None:
    problems: list[str] = []
    made = list(make_candidates(NOISY, RATE_HZ, [TeacherPlan("half", (1, 2), (1, 0.75))], problems))
    names = ["half x1", "half x1 blend 0.75", "half x2", "half x2 blend 0.75"]
    assert [candidate.name for candidate in made] == names
    assert problems == []
    for candidate in made:
        denoised = denoise_at(TEACHERS["half"], NOISY, RATE_HZ, candidate.expansion)
        assert np.array_equal(candidate.audio, blend(NOISY, denoised, candidate.blend))


def test_a_teacher_that_fails_or_is_missing_is_named_and_the_others_go_on() -> None:
    plans = [TeacherPlan("moody"), TeacherPlan("absent"), TeacherPlan("half")]
    problems: list[str] = []
    made = list(make_candidates(NOISY, RATE_HZ, plans, problems))
    assert [candidate.teacher for candidate in made] == ["half"]
    assert problems == [
        "teacher moody: not today", "teacher absent: it needs a package: pip install absent",
    ]  # fmt: skip


def test_which_teachers_can_be_loaded() -> None:
    usable, problems = loadable([TeacherPlan("absent"), TeacherPlan("half")])
    assert usable == [(TeacherPlan("half"), "half 1")]
    assert problems == ["teacher absent: it needs a package: pip install absent"]


@pytest.mark.parametrize(
    "fields",
    [
        {"name": " "}, {"name": "x", "expansions": ()}, {"name": "x", "blends": ()},
        {"name": "x", "expansions": (65.0,)}, {"name": "x", "blends": (0.0,)},
        {"name": "x", "blends": (1.1,)},
    ],
)  # fmt: skip
def test_plans_that_make_no_sense(fields) -> None:
    with pytest.raises(OptionError):
        TeacherPlan(**fields)
