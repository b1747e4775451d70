"""Let a model hear a recording at another rate: time expansion and bands of interest.

A model works in samples. Time expansion K resamples a recording to K times the model's rate, so
that the model hears it K times slower; a band of interest is moved to where the model hears it
whole. Filters are soxr's and one linear-phase high-pass; no sample moves in time.
"""

from __future__ import annotations

import numpy as np
import soxr
from numpy.typing import NDArray
from scipy import signal

from biodenoising.errors import OptionError
from biodenoising.inference.level import Stage
from biodenoising.inference.waiting import Block, Waiting

# soxr's pass band ends at 0.91 of half the rate: the band's upper edge is placed just inside.
BAND_EDGE = 0.45
LARGEST_UPSAMPLING = 64.0
TRANSITION = 0.5  # width of the high-pass's transition, as a share of its corner
KAISER_BETA = 8.0  # 80 dB


def worked_rate(
    sample_rate: float,
    model_rate: float,
    time_expansion: float | None,
    band: tuple[float, float] | None,
) -> float:
    """Return the rate in Hz to which a recording is resampled before the model hears it.

    Raises OptionError where the band does not lie within the recording's.
    """
    if band is not None:
        if band[1] > sample_rate / 2:
            raise OptionError(
                f"band {band[0]:g}-{band[1]:g} Hz reaches above {sample_rate / 2:g} Hz, the highest"
                f" frequency of a recording at {sample_rate:g} Hz; lower its upper edge"
            )
        return min(sample_rate, band[1] / BAND_EDGE)
    if time_expansion is None:
        return sample_rate
    rate = time_expansion * model_rate
    if rate > LARGEST_UPSAMPLING * sample_rate:
        raise OptionError(
            f"time expansion {time_expansion:g} means {rate:g} Hz, more than "
            f"{LARGEST_UPSAMPLING:g} times the recording's {sample_rate:g} Hz; choose a smaller one"
        )
    return rate


class Banded:
    """Denoise a stream at another rate than its own.

    `keep` leaves what lies outside the worked band as it was, otherwise it is muted. Shapes as
    for Stitcher: (channels, samples) in and out, in total as much out as in.
    """

    def __init__(
        self, inner: Stage, channels: int, rates: tuple[float, float], low_hz: float, keep: bool
    ) -> None:
        sample_rate, worked = rates
        self._inner, self._keep = inner, keep
        self._down = soxr.ResampleStream(sample_rate, worked, channels, dtype="float32")
        self._up = soxr.ResampleStream(worked, sample_rate, channels, dtype="float32")
        self._highpass = Highpass(low_hz, worked, channels) if low_hz > 0 else None
        self._outer_wait = Waiting(channels)
        self._inner_wait = Waiting(channels)

    def push(self, block: Block) -> Block:
        """Take the next input and return all output that it completes, maybe none."""
        self._outer_wait.put(block)
        change = self._denoise(resample_block(self._down, block, last=False), last=False)
        return self._restore(resample_block(self._up, change, last=False))

    def flush(self) -> Block:
        """Return what is left at the end of the recording."""
        empty = self._outer_wait.take(0)
        change = self._denoise(resample_block(self._down, empty, last=True), last=True)
        rest = resample_block(self._up, change, last=True)
        # Two roundings of the length may differ by some samples, all of them silent.
        missing = self._outer_wait.samples - rest.shape[1]
        return self._restore(np.pad(rest, ((0, 0), (0, max(0, missing)))))

    def _denoise(self, worked: Block, *, last: bool) -> Block:
        """Return what replaces the worked band: the denoised sound, or its change if kept."""
        self._inner_wait.put(worked)
        clean = self._inner.push(worked)
        if last:
            clean = np.concatenate([clean, self._inner.flush()], axis=1)
        before = self._inner_wait.take(clean.shape[1])
        change = clean - before if self._keep else clean
        return self._highpass.push(change, last=last) if self._highpass else change

    def _restore(self, change: Block) -> Block:
        before = self._outer_wait.take(min(change.shape[1], self._outer_wait.samples))
        change = change[:, : before.shape[1]]
        return before + change if self._keep else change


class Highpass:
    """A linear-phase high-pass over a stream, its delay taken out."""

    def __init__(self, corner_hz: float, rate: float, channels: int) -> None:
        half = int(np.ceil(2.5 * rate / (TRANSITION * corner_hz)))
        self._taps: NDArray[np.float64] = signal.firwin(
            2 * half + 1, corner_hz, window=("kaiser", KAISER_BETA), pass_zero=False, fs=rate
        )
        self._half = half
        self._history = np.zeros((channels, half), np.float32)

    def push(self, block: Block, *, last: bool) -> Block:
        """Filter the next block; `half` samples stay behind until the last one."""
        behind = np.zeros((len(block), self._half if last else 0), np.float32)
        joined = np.concatenate([self._history, block, behind], axis=1)
        if joined.shape[1] < len(self._taps):
            self._history = joined
            return block[:, :0]
        self._history = joined[:, -2 * self._half :]
        filtered = signal.oaconvolve(joined, self._taps[None], mode="valid", axes=1)
        return np.asarray(filtered, np.float32)


def resample_block(resampler: soxr.ResampleStream, block: Block, *, last: bool) -> Block:
    """Pass the next block of a stream, (channels, samples), through a resampler; maybe none."""
    moved = resampler.resample_chunk(np.ascontiguousarray(block.T), last=last)
    return np.ascontiguousarray(moved.reshape(-1, block.shape[0]).T)
