"""Synthesized noises that go on: engines, whines and choruses far away.

The counterpart of `transients`. What tells a hum or a hundred frogs from a call is that it does not
end; a network that hears few of them takes their lines for voices.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import signal

from biodenoising.corpus.songs import HIGHEST, MOST_HARMONICS, synthesize_syllable
from biodenoising.corpus.sounds import Rng, Samples, flutter, tilted

LEAST_RMS = 1e-12
LONGEST_VOICE = 8_000  # samples of one voice of a chorus


def synthesize_drone(samples: int, rng: Rng) -> NDArray[np.float32]:
    """Return a drone of a kind drawn by lot, mono, rms 1, shape (samples,)."""
    noise = DRONES[list(DRONES)[rng.integers(len(DRONES))]](rng, samples)
    noise = noise + _wash(rng, samples, noise)
    return (noise / max(float(np.sqrt(np.mean(noise**2))), LEAST_RMS)).astype(np.float32)


def _engine(rng: Rng, n: int) -> Samples:
    """Motors, rotors, pumps: many harmonics of one slow pitch, in step with each other."""
    pitch = 10 ** rng.uniform(-3.7, -1.7) * _drift(rng, n, 10 ** rng.uniform(-4, -1.3))
    phase = 2 * np.pi * np.cumsum(pitch)
    order = np.arange(1, int(rng.integers(6, 2 * MOST_HARMONICS)))
    order = order[order * pitch.max() <= HIGHEST]
    gains = 10 ** ((-rng.uniform(0, 1.5) * order + rng.normal(0, 8, len(order))) / 20)
    total = np.zeros(n)
    for which, gain in zip(order, gains, strict=True):
        total += gain * np.sin(which * phase + rng.uniform(0, 6))
    return total * _swell(rng, n)


def _whine(rng: Rng, n: int) -> Samples:
    """Fans, inverters, bad cables: lines that have nothing to do with each other."""
    total = np.zeros(n)
    for _ in range(int(rng.integers(1, 9))):
        pitch = 10 ** rng.uniform(-3, np.log10(0.4)) * _drift(rng, n, 10 ** rng.uniform(-5, -2))
        line = np.sin(2 * np.pi * np.cumsum(np.minimum(pitch, HIGHEST)))
        if rng.random() < 0.4:
            beat = 10 ** rng.uniform(-3.7, -2) * np.arange(n)
            line *= 1 + rng.uniform(0, 1) * np.cos(2 * np.pi * beat)
        total += 10 ** (-rng.uniform(0, 20) / 20) * line
    return total * _swell(rng, n)


def _chorus(rng: Rng, n: int) -> Samples:
    """Insects, frogs or birds by the dozen: voices at all times and at many distances."""
    total = np.zeros(n)
    for _ in range(int(rng.integers(3, 8))):
        voice = synthesize_syllable(rng, min(n, LONGEST_VOICE))
        # As dense as to leave few gaps, from five to a hundred of them at once.
        count = 1 + int(n / len(voice) * 10 ** rng.uniform(0.3, 1.3))
        train = np.zeros(n)
        np.add.at(train, rng.integers(0, n, count), 10 ** (rng.normal(0, 4, count) / 20))
        total += signal.oaconvolve(train, voice)[:n] * 10 ** (-rng.uniform(0, 12) / 20)
    return total


DRONES: dict[str, Callable[[Rng, int], Samples]] = {
    "engine": _engine,
    "whine": _whine,
    "chorus": _chorus,
}


def _drift(rng: Rng, n: int, share: float) -> Samples:
    """Return a factor that wanders slowly about 1 by about the share."""
    knots = rng.standard_normal(int(rng.integers(2, 12)))
    return 1 + share * np.interp(np.linspace(0, 1, n), np.linspace(0, 1, len(knots)), knots)


def _swell(rng: Rng, n: int) -> Samples:
    """Return a level that comes nearer or goes away, a few times in the whole stretch at most."""
    return flutter(rng, n, float(n), 10 ** rng.uniform(-0.3, 0.7), rng.uniform(0, 4))


def _wash(rng: Rng, n: int, over: Samples) -> Samples:
    """Return the steady noise about a drone, from as loud to 40 dB below."""
    wash = tilted(rng.standard_normal(n), rng.uniform(0, 2))
    level = float(np.std(over)) / max(float(np.std(wash)), LEAST_RMS)
    return np.asarray(wash * level * 10 ** (-rng.uniform(0, 40) / 20))
