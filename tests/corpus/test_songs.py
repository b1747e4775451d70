"""Songs of no animal and drones: finite, repeatable, of unit level, and each what it should be."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from biodenoising.corpus.clips import Clip
from biodenoising.corpus.drones import DRONES, synthesize_drone
from biodenoising.corpus.mixtures import Mixer, MixtureSettings
from biodenoising.corpus.songs import HIGHEST, synthesize_song, synthesize_syllable

SAMPLES = 65_536
BLOCK = 1_024


def levels(sound: NDArray[np.float32]) -> NDArray[np.float64]:
    """The power of each block."""
    blocks = sound[: len(sound) // BLOCK * BLOCK].astype(np.float64).reshape(-1, BLOCK)
    return np.square(blocks).mean(axis=1)


@given(st.integers(1, 5_000), st.integers(0, 2**32 - 1))
def test_any_length_is_made_finite_and_of_unit_level(samples: int, seed: int) -> None:
    song = synthesize_song(samples, np.random.default_rng(seed))
    drone = synthesize_drone(samples, np.random.default_rng(seed))
    for sound in (song, drone):
        assert sound.shape == (samples,)
        assert sound.dtype == np.float32
        assert np.isfinite(sound).all()
    if song.any():
        assert np.abs(song).max() == pytest.approx(1)
    if drone.any():
        assert np.sqrt(np.mean(np.square(drone, dtype=np.float64))) == pytest.approx(1, rel=1e-3)


def test_they_follow_from_the_seed() -> None:
    for make in (synthesize_song, synthesize_drone):
        one, same, other = (make(4_096, np.random.default_rng(seed)) for seed in (1, 1, 2))
        np.testing.assert_array_equal(one, same)
        assert not np.array_equal(one, other)


def test_songs_are_never_silent_and_leave_silence() -> None:
    songs = [synthesize_song(SAMPLES, np.random.default_rng(seed)) for seed in range(200)]
    silent = [float(np.mean(levels(song) < 1e-9)) for song in songs]
    assert all(song.any() for song in songs)
    assert np.median(silent) > 0.3


def test_songs_are_of_any_pitch_and_none_folds_over() -> None:
    centres = []
    for seed in range(300):
        syllable = synthesize_syllable(np.random.default_rng(seed), 20_000)
        power = np.square(np.abs(np.fft.rfft(syllable * np.hanning(len(syllable)))))
        pitch = np.fft.rfftfreq(len(syllable))
        centres.append(float((pitch * power).sum() / power.sum()))
        assert power[pitch > HIGHEST + 0.04].sum() < 0.02 * power.sum()
    octaves = np.log2(np.percentile(centres, [10, 90]))
    assert octaves[1] - octaves[0] > 3


@pytest.mark.parametrize("kind", DRONES)
def test_drones_do_not_end(kind: str) -> None:
    for seed in range(20):
        power = levels(DRONES[kind](np.random.default_rng(seed), SAMPLES).astype(np.float32))
        quietest, middle = np.percentile(power, 5), np.median(power)
        assert quietest > middle * 10**-2


def test_mixtures_hold_songs_in_the_call_and_drones_in_the_noise() -> None:
    plain = MixtureSettings().plain(SAMPLES, (0.0, 0.0))
    rng = np.random.default_rng(5)
    calls = [Clip(rng.standard_normal(SAMPLES).astype(np.float32), 1.0)]
    noises = [Clip(rng.standard_normal(SAMPLES).astype(np.float32), 1.0)]
    only_songs = dataclasses.replace(plain, synthesized_calls=1.0, songs=1.0)
    with_drones = dataclasses.replace(plain, drones=1.0)
    kinds = dataclasses.replace(plain, synthesized_calls=1.0)
    for index in range(6):
        song = Mixer(calls, noises, only_songs, 1)(index).target
        assert song.any()
        assert not np.array_equal(song, Mixer(calls, noises, kinds, 1)(index).target)
        steady, droning = (Mixer(calls, noises, s, 1)(index) for s in (plain, with_drones))
        assert np.corrcoef(steady.target, droning.target)[0, 1] > 0.999
        added = (droning.noisy - droning.target, steady.noisy - steady.target)
        assert np.abs(np.corrcoef(*added)[0, 1]) < 0.9999
