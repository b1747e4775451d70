"""What 8-bit integers cost in quality and gain in time, on the mixtures of the set `field`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.catalogue import open_set
from benchmark.sets import Settings
from biodenoising import Denoiser, list_models
from biodenoising.metrics import bootstrap_interval, si_sdr

Figures = dict[str, Any]
QUICK = 20  # mixtures


def compare(corpus: Path, quick: bool) -> Figures:
    """Denoise every mixture with 8-bit integers and with floats, where a model has both."""
    models = [Denoiser(name, threads=1) for name in list_models()]
    models = [model for model in models if model.runtime.endswith("int8")]
    if not models:
        return {"mixtures": 0, "rows": {}}
    opened = open_set("field", Settings(corpus=corpus))
    plans = opened.plans()[:QUICK] if quick else opened.plans()
    rows = {}
    for fast in models:
        exact = Denoiser(fast.card.name, threads=1, device="onnx")
        gains: dict[str, list[float]] = {"int8": [], "float32": []}
        used = dict.fromkeys(gains, 0.0)
        for plan in plans:
            mixture = opened.load(plan)
            before = si_sdr(mixture.noisy, mixture.clean)
            for kind, denoiser in (("float32", exact), ("int8", fast)):
                begun = time.process_time()
                made = denoiser.denoise(mixture.noisy, mixture.sample_rate)
                used[kind] += time.process_time() - begun
                gains[kind].append(si_sdr(made, mixture.clean) - before)
        change = np.subtract(gains["int8"], gains["float32"])
        interval = bootstrap_interval(change, groups=[plan.clip for plan in plans])
        rows[fast.card.name] = {
            "float32_db": float(np.median(gains["float32"])),
            "int8_db": float(np.median(gains["int8"])),
            "change_db": [interval.value, interval.low, interval.high],
            "mean_change_db": float(change.mean()),
            "worst_tenth_db": float(np.quantile(change, 0.1)),
            "times_faster": used["float32"] / used["int8"],
        }
    return {"mixtures": len(plans), "rows": rows}
