"""The measures against closed forms, other implementations and silence."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from biodenoising import metrics
from biodenoising.errors import AudioValueError

AGREEMENT_DB = 1e-6


def _orthogonal(rng: np.random.Generator, n: int = 8000) -> tuple[np.ndarray, np.ndarray]:
    reference, noise = rng.standard_normal((2, n))
    noise -= (noise @ reference) / (reference @ reference) * reference
    return reference, noise * np.sqrt((reference @ reference) / (noise @ noise))


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.mark.parametrize("level_db", [-10.0, 0.0, 3.7, 40.0])
def test_orthogonal_noise_gives_exactly_its_snr(rng: np.random.Generator, level_db: float) -> None:
    reference, noise = _orthogonal(rng)
    estimate = reference + noise * 10 ** (-level_db / 20)
    assert metrics.si_sdr(estimate, reference) == pytest.approx(level_db, abs=1e-9)
    assert metrics.snr(estimate, reference) == pytest.approx(level_db, abs=1e-9)


@pytest.mark.parametrize("scale", [1e-6, -0.3, 250.0])
def test_si_sdr_and_sdr_ignore_scale(rng: np.random.Generator, scale: float) -> None:
    reference, noise = _orthogonal(rng)
    estimate = reference + 0.2 * noise
    for measure in (metrics.si_sdr, metrics.sdr):
        assert measure(scale * estimate, reference) == pytest.approx(
            measure(estimate, reference), abs=1e-7
        )
        assert measure(estimate, scale * reference) == pytest.approx(
            measure(estimate, reference), abs=1e-7
        )


def test_zero_mean_forgives_an_offset(rng: np.random.Generator) -> None:
    reference = rng.standard_normal(4000)
    assert metrics.si_sdr(reference + 5, reference) < 0
    assert metrics.si_sdr(reference + 5, reference, zero_mean=True) > 200


@pytest.mark.parametrize("zero_mean", [False, True])
@pytest.mark.parametrize(
    ("ours", "name"),
    [
        (metrics.si_sdr, "scale_invariant_signal_distortion_ratio"),
        (metrics.snr, "signal_noise_ratio"),
        (metrics.sdr, "signal_distortion_ratio"),
    ],
)
def test_agrees_with_torchmetrics(
    rng: np.random.Generator, ours: Callable[..., float], name: str, zero_mean: bool
) -> None:
    torch = pytest.importorskip("torch")
    theirs = pytest.importorskip("torchmetrics.functional.audio")
    reference = rng.standard_normal(16000)
    estimate = reference + 0.3 * rng.standard_normal(16000) + 0.05
    tensors = torch.from_numpy(estimate), torch.from_numpy(reference)
    expected = float(getattr(theirs, name)(*tensors, zero_mean=zero_mean))
    assert ours(estimate, reference, zero_mean=zero_mean) == pytest.approx(
        expected, abs=AGREEMENT_DB
    )


def test_agrees_with_fast_bss_eval(rng: np.random.Generator) -> None:
    theirs = pytest.importorskip("fast_bss_eval")
    reference = rng.standard_normal(12000)
    estimate = np.convolve(reference, [1, -0.4, 0.2])[:12000] + 0.3 * rng.standard_normal(12000)
    assert metrics.si_sdr(estimate, reference) == pytest.approx(
        float(theirs.si_sdr(reference[None], estimate[None])[0]), abs=AGREEMENT_DB
    )
    assert metrics.sdr(estimate, reference) == pytest.approx(
        float(theirs.sdr(reference[None], estimate[None])[0]), abs=AGREEMENT_DB
    )


def test_sdr_forgives_a_filter_and_si_sdr_does_not(rng: np.random.Generator) -> None:
    reference = rng.standard_normal(12000)
    delayed = np.concatenate([np.zeros(20), reference[:-20]])
    assert metrics.sdr(delayed, reference) > 20
    assert metrics.si_sdr(delayed, reference) < -10


def test_silence_is_defined(rng: np.random.Generator) -> None:
    sound, silence = rng.standard_normal(2000), np.zeros(2000)
    for measure in (metrics.si_sdr, metrics.snr, metrics.sdr, metrics.log_spectral_distance):
        assert math.isnan(measure(sound, silence))
    assert math.isnan(metrics.call_retention(sound, silence))
    assert metrics.si_sdr(silence, sound) == -math.inf
    assert metrics.sdr(silence, sound) == -math.inf
    assert metrics.call_retention(silence, sound) == -math.inf
    assert metrics.snr(silence, sound) == pytest.approx(0, abs=1e-12)
    assert metrics.si_sdr(sound, sound) == math.inf
    assert metrics.log_spectral_distance(sound, sound) == 0


def test_log_spectral_distance_of_a_gain_is_the_gain(rng: np.random.Generator) -> None:
    reference = rng.standard_normal(8000)
    assert metrics.log_spectral_distance(reference * 0.1, reference, floor_db=-300) == (
        pytest.approx(20.0, abs=1e-9)
    )


def test_retention_and_reduction_see_different_halves(rng: np.random.Generator) -> None:
    reference = np.concatenate([rng.standard_normal(5120), np.zeros(5120)])
    noisy = reference + 0.1 * rng.standard_normal(10240)
    estimate = np.concatenate([0.5 * reference[:5120], 0.01 * noisy[5120:]])
    assert metrics.call_retention(estimate, reference) == pytest.approx(-6.0206, abs=1e-3)
    assert metrics.noise_reduction(estimate, noisy, reference) == pytest.approx(40.0, abs=1e-6)
    assert metrics.call_retention(-reference, reference) == -math.inf
    assert math.isnan(metrics.noise_reduction(noisy[:512], noisy[:512], noisy[:512]))


@pytest.mark.parametrize(
    ("estimate", "reference", "words"),
    [
        (np.ones(10), np.ones(11), "10 samples"),
        (np.ones((2, 10)), np.ones(10), "shape"),
        (np.array([1.0, np.nan]), np.ones(2), "not finite"),
        (np.ones(0), np.ones(0), "shape"),
    ],
)
def test_bad_input_is_refused(estimate: np.ndarray, reference: np.ndarray, words: str) -> None:
    with pytest.raises(AudioValueError, match=words):
        metrics.si_sdr(estimate, reference)


def test_bootstrap_medians_equal_the_plain_ones(rng: np.random.Generator) -> None:
    values = rng.standard_normal(31)
    labels = [str(i // 3) for i in range(31)]
    fast = metrics.bootstrap_interval(values, groups=labels, draws=200)
    slow = metrics.bootstrap_interval(
        values, groups=labels, draws=200, statistic=lambda x: float(np.median(x))
    )
    assert fast == slow


def test_bootstrap_interval_covers_the_truth_at_its_rate() -> None:
    hits = 0
    for trial in range(200):
        values = np.random.default_rng(trial).normal(3.0, 1.0, 60)
        interval = metrics.bootstrap_interval(values, draws=300, seed=trial)
        hits += interval.low <= 3.0 <= interval.high
    assert 0.88 <= hits / 200 <= 0.99


def test_groups_widen_the_interval(rng: np.random.Generator) -> None:
    values = np.repeat(rng.standard_normal(12), 10)
    labels = [str(i // 10) for i in range(120)]
    grouped = metrics.bootstrap_interval(values, groups=labels)
    free = metrics.bootstrap_interval(values)
    assert grouped.high - grouped.low > 1.5 * (free.high - free.low)
    assert math.isnan(metrics.bootstrap_interval([]).value)
