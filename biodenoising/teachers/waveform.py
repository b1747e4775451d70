"""Networks of this package that map waveforms, as teachers with somebody else's weights."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from biodenoising.teachers.base import Entry, Teacher, Wave
from biodenoising.teachers.packages import missing_package, require, torch_threads
from biodenoising.teachers.weights import (
    WeightsFile,
    fill,
    get_weights,
    load_state,
    missing_weights,
)

RATE = 16_000
# Both papers' networks hold some 25 MB a second of sound, and CleanUNet's attention grows faster.
LONGEST_SAMPLES = 30 * RATE
_TORCH = "pip install 'biodenoising[torch]'"


def waveform_entry(
    name: str, licence: str, description: str, file: WeightsFile, build: Callable[[], Any]
) -> Entry:
    """Return the entry of a network that maps (batch, 1, samples) at 16 kHz onto the same.

    `build` makes it untrained; it is called, and torch imported, when the teacher is loaded.
    """
    return Entry(
        name,
        licence,
        RATE,
        description,
        partial(_load, name, licence, file, build),
        partial(_missing, file),
    )


def _missing(file: WeightsFile) -> str:
    return missing_package("torch", _TORCH) or missing_weights(file)


def _load(
    name: str, licence: str, file: WeightsFile, build: Callable[[], Any], threads: int
) -> Teacher:
    require(name, missing_package("torch", _TORCH))
    # The weights first: building a large network takes longer than saying that they are missing.
    state = load_state(name, get_weights(name, file))
    network = fill(name, build(), state)

    def enhance(heard: Wave, rate: float) -> Wave:
        with torch_threads(threads) as torch:
            clean = network(torch.from_numpy(np.ascontiguousarray(heard))[None, None])
        return np.asarray(clean[0, 0].numpy(), np.float32)

    return Teacher(name, licence, RATE, enhance, f"sha256 {file.sha256[:16]}", LONGEST_SAMPLES)
