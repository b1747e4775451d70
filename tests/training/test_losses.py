"""Each term of the loss has the value that can be worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from biodenoising import metrics
from biodenoising.training.losses import (
    compressed_spectra,
    loss_terms,
    magnitudes,
    negative_si_sdr,
    negative_snr,
    weighted_sum,
)
from biodenoising.training.settings import LossSettings

SHAPES = [(512, 50, 240), (1024, 120, 600), (2048, 240, 1200)]
NO_FLOOR = torch.zeros(2)


@pytest.fixture
def target() -> Tensor:
    return torch.randn(2, 8_000, generator=torch.Generator().manual_seed(1))


def orthogonal(target: Tensor) -> Tensor:
    """An error of the target's power that has nothing in common with it."""
    error = torch.randn(target.shape, generator=torch.Generator().manual_seed(2))
    error -= (error * target).sum(-1, keepdim=True) / target.square().sum(-1, keepdim=True) * target
    return error * (target.norm(dim=-1, keepdim=True) / error.norm(dim=-1, keepdim=True))


def test_snr_is_the_error_against_the_target(target: Tensor) -> None:
    loss = negative_snr(target + 0.1 * orthogonal(target), target, target, NO_FLOOR, 0.3)
    assert loss.item() == pytest.approx(-20, abs=1e-3)


def test_snr_saturates_at_the_noise_known_to_be_in_the_target(target: Tensor) -> None:
    floor = torch.tensor([0.01, 0.001])
    loss = negative_snr(target, target, target, floor, 0.3)
    assert loss.item() == pytest.approx((-20 - 30) / 2, abs=1e-3)
    loss = negative_snr(target + 0.1 * orthogonal(target), target, target, floor, 0.3)
    expected = 10 * (math.log10(0.02) + math.log10(0.011)) / 2
    assert loss.item() == pytest.approx(expected, abs=1e-3)


def test_silent_targets_count_what_is_left_of_the_input(target: Tensor) -> None:
    for term in (negative_snr, negative_si_sdr):
        loss = term(0.1 * target, torch.zeros_like(target), target, NO_FLOOR, 0.3)
        assert loss.item() == pytest.approx(0.3 * -20, abs=1e-3)


def test_si_sdr_is_the_metric_whatever_the_scale(target: Tensor) -> None:
    estimate = target + 0.3 * torch.randn(target.shape, generator=torch.Generator().manual_seed(3))
    expected = np.mean(
        [metrics.si_sdr(e, t) for e, t in zip(estimate.numpy(), target.numpy(), strict=True)]
    )
    for scale in (1.0, 0.2, -3.0):
        loss = negative_si_sdr(scale * estimate, target, target, NO_FLOOR, 0.3)
        assert -loss.item() == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("gain", [0.5, 2.0])
def test_compressed_spectra_of_a_wrong_gain(target: Tensor, gain: float) -> None:
    """With magnitudes M, both parts are (1 - gain^p)^2 times the mean of M^2p."""
    size, power = 512, 0.3
    bins = torch.stft(
        target, size, size // 4, window=torch.hann_window(size), normalized=True,
        return_complex=True,
    )  # fmt: skip
    expected = 1.5 * (1 - gain**power) ** 2 * bins.abs().pow(2 * power).mean()
    loss = compressed_spectra(gain * target, target, [size], power)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-3)
    assert compressed_spectra(target, target, [512, 2048], power).item() < 1e-12


@pytest.mark.parametrize("gain", [0.5, 2.0])
def test_magnitude_terms_of_a_wrong_gain(target: Tensor, gain: float) -> None:
    convergence, log_magnitude = magnitudes(gain * target, target, SHAPES, 0.0)
    assert convergence.item() == pytest.approx(abs(1 - gain), rel=1e-4)
    assert log_magnitude.item() == pytest.approx(abs(math.log(gain)), rel=1e-3)


def test_the_high_band_is_of_bins_and_not_of_frames() -> None:
    time = torch.arange(16_000)
    high = torch.sin(2 * math.pi * 0.4 * time)[None]
    low = torch.sin(2 * math.pi * 0.03 * time)[None]
    error_low, _ = magnitudes(high + low, high, SHAPES, 0.5)
    error_high, _ = magnitudes(0.5 * high, high, SHAPES, 0.5)
    assert error_low.item() < 0.02
    assert error_high.item() == pytest.approx(0.5, rel=1e-3)


def test_the_sum_is_of_the_terms_that_have_weights(target: Tensor) -> None:
    estimate = target + 0.1 * orthogonal(target)
    settings = LossSettings(l1=2.0, snr=0.1, spectra=0.0)
    terms = loss_terms(estimate, target, target, NO_FLOOR, settings)
    assert list(terms) == ["l1", "snr"]
    expected = 2 * (estimate - target).abs().mean().item() + 0.1 * -20
    assert weighted_sum(terms, settings).item() == pytest.approx(expected, abs=1e-3)
    everything = LossSettings(1, 1, 1, 1, 1, 1)
    assert len(loss_terms(estimate, target, target, NO_FLOOR, everything)) == 6


def test_every_term_has_a_finite_gradient_even_where_nothing_is_heard() -> None:
    everything = LossSettings(1, 1, 1, 1, 1, 1)
    estimate = torch.zeros(2, 4_000, requires_grad=True)
    noisy = torch.randn(2, 4_000, generator=torch.Generator().manual_seed(1))
    target = torch.stack([torch.zeros(4_000), noisy[1]])
    terms = loss_terms(estimate, target, noisy, torch.full((2,), 1e-3), everything)
    weighted_sum(terms, everything).backward()
    assert estimate.grad is not None
    assert torch.isfinite(estimate.grad).all()
