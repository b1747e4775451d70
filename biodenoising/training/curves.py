"""A run as a picture: its loss and its checks over steps. Needs matplotlib (extra `plot`)."""

from __future__ import annotations

import csv
from collections import defaultdict
from pathlib import Path

from biodenoising.storage import whole_file

CURVES = "curves.png"
NOT_TERMS = ("step", "seconds", "rate", "gradient")


def draw_curves(folder: Path) -> Path | None:
    """Draw a run's log.csv and checks.csv into its curves.png; None without matplotlib or rows."""
    try:
        import matplotlib.figure
    except ImportError:
        return None
    log, checks = _rows(folder / "log.csv"), _rows(folder / "checks.csv")
    if not log:
        return None
    figure = matplotlib.figure.Figure(figsize=(8, 6))
    above, below = figure.subplots(2, 1, sharex=True, gridspec_kw={"hspace": 0.08})
    steps = [int(row["step"]) for row in log]
    for name in log[0]:
        if name not in NOT_TERMS:
            above.plot(steps, [float(row[name]) for row in log], label=name, linewidth=1)
    by_name = defaultdict(list)
    for row in checks:
        by_name[row["name"]].append((int(row["step"]), float(row["median_db"])))
    for name, points in by_name.items():
        below.plot(*zip(*points, strict=True), marker="o", markersize=3, label=name)
    above.set_ylabel("loss and its terms")
    below.set(xlabel="step", ylabel="SI-SDRi, median (dB)")
    for axes in (above, below):
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend(fontsize=8)
    with whole_file(folder / CURVES) as temporary:
        figure.savefig(temporary, format="png", dpi=100)
    return folder / CURVES


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with open(path, newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))
