"""Leave digital silence out of what a network hears.

Recorders that wait for a sound, and editors, fill gaps with zeros. A network that hears zeros
beside noise takes the noise for what begins to sound, a call: of 10 dB that it gained 5 were left.
So it hears what sounds in one piece.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import numpy as np

from biodenoising.inference.level import Stage
from biodenoising.inference.waiting import Block

# Gaps have to be kept back until the sound before them is out; a piece that has more of them ends.
MOST_KEPT_BACK = 1 << 21


class Gaps:
    """Denoise what sounds in a stream by a stage that `begin` makes.

    Shapes as for Stitcher: (channels, samples) in and out, in total as much out as in. Where all
    channels are zero for `least` samples or more, and at either end, they stay so unheard, and what
    is before such a gap and after it is heard as one. With two million zeros in it a piece ends.
    """

    def __init__(self, begin: Callable[[], Stage], channels: int, least: int) -> None:
        self._begin, self._channels, self._least = begin, channels, least
        self._inner: Stage | None = None  # none before the first sound and after long gaps
        self._zeros = 0  # that came last; whether they are a gap is seen by what comes next
        self._gaps: deque[tuple[int, int]] = deque()  # not given back: inner's samples before, own
        self._gapped = 0  # samples of all gaps of this piece
        self._heard = self._returned = 0  # samples, by inner

    def push(self, block: Block) -> Block:
        """Take the next input and return all output that it completes, maybe none."""
        done, at = [block[:, :0]], 0
        for first, last in _sounding(block, self._least):
            done += self._pause(first - at)
            done += self._hear(block[:, first:last])
            at = last
        done += self._pause(block.shape[1] - at)
        return np.concatenate(done, axis=1)

    def flush(self) -> Block:
        """Return what is left at the end of the recording."""
        return np.concatenate([np.zeros((self._channels, 0), np.float32), *self._end()], axis=1)

    def _pause(self, samples: int) -> list[Block]:
        """Take zeros; return what is ready where they end a piece or none has begun."""
        self._zeros += samples
        # What was given back by now may depend on the blocks; where a piece ends must not.
        full = self._zeros >= self._least and self._gapped + self._zeros > MOST_KEPT_BACK
        return self._end() if self._inner is None or full else []

    def _hear(self, block: Block) -> list[Block]:
        """Take samples that sound, after zeros that may have been too few to be a gap."""
        if self._inner is None:
            self._inner = self._begin()
        if self._zeros >= self._least:
            self._gaps.append((self._heard, self._zeros))
            self._gapped += self._zeros
        elif self._zeros:
            block = np.pad(block, ((0, 0), (self._zeros, 0)))
        self._zeros = 0
        self._heard += block.shape[1]
        return self._spread(self._inner.push(block))

    def _end(self) -> list[Block]:
        """End the piece, if there is one, and return it and the silence after it."""
        rest = [] if self._inner is None else self._spread(self._inner.flush())
        after = self._silence(self._zeros)
        self._inner, self._zeros, self._gapped, self._heard, self._returned = None, 0, 0, 0, 0
        return [*rest, after]

    def _spread(self, clean: Block) -> list[Block]:
        """Put the gaps back between what inner returned."""
        done = []
        while self._gaps and self._gaps[0][0] <= self._returned + clean.shape[1]:
            place, samples = self._gaps.popleft()
            done += [clean[:, : place - self._returned], self._silence(samples)]
            clean = clean[:, place - self._returned :]
            self._returned = place
        self._returned += clean.shape[1]
        return [*done, clean]

    def _silence(self, samples: int) -> Block:
        return np.zeros((self._channels, samples), np.float32)


def _sounding(block: Block, least: int) -> list[tuple[int, int]]:
    """Return where a block sounds, first and one past last, parted by `least` zeros or more."""
    places = np.flatnonzero(block.any(axis=0))
    if not len(places):
        return []
    splits = np.flatnonzero(np.diff(places) > least)
    firsts, lasts = places[np.append(0, splits + 1)], places[np.append(splits, -1)]
    return list(zip(firsts.tolist(), (lasts + 1).tolist(), strict=True))
