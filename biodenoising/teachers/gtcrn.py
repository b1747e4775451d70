"""GTCRN with its public weights, trained on two sets of noisy speech.

The network is ours, written from the paper; the weights are the authors' (MIT), read as tensors.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from biodenoising.teachers.base import Enhance, Entry, Teacher, Wave
from biodenoising.teachers.packages import missing_package, require, torch_threads
from biodenoising.teachers.spectra import istft, sqrt_hann, stft
from biodenoising.teachers.weights import (
    WeightsFile,
    fill,
    get_weights,
    load_state,
    missing_weights,
)

LICENCE, RATE = "MIT", 16_000
FRAME, HOP = 512, 256
_ROOT = (
    "https://raw.githubusercontent.com/Xiaobin-Rong/gtcrn/"
    "3862c44808dca492ea5a8a145d2dc2a1028d08c8/checkpoints/"
)
WEIGHTS = {
    "gtcrn": WeightsFile(
        "gtcrn/model_trained_on_dns3.tar",
        f"{_ROOT}model_trained_on_dns3.tar",
        "a630d992cf792daf4ce2bb5bcf9c4d389f740a8f09c6e0971184697fe6371b79",
        0.6,
    ),
    "gtcrn-vctk": WeightsFile(
        "gtcrn/model_trained_on_vctk.tar",
        f"{_ROOT}model_trained_on_vctk.tar",
        "a0f0e04421d9fc1efe734d44191f5dc4b973ce59d6546af8d64ad9167e2a9944",
        0.7,
    ),
}


def _missing(name: str) -> str:
    package = missing_package("torch", "pip install 'biodenoising[torch]'")
    return package or missing_weights(WEIGHTS[name])


def _load(name: str, threads: int) -> Teacher:
    require(name, missing_package("torch", "pip install 'biodenoising[torch]'"))
    file = WEIGHTS[name]
    enhance = gtcrn_enhancer(get_weights(name, file), threads=threads)
    return Teacher(name, LICENCE, RATE, enhance, f"sha256 {file.sha256[:16]}")


def gtcrn_enhancer(checkpoint: Path, *, threads: int = 1) -> Enhance:
    """Return the enhancer of a checkpoint in the authors' layout; 16 kHz samples in and out.

    Raises TeacherError where the file is damaged, holds code or is of another network.
    """
    from biodenoising.teachers.gtcrn_network import GTCRN

    network = fill("gtcrn", GTCRN(), load_state("gtcrn", checkpoint))
    window = sqrt_hann(FRAME)

    def enhance(heard: Wave, rate: float) -> Wave:
        spectrum = stft(heard, window, HOP)
        parts = np.stack([spectrum.real, spectrum.imag])[None].astype(np.float32)
        with torch_threads(threads) as torch:
            clean = network(torch.from_numpy(parts))[0].numpy().astype(np.float64)
        return istft(clean[0] + 1j * clean[1], window, HOP, len(heard))

    return enhance


ENTRIES = tuple(
    Entry(name, LICENCE, RATE, description, partial(_load, name), partial(_missing, name))
    for name, description in (
        ("gtcrn", "A very small masking network, trained on the DNS 3 challenge."),
        ("gtcrn-vctk", "The same, trained on VCTK-DEMAND."),
    )
)
