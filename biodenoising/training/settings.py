"""Everything that says how a student is trained, as one tree of frozen dataclasses.

A YAML file holds the same tree; what it leaves out keeps its default. The loss's terms
are explained where they are computed, in training.losses.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal

from biodenoising.corpus.clips import ClipSettings
from biodenoising.corpus.mixtures import MixtureSettings
from biodenoising.models.cards import Chunking


@dataclass(frozen=True)
class LossSettings:
    """Weights of the terms, 0 leaves one out, and the transforms they hear with (in samples).

    `magnitudes_from` is the share of half the rate below which the magnitude terms hear nothing:
    0.5 is CleanUNet's "high band".
    """

    l1: float = 0.0
    snr: float = 0.1
    si_sdr: float = 0.0
    spectra: float = 3.0
    convergence: float = 0.0
    log_magnitude: float = 0.0
    spectra_sizes: tuple[int, ...] = (512, 2048)
    spectra_power: float = 0.3
    magnitude_sizes: tuple[int, ...] = (512, 1024, 2048)
    magnitude_hops: tuple[int, ...] = (50, 120, 240)
    magnitude_windows: tuple[int, ...] = (240, 600, 1200)
    magnitudes_from: float = 0.0
    silent_weight: float = 0.3

    def __post_init__(self) -> None:
        if not any(self.weights.values()) or min(self.weights.values()) < 0:
            raise ValueError("at least one term needs a weight above 0, and none one below")
        counts = {
            len(each)
            for each in (self.magnitude_sizes, self.magnitude_hops, self.magnitude_windows)
        }
        if len(counts) > 1:
            raise ValueError("magnitude_sizes, _hops and _windows must be equally many")

    @property
    def weights(self) -> dict[str, float]:
        """The terms' weights by name."""
        names = ("l1", "snr", "si_sdr", "spectra", "convergence", "log_magnitude")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class OptimizerSettings:
    """Which optimizer, and the largest norm of a gradient (0 does not clip)."""

    kind: Literal["adamw", "adam", "nadam", "muon"] = "adamw"
    rate: float = 1.5e-3
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 1e-4
    largest_gradient: float = 3.0


@dataclass(frozen=True)
class ScheduleSettings:
    """How long to train and at what share of the rate: up, then down along a cosine.

    The length is `steps`, or `minutes` of computing, whatever the machine. The rate rises from a
    `start_divisor`-th of its peak during `warm_up_steps`, or during `warm_up_share` of the whole,
    and ends at a `final_divisor`-th. With `momentum` (lowest, highest) the first beta goes the
    other way, as in one-cycle training. From `hold_from` steps on the rate goes, in `hold_over`
    steps, to its peak and stays there, as stochastic weight averaging wants it.
    """

    steps: int | None = None
    minutes: float | None = None
    warm_up_steps: int = 300
    warm_up_share: float = 0.0
    warm_up: Literal["line", "cosine"] = "line"
    start_divisor: float = 1e6
    final_divisor: float = 50.0
    momentum: tuple[float, float] | None = None
    hold_from: int | None = None
    hold_over: int = 1

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.minutes is None):
            raise ValueError("give either steps or minutes")
        if (self.steps or self.minutes or 0) <= 0:
            raise ValueError("steps or minutes must be above 0")
        if not 0 <= self.warm_up_share < 1 or self.warm_up_steps < 0 or self.hold_over < 1:
            raise ValueError("warm_up_share must be in [0, 1), steps not negative, hold_over >= 1")
        if min(self.start_divisor, self.final_divisor) < 1:
            raise ValueError("start_divisor and final_divisor must be at least 1")


@dataclass(frozen=True)
class RemixSettings:
    """Learning from recordings of which no clean call is known (Tzinis et al. 2022, RemixIT).

    The averaged network parts segments of them into call and noise; the student hears each call
    with another one's noise and is to find the call. `share` of every batch are such segments,
    left out before `from_step`. `noise_floor` is how much of a call's power is taken for wrong.
    """

    share: float = 0.0
    from_step: int = 2000
    noise_floor: float = 0.01

    def __post_init__(self) -> None:
        if not 0 <= self.share < 1:
            raise ValueError("share must be in [0, 1)")

    def count(self, batch: int) -> int:
        """Return how many of a batch are remixed: none, or at least two."""
        count = round(self.share * batch)
        if self.share and not 2 <= count < batch:
            raise ValueError(f"share {self.share} of a batch of {batch} must be 2 or more, not all")
        return count


@dataclass(frozen=True)
class AverageSettings:
    """The moving average of the weights, which is what a run is checked by and exports.

    `decay` below 1 forgets; `equal` instead counts every `every_steps`-th step from `from_step`
    on alike, as stochastic weight averaging does; before that the average is the weights.
    """

    kind: Literal["decay", "equal"] = "decay"
    decay: float = 0.999
    from_step: int = 0
    every_steps: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.decay < 1 or self.every_steps < 1:
            raise ValueError("decay must be in [0, 1) and every_steps at least 1")


@dataclass(frozen=True)
class CheckSettings:
    """Fixed mixtures of held-back recordings, and of the training's own, denoised every so often.

    With `patience` above 0 a run stops after as many checks in a row without `least_gain_db` more
    than the best before, and ends with that one's weights.
    """

    every_steps: int = 1500
    held_back: int = 100
    own: int = 60
    samples: int = 64_000
    snr_db: tuple[float, float] = (-5.0, 10.0)
    patience: int = 0
    least_gain_db: float = 0.02

    def __post_init__(self) -> None:
        if self.every_steps < 1 or self.held_back < 1 or self.own < 0:
            raise ValueError("every_steps and held_back must be at least 1, own not negative")


@dataclass(frozen=True)
class MachineSettings:
    """Where and how a run computes: nothing here changes what is learnt but by rounding.

    The precision `auto` is whichever of the two takes a step faster on this machine.
    """

    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    precision: Literal["32-true", "bf16-mixed", "auto"] = "32-true"
    workers: int = 1
    prefetched_batches: int = 8
    log_every_steps: int = 50
    save_every_steps: int = 250

    def __post_init__(self) -> None:
        if min(self.prefetched_batches, self.log_every_steps, self.save_every_steps) < 1:
            raise ValueError("batches and steps must be at least 1")
        if self.workers < 0:
            raise ValueError("workers must not be negative")


@dataclass(frozen=True)
class ExportSettings:
    """What the card of the exported checkpoint says, and whether weights are stored as float16.

    `decimations` are the card's: at which fractions of their rate recordings are heard too. `way`
    is how far from the weights of `begin_from` to the run's own the exported ones lie: some of the
    way often does better on what neither has heard (Wortsman et al. 2022, "Robust fine-tuning").
    """

    sample_rate: int = 16_000
    decimations: tuple[int, ...] = ()
    way: float = 1.0
    chunking: Chunking = Chunking(samples=64_000, left=4_000, right=4_000)
    half: bool = True
    description: str = ""
    licence: str = "CC-BY-SA-4.0"


@dataclass(frozen=True)
class TrainingSettings:
    """A whole training: the network, what it hears, what it is told, for how long.

    `network` holds the architecture's own arguments; `batch` is in mixtures. `begin_from` is the
    path of a safetensors file of the same network, or of a mask network with fewer blocks or
    narrower recurrences (training.growth), to start from instead of random weights. With
    `decimations` every mixture is heard at these fractions of its rate too, as a card's decimations
    have the denoiser do, and their mean is what learns; norms keep the statistics they began with.
    """

    name: str
    architecture: Literal["demucs", "cleanunet", "masknet"]
    schedule: ScheduleSettings
    network: dict[str, Any] = field(default_factory=dict)
    begin_from: str | None = None
    decimations: tuple[int, ...] = ()
    seed: int = 1
    batch: int = 12
    corpus: ClipSettings = ClipSettings()
    mixtures: MixtureSettings = MixtureSettings()
    loss: LossSettings = LossSettings()
    optimizer: OptimizerSettings = OptimizerSettings()
    remix: RemixSettings = RemixSettings()
    average: AverageSettings = AverageSettings()
    checks: CheckSettings = CheckSettings()
    machine: MachineSettings = MachineSettings()
    export: ExportSettings = ExportSettings()

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise ValueError("batch must be at least 1")
        if min(self.decimations, default=2) < 2:
            raise ValueError("decimations must be 2 or more")
        if self.decimations and self.begin_from is None:
            raise ValueError("decimations need a network that has learnt: give begin_from")
        if not 0 < self.export.way <= 1 or (self.export.way < 1 and self.begin_from is None):
            raise ValueError("export.way must be above 0, up to 1, and below 1 takes begin_from")
        self.remix.count(self.batch)
        if not self.name or not all(c.isalnum() or c in "-_." for c in self.name):
            raise ValueError("name must be letters, digits, '-', '_' and '.'")

    @property
    def needs_corpus(self) -> bool:
        """Whether any mixture holds a recording."""
        return (
            bool(self.remix.share)
            or min(self.mixtures.synthesized_calls, self.mixtures.synthesized_noise) < 1
        )


def what_counts(settings: TrainingSettings) -> dict[str, Any]:
    """Return the settings that change what is learnt, as a plain record.

    How long a run is, where it computes and what its export says may change when it goes on.
    """
    record = dataclasses.asdict(settings)
    for key in ("machine", "export", "schedule", "name"):
        del record[key]
    return record
