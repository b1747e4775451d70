"""Turn a run's averaged weights into the shipped checkpoint: weights, graph and card.

python recipes/first/export.py --corpus CORPUS --run RUN --out biodenoising/checkpoints
"""

from __future__ import annotations

import argparse
import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from mixtures import MixtureSettings, select_rows
from safetensors.torch import load_file

from biodenoising.models.cards import Card, Chunking
from biodenoising.models.demucs import Demucs, DemucsSettings
from biodenoising.models.networks import save_checkpoint

# Chunks of five seconds with one of context before them, at the rate the model was made for.
CHUNKING = Chunking(samples=82_005, left=16_384, right=1_024, overlap=2_048, warm_up=16_384)


def training_record(corpus: Path, run: Path) -> dict[str, Any]:
    """Return what the weights were trained on, by licence and source, and for how long."""
    settings = MixtureSettings()
    record: dict[str, Any] = {}
    for kind in ("vocal", "noise"):
        rows = select_rows(corpus, kind, settings, held_back=False)
        record[kind] = {
            "clips": len(rows),
            "minutes": round(sum(row["duration_s"] for row in rows) / 60, 1),
            "licences": dict(Counter(row["licence"] for row in rows).most_common()),
            "sources": sorted({row["source"] for row in rows}),
        }
    with open(run / "log.csv", newline="", encoding="utf-8") as lines:
        step, seconds, *_ = list(csv.reader(lines))[-1]
    state = torch.load(run / "state.pt", weights_only=True)
    record["steps"] = state["step"]
    record["minutes"] = round(state["used_s"] / 60, 1)
    record["last_logged"] = {"step": int(step), "seconds": int(seconds)}
    record["machine"] = "two cores of a shared x86-64 server, bf16 autocast"
    record["recipe"] = "recipes/first/train.py"
    return record


def main() -> None:
    """Read the command line and write the checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--hidden", type=int, default=24)
    parser.add_argument("--metrics", type=Path, help="JSON file of figures for the card")
    args = parser.parse_args()
    network = Demucs(DemucsSettings(hidden=args.hidden))
    network.load_state_dict(load_file(args.run / "average.safetensors"))
    card = Card(
        name="demucs",
        architecture="demucs",
        description=f"Demucs, H={args.hidden}, causal, for any animal at any rate: first weights.",
        licence=(
            "CC-BY-SA-4.0; some recordings it was trained on are under GPL or other share-alike "
            "licences, see training"
        ),
        sample_rate=16_000,
        chunking=CHUNKING,
        training=training_record(args.corpus, args.run),
        metrics=json.loads(args.metrics.read_text(encoding="utf-8")) if args.metrics else {},
    )
    args.out.mkdir(parents=True, exist_ok=True)
    card = save_checkpoint(network, card, args.out, half=True)
    print(f"{card.weights_path}: {card.parameters} parameters, sha256 {card.weights_sha256[:12]}")


if __name__ == "__main__":
    main()
