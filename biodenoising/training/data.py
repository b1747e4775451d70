"""What a training hears: batches that follow from their number, and the fixed checks.

Batch n holds the mixtures n * batch to n * batch + batch - 1, whichever process makes it, so a run
that resumes at step n asks for batch n and hears just what it would have heard.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import get_all_start_methods, get_start_method
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from biodenoising.corpus.clips import load_clips, load_unlabelled
from biodenoising.corpus.mixtures import Listener, Mixer, Mixture
from biodenoising.errors import TrainingError
from biodenoising.processes import WORKERS
from biodenoising.training.settings import TrainingSettings

CHECK_SEED = 0

Batch = tuple[Tensor, Tensor, Tensor, Tensor]
"""Noisy and target (mixtures, samples), the targets' noise floors (mixtures,), and segments to be
remixed (segments, samples); mixtures and segments together are the batch."""
MakeMixture = Callable[[int], Mixture]
"""Returns the mixture of a number."""


@dataclass(frozen=True)
class Material:
    """The mixtures of a training, its checks by name, and what they were made of."""

    mixer: MakeMixture
    checks: dict[str, list[Mixture]]
    description: str
    listener: Listener | None = None


class Batches(Dataset[Batch]):
    """Batches by their number."""

    def __init__(self, material: Material, settings: TrainingSettings) -> None:
        self.mixer, self.listener = material.mixer, material.listener
        self.batch = settings.batch
        self.segments = settings.remix.count(settings.batch) if material.listener else 0

    def __getitem__(self, number: int) -> Batch:
        """Return batch `number`."""
        first, middle = number * self.batch, (number + 1) * self.batch - self.segments
        mixtures = [self.mixer(index) for index in range(first, middle)]
        noisy, target, floor = (np.stack(arrays) for arrays in zip(*mixtures, strict=True))
        segments = np.zeros((self.segments, noisy.shape[1]), np.float32)
        if self.listener is not None:
            for row in range(self.segments):
                segments[row] = self.listener(middle + row)
        return (
            torch.from_numpy(noisy),
            torch.from_numpy(target),
            torch.from_numpy(floor),
            torch.from_numpy(segments),
        )


def batches_from(material: Material, settings: TrainingSettings, first: int) -> Iterator[Batch]:
    """Return the endless batches from number `first` on, made ahead in other processes.

    Raises TrainingError where such a process dies.
    """
    machine = settings.machine
    loader = DataLoader(
        Batches(material, settings),
        batch_size=None,
        sampler=range(first, sys.maxsize),
        num_workers=machine.workers,
        prefetch_factor=machine.prefetched_batches if machine.workers else None,
        multiprocessing_context=WORKERS if machine.workers and not _forks() else None,
        worker_init_fn=_ignore_interrupts,
        pin_memory=machine.device in ("auto", "cuda") and torch.cuda.is_available(),
    )
    try:
        yield from loader
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise TrainingError(
            "a process that makes mixtures was killed, most likely for want of memory; lower "
            "machine.workers, machine.prefetched_batches or batch and resume"
        ) from error


def _forks() -> bool:
    """Tell whether new processes are copies of this one; the others would run its script again."""
    return (get_start_method(allow_none=True) or get_all_start_methods()[0]) == "fork"


def prepare(settings: TrainingSettings, corpora: Sequence[Path]) -> Material:
    """Read the clips into memory and make the fixed mixtures.

    `corpora` are folders with a manifest.jsonl; purely synthesized settings need none. Raises
    TrainingError where nothing is left to train on or to check with.
    """
    if settings.needs_corpus and not corpora:
        raise TrainingError(
            "these settings need recordings: name a corpus folder, or set "
            "mixtures.synthesized_calls and mixtures.synthesized_noise to 1"
        )
    folders = corpora if settings.needs_corpus else ()
    calls, held_calls, noises, held_noises = (
        load_clips(folders, settings.corpus, noise=noise, held_back=held_back)
        for noise in (False, True)
        for held_back in (False, True)
    )
    mixer = Mixer(calls, noises, settings.mixtures, settings.seed)
    plain = settings.mixtures.plain(settings.checks.samples, settings.checks.snr_db)
    try:
        held = Mixer(held_calls, held_noises, plain, CHECK_SEED)
    except TrainingError as error:
        raise TrainingError(
            f"held-back recordings: {error}; raise corpus.held_back_tenths or add recordings"
        ) from error
    # Where all is synthesized, other draws than the held-back ones.
    own = Mixer(calls, noises, plain, CHECK_SEED + (not settings.needs_corpus))
    checks = {
        "held back": [held(i) for i in range(settings.checks.held_back)],
        "own": [own(i) for i in range(settings.checks.own)],
    }
    description = (
        f"{len(calls)} targets and {len(noises)} noises in memory; "
        f"held back: {len(held_calls)} targets, {len(held_noises)} noises"
        if settings.needs_corpus
        else "synthesized calls and noise only"
    )
    checks = {name: made for name, made in checks.items() if made}
    if not settings.remix.share:
        return Material(mixer, checks, description)
    unlabelled = load_unlabelled(folders, settings.corpus)
    listener = Listener(unlabelled, settings.mixtures, settings.seed)
    description += f"; {len(unlabelled)} unlabelled recordings"
    return Material(mixer, checks, description, listener)


def _ignore_interrupts(worker: int) -> None:
    """Leave Ctrl-C to the main process, which saves before it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
