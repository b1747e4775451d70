"""Draw targets before and after, as spectrograms, into one PNG in the run's folder.

    python -m recipes.field.contact_sheet RUN [--count 20] [--seed 1]

Left of each pair is the segment, right the target chosen for it, on one scale of 70 dB; the dashed
line is the frequency below which the target was filtered. Which ones are drawn follows from the
seed. The sheet is for looking at: it holds other people's recordings and is never committed.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import signal

from biodenoising.corpus.manifest import Row, read_manifest
from biodenoising.corpus.pieces import read_piece
from biodenoising.errors import BiodenoisingError
from biodenoising.storage import whole_file
from recipes.pseudo_clean import targets

RANGE_DB = 70.0
FRAMES_ACROSS = 400
PAIRS_A_ROW = 2
NAME = "contact_sheet.png"


def main() -> int:
    """Read the command line, draw, say where the sheet is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="the folder of a finished run")
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    try:
        rows = [row for row in read_manifest(options.run / targets.LIST) if row.path]
        order = np.random.default_rng(options.seed).permutation(len(rows))[: options.count]
        sheet = options.run / NAME
        draw(options.run, [rows[i] for i in order], sheet)
    except BiodenoisingError as error:
        print(f"contact_sheet: {error}", file=sys.stderr)
        return 2
    print(sheet)
    return 0


def draw(run: Path, rows: list[Row], sheet: Path) -> None:
    """Write the sheet of some targets."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    lines = -(-len(rows) // PAIRS_A_ROW)
    figure, axes = pyplot.subplots(
        lines, 2 * PAIRS_A_ROW, figsize=(20, 2.6 * lines), squeeze=False, layout="constrained"
    )
    for axis in axes.flat[2 * len(rows) :]:
        axis.axis("off")
    for number, row in enumerate(rows):
        before, after = axes.flat[2 * number], axes.flat[2 * number + 1]
        _draw_pair(before, after, run, row, number)
    with whole_file(sheet) as temporary:
        figure.savefig(temporary, format="png", dpi=65)
    pyplot.close(figure)


def _draw_pair(before: Any, after: Any, run: Path, row: Row, number: int) -> None:
    noisy, target = read_piece(run / row.parent), read_piece(run / row.path)
    left, right = (_levels(audio, row.sample_rate) for audio in (noisy, target))
    top = float(left.max())
    extent = (0, row.duration_s, 0, row.sample_rate / 2000)
    for axis, levels in ((before, left), (after, right)):
        axis.imshow(
            levels, origin="lower", aspect="auto", extent=extent, vmin=top - RANGE_DB, vmax=top,
            cmap="magma",
        )  # fmt: skip
        axis.axhline(row.highpass_hz / 1000, color="white", linewidth=0.6, linestyle="--")
        axis.tick_params(labelsize=7)
    name = f"{row.group} {row.taxon or row.common}"[:40]
    before.set_title(f"{number}: {name}", fontsize=8)
    how = row.teacher
    if row.scores and row.blend is not None:
        gain = max(row.scores.values())
        how = f"{how} x{row.expansion:g} blend {row.blend:g}, {gain:.1f} dB predicted"
    after.set_title(how, fontsize=8)


def _levels(audio: NDArray[np.float32], rate: int) -> NDArray[np.float64]:
    hop = max(len(audio) // FRAMES_ACROSS, 64)
    size = min(1024, len(audio))
    _, _, power = signal.spectrogram(
        audio, rate, nperseg=size, noverlap=max(size - hop, 0), mode="psd"
    )
    return np.asarray(10 * np.log10(power + 1e-14))


if __name__ == "__main__":
    sys.exit(main())
