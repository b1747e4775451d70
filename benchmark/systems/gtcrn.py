"""GTCRN (Rong et al. 2024) over a whole recording, from its checkpoint's weights.

Written from the description: STFT 512/256, 65 low bins kept and 192 folded to 64 ERB bands, two
strided convolutions, three grouped temporal blocks (dilations 1, 2, 5), two grouped dual-path GRUs,
the mirror image, a bounded complex mask. Shapes are (1, channels, frames, bands) throughout.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.mixtures import Audio
from benchmark.spectra import istft, sqrt_hann, stft
from benchmark.systems.base import Estimate

FRAME, HOP = 512, 256
KEPT_BINS = 65
DILATIONS = (1, 2, 5)
BATCH_NORM_EPS, LAYER_NORM_EPS = 1e-5, 1e-8


def gtcrn_enhancer(checkpoint: Path) -> Callable[[Audio], Estimate]:
    """Return the enhancer of a checkpoint; samples at 16 kHz in and out."""
    torch = importlib.import_module("torch")
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)["model"]
    network, window = _Network(torch, state), sqrt_hann(FRAME)

    def enhance(noisy: Audio) -> Estimate:
        spectrum = stft(noisy, window, HOP)
        parts = np.stack([spectrum.real, spectrum.imag])[None].astype(np.float32)
        with torch.no_grad():
            mask = network.mask(torch.from_numpy(parts))[0].numpy()
        masked = spectrum * (mask[0] + 1j * mask[1])
        return istft(masked, window, HOP, len(noisy))

    return enhance


class _Network:
    """The layers as functions of the checkpoint's weights `w`."""

    def __init__(self, torch: Any, weights: dict[str, Any]) -> None:
        self.torch, self.f, self.w = torch, torch.nn.functional, weights
        self.grus: dict[str, Any] = {}

    def mask(self, parts: Any) -> Any:
        """Return the complex mask, (1, 2, frames, 257), of real and imaginary parts."""
        modulus = (parts**2).sum(1, keepdim=True).add(1e-12).sqrt()
        x = self.neighbours(self.to_bands(self.torch.cat([modulus, parts], 1)))
        skips = []
        for index, groups in enumerate((1, 2)):
            x = self.strided(x, f"encoder.en_convs.{index}", groups)
            skips.append(x)
        for index, dilation in enumerate(DILATIONS):
            x = self.temporal(x, f"encoder.en_convs.{index + 2}", dilation, False)
            skips.append(x)
        for name in ("dpgrnn1", "dpgrnn2"):
            x = self.dual_path(x, name)
        for index, dilation in enumerate(reversed(DILATIONS)):
            x = self.temporal(x + skips.pop(), f"decoder.de_convs.{index}", dilation, True)
        x = self.strided(x + skips.pop(), "decoder.de_convs.3", 2, transposed=True)
        x = self.strided(x + skips.pop(), "decoder.de_convs.4", 1, transposed=True, last=True)
        return self.from_bands(x)

    def to_bands(self, x: Any) -> Any:
        high = self.f.linear(x[..., KEPT_BINS:], self.w["erb.erb_fc.weight"])
        return self.torch.cat([x[..., :KEPT_BINS], high], -1)

    def from_bands(self, x: Any) -> Any:
        high = self.f.linear(x[..., KEPT_BINS:], self.w["erb.ierb_fc.weight"])
        return self.torch.cat([x[..., :KEPT_BINS], high], -1)

    def neighbours(self, x: Any) -> Any:
        """Put each band's lower neighbour, itself and its upper one into three channels."""
        wide = self.f.pad(x, (1, 1))
        bands = x.shape[-1]
        near = self.torch.stack([wide[..., k : k + bands] for k in range(3)], 2)
        return near.flatten(1, 2)

    def normed(self, x: Any, name: str) -> Any:
        parts = (self.w[f"{name}.{part}"] for part in ("running_mean", "running_var"))
        affine = (self.w[f"{name}.{part}"] for part in ("weight", "bias"))
        return self.f.batch_norm(x, *parts, *affine, training=False, eps=BATCH_NORM_EPS)

    def convolved(self, x: Any, name: str, transposed: bool, **options: Any) -> Any:
        function = self.f.conv_transpose2d if transposed else self.f.conv2d
        return function(x, self.w[f"{name}.weight"], self.w[f"{name}.bias"], **options)

    def strided(
        self, x: Any, name: str, groups: int, *, transposed: bool = False, last: bool = False
    ) -> Any:
        options = {"stride": (1, 2), "padding": (0, 2), "groups": groups}
        x = self.normed(self.convolved(x, f"{name}.conv", transposed, **options), f"{name}.bn")
        return self.torch.tanh(x) if last else self.f.prelu(x, self.w[f"{name}.act.weight"])

    def temporal(self, x: Any, name: str, dilation: int, transposed: bool) -> Any:
        """Convolve half of the channels over past frames, weigh them in time, shuffle."""
        first, second = x.chunk(2, 1)
        reach = 2 * dilation
        y = self.convolved(self.neighbours(first), f"{name}.point_conv1", transposed)
        y = self.f.prelu(self.normed(y, f"{name}.point_bn1"), self.w[f"{name}.point_act.weight"])
        y = self.convolved(
            self.f.pad(y, (0, 0, reach, 0)),
            f"{name}.depth_conv",
            transposed,
            padding=(reach if transposed else 0, 1),
            dilation=(dilation, 1),
            groups=y.shape[1],
        )
        y = self.f.prelu(self.normed(y, f"{name}.depth_bn"), self.w[f"{name}.depth_act.weight"])
        y = self.convolved(y, f"{name}.point_conv2", transposed)
        y = self.attended(self.normed(y, f"{name}.point_bn2"), f"{name}.tra")
        return self.torch.stack([y, second], 2).flatten(1, 2)

    def attended(self, x: Any, name: str) -> Any:
        energy = (x**2).mean(-1).transpose(1, 2)
        hidden = self.gru(energy, f"{name}.att_gru")
        fc = (self.w[f"{name}.att_fc.weight"], self.w[f"{name}.att_fc.bias"])
        weight = self.torch.sigmoid(self.f.linear(hidden, *fc))
        return x * weight.transpose(1, 2)[..., None]

    def dual_path(self, x: Any, name: str) -> Any:
        """Run over bands within each frame, then over frames within each band."""
        y = x[0].permute(1, 2, 0)
        y = y + self.path(y, f"{name}.intra", False)
        y = y + self.path(y, f"{name}.inter", True)
        return y.permute(2, 0, 1)[None]

    def path(self, y: Any, name: str, over_frames: bool) -> Any:
        source = y.transpose(0, 1) if over_frames else y
        halves = [
            self.gru(half, f"{name}_rnn.rnn{index}")
            for index, half in enumerate(source.chunk(2, -1), start=1)
        ]
        fc = (self.w[f"{name}_fc.weight"], self.w[f"{name}_fc.bias"])
        out = self.f.linear(self.torch.cat(halves, -1), *fc)
        out = out.transpose(0, 1) if over_frames else out
        affine = (self.w[f"{name}_ln.weight"], self.w[f"{name}_ln.bias"])
        return self.f.layer_norm(out, affine[0].shape, *affine, eps=LAYER_NORM_EPS)

    def gru(self, x: Any, name: str) -> Any:
        if name not in self.grus:
            mine = {k[len(name) + 1 :]: v for k, v in self.w.items() if k.startswith(f"{name}.")}
            gates, inputs = mine["weight_ih_l0"].shape
            both = "weight_ih_l0_reverse" in mine
            layer = self.torch.nn.GRU(inputs, gates // 3, batch_first=True, bidirectional=both)
            layer.load_state_dict(mine)
            self.grus[name] = layer.eval()
        return self.grus[name](x)[0]
