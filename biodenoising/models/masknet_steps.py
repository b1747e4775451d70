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
            for block, (hidden, cell) in zip(blocks, pairs, strict=True):
                # A recurrence wants its layers first, of which there is one; a band is a row.
                x, memory = block(x, (hidden.flatten(0, 1)[None], cell.flatten(0, 1)[None]))
                kept.extend(each[0].unflatten(0, hidden.shape[:2]) for each in memory)
            return x

        clean = self.network.masked(noisy, between)
        return (clean, *kept)

    def _near(self, x: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the convolution of three frames makes of x, and the last two frames."""
        heard = torch.cat([before, x], dim=2)
        return x + self.network.near(heard), heard[:, :, -2:]
