"""A causal network run step by step over live sound, its states passed on from step to step.

Promise: what comes out is the network's output over the whole sound so far, whatever the blocks in
which it comes, for the cost of one pass.

No state lives for ever, for the reason why inference.chunks starts every chunk afresh: an event far
above the background would be felt for minutes. Before a network's turn ends its successor listens
to `context` samples, starting from nothing, and takes over in a cross-fade.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from biodenoising.errors import ModelError
from biodenoising.inference.runtimes import Batch, grid_of, mismatch, open_session, session_errors
from biodenoising.inference.waiting import Block
from biodenoising.models.cards import Card, Chunking
from biodenoising.models.registry import load_steps, load_weights
from biodenoising.models.spectra import frames_of, waves_of
from biodenoising.models.steps import Steps, steps_of

States = dict[str, Batch]
# A step of this many hops costs little more than ten single ones and holds some megabytes.
MOST_HOPS = 64
ENDS = INPUT_END, OUTPUT_END = "input_end", "output_end"


class Stepping(Protocol):
    """Something that is run step by step; what it remembers belongs to the streams."""

    @property
    def steps(self) -> Steps:
        """How many samples a step takes and gives."""
        ...

    def run(self, noisy: Batch, states: States | None) -> tuple[Batch, States]:
        """Return what a step of (rows, samples) gives and the states after it.

        Before the first step, which takes `steps.first` samples or whole hops more, there are none.
        """
        ...


class StepRuntime:
    """The graph of a causal network's steps in ONNX Runtime.

    A mask network's graph is given spectra. The input that is still in frames to come, and the
    output that still lacks frames, are carried over beside the graph's own states.
    """

    def __init__(self, card: Card, threads: int = 1) -> None:
        try:
            steps, self._grid = steps_of(card.architecture, card.arguments), grid_of(card)
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            raise mismatch(card, error) from error
        if steps is None:
            raise ModelError(f"model {card.name}: cannot be run step by step")
        self.steps: Steps = steps
        self._card = card
        self._session = open_session(card, load_steps(card), load_weights(card), threads)
        self._outputs = ["clean", *(f"{name}_out" for name in steps.states)]

    def run(self, noisy: Batch, states: States | None) -> tuple[Batch, States]:
        """Return what a step of (rows, samples) gives and the states after it, as Stepping."""
        rows, samples = noisy.shape
        late = self.steps.first - self.steps.lead if states is None else 0
        if self._grid is None:
            shape = (rows, 1, samples - late)
            clean, kept = self._compute(noisy[:, None], states, shape)
            return clean[:, 0], kept
        margin = self._grid.margin
        ends = states or dict.fromkeys(ENDS, np.zeros((rows, margin), np.float32))
        heard = np.concatenate([ends[INPUT_END], noisy], axis=1)
        spectra = frames_of(heard, self._grid)
        masked, kept = self._compute(spectra, states, spectra.shape)
        waves = waves_of(masked, self._grid)
        waves[:, :margin] += ends[OUTPUT_END]
        kept |= {INPUT_END: heard[:, -margin:], OUTPUT_END: waves[:, -margin:]}
        # What comes out first lies before the sound's beginning.
        return waves[:, late:-margin], kept

    def _compute(
        self, noisy: Batch, states: States | None, shape: tuple[int, ...]
    ) -> tuple[Batch, States]:
        """Run the graph, which may be a stranger's: it gives `shape`; no state grows."""
        shapes = self.steps.shapes(len(noisy))
        failures: tuple[type[Exception], ...] = (*session_errors(), MemoryError)
        try:
            if states is None:
                given = {name: np.zeros(each, np.float32) for name, each in shapes.items()}
            else:
                given = {name: states[name] for name in shapes}
            clean, *kept = self._session.run(self._outputs, {"noisy": noisy, **given})
        except failures as error:
            raise mismatch(self._card, error) from error
        after: States = dict(zip(self.steps.states, kept, strict=True))
        fit = states is None or all(np.shape(after[name]) == given[name].shape for name in after)
        if np.shape(clean) != shape or clean.dtype != noisy.dtype or not fit:
            made = [np.shape(array) for array in (clean, *kept)]
            raise mismatch(self._card, ValueError(f"a step gives {made} for {noisy.shape}"))
        return clean, after


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

    def __init__(self, runtime: Stepping, turns: Turns, channels: int) -> None:
        self._runtime, self._steps, self._turns = runtime, runtime.steps, turns
        self._input = np.zeros((channels, 0), np.float32)  # from hop _done on
        self._received = self._returned = 0
        self._done = 0  # hops done
        self._states: States | None = None
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
        clean, self._states = self._step(self._states, hops)
        if self._done >= turns.period and place < turns.context + turns.fade:
            heard, self._successor = self._step(self._successor, hops)
            if place >= turns.context:
                clean = self._faded(clean, heard, place - turns.context)
            if place + hops == turns.context + turns.fade:
                self._states, self._successor = self._successor, None
        self._done += hops
        # A successor that begins now needs everything from here on.
        self._input = self._input[:, hops * self._steps.hop :]
        return clean

    def _step(self, states: States | None, hops: int) -> tuple[Block, States]:
        """Run `hops` hops; a fresh network takes its first step with the first of them."""
        steps = self._steps
        end = steps.first + (hops - 1) * steps.hop
        start = 0 if states is None else steps.first - steps.hop
        return self._runtime.run(self._input[:, start:end], states)

    def _faded(self, old: Block, new: Block, hops: int) -> Block:
        """Cross-fade two outputs that lie `hops` hops behind the fade's beginning."""
        hop, length = self._steps.hop, self._turns.fade * self._steps.hop
        place = (np.arange(old.shape[1]) + 0.5 + hops * hop) / length
        rise = (np.sin(0.5 * np.pi * place) ** 2).astype(np.float32)
        return old * (1 - rise) + new * rise
