"""Measure what the choice among a configuration's teachers is worth, with and without each of them.

    python -m recipes.pseudo_clean.measure_choice CONFIG.yaml --corpus CORPUS [--count 40]
        [--development]

Mixtures with known truth as in `measure_teachers.py`, every second one of real calls of `train/` in
real noise; or those of the development set, all of them real, which no student has heard. For all
teachers, and for all but one, prints how many mixtures were kept and what the chosen candidates
gained in SI-SDR: median, of the real ones too, the share made worse; and how often the teacher that
is left out below was chosen.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from biodenoising.errors import TeacherError
from biodenoising.metrics import si_sdr
from biodenoising.teachers.candidates import Candidate, loadable, make_candidates
from biodenoising.teachers.select import Selection, select
from recipes.development.mixing import mixtures as development
from recipes.pseudo_clean.measure_teachers import Mixture, mixtures
from recipes.pseudo_clean.settings import read_settings

Case = tuple[Mixture, list[Candidate], dict[str, float]]


def main() -> int:
    """Read the command line, measure, print the table; progress goes to stderr."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", type=Path, help="a configuration; its teachers are measured")
    parser.add_argument("--corpus", type=Path, help="local copy of the corpus; else synthesis only")
    parser.add_argument("--count", type=int, default=40, help="mixtures (default 40)")
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument("--development", action="store_true", help="the development set's mixtures")
    options = parser.parse_args()
    settings = read_settings(options.config)
    usable, problems = loadable(settings.teachers)
    plans = [plan for plan, _ in usable]
    for problem in problems:
        print(f"left out {problem}", file=sys.stderr)
    if not plans:
        raise TeacherError("none of the teachers can be used")
    cases: list[Case] = []
    made: Iterator[Mixture]
    if options.development and options.corpus:
        made = itertools.islice(unheard(options.corpus), options.count)
    else:
        made = mixtures(options.corpus, options.count, options.seed)
    for case in tqdm(made, total=options.count, desc="mixtures", file=sys.stderr):
        candidates = list(make_candidates(case.noisy, case.sample_rate, plans, problems))
        before = si_sdr(case.noisy, case.clean)
        gains = {c.name: si_sdr(c.audio, case.clean) - before for c in candidates}
        cases.append((case, candidates, gains))
    print("| teachers | kept | SI-SDRi median | real | synthesized | worse % | it was chosen |")
    print("|---|---|---|---|---|---|---|")
    print(line_of("all", cases, "", settings.least_gain_db))
    for plan in plans:
        print(line_of(f"without {plan.name}", cases, plan.name, settings.least_gain_db))
    return 0


def unheard(corpus: Path) -> Iterator[Mixture]:
    """Yield the development set's mixtures, one of each call, then the others."""
    with tempfile.TemporaryDirectory() as folder:
        made = [mixture for _, mixture in development(corpus, Path(folder))]
    for mixture in (*made[::2], *made[1::2]):
        noisy, clean = (np.asarray(a, np.float32) for a in (mixture.noisy, mixture.clean))
        yield Mixture(noisy, clean, mixture.sample_rate, real=True)


def line_of(title: str, cases: Sequence[Case], without: str, least_gain_db: float) -> str:
    """Return the line of the table for all teachers but one."""
    kept: list[tuple[float, bool]] = []
    chosen = 0
    for case, candidates, gains in cases:
        everyone = select_among(case, candidates, least_gain_db)
        chosen += bool(without) and everyone.startswith(f"{without} x")
        rest = [c for c in candidates if c.teacher != without]
        name = select_among(case, rest, least_gain_db)
        if name:
            kept.append((gains[name], case.real))
    values = np.array([gain for gain, _ in kept])
    real = np.array([is_real for _, is_real in kept], bool)
    halves = " | ".join(
        f"{np.median(values[side]):.2f}" if side.any() else "-" for side in (real, ~real)
    )
    worse = 100 * float(np.mean(values < 0)) if len(values) else float("nan")
    middle = f"{np.median(values):.2f}" if len(values) else "-"
    return (
        f"| {title} | {len(kept)} of {len(cases)} | {middle} | {halves} | {worse:.0f} | "
        f"{chosen if without else ''} |"
    )


def select_among(case: Mixture, candidates: Sequence[Candidate], least_gain_db: float) -> str:
    """Return the name of the chosen candidate, "" where all are refused."""
    result = select(
        case.noisy,
        case.sample_rate,
        [(candidate.name, candidate.audio) for candidate in candidates],
        least_gain_db=least_gain_db,
    )
    return result.name if isinstance(result, Selection) else ""


if __name__ == "__main__":
    sys.exit(main())
