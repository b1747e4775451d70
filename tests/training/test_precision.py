"""The faster precision is the one that took less time, and finding out changes nothing."""

from __future__ import annotations

import itertools

import pytest
import torch

from biodenoising.training import precision
from biodenoising.training.precision import fast_precision, fast_products

FASTER = pytest.mark.parametrize(("float32_s", "bfloat16_s"), [(1.0, 60.0), (1.0, 0.5)])


def take(monkeypatch: pytest.MonkeyPatch, float32_s: float, bfloat16_s: float) -> None:
    """Have either precision's two tries take so many seconds."""
    took = [float32_s, float32_s, bfloat16_s, bfloat16_s]
    clock = itertools.accumulate(itertools.chain.from_iterable((0.0, each) for each in took))
    monkeypatch.setattr(precision.time, "process_time", lambda: next(clock))


@FASTER
def test_the_faster_one_is_taken(
    float32_s: float, bfloat16_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    take(monkeypatch, float32_s, bfloat16_s)
    network = torch.nn.Sequential(torch.nn.Conv1d(1, 2, 3), torch.nn.BatchNorm1d(2))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    faster = fast_precision(network, samples=64, device="cpu")
    assert faster == ("32-true" if float32_s < bfloat16_s else "bf16-mixed")
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


def test_graphics_cards_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    network = torch.nn.Identity()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert fast_precision(network, samples=1) == "bf16-mixed"
    assert fast_precision(network, samples=1, device="cuda") == "bf16-mixed"
    assert fast_precision(network, samples=1, device="mps") == "32-true"


@FASTER
def test_products_are_of_the_faster_type(
    float32_s: float, bfloat16_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    take(monkeypatch, float32_s, bfloat16_s)
    fast_products.cache_clear()
    faster = fast_products("cpu")
    fast_products.cache_clear()
    assert faster == (torch.float32 if float32_s < bfloat16_s else torch.bfloat16)
    assert fast_products("cuda") == torch.bfloat16
    assert fast_products("mps") == torch.float32
