"""Synthesized calls and noises: finite, repeatable, at the right level and in the right band."""

from __future__ import annotations

import numpy as np
import pytest

from biodenoising.corpus.synthesis import CALLS, NOISES, synthesize_call, synthesize_noise


def centroid_hz(audio: np.ndarray, rate: float) -> float:
    power = np.abs(np.fft.rfft(audio)) ** 2
    return float((np.fft.rfftfreq(len(audio), 1 / rate) * power).sum() / power.sum())


@pytest.mark.parametrize("kind", CALLS)
def test_calls_have_unit_peak_and_silent_ends(kind: str) -> None:
    for seed in range(5):
        rate = CALLS[kind].sample_rate
        call = synthesize_call(kind, rate, np.random.default_rng(seed))
        again = synthesize_call(kind, rate, np.random.default_rng(seed))
        assert np.array_equal(call, again)
        assert np.abs(call).max() == pytest.approx(1.0)
        assert call[0] == 0
        assert call[-1] == 0
        assert 0.01 < len(call) / rate < 10


@pytest.mark.parametrize(
    ("kind", "low_hz", "high_hz"),
    [("whale moan", 30, 2_000), ("whistle", 1_000, 7_500), ("bat sweep", 18_000, 125_000)],
)
def test_calls_lie_in_their_band_at_any_rate(kind: str, low_hz: float, high_hz: float) -> None:
    for factor in (1, 2):
        rate = CALLS[kind].sample_rate * factor
        call = synthesize_call(kind, rate, np.random.default_rng(3))
        assert low_hz < centroid_hz(call, rate) < high_hz


def octaves_wide(audio: np.ndarray) -> float:
    power = np.cumsum(np.abs(np.fft.rfft(audio)) ** 2)
    low, high = np.searchsorted(power / power[-1], (0.05, 0.95))
    return float(np.log2(high / low))


def test_clicks_are_short_and_wide_and_bursts_of_them_go_on() -> None:
    made = {
        kind: [synthesize_call(kind, 48_000, np.random.default_rng(seed)) for seed in range(40)]
        for kind in ("echolocation", "burst pulses")
    }
    sounding = {
        kind: np.median([np.mean(np.abs(call) > 0.03) for call in calls])
        for kind, calls in made.items()
    }
    assert sounding["echolocation"] < 0.05 < 0.15 < sounding["burst pulses"]
    assert np.median([octaves_wide(call) for call in made["echolocation"]]) > 1


def test_a_rate_too_low_for_the_call_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 250000 Hz"):
        synthesize_call("bat sweep", 48_000, np.random.default_rng(0))


@pytest.mark.parametrize("kind", NOISES)
@pytest.mark.parametrize("rate", [8_000, 48_000, 250_000])
def test_noises_have_the_level_they_promise(kind: str, rate: int) -> None:
    noise = synthesize_noise(kind, rate, 0.7, np.random.default_rng(0))
    assert len(noise) == int(rate * 0.7)
    assert np.sqrt(np.mean(np.square(noise, dtype=np.float64))) == pytest.approx(0.1, rel=1e-3)


def test_colours_fall_as_they_should() -> None:
    spectra = {}
    for kind in ("white", "pink", "brown"):
        noise = synthesize_noise(kind, 16_000, 20, np.random.default_rng(0))
        power = np.abs(np.fft.rfft(noise)) ** 2
        octaves = [power[f * 20 : 2 * f * 20].mean() for f in (250, 500, 1_000, 2_000)]
        spectra[kind] = np.diff(10 * np.log10(octaves)).mean()
    assert spectra["white"] == pytest.approx(0, abs=0.3)
    assert spectra["pink"] == pytest.approx(-3, abs=0.3)
    assert spectra["brown"] == pytest.approx(-6, abs=0.3)
