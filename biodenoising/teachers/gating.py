"""Spectral gating by the noisereduce library, against a fixed and against a moving noise level.

Sainburg et al. 2020. It takes any rate: at an expansion of 2 it hears the recording slowed by two.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from biodenoising.models import gating
from biodenoising.teachers.base import Entry, Teacher, Wave
from biodenoising.teachers.packages import missing_package, package_version, require

LICENCE = "MIT"


def _missing() -> str:
    return missing_package("noisereduce", "pip install 'biodenoising[noisereduce]'")


def _load(name: str, stationary: bool, threads: int) -> Teacher:
    require(name, _missing())

    def enhance(heard: Wave, rate: float) -> Wave:
        return np.asarray(gating.gate(heard[None], rate, stationary=stationary)[0])

    return Teacher(name, LICENCE, None, enhance, package_version("noisereduce"))


def _entry(name: str, description: str, *, stationary: bool) -> Entry:
    return Entry(name, LICENCE, None, description, partial(_load, name, stationary), _missing)


ENTRIES = (
    _entry("noisereduce", "Spectral gating against the mean noise level.", stationary=True),
    _entry(
        "noisereduce-nonstationary",
        "Spectral gating against a moving noise level.",
        stationary=False,
    ),
)
