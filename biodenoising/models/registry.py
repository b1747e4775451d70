"""Which models there are, and how a checkpoint's files are found, checked and read.

A model is named (one that ships with the package) or given as the path of its card, weights or
graph. Every file is compared with its hash before it is used; damaged ones are refused.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from biodenoising.errors import ModelError
from biodenoising.models import DEFAULT_MODEL, gating
from biodenoising.models.cards import Card, read_card
from biodenoising.models.graphs import check_operators
from biodenoising.storage import printable, sha256_of

CHECKPOINTS = Path(__file__).resolve().parent.parent / "checkpoints"
Weights = dict[str, NDArray[np.float32]]


def list_models() -> list[str]:
    """Return the names of all models that ship with this installation, the default first."""
    shipped = sorted(path.stem for path in CHECKPOINTS.glob("*.json"))
    names = [*shipped, *(card.name for card in gating.CARDS)]
    return sorted(names, key=lambda name: name != DEFAULT_MODEL)


def find_model(model: str | Path) -> Card:
    """Return the card of a model by name or path. Raises ModelError if there is none."""
    text = os.fspath(model)
    for card in gating.CARDS:
        if text == card.name:
            return card
    if text in list_models():
        return read_card(CHECKPOINTS / f"{text}.json")
    path = Path(text)
    if path.suffix in (".json", ".safetensors", ".onnx"):
        return read_card(path.with_suffix(".json"))
    if path.suffix in (".th", ".pt", ".pth", ".ckpt", ".pkl"):
        raise ModelError(
            f"{printable(path)}: pickled checkpoints can run code and are never loaded; "
            "convert it to safetensors with a card first (docs/models.md)"
        )
    known = ", ".join(list_models())
    raise ModelError(f"no model {printable(text)!r}; choose one of {known}, or a model card's path")


def load_weights(card: Card) -> Weights:
    """Read and check a model's weights as float32, whatever precision they are stored in.

    Raises ModelError where the file is missing, damaged, not the card's, or holds NaN.
    """
    path = card.weights_path
    name = printable(path)
    check_hash(path, card.weights_sha256)
    try:
        stored = load_file(path)
    except SafetensorError as error:
        raise ModelError(f"{name}: not a safetensors file ({error})") from error
    weights = {key: array.astype(np.float32) for key, array in stored.items()}
    for key, array in weights.items():
        if not np.isfinite(array).all():
            raise ModelError(f"{name}: tensor {key} holds values that are not finite")
    total = sum(array.size for array in weights.values())
    if total != card.parameters:
        raise ModelError(f"{name}: {total} parameters, but the card says {card.parameters}")
    return weights


def load_graph(card: Card) -> bytes:
    """Read and check a model's ONNX graph. Raises ModelError where it is missing or damaged."""
    return _checked_graph(card.graph_path, card.graph_sha256)


def load_steps(card: Card) -> bytes:
    """Read and check the graph of a model's steps. Raises ModelError as load_graph."""
    return _checked_graph(card.steps_path, card.steps_sha256)


def load_int8(card: Card) -> bytes:
    """Read and check a model's graph in 8-bit integers. Raises ModelError as load_graph."""
    return _checked_graph(card.int8_path, card.int8_sha256)


def _checked_graph(path: Path, sha256: str) -> bytes:
    check_hash(path, sha256)
    graph = path.read_bytes()
    try:
        check_operators(graph)
    except ModelError as error:
        raise ModelError(f"{printable(path)}: {error}") from error
    return graph


def check_hash(path: Path, expected: str) -> None:
    """Compare a file with its card's SHA-256. Raises ModelError where it differs or is missing."""
    try:
        actual = sha256_of(path)
    except OSError as error:
        raise ModelError(
            f"{printable(path)}: cannot be read ({error.strerror}); a checkpoint is a .json, a "
            ".safetensors and an .onnx file side by side"
        ) from error
    if actual != expected:
        raise ModelError(
            f"{printable(path)}: damaged or not the file its card names (sha256 {actual[:12]}..., "
            f"expected {expected[:12]}...); fetch or install it again"
        )


def verify_model(card: Card) -> None:
    """Check every file of a model. Raises ModelError at the first that is not right."""
    if card.folder is not None:
        load_weights(card)
        load_graph(card)
        if card.steps_sha256:
            load_steps(card)
        if card.int8_sha256:
            load_int8(card)


def fingerprint(card: Card) -> str:
    """Return what identifies a model's results: its name and a hash of all that decides them."""
    decisive = (
        card.architecture,
        card.sample_rate,
        card.chunking,
        card.decimations,
        sorted(card.arguments.items()),
        card.weights_sha256,
        card.graph_sha256,
        card.int8_sha256,
    )
    return f"{card.name}:{hashlib.sha256(repr(decisive).encode()).hexdigest()[:16]}"
