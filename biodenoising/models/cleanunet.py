"""CleanUNet: a strided encoder-decoder for waveforms around causal self-attention.

Written from Kong, Ping, Dantrey and Catanzaro, "Speech Denoising in the Waveform Domain with
Self-Attention" (ICASSP 2022, section 3). The state dict has the layout of the public weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from biodenoising.models.layers import LEVEL_FLOOR, rescale_weights, strided_layers
from biodenoising.models.lengths import valid_length

MASKED = -1e9
NORM_FLOOR = 1e-6


@dataclass(frozen=True)
class CleanUNetSettings:
    """Size and shape of a CleanUNet; the defaults are the paper's large model (E8, N5)."""

    hidden: int = 64
    max_hidden: int = 768
    depth: int = 8
    kernel: int = 4
    stride: int = 2
    blocks: int = 5
    heads: int = 8
    width: int = 512
    inner_width: int = 2048
    attention_dropout: float = 0.1
    rescale: float = 0.1


class CleanUNet(nn.Module):
    """Denoise mono waveforms.

    Shape: input (batch, 1, samples), output the same; any number of samples >= 1. Memory grows
    with the square of the length (one attention frame per stride**depth samples).
    """

    def __init__(self, settings: CleanUNetSettings = CleanUNetSettings()) -> None:
        super().__init__()
        self.settings = settings
        widths = [
            min(settings.hidden * 2**level, settings.max_hidden) for level in range(settings.depth)
        ]
        self.encoder, self.decoder = strided_layers(widths, settings.kernel, settings.stride)
        self.tsfm_conv1 = nn.Conv1d(widths[-1], settings.width, 1)
        self.tsfm_encoder = AttentionStack(settings)
        self.tsfm_conv2 = nn.Conv1d(settings.width, widths[-1], 1)
        rescale_weights(self, settings.rescale)

    def valid_length(self, length: int) -> int:
        """Return the length in samples to which input of `length` samples is padded."""
        s = self.settings
        return valid_length(length, depth=s.depth, kernel=s.kernel, stride=s.stride)

    def forward(self, noisy: Tensor) -> Tensor:
        """Return the denoised waveforms, at the level of the noisy ones."""
        length = noisy.shape[-1]
        level = noisy.std(dim=-1, keepdim=True, correction=min(1, length - 1)) + LEVEL_FLOOR
        padded = F.pad(noisy / level, (0, self.valid_length(length) - length))
        return self.core(padded)[..., :length] * level

    def core(self, noisy: Tensor) -> Tensor:
        """Denoise waveforms of unit level and valid length: what the ONNX graph holds."""
        x = noisy
        skips = []
        for encode in self.encoder:
            x = encode(x)
            skips.append(x)
        x = self.tsfm_conv1(x)
        x = self.tsfm_encoder(x.transpose(1, 2)).transpose(1, 2)
        x = self.tsfm_conv2(x)
        for decode in self.decoder:
            x = decode(x + skips.pop())
        return x


class AttentionStack(nn.Module):
    """Post-norm transformer blocks over frames, each frame seeing only the past.

    Shape: (batch, frames, width) in and out. There is no positional encoding.
    """

    def __init__(self, settings: CleanUNetSettings) -> None:
        super().__init__()
        self.layer_norm = nn.LayerNorm(settings.width, eps=NORM_FLOOR)
        self.layer_stack = nn.ModuleList(AttentionBlock(settings) for _ in range(settings.blocks))

    def forward(self, x: Tensor) -> Tensor:
        """Return the frames after all blocks."""
        frames = torch.arange(x.shape[1], device=x.device)
        future = frames[None, :] > frames[:, None]
        x = self.layer_norm(x)
        for block in self.layer_stack:
            x = block(x, future)
        return x


class AttentionBlock(nn.Module):
    """Self-attention and a feed-forward layer, each with residual and layer norm."""

    def __init__(self, settings: CleanUNetSettings) -> None:
        super().__init__()
        self.slf_attn = SelfAttention(settings)
        self.pos_ffn = FeedForward(settings.width, settings.inner_width)

    def forward(self, x: Tensor, masked: Tensor) -> Tensor:
        """Return the frames after this block; `masked` (frames, frames) is true for the future."""
        return self.pos_ffn(self.slf_attn(x, masked))


class SelfAttention(nn.Module):
    """Multi-head attention without biases. Shape: (batch, frames, width) in and out."""

    def __init__(self, settings: CleanUNetSettings) -> None:
        super().__init__()
        width = settings.width
        self.heads = settings.heads
        self.w_qs = nn.Linear(width, width, bias=False)
        self.w_ks = nn.Linear(width, width, bias=False)
        self.w_vs = nn.Linear(width, width, bias=False)
        self.fc = nn.Linear(width, width, bias=False)
        self.dropout = nn.Dropout(settings.attention_dropout)
        self.layer_norm = nn.LayerNorm(width, eps=NORM_FLOOR)

    def forward(self, x: Tensor, masked: Tensor) -> Tensor:
        """Return each frame with what it hears in those before it."""

        def split(y: Tensor) -> Tensor:
            return y.unflatten(-1, (self.heads, -1)).transpose(1, 2)

        q, k, v = split(self.w_qs(x)), split(self.w_ks(x)), split(self.w_vs(x))
        scores = q @ k.transpose(2, 3) / q.shape[-1] ** 0.5
        weights = self.dropout(scores.masked_fill(masked, MASKED).softmax(-1))
        heard = (weights @ v).transpose(1, 2).flatten(2)
        return self.layer_norm(self.fc(heard) + x)


class FeedForward(nn.Module):
    """Two linear layers with ReLU between, residual and layer norm."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.w_1 = nn.Linear(width, inner)
        self.w_2 = nn.Linear(inner, width)
        self.layer_norm = nn.LayerNorm(width, eps=NORM_FLOOR)

    def forward(self, x: Tensor) -> Tensor:
        """Return every frame transformed by itself."""
        return self.layer_norm(self.w_2(torch.relu(self.w_1(x))) + x)
