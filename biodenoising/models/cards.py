"""Model cards: what a checkpoint is, what it was trained on, and the hashes of its files.

A checkpoint NAME is three files in one folder: NAME.json (this card), NAME.safetensors (weights)
and NAME.onnx (the network's graph without weights, a few kilobytes); where a network can be run
step by step, NAME.steps.onnx is the graph of one step, and NAME.int8.onnx that of a network in
8-bit integers. Nothing is ever unpickled.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from biodenoising.errors import ModelError
from biodenoising.storage import printable

ARCHITECTURES = ("demucs", "cleanunet", "masknet", "noisereduce")
# The arguments that say to which lengths a recording is padded, and how spectra are taken.
SIZES = {
    "demucs": ("depth", "kernel", "stride", "upsample"),
    "cleanunet": ("depth", "kernel", "stride"),
    "masknet": ("short", "long", "hop"),
}


HIGHEST_RATE_HZ = 10_000_000
# A chunk lies in memory as a whole, many times over.
LONGEST_CHUNK = 1 << 26


@dataclass(frozen=True)
class Chunking:
    """How a long recording is cut for a model; all in samples at the rate the model works at.

    `samples` is a chunk's length with its context, `left` and `right` the context thrown away,
    `overlap` the length of the cross-fade, `batch` how many chunks are computed at once. The first
    chunk has no sound on its left and hears `warm_up` samples of its own beginning, mirrored.
    """

    samples: int
    left: int
    right: int
    overlap: int = 0
    batch: int = 1
    warm_up: int = 0

    def __post_init__(self) -> None:
        if min(dataclasses.astuple(self)) < 0 or self.batch < 1 or self.hop < 1:
            raise ModelError(f"{self} leaves no samples between two chunks")
        if self.warm_up > self.left:
            raise ModelError(f"{self} has a warm-up longer than its context on the left")

    @property
    def hop(self) -> int:
        """Samples from one chunk's start to the next one's."""
        return self.samples - self.left - self.right - self.overlap


@dataclass(frozen=True)
class Card:
    """One model: how to build and run it, and where it came from.

    `sample_rate` (Hz) is the rate at which time expansion 1 works. With `decimations`
    D, E, ... the network hears recordings at a D-th, an E-th, ... of their rate too, each a
    multiple of the one before, and opinions are averaged. `training` and `metrics` are free-form
    records for people. Hashes are SHA-256 of the files beside the card, or empty where a model has
    none.
    """

    name: str
    architecture: str
    description: str
    licence: str
    sample_rate: int
    chunking: Chunking
    arguments: dict[str, Any] = field(default_factory=dict)
    decimations: tuple[int, ...] = ()
    parameters: int = 0
    weights_sha256: str = ""
    graph_sha256: str = ""
    training: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    folder: Path | None = None
    steps_sha256: str = ""
    int8_sha256: str = ""

    @property
    def weights_path(self) -> Path:
        """Where the weights are. Raises ModelError for a model without weights."""
        return self._file(".safetensors")

    @property
    def graph_path(self) -> Path:
        """Where the ONNX graph is. Raises ModelError for a model without one."""
        return self._file(".onnx")

    @property
    def steps_path(self) -> Path:
        """Where the ONNX graph of one step is, if any. Raises ModelError as `graph_path`."""
        return self._file(".steps.onnx")

    @property
    def int8_path(self) -> Path:
        """Where the ONNX graph in 8-bit integers is, if any. Raises ModelError as `graph_path`."""
        return self._file(".int8.onnx")

    def _file(self, suffix: str) -> Path:
        if self.folder is None:
            raise ModelError(f"model {self.name} has no file {self.name}{suffix}")
        return self.folder / f"{self.name}{suffix}"


def read_card(path: Path) -> Card:
    """Read a card from its JSON file. Raises ModelError naming the file and what is wrong."""
    name = printable(path)
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(f"{name}: no such model card ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{name}: not a model card, its JSON is damaged ({error})") from error
    try:
        chunking = Chunking(**record.pop("chunking"))
        decimations = tuple(record.pop("decimations", ()))
        card = Card(**record, chunking=chunking, decimations=decimations, folder=path.parent)
        _check_types(card)
    except (TypeError, KeyError, AttributeError) as error:
        raise ModelError(f"{name}: not a model card of this version ({error})") from error
    if card.architecture not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise ModelError(f"{name}: unknown architecture {card.architecture!r}; known: {known}")
    if not all(
        later >= 2 * before and not later % before
        for before, later in itertools.pairwise((1, *card.decimations))
    ):
        raise ModelError(
            f"{name}: decimations are {list(card.decimations)}; each must be a multiple of the one "
            "before, the first 2 or more"
        )
    if card.name != path.stem:
        raise ModelError(f"{name}: the card is named {card.name!r}; file and card must agree")
    return card


def _check_types(card: Card) -> None:
    """Raise TypeError or KeyError for values that no card has."""
    kinds = {
        "name": str, "description": str, "licence": str, "sample_rate": int, "arguments": dict,
        "parameters": int, "weights_sha256": str, "graph_sha256": str,
    }  # fmt: skip
    for field_name, kind in kinds.items():
        if not isinstance(getattr(card, field_name), kind):
            raise TypeError(f"{field_name} is not of type {kind.__name__}")
    sizes = dataclasses.asdict(card.chunking)
    sizes |= {f"decimations {n}": each for n, each in enumerate(card.decimations)}
    sizes |= {key: card.arguments[key] for key in SIZES.get(card.architecture, ())}
    for field_name, size in sizes.items():
        if not isinstance(size, int):
            raise TypeError(f"{field_name} is not a whole number")
    if not 1 <= card.sample_rate <= HIGHEST_RATE_HZ:
        raise TypeError(f"sample_rate is {card.sample_rate} Hz")
    if card.chunking.samples > LONGEST_CHUNK:
        raise TypeError(f"a chunk of {card.chunking.samples} samples is none")


def card_record(card: Card) -> dict[str, Any]:
    """Return a card as the plain record its JSON file holds."""
    record = dataclasses.asdict(card)
    del record["folder"]
    return record
