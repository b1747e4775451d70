"""Every model that `biodenoising.list_models()` names, through the package's public names."""

from __future__ import annotations

import hashlib
import importlib
import json
import math
from pathlib import Path

import numpy as np

import biodenoising
from benchmark.mixtures import Audio
from benchmark.systems.base import Estimate, Process, System, of_noisy, package_version

HOME = Path(biodenoising.__file__).parent
TOLD = ("description", "licence", "training", "metrics")
"""What a card says for people; the rest, hashes of weights and graph included, decides results."""
WRAPPED = "noisereduce"
"""Wrapped peers are run as the library itself."""


def our_systems() -> list[System]:
    """Return one system a model that ships with this installation."""
    names = biodenoising.list_models()
    return [_system(name) for name in names if not name.startswith(WRAPPED)]


def _system(name: str) -> System:
    checkpoint = _checkpoint(name)

    def load() -> Process:
        # Speeds are compared on one thread, and in floats results are the same on any processor.
        denoiser = biodenoising.Denoiser(model=name, threads=1, device="onnx")

        def enhance(noisy: Audio, rate: int) -> Estimate:
            return np.asarray(denoiser.denoise(noisy, rate))

        return of_noisy(enhance)

    return System(
        name,
        "model",
        f"biodenoising {package_version('biodenoising')} {_content(checkpoint)} {_code()}",
        load,
        parameters=_parameters(checkpoint),
        packages=("biodenoising", "onnxruntime"),
        weights=(checkpoint,) if checkpoint else (),
    )


def _checkpoint(name: str) -> Path | None:
    path = HOME / "checkpoints" / f"{name}.safetensors"
    return path if path.is_file() else None


def _content(checkpoint: Path | None) -> str:
    if checkpoint is None:
        return "no-checkpoint"
    card = json.loads(checkpoint.with_suffix(".json").read_text(encoding="utf-8"))
    decisive = {key: card[key] for key in sorted(card.keys() - set(TOLD))}
    return hashlib.sha256(json.dumps(decisive).encode()).hexdigest()[:8]


def _code() -> str:
    """Return eight digits that change with any line that can change a model's output."""
    files = sorted(file for part in ("inference", "models") for file in (HOME / part).glob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:8]


def _parameters(checkpoint: Path | None) -> int | None:
    """Count the trained numbers in a safetensors file from its header."""
    if checkpoint is None:
        return None
    safetensors = importlib.import_module("safetensors")
    count = 0
    with safetensors.safe_open(checkpoint, framework="numpy") as tensors:
        for key in tensors.keys():  # noqa: SIM118 - the handle itself is not iterable
            count += math.prod(tensors.get_slice(key).get_shape())
    return count
