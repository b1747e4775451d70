"""Demucs step by step: the layers of models.demucs, with the ends of their inputs carried over.

Exists to be exported; ONNX Runtime computes it. Which states there are is said in models.steps.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from biodenoising.models.demucs import Demucs
from biodenoising.models.steps import SINC_ZEROS


class DemucsSteps(nn.Module):
    """One step of a causal Demucs: samples and states in, samples and states out.

    Shape: samples (batch, 1, samples) as models.steps.Steps counts them, in and out.
    """

    def __init__(self, network: Demucs) -> None:
        super().__init__()
        self.network = network

    def forward(self, noisy: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        """Return the denoised samples and the states for the next step, in the order they came."""
        network, carried = self.network, iter(states)
        overlap = network.settings.kernel - network.settings.stride
        doublings = network.settings.upsample.bit_length() - 1
        kept: list[Tensor] = []
        x = noisy
        for _ in range(doublings):
            x = torch.cat([next(carried), x], dim=-1)
            kept.append(x[..., 1 - 2 * SINC_ZEROS :])
            between = F.conv1d(x, network.half_sample)
            there = x[..., SINC_ZEROS - 1 : -SINC_ZEROS]
            x = torch.stack([there, between], dim=-1).flatten(-2)
        skips = []
        for encode in network.encoder:
            x = torch.cat([next(carried), x], dim=-1)
            kept.append(x[..., -overlap:])
            x = encode(x)
            skips.append(x)
        x, (hidden, cell) = network.lstm.lstm(x.permute(2, 0, 1), (next(carried), next(carried)))
        kept += [hidden, cell]
        x = x.permute(1, 2, 0)
        decoder: list[Any] = list(network.decoder)
        for decode, skip in zip(decoder, reversed(skips), strict=True):
            waiting = torch.cat([next(carried), skip], dim=-1)
            kept.append(waiting[..., x.shape[-1] :])
            x = decode[1](decode[0](x + waiting[..., : x.shape[-1]]))
            spread = decode[2]
            x = F.conv_transpose1d(x, spread.weight, None, spread.stride)
            x = torch.cat([x[..., :overlap] + next(carried), x[..., overlap:]], dim=-1)
            kept.append(x[..., -overlap:])
            x = x[..., :-overlap] + spread.bias[:, None]
            if len(decode) > 3:
                x = decode[3](x)
        # One tap of zero makes the kernel symmetric about a sample, and all lengths even.
        kernel = F.pad(network.half_sample, (0, 1))
        for _ in range(doublings):
            x = torch.cat([next(carried), x], dim=-1)
            kept.append(x[..., -4 * SINC_ZEROS :])
            pairs = x.unflatten(-1, (-1, 2))  # type: ignore[no-untyped-call]
            even = pairs[..., SINC_ZEROS:-SINC_ZEROS, 0]
            x = (even + F.conv1d(pairs[..., 1], kernel)) * 0.5
        return (x, *kept)
