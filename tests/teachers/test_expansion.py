"""Expansion: aligned, at unit gain, without aliases; what is not heard; floor and blend."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import signal

from biodenoising.errors import OptionError
from biodenoising.teachers.base import Teacher, Wave
from biodenoising.teachers.expansion import (
    blend,
    denoise_at,
    expansion_for,
    limit_attenuation,
)

RATE = 48_000
EXPANSIONS = [0.25, 1 / 3, 0.5, 0.7, 1.0, 2**0.5, 2.0, 3.0, 10.0]
# soxr's pass band ends there, as a share of half the lower rate.
PASSED = 0.9
FLAT_DB = 0.01


def band_noise(low_hz: float, high_hz: float, samples: int = 48_000) -> Wave:
    """Return noise between two frequencies, fading in and out so that no edge is heard."""
    rng = np.random.default_rng(7)
    spectrum = np.fft.rfft(rng.standard_normal(samples))
    frequency = np.fft.rfftfreq(samples, 1 / RATE)
    spectrum[(frequency < low_hz) | (frequency > high_hz)] = 0
    noise = np.fft.irfft(spectrum, samples) * signal.windows.tukey(samples, 0.2)
    return (noise / np.abs(noise).max()).astype(np.float32)


def tone(frequency_hz: float, samples: int = 48_000) -> Wave:
    """Return a tone that fades in and out."""
    wave = np.sin(2 * np.pi * frequency_hz * np.arange(samples) / RATE)
    return (0.5 * wave * signal.windows.hann(samples)).astype(np.float32)


def shift_samples(output: Wave, reference: Wave) -> float:
    """Return by how many samples `output` lags, from the phase of its spectrum."""
    across = np.fft.rfft(output.astype(float)) * np.conj(np.fft.rfft(reference.astype(float)))
    frequency = np.fft.rfftfreq(len(reference))
    loud = np.abs(across) > 1e-3 * np.abs(across).max()
    weight, phase = np.abs(across[loud]), np.angle(across[loud])
    slope = np.sum(weight * phase * frequency[loud]) / np.sum(weight * frequency[loud] ** 2)
    return float(-slope / (2 * np.pi))


@pytest.mark.parametrize("outside", ["mute", "keep"])
@pytest.mark.parametrize("expansion", EXPANSIONS)
def test_an_idle_teacher_gives_the_recording_back(
    make_teacher: Callable[..., Teacher], expansion: float, outside: str
) -> None:
    noisy = band_noise(100, PASSED * min(1.0, expansion) * RATE / 2)
    clean = denoise_at(make_teacher(), noisy, RATE, expansion, outside=outside)
    assert clean.shape == noisy.shape
    fits = signal.correlate(clean.astype(float), noisy.astype(float), method="fft")
    assert int(np.argmax(fits)) == len(noisy) - 1
    assert abs(shift_samples(clean, noisy)) < 1e-3
    gain_db = 10 * np.log10(np.sum(clean.astype(float) ** 2) / np.sum(noisy.astype(float) ** 2))
    assert abs(gain_db) < FLAT_DB
    assert np.abs(clean - noisy).max() < 1e-3


@pytest.mark.parametrize("samples", [1, 2, 3, 5, 997, 1_001, 4_799])
@pytest.mark.parametrize("expansion", [1 / 3, 2**0.5, 7.3])
def test_length_is_exact(
    make_teacher: Callable[..., Teacher], samples: int, expansion: float
) -> None:
    noisy = band_noise(100, 20_000)[10_000 : 10_000 + samples]
    assert denoise_at(make_teacher(), noisy, RATE, expansion).shape == (samples,)


def test_slower_means_lower(make_teacher: Callable[..., Teacher]) -> None:
    """A tone at 6 kHz of 48 kHz is one at 2 kHz for a 16 kHz teacher, at 1 kHz when slowed by 2."""
    heard: list[Wave] = []
    teacher = make_teacher(lambda x, rate: heard.append(x) or x)
    for expansion, expected_hz in ((1.0, 2_000), (2.0, 1_000), (0.5, 4_000)):
        heard.clear()
        denoise_at(teacher, tone(6_000), RATE, expansion)
        spectrum = np.abs(np.fft.rfft(heard[0]))
        assert len(heard[0]) == pytest.approx(48_000 * expansion, abs=1)
        found_hz = np.argmax(spectrum) * 16_000 / len(heard[0])
        assert found_hz == pytest.approx(expected_hz, abs=1)


def test_nothing_aliases(make_teacher: Callable[..., Teacher]) -> None:
    """What a faster playback puts above the teacher's band is gone, not folded into it."""
    heard: list[Wave] = []
    teacher = make_teacher(lambda x, rate: heard.append(x) or x)
    call = tone(20_000) + 1e-3 * tone(1_000)
    muted = denoise_at(teacher, call, RATE, 0.5)
    scale = np.abs(heard[0]).max() / np.abs(1e-3 * tone(1_000)).max()
    spectrum = np.abs(np.fft.rfft(heard[0] / scale))
    # The alias of 20 kHz at half the rate would stand at 4 kHz, the low tone stands at 1 kHz.
    bin_hz = RATE / 2 / len(heard[0])
    alias = spectrum[int(3_900 / bin_hz) : int(4_100 / bin_hz)].max()
    assert alias < 1e-2 * spectrum[int(900 / bin_hz) : int(1_100 / bin_hz)].max()
    assert np.abs(muted).max() < 2e-3
    kept = denoise_at(teacher, call, RATE, 0.5, outside="keep")
    assert kept == pytest.approx(call, abs=1e-4)


def test_kept_content_is_what_the_teacher_could_not_hear(
    make_teacher: Callable[..., Teacher],
) -> None:
    teacher = make_teacher(lambda x, rate: np.zeros_like(x))
    call = tone(20_000) + tone(1_000)
    kept = denoise_at(teacher, call, RATE, 0.5, outside="keep")
    assert kept == pytest.approx(tone(20_000), abs=1e-4)
    assert not denoise_at(teacher, call, RATE, 0.5).any()


def test_expansion_for_true_speed(make_teacher: Callable[..., Teacher]) -> None:
    assert expansion_for(make_teacher(), 48_000, 1.0) == pytest.approx(1 / 3)
    assert expansion_for(make_teacher(), 384_000, 24.0) == pytest.approx(1.0)
    assert expansion_for(make_teacher(rate=None), 48_000, 2.0) == 2.0


@pytest.mark.parametrize("expansion", [0.0, -1.0, 65.0, 0.01, float("nan"), float("inf")])
def test_expansion_is_checked(
    make_teacher: Callable[..., Teacher], noisy: Wave, expansion: float
) -> None:
    with pytest.raises(OptionError, match="expansion is"):
        denoise_at(make_teacher(), noisy, RATE, expansion)


def test_outside_is_checked(make_teacher: Callable[..., Teacher], noisy: Wave) -> None:
    with pytest.raises(OptionError, match="choose mute or keep"):
        denoise_at(make_teacher(), noisy, RATE, outside="drop")  # type: ignore[arg-type]


def test_floor_limits_attenuation(noisy: Wave) -> None:
    nothing = np.zeros_like(noisy)
    limited = limit_attenuation(noisy, nothing, 12.0)
    assert 20 * np.log10(np.linalg.norm(noisy) / np.linalg.norm(limited)) == pytest.approx(12.0)
    assert np.array_equal(limit_attenuation(noisy, nothing, 0.0), noisy)
    assert limit_attenuation(noisy, noisy, 12.0) == pytest.approx(noisy, abs=1e-7)
    with pytest.raises(OptionError, match="floor is -1 dB"):
        limit_attenuation(noisy, nothing, -1.0)


def test_blend_mixes_by_share(noisy: Wave) -> None:
    half = blend(noisy, 0 * noisy, 0.25)
    assert half == pytest.approx(0.75 * noisy, abs=1e-7)
    assert half.dtype == np.float32
    with pytest.raises(OptionError, match="share is 2"):
        blend(noisy, noisy, 2.0)
    with pytest.raises(OptionError, match="cannot blend"):
        blend(noisy, noisy[1:], 0.5)
