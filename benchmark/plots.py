"""Pictures beside RESULTS.md: by group, by SNR, quality against speed, the ten worst mixtures."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import signal

from benchmark.mixtures import Plan
from benchmark.results import Results
from benchmark.rows import Row
from benchmark.statistics import best_peer, grouped_medians, measured, summaries

SHOWN = 6
WORST = 10
Estimates = Callable[[Plan, str], tuple[Any, Any, Any]]


def draw_plots(results: Results, name: str, folder: Path, estimates: Estimates) -> list[Path]:
    """Draw the set's four pictures; `estimates` gives mixture, estimate and rate for a plan."""
    matplotlib = importlib.import_module("matplotlib")
    matplotlib.use("Agg")
    pyplot = importlib.import_module("matplotlib.pyplot")
    folder.mkdir(parents=True, exist_ok=True)
    rows, shown = results.rows[name], _shown(results, name)
    pictures: dict[str, Callable[[], Any]] = {
        "by_group": lambda: _bars(pyplot, rows, shown, "group"),
        "by_snr": lambda: _bars(pyplot, rows, shown, "snr_db"),
        "quality_speed": lambda: _quality_speed(pyplot, results, name),
        "worst_ten": lambda: _worst(pyplot, rows, (shown or ["unprocessed"])[0], estimates),
    }
    paths = []
    for stem, draw in pictures.items():
        figure = draw()
        paths.append(folder / f"{stem}.png")
        figure.savefig(paths[-1], dpi=80, bbox_inches="tight")
        pyplot.close(figure)
    return paths


def _shown(results: Results, name: str) -> list[str]:
    """Return our models, the best peer and the next best, at most six, best first."""
    kinds = results.kinds
    order = [
        s for s in summaries(results.rows[name], kinds) if s.kind not in ("oracle", "reference")
    ]
    ours = [s.system for s in order if s.kind == "model"]
    rest = [s.system for s in order if s.kind != "model"]
    return (ours + rest)[:SHOWN]


def _bars(pyplot: Any, rows: Sequence[Row], shown: Sequence[str], key: str) -> Any:
    medians = grouped_medians(rows, key)
    parts = sorted({part for system in shown for part in medians.get(system, {})}, key=str)
    if key == "snr_db":
        parts = sorted(parts)
    figure, axes = pyplot.subplots(figsize=(9, 4))
    width = 0.8 / max(len(shown), 1)
    for index, system in enumerate(shown):
        heights = [medians[system].get(part, (0.0, 0))[0] for part in parts]
        axes.bar(np.arange(len(parts)) + index * width, heights, width, label=system)
    axes.set_xticks(np.arange(len(parts)) + 0.4 - width / 2, [str(part) for part in parts])
    axes.set_ylabel("SI-SDR improvement, median (dB)")
    axes.set_xlabel("input SNR (dB)" if key == "snr_db" else key)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.legend(fontsize=8)
    return figure


def _quality_speed(pyplot: Any, results: Results, name: str) -> Any:
    speeds = {s["name"]: s.get("rtf") for s in results.systems}
    peer = best_peer(results.rows[name], results.kinds)
    figure, axes = pyplot.subplots(figsize=(8, 5))
    axes.set_xscale("log")
    axes.set_yscale("symlog", linthresh=15)
    drawn = [
        (line, speeds[line.system])
        for line in summaries(results.rows[name], results.kinds)
        if speeds.get(line.system) and line.kind not in ("oracle", "reference")
    ]
    for line, rtf in drawn:
        colour = {"model": "tab:red"}.get(line.kind, "tab:blue")
        axes.plot(rtf, line.si_sdri.value, "o", color=colour)
    axes.set_yticks([-30, -20, -10, -5, 0, 5, 10], ["-30", "-20", "-10", "-5", "0", "5", "10"])
    axes.autoscale_view()
    taken: list[tuple[float, float, float]] = []
    for line, rtf in drawn:
        weight = "bold" if line.system == peer or line.kind == "model" else "normal"
        spot = (rtf, line.si_sdri.value)
        x, y = axes.transData.transform(spot) * 72 / figure.dpi
        lower = 2.0
        end = x + 4 * len(line.system)  # points; a name is 8 high
        while any(
            x < other_end and start < end and abs(y + lower - high) < 8
            for start, other_end, high in taken
        ):
            lower -= 4
        taken.append((x, end, y + lower))
        axes.annotate(
            line.system, spot, fontsize=7, weight=weight, xytext=(4, lower),
            textcoords="offset points",
        )  # fmt: skip
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_xlabel("real-time factor, one thread (left is faster)")
    axes.set_ylabel("SI-SDR improvement, median (dB)")
    return figure


def _worst(pyplot: Any, rows: Sequence[Row], system: str, estimates: Estimates) -> Any:
    """Draw noisy, estimate and clean of the mixtures that the system served worst."""
    mine = [r for r in measured(rows) if r["system"] == system and not r["error"]]
    worst = sorted(mine, key=lambda r: (r["si_sdri"], r["mixture"]))[:WORST]
    figure, grid = pyplot.subplots(
        max(len(worst), 1),
        3,
        figsize=(11, 2.2 * max(len(worst), 1)),
        squeeze=False,
        layout="constrained",
    )
    fields = Plan.__dataclass_fields__
    for line, row in zip(grid, worst, strict=False):
        plan = Plan(**{key: row[key] for key in fields})
        mixture, estimate, rate = estimates(plan, system)
        pieces = (mixture.noisy, estimate, mixture.clean)
        for axes, samples, title in zip(line, pieces, ("noisy", system, "clean"), strict=True):
            _spectrogram(axes, samples, rate)
            axes.set_title(f"{title}", fontsize=7)
        label = f"{row['group']}, {row['noise_type']}\n{row['snr_db']:+g} dB: {row['si_sdri']:.1f}"
        line[0].set_ylabel(label, fontsize=7)
    return figure


def _spectrogram(axes: Any, samples: Any, rate: int) -> None:
    size = min(512, len(samples))
    frequencies, times, power = signal.spectrogram(samples, rate, nperseg=size, noverlap=size // 2)
    level = 10 * np.log10(np.maximum(power, 1e-12 * max(float(power.max()), 1e-20)))
    axes.imshow(
        level,
        origin="lower",
        aspect="auto",
        vmin=level.max() - 70,
        extent=(times[0], times[-1], 0, frequencies[-1] / 1000),
    )
    axes.tick_params(labelsize=6)
