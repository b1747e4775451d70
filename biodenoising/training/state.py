"""Where a training stands: network, moving average, optimizer, counters; saved as one file.

A run's folder holds checkpoint.pt (all that going on needs), average.safetensors (the averaged
weights by themselves: what is checked and exported) and best.safetensors (those of the best check).
Every file is written whole or not at all; nothing in them is ever unpickled into objects.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from biodenoising.errors import ModelError, OptionError, TrainingError
from biodenoising.models.cleanunet import CleanUNetSettings
from biodenoising.models.demucs import DemucsSettings
from biodenoising.models.masknet import MaskNetSettings
from biodenoising.models.networks import Network, build_network
from biodenoising.storage import printable, whole_file
from biodenoising.training.configuration import build
from biodenoising.training.growth import grown
from biodenoising.training.muon import Muon
from biodenoising.training.settings import TrainingSettings, what_counts

FORMAT = 1
CHECKPOINT, AVERAGE, BEST = "checkpoint.pt", "average.safetensors", "best.safetensors"
ARCHITECTURES: dict[str, Any] = {
    "demucs": DemucsSettings,
    "cleanunet": CleanUNetSettings,
    "masknet": MaskNetSettings,
}
COUNTERS = ("step", "averaged", "used_s", "best_db", "checks_since_best", "checked_step")
OPTIMIZERS = {
    "adamw": torch.optim.AdamW, "adam": torch.optim.Adam, "nadam": torch.optim.NAdam, "muon": Muon,
}  # fmt: skip


class RunState:
    """A network in training, its moving average, its optimizer and where they stand."""

    def __init__(self, settings: TrainingSettings) -> None:
        self.settings = settings
        torch.manual_seed(settings.seed)
        self.network = new_network(settings)
        if settings.begin_from is not None:
            load_weights(self.network, Path(settings.begin_from), grow=True)
        self.average: nn.Module = copy.deepcopy(self.network).eval().requires_grad_(False)
        o = settings.optimizer
        self.optimizer: torch.optim.Optimizer = OPTIMIZERS[o.kind](
            self.network.parameters(), lr=o.rate, betas=o.betas, weight_decay=o.weight_decay
        )
        self.step, self.averaged, self.used_s = 0, 0, 0.0
        self.best_db, self.checks_since_best, self.checked_step = float("-inf"), 0, -1
        self.machine = ""

    @torch.no_grad()
    def follow(self) -> None:
        """Move the average towards the weights as they are after this step."""
        a = self.settings.average
        if a.kind == "decay":
            # From the start, so that the first random weights do not linger.
            share = 1 - min(a.decay, self.step / (self.step + 10))
        elif self.step < a.from_step:
            share = 1.0
        elif (self.step - a.from_step) % a.every_steps == 0:
            self.averaged += 1
            share = 1 / self.averaged
        else:
            return
        fresh = self.network.state_dict()
        for name, slow in self.average.state_dict().items():
            if slow.is_floating_point():
                slow.lerp_(fresh[name], share)
            else:
                slow.copy_(fresh[name])

    def save(self, folder: Path) -> None:
        """Write the checkpoint and the averaged weights."""
        record = {
            "format": FORMAT,
            "architecture": self.settings.architecture,
            "network_settings": dataclasses.asdict(self.network.settings),
            "settings": json.dumps(what_counts(self.settings)),
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "machine": self.machine,
            **{counter: getattr(self, counter) for counter in COUNTERS},
        }
        with whole_file(folder / CHECKPOINT) as temporary:
            torch.save(record, temporary)
        self.save_weights(folder / AVERAGE)

    def save_weights(self, path: Path) -> None:
        """Write the averaged weights alone."""
        weights = {name: x.contiguous().cpu() for name, x in self.average.state_dict().items()}
        with whole_file(path) as temporary:
            temporary.write_bytes(save(weights))

    def load(self, folder: Path) -> list[str]:
        """Go on from a folder's checkpoint; return the settings that are not what they were.

        Raises TrainingError for a damaged checkpoint or one of another network.
        """
        name = printable(folder / CHECKPOINT)
        record = read_checkpoint(folder)
        try:
            ours = (self.settings.architecture, dataclasses.asdict(self.network.settings))
            theirs = (record["architecture"], record["network_settings"])
            if ours != theirs:
                raise TrainingError(
                    f"{name}: is of another network, {_difference(ours, theirs)}; choose another "
                    "run folder, or start over with --fresh"
                )
            self.network.load_state_dict(record["network"])
            self.average.load_state_dict(record["average"])
            self.optimizer.load_state_dict(record["optimizer"])
            for counter in COUNTERS:
                setattr(self, counter, record[counter])
            before = json.loads(record["settings"])
        except (KeyError, ValueError, RuntimeError, AttributeError) as error:
            raise TrainingError(
                f"{name}: not a checkpoint of this version ({' '.join(str(error).split())}); "
                "start over with --fresh"
            ) from error
        return changed_keys(before, json.loads(json.dumps(what_counts(self.settings))))

    def take_best(self, folder: Path) -> None:
        """Make the average what it was at the best check. Raises TrainingError."""
        load_weights(self.average, folder / BEST)


def new_network(settings: TrainingSettings) -> Network:
    """Return an untrained network. Raises OptionError for arguments that it does not take."""
    build(ARCHITECTURES[settings.architecture], settings.network, "network.")
    try:
        return build_network(settings.architecture, settings.network)
    except ModelError as error:
        raise OptionError(f"network: {error}") from error


def read_checkpoint(folder: Path) -> dict[str, Any]:
    """Return the record in a run's checkpoint. Raises TrainingError where there is none."""
    path = folder / CHECKPOINT
    try:
        record = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise TrainingError(
            f"{printable(path)}: no checkpoint to read ({error.strerror})"
        ) from error
    except (RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise TrainingError(
            f"{printable(path)}: the checkpoint is damaged; start over with --fresh"
        ) from error
    if not isinstance(record, dict):
        raise TrainingError(f"{printable(path)}: not a checkpoint; start over with --fresh")
    return record


def load_weights(network: nn.Module, path: Path, *, grow: bool = False) -> None:
    """Load weights from a safetensors file, with `grow` of a smaller network too.

    Raises TrainingError where they do not fit.
    """
    try:
        weights: dict[str, Tensor] = load_file(path)
        if grow:
            weights = grown(weights, network.state_dict())
        # An exported checkpoint leaves out what batch norms count, which nothing here needs.
        counted = {k: v for k, v in network.state_dict().items() if not v.is_floating_point()}
        network.load_state_dict(counted | weights)
    except OSError as error:
        reason = error.strerror or "nothing is there"
        raise TrainingError(f"{printable(path)}: no weights to read ({reason})") from error
    except (SafetensorError, RuntimeError) as error:
        raise TrainingError(
            f"{printable(path)}: not weights of this network ({' '.join(str(error).split())[:200]})"
        ) from error


def changed_keys(before: dict[str, Any], now: dict[str, Any], where: str = "") -> list[str]:
    """Return the dotted names of the values in which two nested records differ."""
    found = []
    for key in sorted(before.keys() | now.keys()):
        old, new = before.get(key), now.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            found += changed_keys(old, new, f"{where}{key}.")
        elif old != new:
            found.append(f"{where}{key}")
    return found


def _difference(ours: tuple[str, Any], theirs: tuple[str, Any]) -> str:
    if ours[0] != theirs[0]:
        return f"{theirs[0]} and not {ours[0]}"
    return f"{theirs[0]} with other {', '.join(changed_keys(theirs[1], ours[1]))}"


@torch.no_grad()
def put_between(network: nn.Module, old: nn.Module, new: nn.Module, share: float) -> None:
    """Set every weight of `network` to old + share * (new - old); above 1 lies beyond the new."""
    before, after = old.state_dict(), new.state_dict()
    for name, weight in network.state_dict().items():
        if weight.is_floating_point():
            weight.copy_(torch.lerp(before[name], after[name], share))
            if name.endswith("running_var"):
                weight.clamp_(min=0)  # a variance that fell does not fall below nothing
        else:
            weight.copy_(after[name])
