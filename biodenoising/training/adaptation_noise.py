"""Noise where calls hardly pause: what the present model takes away nearly all of.

In rain or surf something always stands out, and what is surely noise is a second of half a minute.
There a model that knows animals tells more: where for a second it leaves a hundredth of the power,
there is no call that it knows. It may be wrong about calls that it deletes, so such noise is sought
only where there is little of the other.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from biodenoising.corpus.pieces import Samples
from biodenoising.corpus.segments import Segment

# Of a stretch; below it what is surely noise is too little to learn a place's noise from.
LITTLE_NOISE = 0.25
LARGEST_LEFT = 0.01  # of a frame's power
FRAME_S = 0.25
Span = tuple[float, float]


def is_scarce(found: Sequence[Segment], duration_s: float) -> bool:
    """Tell whether the segments of a stretch hold too little noise."""
    noise_s = sum(segment.end_s - segment.start_s for segment in found if segment.kind == "noise")
    return noise_s < LITTLE_NOISE * duration_s


def emptied(
    noisy: Samples, denoised: Samples, sample_rate: float, found: Sequence[Segment], least_s: float
) -> list[Span]:
    """Return the spans in seconds, of `least_s` or more, in which hardly anything was left.

    Shapes (samples,). Frames that reach into segments of `found` other than calls are left out, and
    so are those without a sound.
    """
    size = max(round(FRAME_S * sample_rate), 1)
    count = len(noisy) // size
    before, after = (
        np.square(wave[: count * size].reshape(count, size), dtype=np.float64).sum(axis=1)
        for wave in (noisy, denoised)
    )
    empty = (after <= LARGEST_LEFT * before) & (before > 0)
    for segment in found:
        if segment.kind != "call":
            first = int(segment.start_s * sample_rate / size)
            empty[first : int(np.ceil(segment.end_s * sample_rate / size))] = False
    edges = np.flatnonzero(np.diff(np.concatenate([[False], empty, [False]]))) * size / sample_rate
    spans = edges.reshape(-1, 2).tolist()  # where it begins, where it ends
    return [(start, end) for start, end in spans if end - start >= least_s]
