"""Synthesized noises that come and go: crackle, knocks, drips, rustle and buffeting.

Recordings of steady noise are easily had, those of a hand on the recorder or a twig in the fire are
not; a network that hears few of them keeps them for calls.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import signal

from biodenoising.corpus.sounds import NOISE_RATES_HZ, Rng, Samples, band, flutter, tilted

LEAST_RMS = 1e-12


def synthesize_transients(samples: int, rng: Rng) -> NDArray[np.float32]:
    """Return transients of a kind and at a rate drawn by lot, mono, rms 1, shape (samples,)."""
    make = TRANSIENTS[list(TRANSIENTS)[rng.integers(len(TRANSIENTS))]]
    noise = make(rng, float(rng.choice(NOISE_RATES_HZ)), samples)
    return (noise / max(float(np.sqrt(np.mean(noise**2))), LEAST_RMS)).astype(np.float32)


def _crackle(rng: Rng, rate: float, n: int) -> Samples:
    """Fire, twigs, dry leaves, a bad plug: many bursts, some of them far louder than the others."""
    spread_db = rng.uniform(6, 14)
    total = np.zeros(n)
    for _ in range(int(rng.integers(2, 5))):
        decay_s = 10 ** rng.uniform(-3.5, -1.6)
        burst = _burst(rng, rate, decay_s, 10 ** rng.uniform(1.5, 3), 10 ** rng.uniform(3, 4.5))
        total += _strewn(rng, rate, n, burst, 10 ** rng.uniform(-0.3, 1.7), spread_db)
    return total + _bed(rng, n, total)


def _knocks(rng: Rng, rate: float, n: int) -> Samples:
    """Hands on the recorder, steps, hooves, things that fall: a click and what rings after it."""
    total = np.zeros(n)
    for _ in range(int(rng.integers(1, 4))):
        knock = _burst(rng, rate, 10 ** rng.uniform(-3.5, -2), 50, 10 ** rng.uniform(3, 4.3))
        knock = 10 ** (rng.uniform(-30, 0) / 20) * knock
        for _ in range(int(rng.integers(1, 6))):
            ring = _ring(rng, rate, 10 ** rng.uniform(1.5, 3.5), 10 ** rng.uniform(-2.3, -0.9))
            both = max(len(knock), len(ring))
            knock = np.pad(knock, (0, both - len(knock))) + np.pad(ring, (0, both - len(ring)))
        if rng.random() < 0.5:
            total += _in_step(rng, rate, n, knock, rng.uniform(0.2, 1.5))
        else:
            total += _strewn(rng, rate, n, knock, 10 ** rng.uniform(-0.5, 0.9), rng.uniform(3, 9))
    return total + _bed(rng, n, total)


def _drips(rng: Rng, rate: float, n: int) -> Samples:
    """Water that drips: each drop a ringing bubble, which rises as it shrinks (Minnaert 1933)."""
    total = np.zeros(n)
    for _ in range(int(rng.integers(1, 5))):
        drop = _ring(
            rng, rate, 10 ** rng.uniform(2.5, 3.8), 10 ** rng.uniform(-2.5, -1.4),
            rise=rng.uniform(0, 0.3),
        )  # fmt: skip
        total += _strewn(rng, rate, n, drop, 10 ** rng.uniform(-0.3, 1), rng.uniform(2, 8))
    return total + _bed(rng, n, total)


def _rustle(rng: Rng, rate: float, n: int) -> Samples:
    """Clothes, leaves, a hand that rubs: noise in gusts, rough within them."""
    low_hz, high_hz = 10 ** rng.uniform(1.7, 3.3), 10 ** rng.uniform(3.3, 4.5)
    sound = _band(rng.standard_normal(n), low_hz, high_hz, rate)
    rough = flutter(rng, n, rate, 10 ** rng.uniform(1, 2), rng.uniform(3, 10))
    return sound * rough * flutter(rng, n, rate, 10 ** rng.uniform(-0.2, 0.6), rng.uniform(6, 16))


def _buffeting(rng: Rng, rate: float, n: int) -> Samples:
    """Wind in the microphone, waves against a hull: deep thumps, each its own."""
    sound = _band(rng.standard_normal(n), 5, 10 ** rng.uniform(1.7, 2.7), rate)
    return sound * flutter(rng, n, rate, 10 ** rng.uniform(0, 0.9), rng.uniform(6, 14))


TRANSIENTS: dict[str, Callable[[Rng, float, int], Samples]] = {
    "crackle": _crackle,
    "knocks": _knocks,
    "drips": _drips,
    "rustle": _rustle,
    "buffeting": _buffeting,
}


def _burst(rng: Rng, rate: float, decay_s: float, low_hz: float, high_hz: float) -> Samples:
    """Return a burst of noise in a band that dies away, peak 1."""
    n = max(int(6 * decay_s * rate), 24)
    sound = _band(rng.standard_normal(n), low_hz, high_hz, rate)
    sound *= np.exp(-np.arange(n) / max(decay_s * rate, 1))
    return sound / max(float(np.abs(sound).max()), LEAST_RMS)


def _ring(rng: Rng, rate: float, pitch_hz: float, decay_s: float, rise: float = 0.0) -> Samples:
    """Return a tone that dies away, its pitch going up by the share `rise`; peak about 1."""
    n = max(int(6 * decay_s * rate), 24)
    t = np.arange(n) / n
    pitch = min(pitch_hz, 0.4 * rate) * (1 + rise * t) / rate
    gain = 10 ** (rng.uniform(-15, 0) / 20)
    return gain * np.sin(2 * np.pi * np.cumsum(pitch) + rng.uniform(0, 6)) * np.exp(-6 * t)


def _strewn(
    rng: Rng, rate: float, n: int, sound: Samples, per_second: float, spread_db: float
) -> Samples:
    """Lay a sound at random times, each time at a level of its own."""
    count = 1 + rng.poisson(per_second * n / rate)
    gains = 10 ** (rng.normal(0, spread_db, count) / 20)
    return _laid(n, sound, rng.integers(0, n, count), gains)


def _in_step(rng: Rng, rate: float, n: int, sound: Samples, interval_s: float) -> Samples:
    """Lay a sound at nearly even times, as something that walks does."""
    count = int(n / rate / interval_s) + 2
    starts = (np.arange(count) + rng.normal(0, 0.08, count) + rng.uniform()) * interval_s * rate
    gains = 10 ** (rng.normal(0, 2, count) / 20)
    inside = (starts >= 0) & (starts < n)
    if not inside.any():  # one step at least, however short the stretch
        return _laid(n, sound, rng.integers(0, n, 1), gains[:1])
    return _laid(n, sound, starts[inside].astype(np.int64), gains[inside])


def _laid(n: int, sound: Samples, starts: NDArray[np.int64], gains: Samples) -> Samples:
    train = np.zeros(n)
    np.add.at(train, starts, gains)
    return np.asarray(signal.oaconvolve(train, sound)[:n])


def _bed(rng: Rng, n: int, over: Samples) -> Samples:
    """Return the steady noise below a sound, 10 to 50 dB down."""
    bed = tilted(rng.standard_normal(n), rng.uniform(0, 2))
    level = float(np.std(over)) / max(float(np.std(bed)), LEAST_RMS)
    return np.asarray(bed * level * 10 ** (-rng.uniform(10, 50) / 20))


def _band(x: Samples, low_hz: float, high_hz: float, rate: float) -> Samples:
    """Return a first-order band of half an octave at least, wherever its lower corner was drawn."""
    return band(x, min(low_hz, 0.7 * min(high_hz, 0.48 * rate)), high_hz, rate, 1)
