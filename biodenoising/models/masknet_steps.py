"""A causal mask network step by step: what its frames hear of those before them is carried over.

Exists to be exported; ONNX Runtime computes it. Which states there are is said in models.steps.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from biodenoising.models.masknet import MaskNet


class MaskNetSteps(nn.Module):
    """One step of a causal mask network: any number of frames and states in, the same out.

    Shape: spectra as MaskNet.masked takes and gives them.
    """

    def __init__(self, network: MaskNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, noisy: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        """Return the masked spectra and the states for the next step, in the order they came."""
        kept: list[Tensor] = []

        def between(x: Tensor) -> Tensor:
            near, *memories = states
            x, near = self._near(x, near)
            kept.append(near)
            blocks: list[Any] = list(self.network.blocks)
            pairs = zip(memories[::2], memories[1::2], strict=True)
            for block, memory in zip(blocks, pairs, strict=True):
                x, memory = _dual_path(block, x, memory)
                kept.extend(memory)
            return x

        clean = self.network.masked(noisy, between)
        return (clean, *kept)

    def _near(self, x: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the convolution of three frames makes of x, and the last two frames."""
        heard = torch.cat([before, x], dim=2)
        return x + self.network.near(heard), heard[:, :, -2:]


def _dual_path(
    block: Any, x: Tensor, memory: tuple[Tensor, Tensor]
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Return what a DualPath makes of x and what its recurrence along time remembers.

    Shape: x (batch, width, frames, bands), memory twice (batch, bands, along).
    """
    batch, width, frames, bands = x.shape
    x = x.permute(0, 2, 3, 1).reshape(batch * frames, bands, width)
    x = block.across(x).view(batch, frames, bands, width).transpose(1, 2)
    rows = x.reshape(batch * bands, frames, width)
    # The recurrence wants its layers first, of which there is one, and every band is a row.
    given = (memory[0].flatten(0, 1)[None], memory[1].flatten(0, 1)[None])
    heard, (hidden, cell) = block.along.recurrence(rows, given)
    rows = rows + block.along.norm(block.along.project(heard))
    x = rows.view(batch, bands, frames, width).permute(0, 3, 2, 1)
    return x, (hidden[0].unflatten(0, (batch, bands)), cell[0].unflatten(0, (batch, bands)))
