"""What Demucs and CleanUNet share: strided layers, the floor of the level, the initial scale."""

from __future__ import annotations

from torch import nn

LEVEL_FLOOR = 1e-3


def strided_layers(
    widths: list[int], kernel: int, stride: int
) -> tuple[nn.ModuleList, nn.ModuleList]:
    """Return the encoder's layers and the decoder's mirror of them, deepest first.

    Each encoder layer is a strided convolution, ReLU, and a gated 1x1 convolution; each decoder
    layer the reverse, with ReLU at its end but for the last. `widths` are the encoder's channels.
    """
    encoder, decoder = nn.ModuleList(), nn.ModuleList()
    inner = 1
    for level, channels in enumerate(widths):
        encoder.append(
            nn.Sequential(
                nn.Conv1d(inner, channels, kernel, stride),
                nn.ReLU(),
                nn.Conv1d(channels, 2 * channels, 1),
                nn.GLU(1),
            )
        )
        outward: list[nn.Module] = [
            nn.Conv1d(channels, 2 * channels, 1),
            nn.GLU(1),
            nn.ConvTranspose1d(channels, inner, kernel, stride),
        ]
        if level > 0:
            outward.append(nn.ReLU())
        decoder.insert(0, nn.Sequential(*outward))
        inner = channels
    return encoder, decoder


def rescale_weights(module: nn.Module, reference: float) -> None:
    """Divide each convolution's weight and bias by sqrt(std(weight) / reference), in place.

    Keeps the initial output near the input's level (Demucs paper, section 3.1).
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv1d | nn.ConvTranspose1d):
            scale = (layer.weight.detach().std() / reference).sqrt()
            layer.weight.data /= scale
            if layer.bias is not None:
                layer.bias.data /= scale
