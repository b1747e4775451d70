"""What a network makes of a mixture at its own rate and at fractions of it, all of it averaged.

That is what a card's `decimations` have the denoiser do (inference.two_rates). A network trained
that way learns for the mean: what one hearing lacks another may bring.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Hear = Callable[[Tensor], Tensor]


def hear(network: Hear, noisy: Tensor, decimations: Sequence[int]) -> Tensor:
    """Return the mean of what `network` hears in each band, at 1 and 1 / each of `decimations`.

    Shape: (batch, 1, samples) in and out. Rates are divided by cutting the spectrum.
    """
    if not decimations:
        return network(noisy)
    samples = noisy.shape[-1]
    padded = F.pad(noisy.float(), (0, -samples % (2 * math.lcm(*decimations))))
    length = padded.shape[-1]
    spectrum = torch.fft.rfft(padded)
    total = torch.fft.rfft(network(padded).float())
    opinions = torch.ones(total.shape[-1], device=total.device)
    for decimation in decimations:
        # The highest bin of a lower rate has no phase of its own and is left to the others.
        bins = length // (2 * decimation)
        slow = torch.fft.irfft(spectrum[..., : bins + 1], n=length // decimation) / decimation
        heard = torch.fft.rfft(network(slow).float())[..., :bins] * decimation
        total = total + F.pad(heard, (0, total.shape[-1] - bins))
        opinions[:bins] += 1
    return torch.fft.irfft(total / opinions, n=length)[..., :samples]


def keep_statistics(network: nn.Module) -> None:
    """Have norms use what they know: each hearing by itself is not what they are to follow."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.eval()
