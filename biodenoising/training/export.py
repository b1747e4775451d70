"""From a run's averaged weights to a checkpoint: card, weights and graph.

The card lists what the weights were trained on, by licence and source, and for how long.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from biodenoising.corpus.clips import Row, read_rows, select_rows, select_unlabelled
from biodenoising.errors import OptionError
from biodenoising.models.cards import Card
from biodenoising.models.networks import save_checkpoint
from biodenoising.training.settings import TrainingSettings, what_counts
from biodenoising.training.state import (
    AVERAGE,
    CHECKPOINT,
    load_weights,
    new_network,
    put_between,
    read_checkpoint,
)

# What the licence of weights must say where recordings of a tier were used.
DEMANDS = {"noncommercial": ("NC",), "copyleft": ("SA", "GPL")}


def export_run(
    settings: TrainingSettings,
    corpora: Sequence[Path],
    folder: Path,
    out: Path,
    *,
    metrics: dict[str, Any] | None = None,
) -> Card:
    """Write OUT/NAME.json, .safetensors and .onnx from a run's average.safetensors.

    `corpora` are the manifests the run was trained on. Raises TrainingError where the weights are
    missing or do not fit, OptionError where the licence asks less than the recordings'.
    """
    network, export = new_network(settings), settings.export
    load_weights(network, folder / AVERAGE)
    training = training_record(settings, corpora)
    if export.way < 1 and settings.begin_from is not None:
        old = new_network(settings)
        load_weights(old, Path(settings.begin_from), grow=True)
        put_between(network, old, network, export.way)
        training["share of the way from what it began with"] = export.way
    _check_licence(export.licence, training)
    if (folder / CHECKPOINT).exists():
        state = read_checkpoint(folder)
        training["steps"] = state.get("step")
        training["minutes"] = round(float(state.get("used_s", 0.0)) / 60, 1)
        training["machine"] = state.get("machine", "")
    card = Card(
        name=settings.name,
        architecture=settings.architecture,
        description=export.description or f"{settings.architecture}, trained as {settings.name}.",
        licence=export.licence,
        sample_rate=export.sample_rate,
        chunking=export.chunking,
        decimations=export.decimations,
        training=training,
        metrics=metrics or {},
    )
    out.mkdir(parents=True, exist_ok=True)
    return save_checkpoint(network.eval(), card, out, half=export.half)


def training_record(settings: TrainingSettings, corpora: Sequence[Path]) -> dict[str, Any]:
    """Return what a training hears, by licence and source, and the settings that count."""
    rows = [row for folder in corpora for row in read_rows(folder)] if settings.needs_corpus else []
    record: dict[str, Any] = {}
    for name, noise in (("targets", False), ("noise", True)):
        chosen = select_rows(rows, settings.corpus, noise=noise, held_back=False)
        record[name] = _summary(chosen)
    if settings.remix.share:
        record["unlabelled"] = _summary(select_unlabelled(rows, settings.corpus))
    record["settings"] = what_counts(settings)
    return record


def _summary(rows: Sequence[Row]) -> dict[str, Any]:
    return {
        "clips": len(rows),
        "minutes": round(sum(row.get("duration_s") or 0.0 for row in rows) / 60, 1),
        "tiers": dict(Counter(row["tier"] for row in rows).most_common()),
        "licences": dict(Counter(row["licence"] for row in rows).most_common()),
        "sources": sorted({row["source"] for row in rows}),
    }


def _check_licence(licence: str, training: dict[str, Any]) -> None:
    heard = [training[name] for name in ("targets", "noise", "unlabelled") if name in training]
    tiers = {tier for kind in heard for tier in kind["tiers"]}
    for tier, words in DEMANDS.items():
        if tier in tiers and not any(word in licence for word in words):
            raise OptionError(
                f"export.licence {licence}: recordings of the tier {tier} were used; the licence "
                f"must say {' or '.join(words)}"
            )
