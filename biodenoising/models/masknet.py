"""A mask network that hears at two resolutions: the compact student.

A short and a long short-time Fourier transform (STFT) stand on one grid of frames; the long one's
bins are folded onto the short one's. An encoder-decoder along frequency with recurrences along
frequency and time between them (dual path: Luo, Chen and Yoshioka, ICASSP 2020; on STFT bands: Le
et al., "DPCRN", Interspeech 2021) bounds a complex mask for each bin of both, and a gate per band
says which of the two is heard. No part of it knows a frequency in Hz: it works at any rate.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from biodenoising.models.spectra import Grid

COMPRESSION = 0.3
SLOPE = 0.2  # of the activation below zero; a learnt one costs a tenth of the training
SMALLEST = 1e-6  # power of a bin below which its phase says nothing
Between = Callable[[Tensor], Tensor]
Memory = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class MaskNetSettings(Grid):
    """Size and shape; windows and hop in samples, `causal` hears no frame ahead of its own.

    `floor` is the share of the input that is always left. It costs little where the network is
    right and leaves something of a call that it took for noise. Training does without.
    """

    short: int = 512
    long: int = 2048
    hop: int = 256
    channels: tuple[int, ...] = (16, 32, 48, 64)
    across: int = 48
    along: int = 96
    blocks: int = 2
    causal: bool = False
    floor: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "channels", tuple(self.channels))
        if self.short != 2 * self.hop or self.long % self.short or self.long < self.short:
            raise ValueError("short must be two hops and long a multiple of short")
        if not 0 <= self.floor < 1:
            raise ValueError("floor must be at least 0 and below 1")
        if self.bands % 2 ** len(self.channels):
            raise ValueError(f"{self.bands} bands cannot be halved {len(self.channels)} times")


class MaskNet(nn.Module):
    """Denoise mono waveforms.

    Shape: input (batch, 1, samples), output the same; any number of samples >= 1.
    """

    def __init__(self, settings: MaskNetSettings = MaskNetSettings()) -> None:
        super().__init__()
        self.settings = s = settings
        spectra = 1 + s.fold
        widths = (3 * spectra, *s.channels)
        self.down = nn.ModuleList(
            FrequencyConv(inner, outer) for inner, outer in itertools.pairwise(widths)
        )
        width = s.channels[-1]
        self.near = nn.Conv2d(
            width, width, 3, padding=(0 if s.causal else 1, 1), groups=width, bias=False
        )
        self.blocks = nn.ModuleList(
            DualPath(width, s.across, s.along, causal=s.causal) for _ in range(s.blocks)
        )
        outward = (2 * spectra + 2, *s.channels)
        self.up = nn.ModuleList(
            FrequencyDeconv(2 * inner, outer, last=level == 0)
            for level, (inner, outer) in enumerate(zip(outward[1:], outward, strict=False))
        )
        for name, size in (("short_window", s.short), ("long_window", s.long)):
            window = torch.hann_window(size, periodic=True).sqrt()
            self.register_buffer(name, window, persistent=False)
        self.short_window: Tensor
        self.long_window: Tensor

    def forward(self, noisy: Tensor) -> Tensor:
        """Return the denoised waveforms, at the level of the noisy ones."""
        length = noisy.shape[-1]
        level = noisy.std(dim=-1, keepdim=True, correction=0) + 1e-9
        padded = F.pad(noisy / level, (0, -length % self.settings.hop))
        return self.core(padded)[..., :length] * level

    def valid_length(self, length: int) -> int:
        """Return the length in samples to which input of `length` samples is padded."""
        return length + -length % self.settings.hop

    def core(self, noisy: Tensor) -> Tensor:
        """Denoise waveforms of unit level and a whole number of hops, (batch, 1, samples)."""
        return self.synthesize(self.masked(self.analyze(noisy)), noisy.shape[-1])

    def masked(self, spectra: Tensor, between: Between | None = None) -> Tensor:
        """Mask folded spectra, (batch, 2 parts, 1 + fold, frames, bands) in and out.

        Parts are real and imaginary; the short transform comes before the bins of the long one.
        `between` takes the place of what passes from frame to frame: `self.between`.
        """
        x = features_of(spectra)
        skips = []
        for down in self.down:
            x = down(x)
            skips.append(x)
        x = (between or self.between)(x)
        for up, skip in zip(reversed(list(self.up)), reversed(skips), strict=True):
            x = up(torch.cat([x, skip], dim=1))
        return apply_masks(spectra, x, self.settings.floor)

    def between(self, x: Tensor) -> Tensor:
        """Return what encoder hands to decoder: here alone frames hear each other."""
        x = x + self.near(F.pad(x, (0, 0, 2, 0)) if self.settings.causal else x)
        for block in self.blocks:
            x, _ = block(x)
        return x

    def analyze(self, noisy: Tensor) -> Tensor:
        """Return the folded spectra of waveforms, scaled so that white noise has unit power."""
        s = self.settings
        padded = F.pad(noisy[:, 0], (s.margin, s.margin))
        inset = (s.long - s.short) // 2
        long = self._transform(padded, self.long_window)[:, : s.bands * s.fold]
        short = self._transform(padded[:, inset : padded.shape[1] - inset], self.short_window)
        folded = long.unflatten(1, (s.bands, s.fold)).permute(0, 2, 3, 1)
        both = torch.cat([short[:, None, : s.bands].transpose(2, 3), folded], dim=1)
        return torch.view_as_real(both).permute(0, 4, 1, 2, 3)

    def synthesize(self, spectra: Tensor, samples: int) -> Tensor:
        """Return the waveforms of folded spectra: the sum of both transforms' inverses."""
        s = self.settings
        both = torch.complex(spectra[:, 0].contiguous(), spectra[:, 1].contiguous())
        long = both[:, 1:].permute(0, 3, 1, 2).flatten(1, 2)
        short = both[:, 0].transpose(1, 2)
        inset = (s.long - s.short) // 2
        heard = self._inverse(long, self.long_window, s.margin, samples)
        heard = heard + self._inverse(short, self.short_window, s.margin - inset, samples)
        return heard[:, None]

    def _transform(self, x: Tensor, window: Tensor) -> Tensor:
        size = len(window)
        spectra = torch.stft(
            x, size, self.settings.hop, window=window, center=False, return_complex=True
        )
        return spectra * (size / 2) ** -0.5

    def _inverse(self, bins: Tensor, window: Tensor, start: int, samples: int) -> Tensor:
        size, hop = len(window), self.settings.hop
        bins = F.pad(bins * (size / 2) ** 0.5, (0, 0, 0, 1))  # the highest bin is not used
        frames = torch.fft.irfft(bins, n=size, dim=1) * (window * (2 * hop / size))[:, None]
        length = (frames.shape[2] - 1) * hop + size
        waves = F.fold(frames, (1, length), (1, size), stride=(1, hop))[:, 0, 0]
        return waves[:, start : start + samples]


def features_of(spectra: Tensor) -> Tensor:
    """Return compressed moduli, real and imaginary parts: (batch, 3 * (1 + fold), frames, bands).

    Logarithm and exponential are what every runtime has fast forms of; powers are not.
    """
    re, im = spectra[:, 0], spectra[:, 1]
    power = re * re + im * im + SMALLEST
    scale = (power.log() * ((COMPRESSION - 1) / 2)).exp()
    return torch.cat([power.sqrt() * scale, re * scale, im * scale], dim=1)


def apply_masks(spectra: Tensor, raw: Tensor, floor: float) -> Tensor:
    """Bound the masks' modulus below one, gate them by band, and multiply.

    The short transform, whose frames add up to the input, is also passed on by the floor.

    Shape: raw (batch, 2 * (1 + fold) + 2, frames, bands), the last two the gate's two sides.
    """
    count = spectra.shape[2]
    real, imaginary = raw[:, :count], raw[:, count : 2 * count]
    modulus = (real * real + imaginary * imaginary + SMALLEST).sqrt()
    short = torch.sigmoid(raw[:, 2 * count : 2 * count + 1] - raw[:, 2 * count + 1 :]) * (1 - floor)
    scale = torch.tanh(modulus) / modulus
    scale = torch.cat([scale[:, :1] * short, scale[:, 1:] * ((1 - floor) - short)], dim=1)
    real, imaginary = real * scale, imaginary * scale
    if floor:
        passed = torch.tensor([floor] + [0.0] * (count - 1), device=raw.device)
        real = real + passed[:, None, None]
    re, im = spectra[:, 0], spectra[:, 1]
    return torch.stack([re * real - im * imaginary, re * imaginary + im * real], dim=1)


class FrequencyConv(nn.Sequential):
    """Halve the bands: (batch, inner, frames, bands) to (batch, outer, frames, bands / 2)."""

    def __init__(self, inner: int, outer: int) -> None:
        super().__init__(
            nn.Conv2d(inner, outer, (1, 5), stride=(1, 2), padding=(0, 2), bias=False),
            nn.BatchNorm2d(outer),
            nn.LeakyReLU(SLOPE),
        )


class FrequencyDeconv(nn.Sequential):
    """Double the bands; the last one gives masks, without norm or bound.

    Out of training the transposed convolution is computed as a plain one that gives every band its
    two halves, which is faster in ONNX Runtime, and the norm is part of its weights.
    """

    def __init__(self, inner: int, outer: int, *, last: bool) -> None:
        conv = nn.ConvTranspose2d(
            inner, outer, (1, 5), stride=(1, 2), padding=(0, 2), output_padding=(0, 1), bias=last
        )
        super().__init__(conv, *([] if last else [nn.BatchNorm2d(outer), nn.LeakyReLU(SLOPE)]))

    def forward(self, x: Tensor) -> Tensor:
        """Shape: (batch, inner, frames, bands) to (batch, outer, frames, 2 * bands)."""
        if self.training:
            return super().forward(x)
        layers: list[Any] = list(self)
        conv, *after = layers
        weight, bias = conv.weight[:, :, 0], conv.bias
        if after:
            norm = after[0]
            scale = norm.weight / (norm.running_var + norm.eps).sqrt()
            weight, bias = weight * scale[:, None], norm.bias - norm.running_mean * scale
        # Band m's halves 2m and 2m + 1 hear the bands m - 1, m, m + 1 by every second tap.
        left = torch.stack([weight[..., 4], weight[..., 2], weight[..., 0]], dim=-1)
        right = torch.stack([0 * weight[..., 3], weight[..., 3], weight[..., 1]], dim=-1)
        inner, outer = weight.shape[:2]
        halves = torch.stack([left, right], dim=2).reshape(inner, 2 * outer, 1, 3).transpose(0, 1)
        y = F.conv2d(x, halves, torch.stack([bias, bias], dim=1).flatten(), padding=(0, 1))
        if after:
            y = after[1](y)
        batch, _, frames, bands = y.shape
        y = y.view(batch, outer, 2, frames, bands).permute(0, 1, 3, 4, 2)
        return y.reshape(batch, outer, frames, 2 * bands)


class DualPath(nn.Module):
    """A recurrence along frequency in every frame, then one along time in every band."""

    def __init__(self, width: int, across: int, along: int, *, causal: bool) -> None:
        super().__init__()
        self.across = Path(width, across, both_ways=True)
        self.along = Path(width, along if causal else along // 2, both_ways=not causal)

    def forward(self, x: Tensor, memory: Memory | None = None) -> tuple[Tensor, Memory]:
        """Return (batch, width, frames, bands) as it came in, and the memory after its frames.

        Shape: memory, of the recurrence along time before the first frame, (1, batch * bands,
        along) twice.
        """
        batch, width, frames, bands = x.shape
        # Steps come first, then rows: so runtimes want recurrences, and turn nothing twice.
        x = x.permute(3, 0, 2, 1).reshape(bands, batch * frames, width)
        x, _ = self.across(x)
        x = x.view(bands, batch, frames, width).permute(2, 1, 0, 3)
        x, memory = self.along(x.reshape(frames, batch * bands, width), memory)
        return x.view(frames, batch, bands, width).permute(1, 3, 0, 2), memory


class Path(nn.Module):
    """A recurrence, a projection, layer norm and the residual; (steps, rows, width)."""

    def __init__(self, width: int, hidden: int, *, both_ways: bool) -> None:
        super().__init__()
        self.recurrence = nn.LSTM(width, hidden, bidirectional=both_ways)
        self.project = nn.Linear(hidden * (2 if both_ways else 1), width)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, memory: Memory | None = None) -> tuple[Tensor, Memory]:
        """Return the rows with what the recurrence adds to them, and its memory."""
        heard, memory = self.recurrence(x, memory)
        return x + self.norm(self.project(heard)), memory
