"""A causal network run step by step over live sound, its states passed on from step to step.

Promise: what comes out is the network's output over the whole sound so far, whatever the blocks in
which it comes, for the cost of one pass.

No state lives for ever, for the reason why inference.chunks starts every chunk afresh: an event far
above the background would be felt for minutes. Before a network's turn ends its successor listens
to `context` samples, starting from nothing, and takes over in a cross-fade.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from biodenoising.errors import ModelError
from biodenoising.inference.runtimes import Batch, open_session
from biodenoising.inference.waiting import Block
from biodenoising.models.cards import Card, Chunking
from biodenoising.models.registry import load_steps
from biodenoising.models.steps import Steps, demucs_steps

States = dict[str, Batch]
# A step of this many hops costs little more than ten single ones and holds some megabytes.
MOST_HOPS = 64


class StepRuntime:
    """The graph of a causal network's steps in ONNX Runtime; states belong to the streams."""

    def __init__(self, card: Card, threads: int = 1) -> None:
        steps = demucs_steps(card.arguments)
        if steps is None:
            raise ModelError(f"model {card.name}: cannot be run step by step")
        self.steps: Steps = steps
        self._session = open_session(card, load_steps(card), threads)
        self._outputs = ["clean", *(f"{name}_out" for name in steps.states)]

    def begin(self, rows: int) -> States:
        """Return the states before the first step of `rows` waveforms."""
        return {
            name: np.zeros(shape, np.float32) for name, shape in self.steps.shapes(rows).items()
        }

    def run(self, noisy: Batch, states: States) -> tuple[Batch, States]:
        """Return what a step of (rows, samples) gives and the states after it."""
        given = {"noisy": noisy[:, None], **states}
        clean, *kept = self._session.run(self._outputs, given)
        return clean[:, 0], dict(zip(self.steps.states, kept, strict=True))


@dataclass(frozen=True)
class Turns:
    """In hops: what a network hears before its turn, its fading in, from one turn to the next."""

    context: int
    fade: int
    period: int

    @classmethod
    def of(cls, chunking: Chunking, hop: int) -> Turns:
        """Return the turns that are nearest to a card's chunks."""
        context = -(-chunking.left // hop)
        fade = max(1, chunking.overlap // hop)
        return cls(context, fade, max(chunking.hop // hop, context + fade + 1))


class Stepped:
    """Run a stream of blocks, (channels, samples), through a causal network."""

    def __init__(self, runtime: StepRuntime, turns: Turns, channels: int) -> None:
        self._runtime, self._steps, self._turns = runtime, runtime.steps, turns
        self._input = np.zeros((channels, 0), np.float32)  # from hop _done on
        self._received = self._returned = 0
        self._done = 0  # hops done
        self._states = runtime.begin(channels)
        self._successor: States | None = None

    def push(self, block: Block) -> Block:
        """Take the next input and return all output that it completes, maybe none."""
        self._input = np.concatenate([self._input, block], axis=1)
        self._received += block.shape[1]
        done = [block[:, :0]]
        while self._input.shape[1] >= self._steps.first:
            hops = (self._input.shape[1] - self._steps.first) // self._steps.hop + 1
            done.append(self._advance(min(hops, self._until_change())))
        clean = np.concatenate(done, axis=1)
        self._returned += clean.shape[1]
        return clean

    def flush(self) -> Block:
        """Return what is left at the end of the recording, as if silence followed."""
        missing = self._received - self._returned
        silence = np.zeros((len(self._input), self._steps.first + self._steps.hop), np.float32)
        return self.push(silence)[:, :missing]

    def _until_change(self) -> int:
        """Return the hops until a successor begins, fades in or has taken over."""
        turns, place = self._turns, self._done % self._turns.period
        ends = (turns.context, turns.context + turns.fade, turns.period)
        return min(MOST_HOPS, next(end for end in ends if end > place) - place)

    def _advance(self, hops: int) -> Block:
        turns, place = self._turns, self._done % self._turns.period
        clean, self._states = self._step(self._states, hops, fresh=self._done == 0)
        if self._done and place == 0:
            self._successor = self._runtime.begin(len(clean))
        if self._successor is not None:
            heard, self._successor = self._step(self._successor, hops, fresh=place == 0)
            if place >= turns.context:
                clean = self._faded(clean, heard, place - turns.context)
            if place + hops == turns.context + turns.fade:
                self._states, self._successor = self._successor, None
        self._done += hops
        # A successor that begins now needs everything from here on.
        self._input = self._input[:, hops * self._steps.hop :]
        return clean

    def _step(self, states: States, hops: int, *, fresh: bool) -> tuple[Block, States]:
        """Run `hops` hops; a fresh network takes its first step with the first of them."""
        steps = self._steps
        end = steps.first + (hops - 1) * steps.hop
        start = 0 if fresh else steps.first - steps.hop
        return self._runtime.run(self._input[:, start:end], states)

    def _faded(self, old: Block, new: Block, hops: int) -> Block:
        """Cross-fade two outputs that lie `hops` hops behind the fade's beginning."""
        hop, length = self._steps.hop, self._turns.fade * self._steps.hop
        place = (np.arange(old.shape[1]) + 0.5 + hops * hop) / length
        rise = (np.sin(0.5 * np.pi * place) ** 2).astype(np.float32)
        return old * (1 - rise) + new * rise
