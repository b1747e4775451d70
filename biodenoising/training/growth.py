"""Begin a larger mask network with what a smaller one has learnt.

The larger network does at first exactly what the smaller one does: what is new adds nothing until
training moves it (after Chen, Goodfellow and Shlens, "Net2Net", ICLR 2016).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

GATES = 4  # of an LSTM, one after the other in its weights
NORM = (".norm.weight", ".norm.bias")


def grown(weights: Mapping[str, Tensor], fresh: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return `weights` brought to the shapes of `fresh`, an untrained network's state.

    Recurrences may be wider and blocks more; a new block passes its input on. What cannot be grown
    stays as it is, for the loading to refuse.
    """
    result = {name: old.to(torch.float32) for name, old in weights.items()}
    for name, new in fresh.items():
        old = result.get(name)
        if old is None:
            if name.startswith("blocks."):
                result[name] = torch.zeros_like(new) if name.endswith(NORM) else new.clone()
        elif old.shape != new.shape and old.dim() == new.dim():
            if ".recurrence." in name:
                result[name] = _wider_recurrence(old, new, hears_itself=".weight_hh" in name)
            elif name.endswith(".project.weight"):
                result[name] = _wider_projection(old, new, _directions(fresh, name))
    return result


def _wider_recurrence(old: Tensor, new: Tensor, *, hears_itself: bool) -> Tensor:
    """Keep the old units in every gate, deaf to the new ones; new units stay as they are drawn."""
    held, kept = new.clone().unflatten(0, (GATES, -1)), old.unflatten(0, (GATES, -1))
    units = kept.shape[1]
    if hears_itself:
        held[:, :units] = 0
        held[:, :units, :units] = kept
    else:
        held[:, :units] = kept
    return held.flatten(0, 1)


def _wider_projection(old: Tensor, new: Tensor, directions: int) -> Tensor:
    """Keep what the old units say; the new ones say nothing yet."""
    held = torch.zeros_like(new).unflatten(1, (directions, -1))
    kept = old.unflatten(1, (directions, -1))
    held[:, :, : kept.shape[2]] = kept
    return held.flatten(1, 2)


def _directions(fresh: Mapping[str, Tensor], name: str) -> int:
    reverse = name.replace("project.weight", "recurrence.weight_ih_l0_reverse")
    return 1 + (reverse in fresh)
