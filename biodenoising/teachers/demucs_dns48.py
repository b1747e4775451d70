"""The paper's first teacher: Demucs for speech, H=48, trained on the DNS challenge.

Défossez, Synnaeve and Adi, "Real Time Speech Enhancement in the Waveform Domain" (2020). The
network is this package's own; the public weights are not for commercial use.
"""

from __future__ import annotations

from typing import Any

from biodenoising.teachers.waveform import waveform_entry
from biodenoising.teachers.weights import WeightsFile

NAME = "demucs-dns48"
WEIGHTS = WeightsFile(
    "denoiser/dns48-11decc9d8e3f0998.th",
    "https://dl.fbaipublicfiles.com/adiyoss/denoiser/dns48-11decc9d8e3f0998.th",
    "11decc9d8e3f0998",  # the file's name holds the hash's beginning, more is not published
    75.5,
)


def _build() -> Any:
    from biodenoising.models.demucs import Demucs

    return Demucs()


ENTRIES = (
    waveform_entry(
        NAME, "CC-BY-NC-4.0", "Demucs for speech, the paper's teacher.", WEIGHTS, _build
    ),
)
