"""How much each moment of a recording stands out from its own background, block by block.

Everything is counted in samples and shares of the sampling rate, so a bat at 384 kHz and a whale
at 1 kHz are treated alike. Each band has its own floor and spread, from the quiet quantiles of a
window that runs along; memory grows by a few bytes for each hop of 256 samples.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage, signal

FRAME = 512
HOP = 256
# Frames are worked in tiles of fixed position: how the samples came in blocks changes nothing.
TILE = 512
# The background is learned from this many tiles before and after: 48 s to each side at 44.1 kHz.
AROUND = 16
POOLED_FRAMES = 1500
SCALES = (3, 9, 33)  # frames averaged: clicks, notes, long calls
LOW, MIDDLE = 0.05, 0.2
# Distances between the quantiles of a normal distribution, in standard deviations.
LOW_TO_MIDDLE, MIDDLE_TO_MEDIAN = 0.803, 0.842
COMMON_SHARE = 0.75
DROP_DB = 6.0
BESIDE = (0.5, 1.5)
COARSE = 16
COMMON_RANK = 40
RENEWED = 4
NEIGHBOURS = 21  # bands, for what rises everywhere at once
EDGES = np.concatenate([np.arange(1, 16), np.arange(16, 64, 2), np.arange(64, 256, 4)])
WIDTHS = np.diff(np.append(EDGES, FRAME // 2 + 1)).astype(np.float32)
TINY = 1e-20
# Half a step of 16 bits: a stretch that never leaves it holds no sound.
SILENCE = 2.0**-16
FLAT_RUN = 4
FLAT_AT = 0.97

Floats = NDArray[np.float32]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Activity:
    """What was measured of a recording, one value for each hop of 256 samples.

    `score` is the largest excess over a band's floor, in that band's own spreads; `lowest` and
    `highest` are the outermost bands near that excess, as shares of the sampling rate. `silent`
    marks hops without sound or with values that are no numbers, `clipped` those with flat peaks;
    `samples` is the length.
    """

    score: Floats
    lowest: Floats
    highest: Floats
    silent: Flags
    clipped: Flags
    samples: int


class ActivityMeter:
    """Measures a stream of blocks of shape (channels, samples); `finish` gives the Activity."""

    def __init__(self) -> None:
        self._waiting: Floats | None = None
        self._samples = 0
        self._powers: deque[_Powers] = deque(maxlen=3)
        self._around = Around()
        self._background: tuple[Floats, Floats] | None = None
        self._rows: list[tuple[Floats, Floats, Floats]] = []
        self._states: list[_States] = []
        self._window = signal.get_window("hann", FRAME).astype(np.float32)

    def feed(self, block: Floats) -> None:
        """Take the next block, float32 of shape (channels, samples)."""
        if self._waiting is None:
            # A frame is centred on its hop, so the first one begins a quarter before the sound.
            self._waiting = np.zeros((block.shape[0], (FRAME - HOP) // 2), np.float32)
        self._samples += block.shape[1]
        self._waiting = np.concatenate([self._waiting, block], axis=1)
        while self._waiting.shape[1] >= TILE * HOP + FRAME - HOP:
            self._measure(self._waiting[:, : TILE * HOP + FRAME - HOP])
            self._waiting = self._waiting[:, TILE * HOP :]

    def finish(self) -> Activity:
        """Return what was measured of all blocks."""
        frames = -(-self._samples // HOP)
        left = frames - TILE * len(self._states)
        if left > 0 and self._waiting is not None:
            short = left * HOP + FRAME - HOP - self._waiting.shape[1]
            # Mirrored at its end: a step to zeros would be heard as a click.
            whole = np.pad(self._waiting, ((0, 0), (0, max(short, 0))), mode="symmetric")
            self._measure(whole)
        if self._powers:
            self._shape(last=True)
        return self._joined(frames)

    def _measure(self, samples: Floats) -> None:
        """Take the spectra and the states of one tile's frames."""
        lost = ~np.isfinite(samples)
        samples = np.where(lost, np.float32(0), samples)
        views = np.lib.stride_tricks.sliding_window_view(samples, FRAME, axis=1)[:, ::HOP]
        bins = fft.rfft(views * self._window, axis=-1)
        power = (bins.real**2 + bins.imag**2).sum(axis=0)
        bands = np.asarray(np.add.reduceat(power, EDGES, axis=1) / WIDTHS, np.float32)
        # The first frame reaches before the recording and hears a step; the next one stands in.
        if not self._states and len(bands) > 1:
            bands[0] = bands[1]
        edge = (FRAME - HOP) // 2
        part = slice(edge, edge + views.shape[1] * HOP)
        shape = (len(samples), views.shape[1], HOP)
        states = _states(samples[:, part].reshape(shape), lost[:, part].reshape(shape))
        self._states.append(states)
        self._powers.append(_Powers(bands, states.silent))
        if len(self._states) > 1:
            self._shape(last=False)

    def _shape(self, *, last: bool) -> None:
        """Smooth the last tile but one (at the end: the last) with its neighbours in sight."""
        tiles = list(self._powers)
        at = len(tiles) - (1 if last else 2)
        before = tiles[at - 1].bands[-SCALES[-1] :] if at > 0 else tiles[at].bands[:0]
        after = tiles[at + 1].bands[: SCALES[-1]] if not last else tiles[at].bands[:0]
        own = tiles[at].bands
        whole = np.concatenate([before, own, after])
        part = slice(len(before), len(before) + len(own))
        levels = np.empty((len(SCALES), *own.shape), np.float32)
        for row, scale in zip(levels, SCALES, strict=True):
            mean = ndimage.uniform_filter1d(whole, scale, axis=0, mode="reflect")[part]
            np.log10(np.maximum(mean, TINY), out=row)
        levels *= 10
        single = 10 * np.log10(own + TINY)
        # The frames beside a silence hold half of it and would pass for the quietest background.
        sounding = ~ndimage.binary_dilation(tiles[at].silent, iterations=2)
        for window in self._around.push(_Tile(levels, single, sounding), last=last):
            self._score(window)

    def _score(self, window: Window) -> None:
        """Hold a tile against the background around it."""
        tile = window.tiles[window.at]
        if self._background is None or len(self._rows) % RENEWED == 0:
            self._background = background(window.tiles)
        floor, spread = self._background
        excess = tile.levels - floor[:, None, :]
        excess -= COMMON_SHARE * common_rise(excess[-1])
        excess /= spread[:, None, :]
        # A long average also rises beside a call: believe it only where the shorter one does too.
        excess[0][tile.levels[0] - tile.single > DROP_DB] = 0
        for longer, least in ((2, BESIDE[1]), (1, BESIDE[0])):
            beside = excess[longer - 1] < least
            beside |= tile.levels[longer] - tile.levels[longer - 1] > DROP_DB
            excess[longer][beside] = 0
        best = excess.max(axis=0)
        score = np.where(tile.sounding, best.max(axis=1), 0)
        strong = best >= 0.6 * score[:, None]
        lowest = EDGES[strong.argmax(axis=1)] / FRAME
        from_top = strong[:, ::-1].argmax(axis=1)
        highest = (EDGES + WIDTHS)[::-1][from_top] / FRAME
        self._rows.append(
            (score.astype(np.float32), lowest.astype(np.float32), highest.astype(np.float32))
        )

    def _joined(self, frames: int) -> Activity:
        if frames == 0:
            none, never = np.zeros(0, np.float32), np.zeros(0, bool)
            return Activity(none, none, none, never, never, 0)
        score, lowest, highest = (np.concatenate(row) for row in zip(*self._rows, strict=True))
        peak = np.concatenate([state.peak for state in self._states])
        flat = np.concatenate([state.flat for state in self._states])
        silent = np.concatenate([state.silent for state in self._states])
        clipped = (flat >= FLAT_RUN) & (peak >= FLAT_AT * peak.max()) & ~silent
        return Activity(score, lowest, np.minimum(highest, 0.5), silent, clipped, self._samples)


@dataclass(frozen=True)
class _Powers:
    bands: Floats  # (frames, bands)
    silent: Flags


@dataclass(frozen=True)
class _Tile:
    levels: Floats  # dB, (scales, frames, bands)
    single: Floats  # dB of each frame alone, (frames, bands)
    sounding: Flags


@dataclass(frozen=True)
class Window:
    """A tile, at index `at`, among those around it."""

    tiles: list[_Tile]
    at: int


class Around:
    """Hands on each tile as soon as those after it are there."""

    def __init__(self) -> None:
        self._tiles: list[_Tile] = []
        self._at = 0

    def push(self, tile: _Tile, *, last: bool) -> list[Window]:
        """Take the next tile; return those that are due now, all of them at the last one."""
        self._tiles.append(tile)
        if last:
            return self.end()
        return [self._next()] if len(self._tiles) > self._at + AROUND else []

    def end(self) -> list[Window]:
        """Return the tiles that nothing follows any more."""
        return [self._next() for _ in range(len(self._tiles) - self._at)]

    def _next(self) -> Window:
        window = Window(list(self._tiles), self._at)
        if self._at == AROUND:
            self._tiles.pop(0)
        else:
            self._at += 1
        return window


@dataclass(frozen=True)
class _States:
    peak: Floats
    flat: NDArray[np.int64]
    silent: Flags


def _states(hops: Floats, lost: Flags) -> _States:
    """Return peak, longest flat top and silence of hops of shape (channels, hops, samples)."""
    peak = np.abs(hops).max(axis=(0, 2))
    silent = (np.ptp(hops, axis=2).max(axis=0) <= SILENCE) | lost.any(axis=(0, 2))
    at_top = np.abs(hops) >= FLAT_AT * peak[:, None]
    same = (np.diff(hops, axis=2) == 0) & at_top[:, :, 1:] & at_top[:, :, :-1]
    # A run of n equal samples is n - 1 equal neighbours: multiply n - 1 shifted copies.
    run = same[:, :, : same.shape[2] - FLAT_RUN + 2].copy()
    for shift in range(1, FLAT_RUN - 1):
        run &= same[:, :, shift : same.shape[2] - FLAT_RUN + 2 + shift]
    return _States(peak, FLAT_RUN * run.any(axis=(0, 2)), silent)


def background(tiles: list[_Tile]) -> tuple[Floats, Floats]:
    """Return the centre (dB) and spread (dB) of the quiet frames, both (scales, bands)."""
    total = sum(int(tile.sounding.sum()) for tile in tiles)
    step = max(total // POOLED_FRAMES, 1)
    pooled = np.concatenate([tile.levels[:, tile.sounding][:, ::step] for tile in tiles], axis=1)
    least = _least_spread()
    if pooled.shape[1] == 0:
        return np.zeros_like(least), least
    at = [int(LOW * (pooled.shape[1] - 1)), int(MIDDLE * (pooled.shape[1] - 1))]
    low, middle = np.partition(pooled, at, axis=1)[:, at].transpose(1, 0, 2)
    spread = np.maximum((middle - low) / LOW_TO_MIDDLE, least)
    return middle + MIDDLE_TO_MEDIAN * spread, spread


def common_rise(excess: Floats) -> Floats:
    """Return by how much most of the bands around each rise, as in a gust; (frames, bands)."""
    middles = np.arange(COARSE // 2, len(excess) + COARSE // 2, COARSE)
    coarse = excess[np.minimum(middles, len(excess) - 1)]
    most = ndimage.percentile_filter(coarse, COMMON_RANK, (1, NEIGHBOURS), mode="nearest")
    return np.asarray(np.maximum(np.repeat(most, COARSE, axis=0)[: len(excess)], 0))


def _least_spread() -> Floats:
    """Return the spread in dB of stationary Gaussian noise, the least there can be."""
    # Hann windows that overlap by half: about 0.9 independent frames a hop, 0.67 bins a bin.
    draws = np.maximum(0.9 * np.array(SCALES)[:, None] * np.maximum(0.67 * WIDTHS, 1), 1)
    return np.asarray(0.8 * 4.34 * np.sqrt(1 / draws + 0.5 / draws**2), np.float32)
