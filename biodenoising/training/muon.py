"""Muon: steps whose singular values are all alike, for weights that are matrices.

Source: Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks"; steps are
scaled to those of AdamW at the same rate as in Liu et al. 2025, "Muon is scalable for LLM
training", section 2.2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from biodenoising.training.precision import fast_products

MOMENTUM = 0.95
STEPS = 5
# Of the polynomial whose repeated use brings singular values near 1.
LINEAR, CUBIC, QUINTIC = 3.4445, -4.7750, 2.0315
SCALE = 0.2  # the usual root mean square of AdamW's steps, as a share of the rate
LEAST_SIDE = 16  # of a matrix; narrower ones are AdamW's
GATES = 4  # of an LSTM, whose weights stand in one matrix


class Muon(torch.optim.AdamW):
    """Muon for matrices (a convolution's kernel counts as one), AdamW for all else."""

    def __init__(self, parameters: Iterable[nn.Parameter], **options: Any) -> None:
        listed = list(parameters)
        groups = [
            {"params": [p for p in listed if _is_matrix(p) == matrices], "matrices": matrices}
            for matrices in (True, False)
        ]
        super().__init__([group for group in groups if group["params"]], **options)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Take a step from the gradients; a closure is not asked."""
        every = self.param_groups
        for group in every:
            if group["matrices"]:
                for weight in group["params"]:
                    if weight.grad is not None:
                        self._turn(weight, weight.grad, group)
        self.param_groups = [group for group in every if not group["matrices"]]
        super().step()
        self.param_groups = every
        return None

    def _turn(self, weight: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[weight]
        if not state:
            # AdamW counts, and will not load a state that does not.
            state.update(step=torch.zeros(()), momentum=torch.zeros_like(weight))
        state["step"] += 1
        momentum: Tensor = state["momentum"]
        momentum.lerp_(gradient, 1 - MOMENTUM)
        ahead = gradient.lerp(momentum, MOMENTUM).flatten(1)
        parts = ahead.chunk(GATES) if _is_gated(weight) else (ahead,)
        turned = torch.cat([orthogonal(part) * SCALE * max(part.shape) ** 0.5 for part in parts])
        weight.mul_(1 - group["lr"] * group["weight_decay"])
        weight.sub_(group["lr"] * turned.view_as(weight))


def orthogonal(matrix: Tensor) -> Tensor:
    """Return a matrix of the same singular vectors, and singular values between 0.7 and 1.2."""
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    x = wide.to(fast_products(matrix.device.type))
    x = x / (x.norm() + 1e-7)
    for _ in range(STEPS):
        square = x @ x.T
        x = LINEAR * x + (CUBIC * square + QUINTIC * square @ square) @ x
    x = x if wide is matrix else x.T
    return x.to(matrix.dtype)


def _is_matrix(weight: Tensor) -> bool:
    return weight.ndim > 1 and min(weight.shape[0], weight[0].numel()) >= LEAST_SIDE


def _is_gated(weight: Tensor) -> bool:
    """Whether it may be an LSTM's: four square matrices in one."""
    return weight.ndim == 2 and weight.shape[0] == GATES * weight.shape[1]
