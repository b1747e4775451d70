"""In which precision this machine takes a step faster, found out by taking a few of either.

Processors without products of bfloat16 compute them sixty times slower than those of float32.
"""

from __future__ import annotations

import time
from functools import cache
from typing import Literal

import torch
from torch import nn

Precision = Literal["32-true", "bf16-mixed"]
ROWS = 2
SIDE = 256


def fast_precision(network: nn.Module, samples: int, device: str | None = None) -> Precision:
    """Return the faster one for waveforms of `samples` samples: graphics cards take bfloat16.

    Without a `device`, for a graphics card where there is one. The network is left without
    gradients, and its running statistics as they were.
    """
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if device != "cpu":
        return "bf16-mixed" if device == "cuda" else "32-true"
    before = {name: buffer.clone() for name, buffer in network.named_buffers()}
    noisy = torch.randn(ROWS, 1, samples)
    seconds: dict[Precision, float] = {}
    offered: tuple[Precision, ...] = ("32-true", "bf16-mixed")
    for precision in offered:
        for _ in range(2):  # the first one of a kind prepares kernels and counts for nothing
            begun = time.process_time()  # what else the machine does is not counted
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16-mixed"):
                loss = network(noisy).float().square().mean()
            loss.backward()
            seconds[precision] = time.process_time() - begun
    network.zero_grad(set_to_none=True)
    for name, buffer in network.named_buffers():
        buffer.copy_(before[name])
    return min(seconds, key=lambda name: seconds[name])


@cache
def fast_products(device: str) -> torch.dtype:
    """Return the type whose matrices a device multiplies faster, found out once a process."""
    if device != "cpu":
        return torch.bfloat16 if device == "cuda" else torch.float32
    seconds: dict[torch.dtype, float] = {}
    for dtype in (torch.float32, torch.bfloat16):
        matrix = torch.ones(SIDE, SIDE, dtype=dtype)
        for _ in range(2):
            begun = time.process_time()
            for _ in range(8):
                matrix @ matrix
            seconds[dtype] = time.process_time() - begun
    return min(seconds, key=lambda dtype: seconds[dtype])
