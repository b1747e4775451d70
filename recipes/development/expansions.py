"""Is `--time-expansion auto` worth it? Mixtures at fixed expansions, the chosen and the best.

    python -m recipes.development.expansions [--corpus CORPUS] [--model NAME] [--ratios R ...]

A ratio of 2 has the model hear the samples twice as slowly as they are. Each pair of mixture and
ratio is a line of FOLDER/expansions.jsonl, kept when the command is given again; `--table` prints
what is there. Mixtures of 4 seconds at most are scored whole, not in stretches as recordings are.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from biodenoising import BiodenoisingError, Denoiser
from biodenoising.inference.choosing import LEAST_MARGIN_DB, RATIOS
from biodenoising.inference.scores import LEAST_SAMPLES, analyse, predicted_gain_db, scores_of
from biodenoising.metrics import bootstrap_interval, si_sdr
from recipes.development.mixing import group_of, mixtures

MEASURED = (0.25, 0.5, 1.0, 2.0)
HEADER = (
    "| heard | median dB [95 %] | mean dB | made worse | changed | to x 1: median | mean dB [95 %] "
    "| lost > 1 dB | gained > 1 dB |"
)
Values = NDArray[np.float64]
Row = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line, measure what is missing and print the table; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m recipes.development.expansions",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--corpus", type=Path, default=os.environ.get("BIODENOISING_CORPUS"))
    parser.add_argument("--folder", type=Path, default=Path("runs/expansions"))
    parser.add_argument("--model", default="compact")
    parser.add_argument("--ratios", type=float, nargs="+", default=MEASURED)
    parser.add_argument("--table", action="store_true", help="measure nothing")
    options = parser.parse_args(arguments)
    if options.corpus is None and not options.table:
        parser.error("name a corpus: --corpus or BIODENOISING_CORPUS")
    lines = options.folder / "expansions.jsonl"
    try:
        if not options.table:
            denoiser = Denoiser(options.model, threads=1)
            measure(denoiser, Path(options.corpus), lines, options.ratios)
    except BiodenoisingError as error:
        print(f"expansions: {error}", file=sys.stderr)
        return 2
    print(table(read(lines)))
    return 0


def measure(denoiser: Denoiser, corpus: Path, path: Path, ratios: Sequence[float]) -> None:
    """Add a line for every mixture and ratio that has none yet."""
    there = {(row["mixture"], row["ratio"]) for row in read(path)}
    path.parent.mkdir(parents=True, exist_ok=True)
    heard = mixtures(corpus, path.parent / "clips")
    with open(path, "a", encoding="utf-8") as lines:
        for number, (plan, mixture) in enumerate(tqdm(heard, unit="mixture", disable=None)):
            about = {
                "mixture": number,
                "clip": Path(plan.clip).name,
                "group": group_of(plan),
                "sample_rate": mixture.sample_rate,
                "samples": len(mixture.noisy),
                "snr_db": plan.snr_db,
            }
            left = [ratio for ratio in ratios if (number, ratio) not in there]
            analysed = analyse(mixture.noisy) if len(mixture.noisy) >= LEAST_SAMPLES else None
            before = si_sdr(mixture.noisy, mixture.clean)
            for ratio in left:
                expansion = ratio * mixture.sample_rate / denoiser.card.sample_rate
                clean = denoiser.denoise(
                    mixture.noisy,
                    mixture.sample_rate,
                    time_expansion=None if ratio == 1 else expansion,
                )
                row: Row = about | {
                    "ratio": ratio,
                    "gain_db": si_sdr(clean, mixture.clean) - before,
                }
                scored = None if analysed is None else scores_of(clean, analysed)
                row["predicted_db"] = None if scored is None else predicted_gain_db(scored)
                print(json.dumps(row), file=lines, flush=True)


def read(path: Path) -> list[Row]:
    """Return the lines of a measurement, none where it was not begun."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def table(rows: Sequence[Row]) -> str:
    """Return what came of the ratios that all mixtures were heard at, of auto and of the oracle."""
    by_mixture: dict[int, dict[float, Row]] = defaultdict(dict)
    for row in rows:
        by_mixture[row["mixture"]][row["ratio"]] = row
    whole = [heard for heard in by_mixture.values() if set(RATIOS) <= set(heard)]
    ratios = sorted(set.intersection(*(set(heard) for heard in whole))) if whole else []
    if not ratios:
        return "nothing was measured yet"
    clips = [heard[1.0]["clip"] for heard in whole]
    gains = {r: np.array([heard[r]["gain_db"] for heard in whole]) for r in ratios}
    lines = [HEADER, "|" + "---|" * 9]
    heard_at = {f"x {ratio:g}": values for ratio, values in gains.items()}
    among = " ".join(f"{ratio:g}" for ratio in sorted(RATIOS))
    heard_at |= {
        f"auto ({among})": _chosen(whole, LEAST_MARGIN_DB),
        "auto without its margin": _chosen(whole, 0.0),
        f"oracle ({among})": np.max([gains[ratio] for ratio in RATIOS], axis=0),
        "oracle of all": np.max(list(gains.values()), axis=0),
    }
    for name, values in heard_at.items():
        lines.append(_line(name, values, gains[1.0], clips))
    return "\n".join([*lines, "", f"{len(whole)} mixtures of {len(set(clips))} clips."])


def _chosen(mixtures: Sequence[dict[float, Row]], margin_db: float) -> Values:
    """Return the gains at what `choosing.best_ratio` takes."""
    gains = []
    for heard in mixtures:
        predicted = {ratio: heard[ratio]["predicted_db"] for ratio in RATIOS}
        best = 1.0
        if None not in predicted.values():
            best = max(predicted, key=lambda ratio: predicted[ratio])
            best = best if predicted[best] > predicted[1.0] + margin_db else 1.0
        gains.append(heard[best]["gain_db"])
    return np.array(gains)


def _line(name: str, values: Values, plain: Values, clips: Sequence[str]) -> str:
    changes = values - plain
    median = bootstrap_interval(values, groups=clips)
    mean = bootstrap_interval(changes, groups=clips, statistic=lambda v: float(np.mean(v)))
    cells = [
        name,
        f"{median.value:.2f} [{median.low:.2f}, {median.high:.2f}]",
        f"{values.mean():.2f}",
        _share(values < 0),
        _share(changes != 0),
        f"{np.median(changes):+.2f}",
        f"{mean.value:+.2f} [{mean.low:+.2f}, {mean.high:+.2f}]",
        _share(changes < -1),
        _share(changes > 1),
    ]
    return "| " + " | ".join(cells) + " |"


def _share(which: NDArray[np.bool_]) -> str:
    return f"{100 * np.mean(which):.1f} %"


if __name__ == "__main__":
    sys.exit(main())
