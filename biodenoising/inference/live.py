"""Live sound: as many samples out as in, at once, later by a constant number of samples.

Which way a model goes follows from its card. A causal network with a graph of its steps passes its
states on (inference.stepping). Any other is run again and again on short windows: what is new, and
real sound before it as context. Level and mean come from the past alone (inference.running_level).

Windows cost compact three decibels in the mean and several times the time. On 28 mixtures of the
development set (13.1 dB whole) it wins 8.3, 10.1 and 10.7 dB with 12,288, 28,672 and 61,440 samples
of context, cleanunet (7.2) 5.3 and 5.5, so mask networks alone get more of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from biodenoising.errors import AudioValueError, OptionError
from biodenoising.inference.arrays import MOST_CHANNELS, as_dtype, as_float, check_audio
from biodenoising.inference.level import Stage
from biodenoising.inference.running_level import RunningLevel
from biodenoising.inference.runtimes import Runtime
from biodenoising.inference.stepping import Stepped, Stepping, Turns
from biodenoising.inference.waiting import Block, Waiting
from biodenoising.models.cards import Card

LEVEL_FRAME = 256
HOP, FADE = 4_096, 512
LONGER = {"masknet": 3}  # times the context of a file's chunks, by architecture


@dataclass(frozen=True)
class Window:
    """Samples of a short window: context, what is new, and the cross-fade into the next."""

    left: int
    hop: int
    fade: int

    @property
    def latency(self) -> int:
        """Samples by which an output comes later than its input, at most."""
        return self.fresh - 1

    @property
    def fresh(self) -> int:
        """Samples of sound that is not context."""
        return self.hop + self.fade

    @classmethod
    def of(cls, card: Card) -> Window:
        """Return the window for a card's network."""
        return cls(LONGER.get(card.architecture, 1) * card.chunking.left, HOP, FADE)


class Windowed:
    """Run a stream of blocks, (channels, samples), through short windows."""

    def __init__(self, runtime: Runtime, window: Window, channels: int, sample_rate: float) -> None:
        self._runtime, self._window, self._rate = runtime, window, sample_rate
        self._input = np.zeros((channels, 0), np.float32)  # from the window's context on
        self._begun = False
        self._received = self._returned = 0
        self._tail = np.zeros((channels, 0), np.float32)  # what fades out of the last window

    def push(self, block: Block) -> Block:
        """Take the next input and return all output that it completes, maybe none."""
        window = self._window
        self._input = np.concatenate([self._input, block], axis=1)
        self._received += block.shape[1]
        fresh = window.fresh
        if not self._begun and self._input.shape[1] >= fresh:
            self._begun = True
            before = np.pad(self._input[:, :fresh], ((0, 0), (window.left, 0)), "symmetric")
            self._input = np.concatenate([before[:, : window.left], self._input], axis=1)
        done = [block[:, :0]]
        while self._begun and self._input.shape[1] >= window.left + fresh:
            done.append(self._next(window.left + fresh))
        clean = np.concatenate(done, axis=1)
        self._returned += clean.shape[1]
        return clean

    def flush(self) -> Block:
        """Return what is left at the end of the recording, as if silence followed."""
        missing = self._received - self._returned
        silence = np.zeros((len(self._input), self._window.latency + self._window.hop), np.float32)
        return self.push(silence)[:, :missing]

    def _next(self, samples: int) -> Block:
        window, fade = self._window, self._tail.shape[1]
        clean = self._runtime.run(self._input[:, :samples], self._rate)[:, window.left :]
        place = (np.arange(fade) + 0.5) / max(fade, 1)
        rise = (np.sin(0.5 * np.pi * place) ** 2).astype(np.float32)
        clean[:, :fade] = clean[:, :fade] * rise + self._tail * (1 - rise)
        self._tail = clean[:, window.hop : window.hop + window.fade]
        self._input = self._input[:, window.hop :]
        return clean[:, : window.hop]


class Passing(Protocol):
    """A recording on its way through a model, as inference.denoiser.Stream."""

    def push(self, block: Block) -> tuple[Block, Block]:
        """Take a block and return what is ready: (denoised, removed)."""
        ...

    def flush(self) -> tuple[Block, Block]:
        """Return what is left at the end."""
        ...


class LiveStream:
    """Live sound through a model; made by Denoiser.stream, one for each sound.

    `latency` is how many samples later the output comes, `latency_ms` the same in milliseconds.
    `feed` gives silence until then, and `flush` the last `latency` samples: all outputs joined,
    without their first `latency` samples, lie on the input.
    """

    def __init__(self, passing: Passing, latency: int, sample_rate: float, channels: int) -> None:
        self.latency, self.sample_rate, self.channels = latency, sample_rate, channels
        self._passing: Passing | None = passing
        self._ready = Waiting(channels)
        self._ready.put(np.zeros((channels, latency), np.float32))
        self._dtype: np.dtype[Any] = np.dtype(np.float32)
        self._flat = False

    @property
    def latency_ms(self) -> float:
        """How much later the output comes, in milliseconds."""
        return 1000 * self.latency / self.sample_rate

    def feed(self, block: Any) -> NDArray[Any]:
        """Take the next samples and return as many, `latency` samples older.

        Shape (samples,) for one channel or (channels, samples); shape and dtype are kept. Any
        length will do. Raises AudioValueError for what is no such block, OptionError after flush.
        """
        passing = self._open()
        given = np.asarray(block)
        check_audio(given, self.sample_rate)
        if len(np.atleast_2d(given)) != self.channels:
            raise AudioValueError(
                f"block has shape {given.shape}; this stream has {self.channels} channels: give "
                f"({self.channels}, samples)"
            )
        samples, scale = as_float(np.atleast_2d(given))
        if scale != 1.0 and np.issubdtype(given.dtype, np.floating):
            raise AudioValueError("block has values above 1e30; full scale is 1")
        self._dtype, self._flat, self._scale = given.dtype, given.ndim == 1, scale
        self._ready.put(passing.push(samples)[0])
        return self._given_back(self._ready.take(samples.shape[1])).reshape(given.shape)

    def flush(self) -> NDArray[Any]:
        """Return the last `latency` samples and end the stream."""
        passing = self._open()
        self._passing = None
        self._ready.put(passing.flush()[0])
        rest = self._given_back(self._ready.take(self._ready.samples))
        return rest[0] if self._flat else rest

    _scale = 1.0

    def _given_back(self, clean: Block) -> NDArray[Any]:
        return as_dtype(clean, self._dtype, self._scale)

    def _open(self) -> Passing:
        if self._passing is None:
            raise OptionError("the stream has ended; open another for the next sound")
        return self._passing


def check_sound(sample_rate: float, channels: int) -> None:
    """Raise AudioValueError for a rate (Hz) or a number of channels that no stream has."""
    if not 1 <= channels <= MOST_CHANNELS:
        raise AudioValueError(f"{channels} channels; a stream has 1 to {MOST_CHANNELS}")
    check_audio(np.zeros((channels, 0), np.float32), sample_rate)


def live_stage(
    card: Card, runtime: Runtime, stepper: Stepping | None, channels: int, rate: float
) -> tuple[Stage, int]:
    """Return a model's stage for live sound and its latency in samples."""
    if stepper is not None:
        steps = stepper.steps
        inner: Stage = Stepped(stepper, Turns.of(card.chunking, steps.hop), channels)
        # Frames of the level end where steps do: it costs no latency.
        first = steps.first % steps.hop or steps.hop
        return RunningLevel(inner, channels, steps.hop, first), steps.latency
    window = Window.of(card)
    first = (window.latency + 1) % LEVEL_FRAME or LEVEL_FRAME
    inner = Windowed(runtime, window, channels, rate)
    return RunningLevel(inner, channels, LEVEL_FRAME, first), window.latency
