"""What denoising does to a detector: intervals of calls found in the spectrogram, scored as events.

A plain onset/offset detector: power of 512-sample frames that stands out against its bin's median
and lies within 20 dB of the loudest, connected regions of it, their time extents. Regions that
cover the same time (harmonics of one call) count once. What it finds in each clean call alone is
the truth, so overlapping calls have overlapping intervals and a call of three notes has three.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, optimize, signal

Events = Sequence[tuple[float, float]]

FRAME, HOP = 512, 128
OVER_MEDIAN_DB = 10.0
BELOW_PEAK_DB = 20.0
SHORTEST_S = 0.02
BRIDGE_S = 0.05
BRIDGE_BINS = 3
SAME_CALL_IOU = 0.6
MATCH_IOU = 0.5


class Score(NamedTuple):
    """Counts of one scene at the matching IoU."""

    hits: int
    false_alarms: int
    misses: int

    @property
    def f1(self) -> float:
        """Twice the hits over all detections and events; nan without either."""
        total = 2 * self.hits + self.false_alarms + self.misses
        return 2 * self.hits / total if total else float("nan")


def detect(samples: NDArray[np.floating], sample_rate: int) -> list[tuple[float, float]]:
    """Return (onset, offset) in seconds of what stands out, sorted; nothing for silence."""
    _, _, spectrum = signal.stft(samples, nperseg=FRAME, noverlap=FRAME - HOP, boundary=None)
    power = ndimage.uniform_filter(np.abs(spectrum) ** 2, (1, 3))
    if power.size == 0 or power.max() == 0:
        return []
    level = 10 * np.log10(np.maximum(power, 1e-12 * power.max()))
    median = np.median(level, axis=1, keepdims=True)
    loud = (level > median + OVER_MEDIAN_DB) & (level > level.max() - BELOW_PEAK_DB)
    bridge = max(round(BRIDGE_S * sample_rate / HOP), 1)
    closed = ndimage.binary_closing(loud, np.ones((BRIDGE_BINS, bridge)), border_value=0)
    regions, _ = ndimage.label(closed, np.ones((3, 3)))
    found = []
    for _, times in ndimage.find_objects(regions):
        onset, offset = times.start * HOP, (times.stop - 1) * HOP + FRAME
        if (offset - onset - FRAME + HOP) / sample_rate >= SHORTEST_S:
            found.append((onset / sample_rate, offset / sample_rate))
    return _without_doubles(found)


def score(found: Events, truth: Events, *, least_iou: float = MATCH_IOU) -> Score:
    """Match detections with events one to one, most overlap first, and count."""
    if not found or not truth:
        return Score(0, len(found), len(truth))
    overlaps = np.array([[iou(one, other) for other in truth] for one in found])
    rows, columns = optimize.linear_sum_assignment(-np.where(overlaps >= least_iou, overlaps, 0))
    hits = int(np.sum(overlaps[rows, columns] >= least_iou))
    return Score(hits, len(found) - hits, len(truth) - hits)


def iou(one: tuple[float, float], other: tuple[float, float]) -> float:
    """Return the intersection of two intervals over their union."""
    common = min(one[1], other[1]) - max(one[0], other[0])
    whole = max(one[1], other[1]) - min(one[0], other[0])
    return max(common, 0.0) / whole if whole > 0 else 0.0


def _without_doubles(found: Events) -> list[tuple[float, float]]:
    """Keep the longest of intervals that cover nearly the same time."""
    kept: list[tuple[float, float]] = []
    for event in sorted(found, key=lambda e: e[0] - e[1]):
        if all(iou(event, other) < SAME_CALL_IOU for other in kept):
            kept.append(event)
    return sorted(kept)
