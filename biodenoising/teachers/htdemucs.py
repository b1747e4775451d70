"""Hybrid Transformer Demucs, which separates music: its vocals are taken for the call.

Rouard, Massa and Défossez, "Hybrid Transformers for Music Source Separation" (2023). The network is
the `demucs` package's (extra `demucs`). Its public weights name a class beside their tensors; that
one class is all that is allowed to be read with them, and its code comes from the package.
"""

from __future__ import annotations

import importlib
from fractions import Fraction
from typing import Any

import numpy as np

from biodenoising.errors import TeacherError
from biodenoising.teachers.base import Entry, Teacher, Wave
from biodenoising.teachers.packages import (
    missing_package,
    package_version,
    require,
    torch_threads,
)
from biodenoising.teachers.weights import (
    WeightsFile,
    fill,
    get_weights,
    load_record,
    missing_weights,
)

NAME, LICENCE, RATE = "htdemucs", "MIT", 44_100
WEIGHTS = WeightsFile(
    "htdemucs/955717e8-8726e21a.th",
    "https://dl.fbaipublicfiles.com/demucs/hybrid_transformer/955717e8-8726e21a.th",
    "8726e21a993978c7ba086d3872e7608d7d5bfca646ca4aca459ffda844faa8b4",
    84.1,
)
KEPT_SOURCE = "vocals"
LEVEL_FLOOR = 1e-8


def _missing_code() -> str:
    return missing_package("demucs", "pip install 'biodenoising[demucs]'")


def _load(threads: int) -> Teacher:
    require(NAME, _missing_code())
    try:
        kind: Any = importlib.import_module("demucs.htdemucs").HTDemucs
    except ImportError as error:
        raise TeacherError(
            f"teacher {NAME}: the demucs package does not import ({error}); "
            "pip install 'biodenoising[demucs]'"
        ) from error
    record = load_record(NAME, get_weights(NAME, WEIGHTS), [kind, Fraction])
    network = _network(kind, record)
    kept = list(network.sources).index(KEPT_SOURCE)

    def enhance(heard: Wave, rate: float) -> Wave:
        mean, level = float(heard.mean()), float(heard.std()) + LEVEL_FLOOR
        with torch_threads(threads) as torch:
            mono = torch.from_numpy(((heard - mean) / level).astype(np.float32))
            separated = network(mono.expand(1, int(network.audio_channels), -1))
        return np.asarray(separated[0, kept].mean(0).numpy() * level, np.float32)

    version = f"{package_version('demucs')} sha256 {WEIGHTS.sha256[:16]}"
    longest = int(float(network.segment) * RATE)
    return Teacher(NAME, LICENCE, RATE, enhance, version, longest)


def _network(kind: Any, record: dict[str, Any]) -> Any:
    """Build what a record of class, arguments and state describes."""
    fits = record.get("klass") is kind and KEPT_SOURCE in _sources(record)
    if not fits:
        raise TeacherError(f"teacher {NAME}: its weights are of another network; get them again")
    try:
        network: Any = kind(*record["args"], **record["kwargs"])
        state = {key: value.float() for key, value in record["state"].items()}
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise TeacherError(
            f"teacher {NAME}: its weights do not fit the installed demucs ({error}); "
            "pip install 'biodenoising[demucs]' again"
        ) from error
    return fill(NAME, network, state)


def _sources(record: dict[str, Any]) -> Any:
    arguments = record.get("args") or ()
    return record.get("kwargs", {}).get("sources") or (arguments[0] if arguments else ())


ENTRIES = (
    Entry(
        NAME,
        LICENCE,
        RATE,
        "Music separation; the vocals are kept.",
        _load,
        lambda: _missing_code() or missing_weights(WEIGHTS),
    ),
)
