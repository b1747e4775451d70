"""From a model's weights to weights a little further on: small steps on a person's own material.

Their calls and noise are mixed with synthesized ones, which ship with the package. With a corpus
its clean calls are heard in their noise as well, and beside that the network hears what it is not
to forget (`remembering`): the corpus in its own noise. Between the old weights and the new ones
lies a line; checkpoints along it are written to be compared.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from biodenoising.corpus.clips import Clip, ClipSettings, load_clips
from biodenoising.corpus.mixtures import Mixer, MixtureSettings
from biodenoising.errors import ModelError
from biodenoising.models.cards import Card
from biodenoising.models.networks import save_checkpoint
from biodenoising.training.adaptation_material import TIER, TRAIN
from biodenoising.training.adaptation_survey import MOST_REHEARSED, REHEARSED
from biodenoising.training.data import MakeMixture, Material
from biodenoising.training.hearings import hear
from biodenoising.training.precision import Precision
from biodenoising.training.remembering import Alternating, Remembered
from biodenoising.training.settings import (
    AverageSettings,
    CheckSettings,
    MachineSettings,
    OptimizerSettings,
    ScheduleSettings,
    TrainingSettings,
)
from biodenoising.training.state import AVERAGE, load_weights, new_network, put_between
from biodenoising.training.trainer import Observer, Summary, train

RATE_SHARE, USUAL_RATE = 0.2, 1.5e-3
BATCH = 3
OWN_CHECKS = 8
# Playback rates vary less than in a training from nothing: these recordings are what counts.
MIXTURES = MixtureSettings(
    samples=65_536, snr_db=(-8.0, 15.0), call_octaves=1.0, noise_octaves=0.3,
    synthesized_calls=0.4, synthesized_noise=0.3, second_caller=0.1, further_noise=0.2,
    transients=0.1, band_limits=0.15, distance=0.1, reverberation=0.1, reversal=0.1,
    loud_events=0.05, mp3=0.02, soft_clipping=0.02,
)  # fmt: skip
CLIPS = ClipSettings(sets=(TRAIN,), tiers=(TIER,), refused_licences=(), held_back_tenths=0)
# With a corpus, its calls take the place of some of the person's and of most synthesized ones, for
# a few targets are soon known by heart; the noise stays the person's.
REHEARSED_CALLS, SYNTHESIZED_BESIDE = 0.6, 0.15
GENERAL_SEED = 1
NEVER = 10**9


def tuning_settings(
    card: Card, minutes: float, precision: Precision, *, rehearsal: bool = False
) -> TrainingSettings:
    """Return how a model is fine-tuned: as it was trained, with a fifth of that rate."""
    trained = card.training.get("settings", {})
    rate = trained.get("optimizer", {}).get("rate", USUAL_RATE) if trained else USUAL_RATE
    mixtures = MIXTURES
    if rehearsal:
        mixtures = dataclasses.replace(
            MIXTURES, synthesized_calls=SYNTHESIZED_BESIDE, synthesized_noise=SYNTHESIZED_BESIDE
        )
    return TrainingSettings(
        name="adapted",
        architecture=card.architecture,  # type: ignore[arg-type]
        schedule=ScheduleSettings(minutes=minutes, warm_up_steps=20, final_divisor=20),
        network={key: _frozen(value) for key, value in card.arguments.items()},
        begin_from=str(card.weights_path),
        # At a fraction of the rate the place's noise is another one: it is to be learnt there too.
        decimations=card.decimations,
        batch=BATCH,
        corpus=CLIPS,
        mixtures=mixtures,
        optimizer=OptimizerSettings(rate=RATE_SHARE * float(rate)),
        average=AverageSettings(decay=0.99),
        checks=CheckSettings(every_steps=NEVER, held_back=OWN_CHECKS, own=0),
        machine=MachineSettings(precision=precision, workers=0, save_every_steps=25),
    )


def tune(
    settings: TrainingSettings,
    work: Path,
    folder: Path,
    *,
    corpora: Sequence[Path] = (),
    observer: Observer,
    stop: Callable[[], bool],
) -> Summary:
    """Train on WORK's manifest in `folder`, going on with what is there.

    What `corpora`, folders with a manifest, do not hold back is heard besides. Raises TrainingError
    as `trainer.train` does.
    """
    calls, noises = (
        load_clips([work], settings.corpus, noise=noise, held_back=False) for noise in (False, True)
    )
    more_calls, more_noises = (
        load_clips(corpora, REHEARSED, noise=noise, held_back=False, most=MOST_REHEARSED)
        for noise in (False, True)
    )
    everything = _shared(calls, more_calls, REHEARSED_CALLS)
    plain = settings.mixtures.plain(settings.checks.samples, settings.checks.snr_db)
    own = Mixer(everything, noises, plain, 0)
    mixer: MakeMixture = Mixer(everything, noises, settings.mixtures, settings.seed)
    if more_calls and more_noises:
        general = Mixer(more_calls, more_noises, _general(settings), GENERAL_SEED)
        heard = partial(hear, _base(settings), decimations=settings.decimations)
        mixer = Alternating(mixer, Remembered(general, heard))
    material = Material(
        mixer,
        {"own": [own(number) for number in range(settings.checks.held_back)]},
        f"{len(everything)} targets and {len(noises)} noises",
    )
    return train(settings, material, folder, observer=observer, stop=stop)


def _base(settings: TrainingSettings) -> nn.Module:
    """Return the network that a training begins from."""
    assert settings.begin_from is not None
    network = new_network(settings)
    load_weights(network, Path(settings.begin_from))
    return network.eval()


def _general(settings: TrainingSettings) -> MixtureSettings:
    """Return how what is to be remembered is mixed: at more rates than a person's sounds."""
    return dataclasses.replace(
        settings.mixtures, snr_db=(-8.0, 18.0), call_octaves=2.0, noise_octaves=2.0,
        transients=0.3, band_limits=0.3,
    )  # fmt: skip


def _shared(own: list[Clip], others: list[Clip], share: float) -> list[Clip]:
    """Return all clips, weighted so that a `share` of what is drawn is not one's own."""
    if not own or not others:
        return own + others
    mine, theirs = (sum(clip.weight for clip in clips) for clips in (own, others))
    factor = share / (1 - share) * mine / theirs
    return own + [dataclasses.replace(clip, weight=factor * clip.weight) for clip in others]


def write_between(
    card: Card, settings: TrainingSettings, run: Path, folder: Path, shares: Sequence[float]
) -> dict[float, Path]:
    """Write checkpoints along the line from the old weights to a run's; return the cards' paths.

    Raises TrainingError where the run's weights do not fit.
    """
    old, new = new_network(settings), new_network(settings)
    load_weights(old, card.weights_path)
    load_weights(new, run / AVERAGE)
    paths = {}
    for share in shares:
        network = new_network(settings)
        put_between(network, old, new, share)
        named = dataclasses.replace(
            card, name=f"step_{round(100 * share):03d}", training={}, metrics={}
        )
        folder.mkdir(parents=True, exist_ok=True)
        save_checkpoint(network.eval(), named, folder, half=is_half(card))
        paths[share] = folder / f"{named.name}.json"
    return paths


def write_model(settings: TrainingSettings, weights: Path, card: Card, folder: Path) -> Card:
    """Write a checkpoint's weights under another card, in FOLDER; return the card as written."""
    network = new_network(settings)
    load_weights(network, weights)
    return save_checkpoint(network.eval(), card, folder, half=is_half(card, weights))


def is_half(card: Card, weights: Path | None = None) -> bool:
    """Tell whether a model's weights are stored as float16. Raises ModelError."""
    stored = load_file(weights or card.weights_path)
    if not stored:
        raise ModelError(f"{card.name}: holds no weights")
    return any(array.dtype == torch.float16 for array in stored.values())


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value
