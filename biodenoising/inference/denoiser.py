"""The denoiser: a model loaded once, used on arrays or on streams of blocks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from biodenoising.errors import AudioValueError, OptionError
from biodenoising.inference.band import Banded, worked_rate
from biodenoising.inference.chunks import Stitcher
from biodenoising.inference.level import Levelled, Stage
from biodenoising.inference.runtimes import GatingRuntime, open_runtime
from biodenoising.inference.two_rates import TwoRates
from biodenoising.inference.waiting import Block, Waiting
from biodenoising.models import DEFAULT_MODEL
from biodenoising.models.registry import find_model

LOWEST_RATE_HZ = 100.0
HIGHEST_RATE_HZ = 2_000_000.0
MOST_CHANNELS = 64
FED_SAMPLES = 1 << 16


@dataclass(frozen=True)
class DenoiseSettings:
    """What to do with a recording; the same words as the command line's options.

    `mix` is the share of the denoised sound (1 fully, 0 unchanged). `max_attenuation_db` limits by
    how much anything is turned down. `time_expansion` K has the model hear the recording at K times
    its own rate, K times slower; by default it hears the recording's samples as they are. `band` is
    (low, high) in Hz, from which the expansion follows; `outside` says what becomes of the rest.
    """

    mix: float = 1.0
    max_attenuation_db: float | None = None
    time_expansion: float | None = None
    band: tuple[float, float] | None = None
    outside: Literal["keep", "mute"] = "keep"

    def __post_init__(self) -> None:
        if not 0 <= self.mix <= 1:
            raise OptionError(f"mix is {self.mix:g}; it must lie between 0 and 1")
        if self.max_attenuation_db is not None and not self.max_attenuation_db >= 0:
            raise OptionError(f"max attenuation is {self.max_attenuation_db:g} dB; give 0 or more")
        if self.time_expansion is not None and not 0 < self.time_expansion < float("inf"):
            raise OptionError(f"time expansion is {self.time_expansion:g}; it must be above 0")
        if self.band is not None and not 0 <= self.band[0] < self.band[1] < float("inf"):
            raise OptionError(
                f"band {self.band[0]:g}-{self.band[1]:g} Hz is none; give LOW-HIGH, LOW below HIGH"
            )
        if self.band is not None and self.time_expansion is not None:
            raise OptionError("give a band or a time expansion, not both: a band implies one")
        if self.outside not in ("keep", "mute"):
            raise OptionError(f"outside is {self.outside!r}; choose keep or mute")

    @property
    def share(self) -> float:
        """The share of the denoised sound in the output, after both limits."""
        if self.max_attenuation_db is None:
            return self.mix
        return min(self.mix, float(1 - 10 ** (-self.max_attenuation_db / 20)))


class Stream:
    """One recording on its way through a model, block by block; made by Denoiser.open."""

    def __init__(self, inner: Stage, share: float, channels: int) -> None:
        self._inner, self._share = inner, np.float32(share)
        self._wait = Waiting(channels)

    def push(self, block: Block) -> tuple[Block, Block]:
        """Take (channels, samples) float32 and return what is ready: (denoised, removed)."""
        self._wait.put(block)
        return self._finish(self._inner.push(block))

    def flush(self) -> tuple[Block, Block]:
        """Return what is left at the end: (denoised, removed)."""
        return self._finish(self._inner.flush())

    def _finish(self, clean: Block) -> tuple[Block, Block]:
        noisy = self._wait.take(clean.shape[1])
        removed = (noisy - clean) * self._share
        return noisy - removed if self._share < 1 else clean, removed


class Denoiser:
    """A model, loaded once and used as often as wanted, from several threads at a time.

    `model` is a name of `list_models()` or the path of a model card; `device` one of auto, cpu,
    cuda, mps (auto needs no torch); `threads` limits the processor threads, 0 takes all.
    Raises ModelError where the model is missing, damaged or lacks its runtime.
    """

    def __init__(
        self, model: str | Path = DEFAULT_MODEL, *, device: str = "auto", threads: int = 0
    ) -> None:
        self.card = find_model(model)
        self._runtime = open_runtime(self.card, device=device, threads=threads)

    @property
    def runtime(self) -> str:
        """The name of what computes: onnxruntime, torch-cuda and so on."""
        return self._runtime.name

    def open(
        self, sample_rate: float, channels: int, settings: DenoiseSettings = DenoiseSettings()
    ) -> Stream:
        """Begin a recording of `channels` at `sample_rate` Hz. Raises OptionError."""
        rate = worked_rate(
            sample_rate, self.card.sample_rate, settings.time_expansion, settings.band
        )
        inner = self._network(rate, channels)
        if rate != sample_rate or settings.band is not None:
            low_hz = settings.band[0] if settings.band else 0.0
            keep = settings.outside == "keep"
            inner = Banded(inner, channels, (sample_rate, rate), low_hz, keep)
        return Stream(inner, settings.share, channels)

    def _network(self, rate: float, channels: int) -> Stage:
        stitcher = Stitcher(self._runtime, self.card.chunking, channels, rate)
        if isinstance(self._runtime, GatingRuntime):
            return stitcher
        fine, decimation = Levelled(stitcher, channels), self.card.decimation
        if decimation == 1:
            return fine
        stitcher = Stitcher(self._runtime, self.card.chunking, channels, rate / decimation)
        return TwoRates(fine, Levelled(stitcher, channels), channels, decimation)

    def denoise(
        self,
        audio: Any,
        sample_rate: float,
        *,
        mix: float = 1.0,
        max_attenuation_db: float | None = None,
        time_expansion: float | None = None,
        band: tuple[float, float] | None = None,
        outside: Literal["keep", "mute"] = "keep",
    ) -> Any:
        """Denoise an array or torch tensor; shape, dtype and level are kept.

        Parameters
        ----------
        audio : array or tensor, shape (samples,) or (channels, samples)
            Floating point of any scale, or integers. Empty and silent audio comes back as it is.
        sample_rate : float
            In Hz, 100 to 2,000,000.
        mix, max_attenuation_db, time_expansion, band, outside
            As for DenoiseSettings.

        Raises
        ------
        AudioValueError
            Not audio: another shape, (samples, channels), complex, NaN or infinite values.
        OptionError
            Options out of range.
        """
        settings = DenoiseSettings(mix, max_attenuation_db, time_expansion, band, outside)
        if hasattr(audio, "detach"):
            clean = self._denoise_array(audio.detach().cpu().numpy(), sample_rate, settings)
            return audio.new_tensor(clean)
        return self._denoise_array(np.asarray(audio), sample_rate, settings)

    def _denoise_array(
        self, audio: NDArray[Any], sample_rate: float, settings: DenoiseSettings
    ) -> NDArray[Any]:
        check_audio(audio, sample_rate)
        samples, scale = _as_float(np.atleast_2d(audio))
        stream = self.open(sample_rate, len(samples), settings)
        parts = [
            stream.push(samples[:, i : i + FED_SAMPLES])[0]
            for i in range(0, samples.shape[1], FED_SAMPLES)
        ]
        clean = np.concatenate([*parts, stream.flush()[0]], axis=1)
        return _as_dtype(clean, audio.dtype, scale).reshape(audio.shape)


def denoise(
    audio: Any,
    sample_rate: float,
    *,
    model: str | Path = DEFAULT_MODEL,
    device: str = "auto",
    mix: float = 1.0,
    max_attenuation_db: float | None = None,
    time_expansion: float | None = None,
    band: tuple[float, float] | None = None,
    outside: Literal["keep", "mute"] = "keep",
) -> Any:
    """Denoise an array or torch tensor shaped (samples,) or (channels, samples).

    The model stays loaded for the next call. `model` and `device` as for Denoiser, everything else
    as for Denoiser.denoise; the result has the input's shape, dtype and level.
    """
    return _kept(model, device).denoise(
        audio,
        sample_rate,
        mix=mix,
        max_attenuation_db=max_attenuation_db,
        time_expansion=time_expansion,
        band=band,
        outside=outside,
    )


@lru_cache(maxsize=4)
def _kept(model: str | Path, device: str) -> Denoiser:
    return Denoiser(model, device=device)


def check_audio(audio: NDArray[Any], sample_rate: float) -> None:
    """Raise AudioValueError, saying how to mend it, for what is not audio."""
    if audio.ndim not in (1, 2):
        raise AudioValueError(
            f"audio has shape {audio.shape}; give (samples,) or (channels, samples)"
        )
    if audio.ndim == 2 and len(audio) > MOST_CHANNELS:
        hint = "; it looks like (samples, channels): pass audio.T" if audio.shape[1] <= 64 else ""
        raise AudioValueError(
            f"audio of shape {audio.shape} would have {len(audio)} channels, more than "
            f"{MOST_CHANNELS}{hint}"
        )
    if audio.ndim == 2 and len(audio) == 0:
        raise AudioValueError("audio has no channels; give (samples,) or (channels, samples)")
    if not (np.issubdtype(audio.dtype, np.floating) or np.issubdtype(audio.dtype, np.integer)):
        raise AudioValueError(f"audio has dtype {audio.dtype}; give floating point or integers")
    if not LOWEST_RATE_HZ <= sample_rate <= HIGHEST_RATE_HZ:
        raise AudioValueError(
            f"sample rate is {sample_rate:g} Hz; it must lie between {LOWEST_RATE_HZ:g} and "
            f"{HIGHEST_RATE_HZ:g}"
        )
    if np.issubdtype(audio.dtype, np.floating):
        bad = audio.size - int(np.count_nonzero(np.isfinite(audio)))
        if bad:
            raise AudioValueError(
                f"audio has {bad} values that are NaN or infinite; "
                "replace them first, for example by numpy.nan_to_num"
            )


def _as_float(audio: NDArray[Any]) -> tuple[Block, float]:
    """Return float32 samples and the factor that brought integers to -1..1."""
    if np.issubdtype(audio.dtype, np.floating):
        # Float64 beyond float32's range would overflow to infinity.
        largest = float(np.abs(audio).max(initial=0.0))
        scale = largest if largest > 1e30 else 1.0
        return (audio / scale).astype(np.float32), scale
    limits = np.iinfo(audio.dtype)
    scale = (float(limits.max) - float(limits.min) + 1) / 2
    middle = float(limits.max) + 1 - scale
    return ((audio.astype(np.float64) - middle) / scale).astype(np.float32), scale


def _as_dtype(clean: Block, dtype: np.dtype[Any], scale: float) -> NDArray[Any]:
    """Undo _as_float; integers are rounded and clipped."""
    if np.issubdtype(dtype, np.floating):
        return (clean.astype(np.float64) * scale).astype(dtype)
    limits = np.iinfo(dtype)
    middle = float(limits.max) + 1 - scale
    levels = np.rint(clean.astype(np.float64) * scale + middle)
    return np.clip(levels, float(limits.min), float(limits.max)).astype(dtype)
