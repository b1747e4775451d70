"""Which lengths a strided encoder-decoder maps onto themselves.

Pure integer arithmetic without torch, because the ONNX path needs it as well.
"""

from __future__ import annotations

from math import ceil


def valid_length(length: int, *, depth: int, kernel: int, stride: int, upsample: int = 1) -> int:
    """Return the smallest length in samples, at least `length`, that survives the network.

    A network of `depth` unpadded convolutions and as many transposed ones returns exactly
    as many samples as it got only for such lengths; shorter input is zero-padded to one.

    Source: Defossez, Synnaeve and Adi 2020, section 2.1 (Demucs); Kong et al. 2022 (CleanUNet).
    """
    frames = ceil(length * upsample)
    for _ in range(depth):
        frames = max(1, ceil((frames - kernel) / stride) + 1)
    for _ in range(depth):
        frames = (frames - 1) * stride + kernel
    return ceil(frames / upsample)
