"""The reference path: eager torch, whole files, one at a time, with the networks of published size.

`python -m benchmark.speed.reference CARD IN OUT` runs it over a folder.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import soundfile

from biodenoising.models.cards import Card, Chunking

# As the shipped models are cut: a second of sound before, half a one for attention, and the
# network's reach behind. Two chunks at a time halve what a wide LSTM reads of its weights.
CHUNKINGS = {
    "demucs": Chunking(147_541, 16_384, 1_024, 2_048, batch=2, warm_up=16_384),
    "cleanunet": Chunking(147_454, 8_192, 1_024, 2_048, warm_up=8_192),
}


def save_random(architecture: str, folder: Path) -> Path:
    """Write an untrained network with its published settings; return its card's path."""
    import torch

    from biodenoising.models.networks import build_network, save_checkpoint

    torch.manual_seed(0)
    network = build_network(architecture, {}).eval()
    card = Card(
        name=f"{architecture}-published-size",
        architecture=architecture,
        description="Untrained, for measuring.",
        licence="none",
        sample_rate=16_000,
        chunking=CHUNKINGS[architecture],
    )
    folder.mkdir(parents=True, exist_ok=True)
    save_checkpoint(network, card, folder, half=False)
    return folder / f"{card.name}.json"


def open_network(model: str) -> Any:
    """Return a card's torch network with its weights."""
    from safetensors.torch import load_file

    from biodenoising import Denoiser
    from biodenoising.models.networks import build_network

    card = Denoiser(model, threads=1).card
    network = build_network(card.architecture, card.arguments)
    weights = {key: array.float() for key, array in load_file(card.weights_path).items()}
    network.load_state_dict(weights, strict=False)
    return network.eval().requires_grad_(False)


def denoise_folder(model: str, source: Path, target: Path) -> None:
    """Denoise every file of a folder whole."""
    import torch

    network = open_network(model)
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.glob("*.wav")):
        noisy, rate = soundfile.read(path, dtype="float32", always_2d=True)
        clean = network(torch.from_numpy(noisy.T.copy())[:, None])[:, 0]
        soundfile.write(target / path.name, clean.numpy().T, rate, subtype="PCM_16")


def count_multiplications(model: str, samples: int = 16_000) -> float:
    """Return the multiplications of a network's layers for `samples` samples."""
    import torch
    from torch import nn

    network, total = open_network(model), 0.0

    def count(layer: Any, given: Any, made: Any) -> None:
        nonlocal total
        if isinstance(layer, nn.LSTM):
            gates = sum(p.numel() for name, p in layer.named_parameters() if "weight" in name)
            total += gates * given[0].shape[0] * given[0].shape[1]
        elif isinstance(layer, nn.Linear):
            total += layer.weight.numel() * given[0].numel() / given[0].shape[-1]
        elif isinstance(layer, nn.ConvTranspose1d | nn.ConvTranspose2d):
            total += layer.weight.numel() * given[0].numel() / given[0].shape[1]
        else:
            total += layer.weight.numel() * made.numel() / made.shape[1]

    kinds = (nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.Linear, nn.LSTM)
    for layer in network.modules():
        if isinstance(layer, kinds):
            layer.register_forward_hook(count)
    seconds = 4
    network(torch.randn(1, 1, seconds * samples))
    return total / seconds


if __name__ == "__main__":
    denoise_folder(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
