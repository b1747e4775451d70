"""Run a network with a memory over a stream: each chunk goes on where the last one stopped.

The result is that of the whole recording at once, wherever the chunks are cut. Before its first
sample the network hears the recording's beginning mirrored, so that it does not start from
silence, which would tell it that there is no noise.
"""

from __future__ import annotations

import numpy as np

from biodenoising.inference.runtimes import StepRuntime
from biodenoising.inference.waiting import Block, Waiting
from biodenoising.models.cards import Chunking


class Relay:
    """Denoise a stream at unit level with a runtime that passes a state on."""

    def __init__(self, runtime: StepRuntime, chunking: Chunking, channels: int) -> None:
        self._runtime, self._plan, self._channels = runtime, chunking, channels
        self._state = runtime.first_state(channels)
        self._input = Waiting(channels)
        self._started = False
        self._surplus = chunking.warm_up - chunking.left  # results before the first sample
        self._owed = 0

    def push(self, block: Block) -> Block:
        """Take the next input and return all output that it completes, maybe none."""
        self._input.put(block)
        self._owed += block.shape[1]
        if not self._started and self._input.samples >= self._plan.warm_up:
            self._warm_up()
        done = [block[:, :0]]
        while self._started and self._input.samples >= self._plan.samples:
            done.append(self._advance(self._plan.samples))
        return np.concatenate(done, axis=1)

    def flush(self) -> Block:
        """Return what is left at the end of the recording."""
        done = [self._input.look(0, 0)]
        if self._owed and not self._started:
            self._warm_up()
        while self._owed:
            plan = self._plan
            needed = plan.left + max(0, self._surplus) + self._owed + plan.right
            done.append(self._advance(min(needed, plan.samples)))
        return np.concatenate(done, axis=1)

    def _warm_up(self) -> None:
        self._started = True
        beginning = self._input.take(self._input.samples)
        self._input.put(np.pad(beginning, ((0, 0), (self._plan.warm_up, 0)), "symmetric"))

    def _advance(self, samples: int) -> Block:
        """Denoise one chunk, with silence behind the recording's end, and return its new part."""
        plan = self._plan
        chunk = self._input.look(0, samples)
        chunk = np.pad(chunk, ((0, 0), (0, samples - chunk.shape[1])))
        clean, self._state = self._runtime.step(chunk, self._state)
        fresh = clean[:, plan.left : samples - plan.right]
        self._input.take(fresh.shape[1])
        skipped = min(self._surplus, fresh.shape[1])
        self._surplus -= skipped
        fresh = fresh[:, skipped : skipped + self._owed]
        self._owed -= fresh.shape[1]
        return fresh
