"""Our own models as teachers of the next ones: the shipped ones by name, any by its card's path.

A student hears the samples it is given as they are; how much slower that is was decided before.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from biodenoising.errors import ModelError, TeacherError
from biodenoising.inference.denoiser import Denoiser
from biodenoising.models.cards import Card
from biodenoising.models.registry import find_model, fingerprint, list_models
from biodenoising.teachers.base import Entry, Teacher, Wave

# The denoiser cuts long recordings itself.
LONGEST_SAMPLES = 1 << 26


def student_entries() -> list[Entry]:
    """Return an entry for every shipped model that was trained."""
    cards = [find_model(name) for name in list_models()]
    return [_entry(card) for card in cards if card.architecture != "noisereduce"]


def student_teacher(model: str | Path, threads: int) -> Teacher:
    """Return a model, by name or card's path, as a teacher. Raises TeacherError."""
    try:
        denoiser = Denoiser(model, threads=threads)
    except ModelError as error:
        raise TeacherError(f"teacher {model}: {error}") from error
    card = denoiser.card

    def enhance(heard: Wave, rate: float) -> Wave:
        return np.asarray(denoiser.denoise(heard, card.sample_rate), np.float32)

    version = fingerprint(card)
    return Teacher(card.name, card.licence, card.sample_rate, enhance, version, LONGEST_SAMPLES)


def _entry(card: Card) -> Entry:
    return Entry(
        card.name,
        card.licence,
        card.sample_rate,
        card.description,
        lambda threads: student_teacher(card.name, threads),
        lambda: "",
    )
