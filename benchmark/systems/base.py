"""What a system is to the benchmark: a name, a version, and a function from mixture to estimate."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np
import soxr
from numpy.typing import NDArray

from benchmark.mixtures import Audio, Mixture
from biodenoising import BiodenoisingError

Estimate = NDArray[np.floating]
Enhance = Callable[[Audio, int], Estimate]
Process = Callable[[Mixture], Estimate]

LEVEL_PEAK = 0.5


class SystemFailure(BiodenoisingError):
    """A system could not be run or gave something that is no estimate."""


@dataclass(frozen=True)
class System:
    """One line of the table.

    `load` is called once a process and returns the function; `missing` says what to install when
    the system is not available. Systems with fixed thresholds are `level_dependent`: they get
    every mixture at a peak of 0.5. `packages` are counted as the install size.
    """

    name: str
    kind: str
    version: str
    load: Callable[[], Process]
    level_dependent: bool = False
    parameters: int | None = None
    packages: tuple[str, ...] = ()
    weights: tuple[Path, ...] = ()
    missing: str = ""


def estimate(system: System, process: Process, mixture: Mixture) -> NDArray[np.float64]:
    """Return the system's estimate of the clean part, shape (samples,), at the mixture's level."""
    gain = 1.0
    if system.level_dependent and mixture.noisy.any():
        gain = LEVEL_PEAK / float(np.abs(mixture.noisy).max())
        mixture = Mixture(
            np.asarray(gain * mixture.noisy, dtype=np.float32),
            np.asarray(gain * mixture.clean, dtype=np.float32),
            np.asarray(gain * mixture.noise, dtype=np.float32),
            mixture.sample_rate,
        )
    output = np.asarray(process(mixture), dtype=np.float64)
    if output.shape != mixture.noisy.shape:
        raise SystemFailure(
            f"{system.name} returned shape {output.shape} for {mixture.noisy.shape}"
        )
    if not np.isfinite(output).all():
        raise SystemFailure(f"{system.name} returned values that are not finite")
    return output / gain


def of_noisy(enhance: Enhance) -> Process:
    """Return a process that shows the system the noisy samples and the rate only."""
    return lambda mixture: enhance(mixture.noisy, mixture.sample_rate)


def at_rate(enhance: Callable[[Audio], Estimate], rate: int) -> Enhance:
    """Resample to the model's rate and back, as a user would; what lies above is lost."""

    def resampled(noisy: Audio, sample_rate: int) -> Estimate:
        if sample_rate == rate:
            return enhance(noisy)
        inner = soxr.resample(noisy, sample_rate, rate, quality="HQ").astype(np.float32)
        outer = soxr.resample(enhance(inner), rate, sample_rate, quality="HQ")
        return fitted(outer, len(noisy))

    return resampled


def at_native(enhance: Callable[[Audio], Estimate]) -> Enhance:
    """Feed the samples as if recorded at the model's rate (time expansion)."""
    return lambda noisy, sample_rate: enhance(noisy)


def fitted(samples: Estimate, length: int) -> Estimate:
    """Cut or pad with zeros to `length`: resamplers and frames round lengths."""
    return np.pad(samples[:length], (0, max(length - len(samples), 0)))


def installed(package: str) -> bool:
    """Whether the top-level module can be imported, without importing it."""
    return importlib.util.find_spec(package) is not None


def package_version(distribution: str) -> str:
    """Return a distribution's version, or "absent"."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "absent"


def module_file(package: str, name: str) -> Path | None:
    """Return a file shipped inside a package, without importing the package."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return None
    path = Path(spec.submodule_search_locations[0]) / name
    return path if path.is_file() else None
