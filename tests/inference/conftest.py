"""Small untrained networks of either kind that is run step by step."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from biodenoising.models.cards import Card, Chunking

MASKS = {
    "channels": (4, 6, 8), "across": 6, "along": 8, "short": 64, "long": 256, "hop": 32,
    "causal": True, "floor": 0.02,
}  # fmt: skip
WriteMasks = Callable[..., Path]


@pytest.fixture(scope="session")
def write_masks() -> WriteMasks:
    """Write an untrained mask network into a folder, its settings changed; return its card."""
    import torch

    from biodenoising.models.networks import build_network, save_checkpoint

    def write(folder: Path, **changes: object) -> Path:
        torch.manual_seed(5)
        network = build_network("masknet", {**MASKS, **changes})
        # Untrained, the last layer gives next to nothing: all masks would be the floor.
        torch.nn.init.uniform_(network.up[-1][0].weight, -0.5, 0.5)
        # Successors take turns often.
        chunking = Chunking(4_096, left=512, right=256, overlap=128, warm_up=512)
        card = Card("masks", "masknet", "", "", 16_000, chunking)
        save_checkpoint(network, card, folder, half=False)
        return folder / "masks.json"

    return write


@pytest.fixture(scope="session")
def tiny_masks(write_masks: WriteMasks, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The card's path of a small causal mask network."""
    return write_masks(tmp_path_factory.mktemp("masks"))


@pytest.fixture(scope="session", params=["demucs", "masks"])
def causal_model(request: pytest.FixtureRequest) -> Path:
    """The card's path of a small network of either kind."""
    name = {"demucs": "tiny_model", "masks": "tiny_masks"}[request.param]
    return Path(request.getfixturevalue(name))
