"""Bootstrapped remixing: new mixtures from recordings of which no clean call is known.

Source: Tzinis, Adi, Ithapu, Xu, Smaragdis and Kumar, "RemixIT" (IEEE JSTSP 2022); the teacher is
the moving average of the student's own weights.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

SMALLEST_RMS = 1e-6


@torch.no_grad()
def remix(teacher: nn.Module, segments: Tensor) -> tuple[Tensor, Tensor]:
    """Part segments into call and noise and give each call the noise of the next one.

    Shape: segments (batch, samples), at least two; returns noisy and target of that shape, at the
    level where the noisy one has rms 1. A segment's own noise never comes back to it.
    """
    calls = teacher(segments[:, None])[:, 0].float()
    noises = (segments - calls).roll(1, 0)
    noisy = calls + noises
    level = noisy.square().mean(-1, keepdim=True).sqrt().clamp_min(SMALLEST_RMS)
    return noisy / level, calls / level
