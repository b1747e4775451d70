"""What an adaptation needs, what it tells on the way, and how it ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from biodenoising.models.cards import Card

if TYPE_CHECKING:
    from biodenoising.training.adaptation_check import Verdict

# Of the minutes, at most so much goes into gathering.
GATHER_SHARE = 1 / 3


@dataclass(frozen=True)
class Step:
    """How far one stage (`gathering`, `training`, `checking`) is, from 0 to 1."""

    stage: str
    share: float


@dataclass(frozen=True)
class Needs:
    """What an adaptation found and what it will take; sizes in GB, an upper estimate."""

    base: Card
    recordings: int
    hours: float
    rates_hz: tuple[int, ...]
    annotated: int
    minutes: float
    memory_gb: float
    disk_gb: float
    free_gb: float
    unreadable: tuple[str, ...] = ()


Observer = Callable[[Needs | Step | str], None]
"""Is told first what is needed, then every step and, as text, whatever a person should know."""


@dataclass(frozen=True)
class Adaptation:
    """How an adaptation ended: `model` is the new card's path, None where the old one is kept."""

    model: Path | None
    verdict: Verdict
    needs: Needs
    targets: int
    noises: int
    steps: int
