"""What a network does to fixed mixtures: SI-SDR improvement, in one line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from biodenoising.corpus.mixtures import Mixture
from biodenoising.metrics import si_sdr

AT_ONCE = 4


@dataclass(frozen=True)
class Check:
    """The median SI-SDR improvement in dB and the share of mixtures made worse."""

    name: str
    step: int
    median_db: float
    worse: float


@torch.no_grad()
def improvement(
    network: Callable[[Tensor], Tensor], mixtures: Sequence[Mixture], device: torch.device
) -> tuple[float, float]:
    """Return the median SI-SDR improvement in dB and the share of mixtures made worse."""
    gains = []
    for first in range(0, len(mixtures), AT_ONCE):
        some = mixtures[first : first + AT_ONCE]
        noisy = torch.from_numpy(np.stack([mixture.noisy for mixture in some]))[:, None]
        estimates = network(noisy.to(device))[:, 0].float().cpu().numpy()
        gains += [
            si_sdr(estimate, mixture.target) - si_sdr(mixture.noisy, mixture.target)
            for estimate, mixture in zip(estimates, some, strict=True)
        ]
    return float(np.median(gains)), float(np.mean(np.array(gains) < 0))
