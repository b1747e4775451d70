"""Synthesized transients: finite, repeatable, at unit level, and not steady."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from biodenoising.corpus.clips import Clip
from biodenoising.corpus.mixtures import Mixer, MixtureSettings
from biodenoising.corpus.sounds import NOISE_RATES_HZ
from biodenoising.corpus.synthesis import NOISES, synthesize_noise
from biodenoising.corpus.transients import TRANSIENTS, synthesize_transients

SAMPLES = 65_536
BLOCK = 512


def peaks_db(noise: np.ndarray) -> float:
    """How far the loudest hundredth of the blocks lies above the median one."""
    power = np.square(noise[: len(noise) // BLOCK * BLOCK], dtype=np.float64)
    power = power.reshape(-1, BLOCK).mean(axis=1) + 1e-12
    return float(10 * np.log10(np.percentile(power, 99) / np.median(power)))


@given(st.integers(1, 5_000), st.integers(0, 2**32 - 1))
def test_transients_of_any_length_are_finite_and_of_unit_level(samples: int, seed: int) -> None:
    noise = synthesize_transients(samples, np.random.default_rng(seed))
    assert noise.shape == (samples,)
    assert noise.dtype == np.float32
    assert np.isfinite(noise).all()
    if noise.any():
        level = np.sqrt(np.mean(np.square(noise, dtype=np.float64)))
        assert level == pytest.approx(1, rel=1e-3)


def test_transients_follow_from_the_seed() -> None:
    one, same, other = (synthesize_transients(4_096, np.random.default_rng(n)) for n in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("kind", TRANSIENTS)
@pytest.mark.parametrize("rate", NOISE_RATES_HZ)
def test_every_kind_comes_and_goes_at_every_rate(kind: str, rate: float) -> None:
    peaks = [
        peaks_db(TRANSIENTS[kind](np.random.default_rng(seed), rate, SAMPLES)) for seed in range(8)
    ]
    steady = [
        peaks_db(synthesize_noise(name, rate, SAMPLES / rate, np.random.default_rng(0)))
        for name in NOISES
        if name in ("white", "pink", "hum", "stream", "rain")
    ]
    assert np.median(peaks) > max(steady) + 3


def test_mixtures_hear_them_in_the_noise_and_not_in_the_call() -> None:
    plain = MixtureSettings().plain(SAMPLES, (0.0, 0.0))
    rng = np.random.default_rng(5)
    calls = [Clip(rng.standard_normal(SAMPLES).astype(np.float32), 1.0)]
    noises = [Clip(rng.standard_normal(SAMPLES).astype(np.float32), 1.0)]
    without = Mixer(calls, noises, plain, 1)
    with_them = Mixer(calls, noises, dataclasses.replace(plain, transients=1.0), 1)
    for index in range(6):
        steady, mixed = without(index), with_them(index)
        correlation = np.corrcoef(steady.target, mixed.target)[0, 1]
        assert correlation > 0.999
        assert peaks_db(mixed.noisy - mixed.target) > peaks_db(steady.noisy - steady.target)
