"""The paper's second teacher: CleanUNet, the large model trained on the DNS challenge.

Kong et al., "Speech Denoising in the Waveform Domain with Self-Attention" (2022). The network is
this package's own; the authors' repository is MIT and states nothing else for its weights.
"""

from __future__ import annotations

from typing import Any

from biodenoising.teachers.waveform import waveform_entry
from biodenoising.teachers.weights import WeightsFile

NAME = "cleanunet-dns"
WEIGHTS = WeightsFile(
    "cleanunet/DNS-large-full/pretrained.pkl",
    "https://media.githubusercontent.com/media/NVIDIA/CleanUNet/"
    "2f930ce6660e76b6265c07da4027b414adb24ab1/exp/DNS-large-full/checkpoint/pretrained.pkl",
    "145c101eb5bbfa3ba52fb2b4ec7e5b64a361c102f89291f75e1dd42601d95dc9",
    184.3,
)


def _build() -> Any:
    from biodenoising.models.cleanunet import CleanUNet

    return CleanUNet()


ENTRIES = (
    waveform_entry(
        NAME,
        "MIT (repository; weights without a statement)",
        "CleanUNet for speech, the paper's second teacher.",
        WEIGHTS,
        _build,
    ),
)
