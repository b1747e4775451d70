"""Score models on the development set.

    python -m recipes.development [--corpus CORPUS] NAME[=CARD] ...

Prints a table, the first model being what the others are compared with, mixture by mixture.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from benchmark.mixtures import Mixture, Plan
from biodenoising import BiodenoisingError, Denoiser
from biodenoising.metrics import bootstrap_interval, si_sdr
from recipes.development.mixing import group_of, mixtures, surrounded

Samples = NDArray[np.float32]
Hear = Callable[[Samples, int], Samples]
BLOCK = 4096  # samples fed at once; their number changes nothing
HEADER = "| model | median dB [95 %] | mean dB | made worse | to the first, median dB [95 %] |"


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line and run; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m recipes.development",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("models", nargs="+", metavar="NAME[=CARD]")
    parser.add_argument("--corpus", type=Path, default=os.environ.get("BIODENOISING_CORPUS"))
    parser.add_argument("--folder", type=Path, default=Path("runs/development"))
    parser.add_argument("--per-clip", type=int, default=2, metavar="N")
    parser.add_argument("--rare", action="store_true", help="whales, bats and insects only")
    parser.add_argument(
        "--quiet-around", action="store_true", help="each between stretches of quieter noise"
    )
    parser.add_argument(
        "--live", action="store_true", help="every model as Denoiser.stream hears, too: NAME live"
    )
    options = parser.parse_args(arguments)
    if options.corpus is None:
        parser.error("name a corpus: --corpus or BIODENOISING_CORPUS")
    try:
        models = {
            name: Denoiser(card or name, threads=1)
            for name, _, card in (text.partition("=") for text in options.models)
        }
        chosen = mixtures(Path(options.corpus), options.folder, options.per_clip, options.rare)
        if options.quiet_around:
            chosen = ((plan, surrounded(each, n)) for n, (plan, each) in enumerate(chosen))
        heard: dict[str, Hear] = {name: model.denoise for name, model in models.items()}
        if options.live:
            heard |= {f"{name} live": partial(live, model) for name, model in models.items()}
        table = score(heard, chosen, options.folder)
    except BiodenoisingError as error:
        print(f"development: {error}", file=sys.stderr)
        return 2
    print(table)
    return 0


def live(denoiser: Denoiser, audio: Samples, sample_rate: int) -> Samples:
    """Return what a stream makes of audio of shape (samples,), laid on it again."""
    stream = denoiser.stream(sample_rate)
    blocks = [audio[start : start + BLOCK] for start in range(0, len(audio), BLOCK)]
    heard = [stream.feed(block) for block in blocks]
    return np.concatenate([*heard, stream.flush()])[stream.latency :]


def score(models: dict[str, Hear], chosen: Iterable[tuple[Plan, Mixture]], folder: Path) -> str:
    """Return the table of models; every improvement goes to FOLDER/improvements.json too."""
    gains: dict[str, list[float]] = {name: [] for name in models}
    clips, groups = [], []
    for plan, mixture in tqdm(chosen, unit="mixture", disable=None):
        before = si_sdr(mixture.noisy, mixture.clean)
        for name, hear in models.items():
            clean = hear(mixture.noisy, mixture.sample_rate)
            gains[name].append(si_sdr(clean, mixture.clean) - before)
        clips.append(plan.clip)
        groups.append(group_of(plan))
    record = {"clips": [Path(clip).name for clip in clips], "improvements_db": gains}
    (folder / "improvements.json").write_text(json.dumps(record), encoding="utf-8")
    kinds = sorted(set(groups))
    counts = " | ".join(f"{kind} ({groups.count(kind)})" for kind in kinds)
    lines = [f"{HEADER} {counts} |", "|" + "---|" * (5 + len(kinds))]
    first = np.array(next(iter(gains.values())))
    for name, values in gains.items():
        data = np.array(values)
        interval = bootstrap_interval(data, groups=clips)
        paired = bootstrap_interval(data - first, groups=clips)
        cells = [
            name,
            f"{interval.value:.2f} [{interval.low:.2f}, {interval.high:.2f}]",
            f"{data.mean():.2f}",
            f"{100 * np.mean(data < 0):.1f} %",
            f"{paired.value:+.2f} [{paired.low:+.2f}, {paired.high:+.2f}]",
            *(f"{np.median(data[np.array(groups) == kind]):.1f}" for kind in kinds),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
