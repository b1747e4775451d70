"""The denoiser: a model loaded once, used on arrays or on streams of blocks."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from biodenoising.errors import OptionError
from biodenoising.inference.arrays import as_array, as_dtype, as_float, check_audio
from biodenoising.inference.band import Banded, worked_rate
from biodenoising.inference.choosing import (
    AUTO,
    Samples,
    TimeExpansion,
    best_ratio,
    telling_stretches,
)
from biodenoising.inference.chunks import Stitcher
from biodenoising.inference.gaps import Gaps
from biodenoising.inference.level import Levelled, Stage
from biodenoising.inference.live import LiveStream, check_sound, live_stage
from biodenoising.inference.runtimes import GatingRuntime, open_runtime
from biodenoising.inference.stepping import StepRuntime
from biodenoising.inference.two_rates import TwoRates
from biodenoising.inference.waiting import Block, Waiting
from biodenoising.models import DEFAULT_MODEL
from biodenoising.models.registry import find_model

FED_SAMPLES = 1 << 16
# Zeros in a row, as the network hears samples, that it does not hear. Fewer cost a quarter of a dB;
# clean calls that a gate parts lose two of 23 dB where they are heard without the gaps.
LEAST_GAP = 4096


@dataclass(frozen=True)
class DenoiseSettings:
    """What to do with a recording; the same words as the command line's options.

    `mix` is the share of the denoised sound (1 fully, 0 unchanged). `max_attenuation_db` limits by
    how much anything is turned down. `time_expansion` K has the model hear the recording at K times
    its own rate, K times slower; by default it hears the recording's samples as they are, and with
    "auto" at the expansion that scores best (see `Denoiser.settle`). `band` is (low, high) in Hz,
    from which the expansion follows; `outside` says what becomes of the rest.
    """

    mix: float = 1.0
    max_attenuation_db: float | None = None
    time_expansion: TimeExpansion = None
    band: tuple[float, float] | None = None
    outside: Literal["keep", "mute"] = "keep"

    def __post_init__(self) -> None:
        if not 0 <= self.mix <= 1:
            raise OptionError(f"mix is {self.mix:g}; it must lie between 0 and 1")
        if self.max_attenuation_db is not None and not self.max_attenuation_db >= 0:
            raise OptionError(f"max attenuation is {self.max_attenuation_db:g} dB; give 0 or more")
        if self.time_expansion == AUTO:
            pass
        elif isinstance(self.time_expansion, str):
            raise OptionError(f"time expansion is {self.time_expansion!r}; give a number or auto")
        elif self.time_expansion is not None and not 0 < self.time_expansion < float("inf"):
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

    `model` is a name of `list_models()` or the path of a model card; `device` one of auto, onnx,
    cpu, cuda, mps. The first two need no torch; auto computes with 8-bit integers where model and
    processor have them and the sound is steady, twice as fast, and onnx always with 32-bit floats.
    `threads` limits the processor threads, 0 takes all. Pickled, it is the model's name or path,
    and loaded again where it arrives.
    Raises ModelError where the model is missing, damaged or lacks its runtime.
    """

    def __init__(
        self, model: str | Path = DEFAULT_MODEL, *, device: str = "auto", threads: int = 0
    ) -> None:
        self.card = find_model(model)
        self._runtime = open_runtime(self.card, device=device, threads=threads)
        self._stepper: StepRuntime | None = None
        self._loading = Lock()
        self._made_from = (_lasting(model), device, threads)

    def __reduce__(self) -> tuple[Callable[..., Denoiser], tuple[str, str, int]]:
        return _load, self._made_from

    @property
    def runtime(self) -> str:
        """The name of what computes: onnxruntime, torch-cuda and so on."""
        return self._runtime.name

    def open(
        self,
        sample_rate: float,
        channels: int,
        settings: DenoiseSettings = DenoiseSettings(),
        *,
        live: bool = False,
    ) -> Stream:
        """Begin a recording of `channels` at `sample_rate` Hz, or live sound. Raises OptionError.

        Live, a sample comes out as soon as it can be, from the past alone: see `stream`.
        """
        if live:
            return self._open_live(sample_rate, channels, settings)[0]
        if settings.time_expansion == AUTO:
            raise OptionError(
                "time expansion auto is chosen from a whole recording; denoise one, or settle first"
            )
        rate = worked_rate(
            sample_rate, self.card.sample_rate, settings.time_expansion, settings.band
        )

        def begin() -> Stage:
            inner = self._network(rate, channels)
            if rate == sample_rate and settings.band is None:
                return inner
            low_hz = settings.band[0] if settings.band else 0.0
            return Banded(inner, channels, (sample_rate, rate), low_hz, settings.outside == "keep")

        least = math.ceil(LEAST_GAP * sample_rate / rate)
        return Stream(Gaps(begin, channels, least), settings.share, channels)

    def stream(
        self,
        sample_rate: float,
        channels: int = 1,
        *,
        mix: float = 1.0,
        max_attenuation_db: float | None = None,
    ) -> LiveStream:
        """Begin live sound: blocks in, as many samples out, later by a constant latency.

        `sample_rate` in Hz, 100 to 2,000,000; `mix` and `max_attenuation_db` as for
        DenoiseSettings. A denoiser may have any number of streams. Causal models are computed on
        one processor thread, whatever the device. Raises AudioValueError for the sound, OptionError
        for the options and for a model that must hear a recording whole.
        """
        check_sound(sample_rate, channels)
        settings = DenoiseSettings(mix, max_attenuation_db)
        passing, latency = self._open_live(sample_rate, channels, settings)
        return LiveStream(passing, latency, sample_rate, channels)

    def latency(self) -> int:
        """Return by how many samples live sound is late. Raises OptionError as `stream`."""
        return self._open_live(self.card.sample_rate, 1, DenoiseSettings())[1]

    def settle(
        self,
        settings: DenoiseSettings,
        sample_rate: float,
        channels: int,
        blocks: Iterable[Block],
    ) -> DenoiseSettings:
        """Return settings in which a time expansion "auto" has become the one to use.

        `blocks`, (channels, samples) float32 each, are the whole recording at `sample_rate` Hz; at
        most three stretches of 131,072 samples are heard, at several expansions, and that whose
        output is predicted to gain most is taken: None for the samples as they are. Other settings
        come back without a block being asked for.
        """
        if settings.time_expansion != AUTO:
            return settings

        def at(ratio: float) -> DenoiseSettings:
            expansion = ratio * sample_rate / self.card.sample_rate
            return replace(settings, time_expansion=None if ratio == 1 else expansion)

        def hear(samples: Samples, ratio: float) -> Samples:
            whole = replace(at(ratio), mix=1.0, max_attenuation_db=None)
            return np.asarray(self._denoise_array(samples, sample_rate, whole), np.float32)

        return at(best_ratio(telling_stretches(blocks, channels), hear))

    def _open_live(
        self, sample_rate: float, channels: int, settings: DenoiseSettings
    ) -> tuple[Stream, int]:
        if settings.band is not None or settings.time_expansion is not None:
            raise OptionError(
                "live sound is heard sample by sample: leave band and time expansion away"
            )
        if isinstance(self._runtime, GatingRuntime):
            raise OptionError(
                f"model {self.card.name} hears whole recordings only; choose a network for live "
                "sound"
            )
        if self.card.steps_sha256:
            with self._loading:
                self._stepper = self._stepper or StepRuntime(self.card)
        stage, latency = live_stage(self.card, self._runtime, self._stepper, channels, sample_rate)
        return Stream(stage, settings.share, channels), latency

    def _network(self, rate: float, channels: int) -> Stage:
        """Return what hears at `rate`, and at each of the card's fractions of it in turn."""
        if isinstance(self._runtime, GatingRuntime):
            return Stitcher(self._runtime, self.card.chunking, channels, rate)
        factors = (1, *self.card.decimations)
        opinions = [
            Levelled(Stitcher(self._runtime, self.card.chunking, channels, rate / each), channels)
            for each in factors
        ]
        heard: Stage = opinions.pop()
        steps = zip(factors[-2::-1], factors[:0:-1], strict=True)
        for below, (factor, next_factor) in enumerate(steps, start=1):
            # Where all hear, every opinion counts alike.
            share = below / (below + 1)
            heard = TwoRates(opinions.pop(), heard, channels, next_factor // factor, share)
        return heard

    def denoise(
        self,
        audio: Any,
        sample_rate: float,
        *,
        mix: float = 1.0,
        max_attenuation_db: float | None = None,
        time_expansion: TimeExpansion = None,
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
        clean = self._denoise_array(as_array(audio), sample_rate, settings)
        return audio.new_tensor(clean) if hasattr(audio, "detach") else clean

    def _denoise_array(
        self, audio: NDArray[Any], sample_rate: float, settings: DenoiseSettings
    ) -> NDArray[Any]:
        check_audio(audio, sample_rate)
        samples, scale = as_float(np.atleast_2d(audio))
        settings = self.settle(settings, sample_rate, len(samples), [samples])
        stream = self.open(sample_rate, len(samples), settings)
        parts = [
            stream.push(samples[:, i : i + FED_SAMPLES])[0]
            for i in range(0, samples.shape[1], FED_SAMPLES)
        ]
        clean = np.concatenate([*parts, stream.flush()[0]], axis=1)
        return as_dtype(clean, audio.dtype, scale).reshape(audio.shape)


def denoise(
    audio: Any,
    sample_rate: float,
    *,
    model: str | Path = DEFAULT_MODEL,
    device: str = "auto",
    mix: float = 1.0,
    max_attenuation_db: float | None = None,
    time_expansion: TimeExpansion = None,
    band: tuple[float, float] | None = None,
    outside: Literal["keep", "mute"] = "keep",
) -> Any:
    """Denoise an array or torch tensor shaped (samples,) or (channels, samples).

    The model stays loaded for the next call. `model` and `device` as for Denoiser, everything else
    as for Denoiser.denoise; the result has the input's shape, dtype and level.
    """
    return _kept(os.fspath(model), device, _written_ns(model)).denoise(
        audio,
        sample_rate,
        mix=mix,
        max_attenuation_db=max_attenuation_db,
        time_expansion=time_expansion,
        band=band,
        outside=outside,
    )


@lru_cache(maxsize=4)
def _kept(model: str, device: str, written_ns: int) -> Denoiser:
    return Denoiser(model, device=device)


def _written_ns(model: str | Path) -> int:
    """Tell one model from the next at the same path; 0 for those known by name."""
    try:
        return os.stat(Path(model).with_suffix(".json")).st_mtime_ns
    except OSError:
        return 0


def _lasting(model: str | Path) -> str:
    """Return a name, or a path that means the same in another folder."""
    return os.fspath(Path(model).absolute() if Path(model).suffix else model)


def _load(model: str, device: str, threads: int) -> Denoiser:
    return Denoiser(model, device=device, threads=threads)
