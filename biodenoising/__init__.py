"""Remove background noise from animal recordings, of any taxon and at any sampling rate.

>>> from biodenoising import denoise
>>> quiet = denoise(audio, sample_rate=48_000)  # doctest: +SKIP

The public names are loaded when they are first used, so that importing the package costs nothing.
"""

from __future__ import annotations

import os
from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from biodenoising.batch.files import FileResult, denoise_file
    from biodenoising.batch.runner import TreeSummary, denoise_tree
    from biodenoising.errors import (
        AudioReadError,
        AudioValueError,
        AudioWriteError,
        BatchError,
        BiodenoisingError,
        DiskFullError,
        ModelError,
        OptionError,
    )
    from biodenoising.inference.denoiser import Denoiser, DenoiseSettings, denoise
    from biodenoising.models.registry import list_models
    from biodenoising.training.adaptation import adapt
    from biodenoising.training.adaptation_events import Adaptation

# ONNX Runtime's wheels would keep a device number and a database of events in the user's home and
# send them away; it looks at this when it is loaded.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

_HOMES = {
    "Adaptation": "training.adaptation_events",
    "AudioReadError": "errors",
    "AudioValueError": "errors",
    "AudioWriteError": "errors",
    "BatchError": "errors",
    "BiodenoisingError": "errors",
    "DenoiseSettings": "inference.denoiser",
    "Denoiser": "inference.denoiser",
    "DiskFullError": "errors",
    "FileResult": "batch.files",
    "ModelError": "errors",
    "OptionError": "errors",
    "TreeSummary": "batch.runner",
    "adapt": "training.adaptation",
    "denoise": "inference.denoiser",
    "denoise_file": "batch.files",
    "denoise_tree": "batch.runner",
    "list_models": "models.registry",
}

__all__ = [
    "Adaptation",
    "AudioReadError",
    "AudioValueError",
    "AudioWriteError",
    "BatchError",
    "BiodenoisingError",
    "DenoiseSettings",
    "Denoiser",
    "DiskFullError",
    "FileResult",
    "ModelError",
    "OptionError",
    "TreeSummary",
    "adapt",
    "denoise",
    "denoise_file",
    "denoise_tree",
    "list_models",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return version("biodenoising")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
