"""A queue of samples: what went into a stage and whose partners have not come out yet."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Block = NDArray[np.float32]  # shape (channels, samples)


class Waiting:
    """Samples in the order they came."""

    def __init__(self, channels: int) -> None:
        self._blocks = np.zeros((channels, 0), np.float32)

    @property
    def samples(self) -> int:
        """How many samples wait."""
        return int(self._blocks.shape[1])

    def put(self, block: Block) -> None:
        """Add a block."""
        self._blocks = np.concatenate([self._blocks, block], axis=1)

    def take(self, samples: int) -> Block:
        """Remove and return the oldest samples."""
        taken, self._blocks = self._blocks[:, :samples], self._blocks[:, samples:]
        return taken
