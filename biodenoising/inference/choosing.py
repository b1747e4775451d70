"""Choose the time expansion of a recording: hear its most telling stretches at several, score each.

The score is the one that chooses among the teachers' candidates (`scores.predicted_gain_db`); it
needs no truth. How much it is worth is measured by `recipes/development/expansions.py`.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from biodenoising.inference.scores import (
    analyse,
    predicted_gain_db,
    prominence_db,
    scores_of,
    unfit,
)
from biodenoising.inference.waiting import Block, Waiting

Samples = NDArray[np.float32]
Hear = Callable[[Samples, float], Samples]
TimeExpansion = float | Literal["auto"] | None

AUTO: Final = "auto"

# How much slower than its samples a recording is heard; 1 first, which wins a tie.
RATIOS = (1.0, 0.5, 2.0)
STRETCH_SAMPLES, STRETCHES = 1 << 17, 3
# By so much another ratio has to be predicted better than the samples as they are.
LEAST_MARGIN_DB = 0.5


def telling_stretches(blocks: Iterable[Block], channels: int) -> list[Samples]:
    """Return the stretches of a recording in which calls stand out most, (samples,) each.

    `blocks` have the shape (channels, samples); values that are no numbers count as 0. A stretch
    has 131,072 samples, the last one may have half of them and the only one any number; of several
    channels the loudest is taken. No more than three stretches are kept, however long it is.
    """
    kept: list[tuple[float, int, Samples]] = []
    wait = Waiting(channels)
    number = 0

    def weigh(stretch: Block) -> None:
        nonlocal number
        number += 1
        samples = _loudest(stretch)
        if not unfit(samples):
            # The earlier one of two alike is kept, whatever the order of a heap.
            heapq.heappush(kept, (prominence_db(analyse(samples)), -number, samples))
            if len(kept) > STRETCHES:
                heapq.heappop(kept)

    for block in blocks:
        wait.put(np.nan_to_num(block, posinf=0.0, neginf=0.0))
        while wait.samples >= STRETCH_SAMPLES:
            weigh(wait.take(STRETCH_SAMPLES))
    if wait.samples >= STRETCH_SAMPLES // 2 or number == 0:
        weigh(wait.take(wait.samples))
    return [samples for _, _, samples in sorted(kept, reverse=True)]


def best_ratio(stretches: Iterable[Samples], hear: Hear) -> float:
    """Return how much slower than its samples a recording is best heard, 1 where none can be told.

    `hear` denoises samples at such a ratio, (samples,) in and out.
    """
    gains_db: dict[float, list[float]] = {ratio: [] for ratio in RATIOS}
    for samples in stretches:
        analysed = analyse(samples)
        for ratio, gains in gains_db.items():
            gains.append(predicted_gain_db(scores_of(hear(samples, ratio), analysed)))
    means = {ratio: float(np.mean(gains or [0.0])) for ratio, gains in gains_db.items()}
    best = max(means, key=lambda ratio: means[ratio])
    return best if means[best] > means[1.0] + LEAST_MARGIN_DB else 1.0


def as_word(expansion: float | str) -> str:
    """Return a time expansion as a command line holds it."""
    return expansion if isinstance(expansion, str) else f"{expansion:g}"


def _loudest(stretch: Block) -> Samples:
    loudest = int(np.argmax(np.std(stretch, axis=1, dtype=np.float64))) if stretch.shape[1] else 0
    # A copy, for a view would keep the whole block.
    return np.array(stretch[loudest], np.float32)
