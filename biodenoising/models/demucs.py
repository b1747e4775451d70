"""Demucs for waveforms: a strided encoder-decoder around an LSTM.

Written from Defossez, Synnaeve and Adi, "Real Time Speech Enhancement in the Waveform Domain"
(Interspeech 2020, section 2). A state dict in the layout of the public dns48 weights loads.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from biodenoising.models.layers import LEVEL_FLOOR, rescale_weights, strided_layers
from biodenoising.models.lengths import valid_length

SINC_ZEROS = 56


@dataclass(frozen=True)
class DemucsSettings:
    """Size and shape of a Demucs; the defaults are the paper's H=48 model."""

    hidden: int = 48
    depth: int = 5
    kernel: int = 8
    stride: int = 4
    growth: int = 2
    upsample: int = 4
    causal: bool = True
    rescale: float = 0.1


class Demucs(nn.Module):
    """Denoise mono waveforms.

    Shape: input (batch, 1, samples), output the same; any number of samples >= 1.
    """

    def __init__(self, settings: DemucsSettings = DemucsSettings()) -> None:
        super().__init__()
        if settings.upsample not in (1, 2, 4, 8):
            raise ValueError(f"upsample must be 1, 2, 4 or 8, not {settings.upsample}")
        self.settings = settings
        widths = [settings.hidden * settings.growth**level for level in range(settings.depth)]
        self.encoder, self.decoder = strided_layers(widths, settings.kernel, settings.stride)
        self.lstm = Recurrence(widths[-1], bidirectional=not settings.causal)
        self.half_sample: Tensor
        self.register_buffer("half_sample", half_sample_kernel(), persistent=False)
        rescale_weights(self, settings.rescale)

    def valid_length(self, length: int) -> int:
        """Return the length in samples to which input of `length` samples is padded."""
        s = self.settings
        return valid_length(
            length, depth=s.depth, kernel=s.kernel, stride=s.stride, upsample=s.upsample
        )

    def forward(self, noisy: Tensor) -> Tensor:
        """Return the denoised waveforms, at the level of the noisy ones."""
        length = noisy.shape[-1]
        level = noisy.std(dim=-1, keepdim=True, correction=min(1, length - 1))
        padded = F.pad(noisy / (LEVEL_FLOOR + level), (0, self.valid_length(length) - length))
        return self.core(padded)[..., :length] * level

    def core(self, noisy: Tensor) -> Tensor:
        """Denoise waveforms of unit level and valid length, (batch, 1, samples) in and out."""
        x = noisy
        for _ in range(self._doublings()):
            x = upsample_by_two(x, self.half_sample)
        skips = []
        for encode in self.encoder:
            x = encode(x)
            skips.append(x)
        x = self.lstm(x)
        for decode, skip in zip(self.decoder, reversed(skips), strict=True):
            x = decode(x + skip)
        for _ in range(self._doublings()):
            x = downsample_by_two(x, self.half_sample)
        return x

    def _doublings(self) -> int:
        return int(math.log2(self.settings.upsample))


class Recurrence(nn.Module):
    """Two LSTM layers over time; a bidirectional one is folded back to its input's width.

    Shape: (batch, channels, frames) in and out.
    """

    def __init__(self, channels: int, *, bidirectional: bool) -> None:
        super().__init__()
        self.lstm = nn.LSTM(channels, channels, num_layers=2, bidirectional=bidirectional)
        self.linear = nn.Linear(2 * channels, channels) if bidirectional else None

    def forward(self, x: Tensor) -> Tensor:
        """Return the frames."""
        x, _ = self.lstm(x.permute(2, 0, 1))
        if self.linear is not None:
            x = self.linear(x)
        return x.permute(1, 2, 0)


def half_sample_kernel(zeros: int = SINC_ZEROS) -> Tensor:
    """Return the windowed sinc that interpolates half-way between samples, (1, 1, 2*zeros)."""
    window = torch.hann_window(4 * zeros + 1, periodic=False)[1::2]
    offsets = math.pi * torch.linspace(-zeros + 0.5, zeros - 0.5, 2 * zeros)
    return (torch.sin(offsets) / offsets * window).view(1, 1, -1)


def upsample_by_two(x: Tensor, kernel: Tensor) -> Tensor:
    """Double the sampling rate. Shape: (batch, 1, samples) to (batch, 1, 2*samples)."""
    between = F.conv1d(x, kernel, padding=SINC_ZEROS)[..., 1:]
    return torch.stack([x, between], dim=-1).flatten(-2)


def downsample_by_two(x: Tensor, kernel: Tensor) -> Tensor:
    """Halve the sampling rate. Shape: (batch, 1, samples) to (batch, 1, ceil(samples/2))."""
    pairs = F.pad(x, (0, x.shape[-1] % 2)).unflatten(-1, (-1, 2))
    even, odd = pairs[..., 0], pairs[..., 1]
    return (even + F.conv1d(odd, kernel, padding=SINC_ZEROS)[..., :-1]) * 0.5
