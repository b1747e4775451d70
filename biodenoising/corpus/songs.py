"""Songs of animals that do not exist: syllables, rhythms and voices drawn at random.

The kinds in `synthesis` are caricatures of animals that there are, each within narrow bounds. A
network that is to find the calls of animals that it never heard should not learn those bounds, so
here they are as wide as a recording is: any pitch, duration, timbre and order (domain
randomization: Tobin et al. 2017, arXiv:1703.06907).

Everything is measured in samples, and pitch in cycles a sample, for a network that hears samples
knows of no rate.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from biodenoising.corpus.sounds import Rng, Samples, band, coloured, peak

HIGHEST = 0.45  # cycles a sample; above it a recorder's filter has nothing left
MOST_HARMONICS = 24
SYLLABLE_SAMPLES = (2.6, 4.6)  # powers of ten: 9 ms to 0.9 s at 44.1 kHz
CLICKING = 0.15  # of the singers
CLICKS = 6  # of one of them, at least
MOST = 400  # sounds of a bout


def synthesize_song(samples: int, rng: Rng) -> NDArray[np.float32]:
    """Return one bout of a singer drawn by lot, somewhere in silence, peak 1, shape (samples,)."""
    clicks = rng.random() < CLICKING
    voices = [_click(rng) if clicks else synthesize_syllable(rng, samples)
              for _ in range(int(rng.integers(1, 4)))]  # fmt: skip
    longest = max(len(voice) for voice in voices)
    period = longest * 10 ** rng.uniform(0.05, 1.4 if clicks else 0.7)
    bout = samples * rng.uniform(0.2, 1.2) / period
    # One click alone is nobody's: what tells an animal's from crackle is that they keep time.
    few = not clicks and rng.random() < 0.3
    count = int(np.clip(rng.integers(1, 4) if few else bout, CLICKS if clicks else 1, MOST))
    uneven = 10 ** rng.uniform(-3, -0.8)
    quicken = np.linspace(1, 2 ** rng.uniform(-1, 1), count)
    starts = np.cumsum(period * quicken * (1 + uneven * rng.standard_normal(count)))
    length = starts[-1] - starts[0] + longest
    starts += rng.uniform(0, samples - length) - starts[0] if length < samples else -starts[0]
    arc = rng.uniform(0, 15) * np.sin(np.pi * (np.arange(count) + 0.5) / count)
    gains = 10 ** ((arc + rng.normal(0, rng.uniform(0, 4), count)) / 20)
    total = np.zeros(samples)
    order = _order(rng, count, len(voices))
    for start, gain, which in zip(starts.astype(int), gains, order, strict=True):
        _add(total, voices[which], start, gain)
    return peak(total).astype(np.float32)


def synthesize_syllable(rng: Rng, longest: int) -> Samples:
    """Return one syllable of a kind drawn by lot, peak 1, of `longest` samples at most."""
    make = SYLLABLES[rng.choice(len(SYLLABLES), p=ODDS)]
    n = min(int(10 ** rng.uniform(*SYLLABLE_SAMPLES)), longest)
    sound = make(rng, n)
    if rng.random() < 0.3:  # breath
        breath = _hiss(rng, n) * np.abs(sound).mean()
        sound = sound + breath * 10 ** (-rng.uniform(0, 25) / 20)
    if rng.random() < 0.35:  # beats, buzzes
        cycles = np.arange(n) / n * 10 ** rng.uniform(0.3, np.log10(max(n / 60, 3)))
        wave = 0.5 + 0.5 * np.cos(2 * np.pi * (cycles + rng.uniform()))
        sound = sound * (1 - rng.uniform(0.2, 1) * (1 - wave**10 ** rng.uniform(-0.3, 0.6)))
    return peak(sound * _envelope(rng, n))


def _whistle(rng: Rng, n: int) -> Samples:
    return _tones(_contour(rng, n, 10 ** rng.uniform(-2.6, np.log10(0.4))), rng, 3, 18.0)


def _stack(rng: Rng, n: int) -> Samples:
    pitch = _contour(rng, n, 10 ** rng.uniform(-3.2, -1.1))
    if rng.random() < 0.3:  # a voice that breaks
        pitch = np.abs(pitch * (1 + 10 ** rng.uniform(-2.5, -0.8) * coloured(rng, n, 1.0)))
    return _tones(pitch, rng, MOST_HARMONICS, rng.uniform(0.5, 5))


def _hiss(rng: Rng, n: int) -> Samples:
    low = 10 ** rng.uniform(-3, -0.7)
    return band(rng.standard_normal(n), low, low * 2 ** rng.uniform(0.3, 4), 1.0, 1)


SYLLABLES: tuple[Callable[[Rng, int], Samples], ...] = (_whistle, _stack, _hiss)
ODDS = (0.45, 0.45, 0.1)


def _click(rng: Rng) -> Samples:
    """A click and its ring, as of a whale or a bill: no longer than a few cycles, peak 1."""
    n = int(10 ** rng.uniform(1.4, 2.7))
    ring = np.sin(2 * np.pi * 10 ** rng.uniform(-2, np.log10(0.4)) * np.arange(n))
    fall = np.exp(-np.arange(n) / n * rng.uniform(3, 9))
    return peak((ring + rng.uniform(0, 1) * _hiss(rng, n)) * fall)


def _contour(rng: Rng, n: int, middle: float) -> Samples:
    """Return a pitch in cycles a sample: level, sweeping, trembling, wandering or with a jump."""
    octaves = min(rng.exponential(0.4), 2.0) * rng.choice([-1, 1])
    t = np.linspace(0, 1, n)
    shape = t**10 ** rng.uniform(-0.5, 0.5)
    if rng.random() < 0.4:
        knots = rng.standard_normal(int(rng.integers(3, 9)))
        shape = np.interp(0.5 - 0.5 * np.cos(np.pi * t), np.linspace(0, 1, len(knots)), knots)
    if rng.random() < 0.3:
        shape = shape + rng.uniform(0.1, 1) * np.sin(2 * np.pi * rng.uniform(1, 20) * t)
    if rng.random() < 0.15:
        shape = shape + rng.normal() * (t > rng.uniform(0.2, 0.8))
    return np.asarray(np.clip(middle * 2 ** (octaves * (shape - shape.mean())), 1e-5, HIGHEST))


def _tones(pitch: Samples, rng: Rng, most: int, slope_db: float) -> Samples:
    """Return harmonics whose levels fall by a slope and go up and down as a throat makes them."""
    phase = 2 * np.pi * np.cumsum(pitch)
    count = int(np.clip(HIGHEST / pitch.min(), 1, rng.integers(1, most + 1)))
    order = np.arange(1, count + 1)
    throat = rng.uniform(0, 12) * np.cos(order * rng.uniform(0.2, 2) + rng.uniform(0, 6))
    gains = 10 ** ((-slope_db * (order - 1) + throat + rng.normal(0, 3, count)) / 20)
    total = np.zeros(len(pitch))
    for which, gain in zip(order, gains, strict=True):
        total += gain * np.sin(which * phase) * (which * pitch <= HIGHEST)
    return total


def _envelope(rng: Rng, n: int) -> Samples:
    """Return a rise and a fall, each of a share of the whole drawn by lot."""
    t = (np.arange(n) + 0.5) / n
    rise, fall = 10 ** rng.uniform(-2, -0.3), 10 ** rng.uniform(-1.5, -0.2)
    shape = np.clip(np.minimum(t / rise, (1 - t) / fall), 0, 1)
    return np.asarray(np.sin(np.pi / 2 * shape) ** 2)


def _order(rng: Rng, count: int, kinds: int) -> NDArray[np.int64]:
    """Return which syllable comes when: each in turn, one after the other's end, or by lot."""
    way = rng.integers(3)
    if way == 0:
        return np.arange(count) % kinds
    if way == 1:
        return np.arange(count) * kinds // count
    return rng.integers(kinds, size=count)


def _add(total: Samples, sound: Samples, start: int, gain: float) -> None:
    """Add a sound where it lies within the whole."""
    begin, end = max(start, 0), min(start + len(sound), len(total))
    if begin < end:
        total[begin:end] += gain * sound[begin - start : end - start]
