"""GTCRN: a grouped temporal convolutional recurrent network that masks complex spectra.

Written from Rong et al., "GTCRN: A Speech Enhancement Model Requiring Ultralow Computational
Resources" (ICASSP 2024). A state dict in the layout of the public weights loads, the fixed
triangular band filters included. Shapes are (batch, channels, frames, bands) unless said.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

BINS, KEPT_BINS, FOLDED_BANDS = 257, 65, 64
WIDTH = 16
INNER_BANDS = 33
DILATIONS = (1, 2, 5)
POWER_FLOOR = 1e-12
NORM_FLOOR = 1e-8


class GTCRN(nn.Module):
    """Denoise spectra of frames of 512 samples: (batch, 2, frames, 257) in and out.

    The two channels are real and imaginary part. Causal.
    """

    def __init__(self) -> None:
        super().__init__()
        self.erb = Bands()
        self.encoder = Encoder()
        self.dpgrnn1 = DualPath()
        self.dpgrnn2 = DualPath()
        self.decoder = Decoder()

    def forward(self, spectra: Tensor) -> Tensor:
        """Return the spectra under the network's complex mask."""
        modulus = (spectra.square().sum(1, keepdim=True) + POWER_FLOOR).sqrt()
        x = self.erb.fold(torch.cat([modulus, spectra], dim=1))
        x, skips = self.encoder(neighbours(x))
        x = self.dpgrnn2(self.dpgrnn1(x))
        mask = self.erb.unfold(self.decoder(x, skips))
        re, im = spectra[:, 0], spectra[:, 1]
        mask_re, mask_im = mask[:, 0], mask[:, 1]
        return torch.stack([re * mask_re - im * mask_im, im * mask_re + re * mask_im], dim=1)


class Bands(nn.Module):
    """Keeps the lowest bins and folds the others into bands as wide as the ear's, and back."""

    def __init__(self) -> None:
        super().__init__()
        self.erb_fc = nn.Linear(BINS - KEPT_BINS, FOLDED_BANDS, bias=False)
        self.ierb_fc = nn.Linear(FOLDED_BANDS, BINS - KEPT_BINS, bias=False)

    def fold(self, x: Tensor) -> Tensor:
        """Return 129 bands for 257 bins."""
        return torch.cat([x[..., :KEPT_BINS], self.erb_fc(x[..., KEPT_BINS:])], dim=-1)

    def unfold(self, x: Tensor) -> Tensor:
        """Return 257 bins for 129 bands."""
        return torch.cat([x[..., :KEPT_BINS], self.ierb_fc(x[..., KEPT_BINS:])], dim=-1)


class Encoder(nn.Module):
    """Two convolutions that halve the bands and three over time, each one's output a skip."""

    def __init__(self) -> None:
        super().__init__()
        halving = [Strided(9, WIDTH, groups=1), Strided(WIDTH, WIDTH, groups=2)]
        self.en_convs = nn.ModuleList([*halving, *(Temporal(d) for d in DILATIONS)])

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the last output and all of them."""
        skips = []
        for layer in self.en_convs:
            x = layer(x)
            skips.append(x)
        return x, skips


class Decoder(nn.Module):
    """The encoder's mirror image; its last output is a mask within -1 and 1."""

    def __init__(self) -> None:
        super().__init__()
        temporal = [Temporal(d, mirrored=True) for d in reversed(DILATIONS)]
        self.de_convs = nn.ModuleList(
            [
                *temporal,
                Strided(WIDTH, WIDTH, groups=2, mirrored=True),
                Strided(WIDTH, 2, groups=1, mirrored=True, last=True),
            ]
        )

    def forward(self, x: Tensor, skips: list[Tensor]) -> Tensor:
        """Return the mask in bands, (batch, 2, frames, 129)."""
        for layer, skip in zip(self.de_convs, reversed(skips), strict=True):
            x = layer(x + skip)
        return x


class Strided(nn.Module):
    """A convolution along the bands with stride two, normalised; mirrored, it doubles them."""

    def __init__(
        self, inner: int, outer: int, *, groups: int, mirrored: bool = False, last: bool = False
    ) -> None:
        super().__init__()
        kind = nn.ConvTranspose2d if mirrored else nn.Conv2d
        self.conv = kind(inner, outer, (1, 5), stride=(1, 2), padding=(0, 2), groups=groups)
        self.bn = nn.BatchNorm2d(outer)
        self.act: nn.Module = nn.Tanh() if last else nn.PReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Return half as many bands, or twice as many less one."""
        return self.act(self.bn(self.conv(x)))


class Temporal(nn.Module):
    """Convolves half of the channels over past frames and shuffles them with the other half."""

    def __init__(self, dilation: int, *, mirrored: bool = False) -> None:
        super().__init__()
        kind = nn.ConvTranspose2d if mirrored else nn.Conv2d
        half = WIDTH // 2
        self.reach = 2 * dilation
        # A transposed convolution would lengthen the frames by its reach on either side.
        trimmed = self.reach if mirrored else 0
        self.point_conv1 = kind(3 * half, WIDTH, 1)
        self.point_bn1 = nn.BatchNorm2d(WIDTH)
        self.point_act = nn.PReLU()
        self.depth_conv = kind(
            WIDTH, WIDTH, 3, padding=(trimmed, 1), dilation=(dilation, 1), groups=WIDTH
        )
        self.depth_bn = nn.BatchNorm2d(WIDTH)
        self.depth_act = nn.PReLU()
        self.point_conv2 = kind(WIDTH, half, 1)
        self.point_bn2 = nn.BatchNorm2d(half)
        self.tra = Attention(half)

    def forward(self, x: Tensor) -> Tensor:
        """Return as many channels, frames and bands."""
        worked, passed = x.chunk(2, dim=1)
        y = self.point_act(self.point_bn1(self.point_conv1(neighbours(worked))))
        y = self.depth_conv(F.pad(y, (0, 0, self.reach, 0)))
        y = self.point_bn2(self.point_conv2(self.depth_act(self.depth_bn(y))))
        return torch.stack([self.tra(y), passed], dim=2).flatten(1, 2)


class Attention(nn.Module):
    """Weighs every frame of a channel by a recurrence over the frames' energies."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.att_gru = nn.GRU(channels, 2 * channels, batch_first=True)
        self.att_fc = nn.Linear(2 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return the frames at their weights, between 0 and 1."""
        energy = x.square().mean(-1).transpose(1, 2)
        weight = torch.sigmoid(self.att_fc(self.att_gru(energy)[0]))
        return x * weight.transpose(1, 2)[..., None]


class DualPath(nn.Module):
    """A recurrence over the bands of every frame, then one over the frames of every band."""

    def __init__(self) -> None:
        super().__init__()
        self.intra_rnn = HalvedGRU(WIDTH // 4, both_ways=True)
        self.intra_fc = nn.Linear(WIDTH, WIDTH)
        self.intra_ln = nn.LayerNorm((INNER_BANDS, WIDTH), eps=NORM_FLOOR)
        self.inter_rnn = HalvedGRU(WIDTH // 2, both_ways=False)
        self.inter_fc = nn.Linear(WIDTH, WIDTH)
        self.inter_ln = nn.LayerNorm((INNER_BANDS, WIDTH), eps=NORM_FLOOR)

    def forward(self, x: Tensor) -> Tensor:
        """Return what went in with what both recurrences add."""
        x = x.permute(0, 2, 3, 1)
        batch, frames, bands, width = x.shape
        y = self.intra_fc(self.intra_rnn(x.reshape(batch * frames, bands, width)))
        x = x + self.intra_ln(y.view(batch, frames, bands, width))
        rows = x.transpose(1, 2).reshape(batch * bands, frames, width)
        y = self.inter_fc(self.inter_rnn(rows)).view(batch, bands, frames, width)
        x = x + self.inter_ln(y.transpose(1, 2))
        return x.permute(0, 3, 1, 2)


class HalvedGRU(nn.Module):
    """Two recurrences, each over half of the channels; (rows, steps, width) in and out."""

    def __init__(self, hidden: int, *, both_ways: bool) -> None:
        super().__init__()
        half = WIDTH // 2
        self.rnn1 = nn.GRU(half, hidden, batch_first=True, bidirectional=both_ways)
        self.rnn2 = nn.GRU(half, hidden, batch_first=True, bidirectional=both_ways)

    def forward(self, x: Tensor) -> Tensor:
        """Return both halves' outputs side by side."""
        first, second = x.chunk(2, dim=-1)
        return torch.cat([self.rnn1(first)[0], self.rnn2(second)[0]], dim=-1)


def neighbours(x: Tensor) -> Tensor:
    """Put every band's lower neighbour, itself and its upper one into three channels."""
    wide = F.pad(x, (1, 1))
    bands = x.shape[-1]
    return torch.stack([wide[..., i : i + bands] for i in range(3)], dim=2).flatten(1, 2)
