"""The optimizer Muon: which weights it turns, how far, and that a run goes on where it was."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from biodenoising.training.muon import SCALE, Muon, orthogonal

RATE = 1e-2


def network() -> nn.ModuleDict:
    torch.manual_seed(0)
    return nn.ModuleDict(
        {
            "conv": nn.Conv1d(32, 24, 8),
            "narrow": nn.Conv1d(1, 32, 8),
            "lstm": nn.LSTM(16, 16),
            "norm": nn.LayerNorm(32),
        }
    )


def give_gradients(net: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for weight in net.parameters():
        weight.grad = torch.randn(weight.shape, generator=generator)


@settings(deadline=None)
@given(st.integers(16, 64), st.integers(16, 64), st.integers(0, 9), st.floats(1e-4, 1e4))
def test_singular_values_come_near_one(rows, columns, seed, gain) -> None:
    matrix = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed)) * gain
    values = torch.linalg.svdvals(orthogonal(matrix))
    assert values.max() < 1.35
    assert values.median() > 0.6
    # The singular vectors are the matrix's: what is turned is aligned with it.
    assert float((orthogonal(matrix) * matrix).sum()) > 0


def test_matrices_take_steps_of_the_rate_and_the_rest_those_of_adamw() -> None:
    ours, theirs = network(), network()
    give_gradients(ours, 1)
    give_gradients(theirs, 1)
    before = copy.deepcopy(ours)
    Muon(ours.parameters(), lr=RATE, weight_decay=0).step()
    torch.optim.AdamW(theirs.parameters(), lr=RATE, weight_decay=0).step()
    turned = {"conv.weight", "lstm.weight_ih_l0", "lstm.weight_hh_l0"}
    for name, weight in ours.named_parameters():
        if name in turned:
            step = (weight - before.get_parameter(name)).detach()
            assert step.square().mean().sqrt() / (RATE * SCALE) == pytest.approx(1, abs=0.3)
        else:
            torch.testing.assert_close(weight, theirs.get_parameter(name))


def test_the_gates_of_an_lstm_are_turned_one_by_one() -> None:
    net = network()
    before = net.lstm.weight_hh_l0.detach().clone()
    give_gradients(net, 2)
    net.lstm.weight_hh_l0.grad[:16] *= 1e3  # would leave the others nothing of a common matrix
    Muon(net.parameters(), lr=RATE, weight_decay=0).step()
    sizes = (net.lstm.weight_hh_l0 - before).detach().chunk(4)
    levels = torch.stack([gate.square().mean().sqrt() for gate in sizes])
    assert float(levels.max() / levels.min()) < 1.3


def test_weights_decay_and_those_without_gradients_stay() -> None:
    net = network()
    before = copy.deepcopy(net)
    for weight in net.parameters():
        weight.grad = torch.zeros_like(weight)
    net.norm.weight.grad = None
    Muon(net.parameters(), lr=0.1, weight_decay=0.5).step()
    torch.testing.assert_close(net.conv.weight, 0.95 * before.conv.weight)
    torch.testing.assert_close(net.norm.weight, before.norm.weight)


def test_it_goes_on_from_its_state() -> None:
    whole, parted = network(), network()
    one, other = (Muon(net.parameters(), lr=RATE) for net in (whole, parted))
    for seed in range(4):
        give_gradients(whole, seed)
        give_gradients(parted, seed)
        one.step()
        other.step()
        again = Muon(parted.parameters(), lr=RATE)
        again.load_state_dict(other.state_dict())
        other = again
    for name, weight in whole.named_parameters():
        assert torch.equal(weight, parted.get_parameter(name)), name
