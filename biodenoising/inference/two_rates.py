"""Let a network hear a recording at its own rate and at fractions of it, and average all of it.

A network hears low calls in few of its bands. At a quarter of the rate they fill four times as
many, and what it makes of them there differs from what it makes of them at the full rate as two
opinions do: where both hear, their mean is nearer to the truth than either.
"""

from __future__ import annotations

import numpy as np
import soxr

from biodenoising.inference.band import resample_block
from biodenoising.inference.level import Stage
from biodenoising.inference.waiting import Block, Waiting


class TwoRates:
    """Denoise a stream by `fine` as it is and by `coarse` at 1 / `decimation` of its rate.

    Shapes as for Stitcher: (channels, samples) in and out, in total as much out as in; no sample
    moves in time. In the coarse band its estimate counts with `share`, above it the fine estimate
    stands alone. `coarse` may itself hear at two rates.
    """

    def __init__(
        self, fine: Stage, coarse: Stage, channels: int, decimation: int, share: float = 0.5
    ) -> None:
        self._fine, self._coarse, self._share = fine, coarse, np.float32(share)
        down, up = (decimation, 1), (1, decimation)
        self._down_input, self._down_fine, self._up = (
            soxr.ResampleStream(*rates, channels, dtype="float32") for rates in (down, down, up)
        )
        self._fine_wait = Waiting(channels)  # until the change to it is known
        self._low_fine = Waiting(channels)
        self._low_coarse = Waiting(channels)

    def push(self, block: Block) -> Block:
        """Take the next input and return all output that it completes, maybe none."""
        fine = self._fine.push(block)
        coarse = self._coarse.push(resample_block(self._down_input, block, last=False))
        return self._join(fine, coarse, last=False)

    def flush(self) -> Block:
        """Return what is left at the end of the recording."""
        rest = resample_block(self._down_input, self._fine_wait.take(0), last=True)
        coarse = np.concatenate([self._coarse.push(rest), self._coarse.flush()], axis=1)
        return self._join(self._fine.flush(), coarse, last=True)

    def _join(self, fine: Block, coarse: Block, *, last: bool) -> Block:
        self._fine_wait.put(fine)
        self._low_fine.put(resample_block(self._down_fine, fine, last=last))
        self._low_coarse.put(coarse)
        known = min(self._low_fine.samples, self._low_coarse.samples)
        difference = self._low_coarse.take(known) - self._low_fine.take(known)
        change = resample_block(self._up, self._share * difference, last=last)
        if last:
            # Roundings of the length may differ by some samples, all of them without a change.
            missing = max(0, self._fine_wait.samples - change.shape[1])
            change = np.pad(change, ((0, 0), (0, missing)))
        before = self._fine_wait.take(min(change.shape[1], self._fine_wait.samples))
        return before + change[:, : before.shape[1]]
