"""How a causal network is run step by step: how many samples a step takes, what is carried over.

Pure integer arithmetic without torch, because the ONNX path needs it as well. A step hands every
layer the end of its last input, so that the steps' outputs joined are the whole recording's output.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

SINC_ZEROS = 56  # taps to either side of the half-sample kernel
MOST_BLOCKS = 64  # of a mask network; a card may be a stranger's


@dataclass(frozen=True)
class Steps:
    """The first step takes `first` samples and gives `lead`; each later hop gives what it takes.

    `states` are the shapes before the first step without their batch, by the graph's input names,
    and `axes` says where the batch goes; they are zeros, many of them empty.
    """

    first: int
    lead: int
    hop: int
    states: dict[str, tuple[int, ...]]
    axes: dict[str, int]

    @property
    def latency(self) -> int:
        """Samples by which an output comes later than its input, at most."""
        return self.first - self.lead + self.hop - 1

    def shapes(self, batch: int) -> dict[str, tuple[int, ...]]:
        """Return the states' shapes before the first step of `batch` rows."""
        return {
            name: (*shape[: self.axes[name]], batch, *shape[self.axes[name] :])
            for name, shape in self.states.items()
        }


def steps_of(architecture: str, arguments: dict[str, Any]) -> Steps | None:
    """Return the steps of a network with a card's arguments; None where it has none."""
    if architecture == "demucs":
        return demucs_steps(arguments)
    if architecture == "masknet":
        return masknet_steps(arguments)
    return None


def masknet_steps(arguments: dict[str, Any]) -> Steps | None:
    """Return the steps of a mask network; None where it is not causal.

    Frame n ends with sample (n + 1) * hop and is the last to be felt in the output's hop that
    begins a long window earlier. The states are those of the graph, which is given spectra; the
    ends of the sound are inference.stepping's.
    """
    hop, short, long = (int(arguments[key]) for key in ("hop", "short", "long"))
    blocks, channels = int(arguments["blocks"]), arguments["channels"]
    if not arguments["causal"] or hop < 1 or short != 2 * hop or long < short or long % short:
        return None
    if not 0 < blocks <= MOST_BLOCKS:
        return None
    width, bands, along = int(channels[-1]), short // 2 >> len(channels), int(arguments["along"])
    states: dict[str, tuple[int, ...]] = {"near": (width, 2, bands)}
    for block in range(blocks):
        states[f"hidden{block}"] = states[f"cell{block}"] = (bands, along)
    return Steps(long, hop, hop, states, dict.fromkeys(states, 0))


def demucs_steps(arguments: dict[str, Any]) -> Steps | None:
    """Return the steps of a Demucs with a card's arguments; None where it has none.

    It has none if it is not causal, or if its stride is not a whole number of samples.
    """
    depth, kernel, stride = arguments["depth"], arguments["kernel"], arguments["stride"]
    doublings = int(arguments["upsample"]).bit_length() - 1
    shift = 1 << doublings
    frames = [1]
    for _ in range(depth):
        frames.append((frames[-1] - 1) * stride + kernel)
    hop = stride**depth
    if not arguments["causal"] or kernel < stride or frames[-1] % shift or hop % shift:
        return None
    first, lead = frames[-1], hop
    for _ in range(doublings):
        first, lead = first // 2 + SINC_ZEROS, lead // 2 - SINC_ZEROS
    if lead < 1:
        return None
    width = int(arguments["hidden"])
    widths = [width * int(arguments["growth"]) ** level for level in range(depth)]
    states: dict[str, tuple[int, ...]] = {}
    for level in range(doublings):
        states[f"up{level}"] = (1, SINC_ZEROS - 1)
    for level, inner in enumerate([1, *widths[:-1]]):
        states[f"encoder{level}"] = (inner, 0)
    states["hidden"] = states["cell"] = (2, widths[-1])
    for level in reversed(range(depth)):
        states[f"skip{level}"] = (widths[level], 0)
        states[f"decoder{level}"] = ([1, *widths][level], kernel - stride)
    for level in range(doublings):
        states[f"down{level}"] = (1, 2 * SINC_ZEROS)
    axes = {name: 1 if name in ("hidden", "cell") else 0 for name in states}
    return Steps(first, lead, hop // shift, states, axes)
