"""What is to be remembered is what the network did, and costs nothing while it still does it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from biodenoising.corpus.mixtures import Mixer, Mixture, MixtureSettings
from biodenoising.models.masknet import MaskNet, MaskNetSettings
from biodenoising.training.losses import loss_terms, weighted_sum
from biodenoising.training.remembering import Alternating, Remembered
from biodenoising.training.settings import LossSettings

SETTINGS = MixtureSettings(samples=8_192, synthesized_calls=1.0, synthesized_noise=1.0)


@pytest.fixture
def network() -> MaskNet:
    torch.manual_seed(0)
    return MaskNet(MaskNetSettings(channels=(4, 4, 4, 4, 4), across=4, along=4, blocks=1)).eval()


def gradient(network: MaskNet, mixture: Mixture) -> float:
    """Return the size of the loss's gradient, all weights together."""
    network.zero_grad()
    noisy, target = (torch.from_numpy(part)[None] for part in mixture[:2])
    floor = torch.tensor([mixture.noise_floor])
    estimate = network(noisy[:, None])[:, 0]
    settings = LossSettings()
    weighted_sum(loss_terms(estimate, target, noisy, floor, settings), settings).backward()
    parts = [weight.grad.norm() for weight in network.parameters() if weight.grad is not None]
    return float(torch.stack(parts).norm())


def test_nothing_pulls_at_a_network_that_does_what_it_did(network: MaskNet) -> None:
    mixer = Mixer([], [], SETTINGS, 3)
    remembered = Remembered(mixer, network)
    for number in range(4):
        kept = remembered(number)
        np.testing.assert_array_equal(kept.noisy, mixer(number).noisy)
        assert not np.array_equal(kept.target, mixer(number).target)
        assert gradient(network, kept) < 0.01 * gradient(network, mixer(number))


def test_one_of_three_is_remembered_whatever_the_batch() -> None:
    def made(value: float) -> Mixture:
        return Mixture(np.full(2, value, np.float32), np.zeros(2, np.float32), np.float32(0))

    mixer = Alternating(lambda index: made(index), lambda index: made(-index - 1))
    heard = [float(mixer(number).noisy[0]) for number in range(6)]
    assert heard == [-1, 1, 2, -4, 4, 5]
