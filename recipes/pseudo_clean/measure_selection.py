"""Measure how well the selection's score knows the truth, and fit its weights.

    python recipes/pseudo_clean/measure_selection.py --corpus CORPUS --teachers WEIGHTS \
        --cache FOLDER [--real 86] [--synthesized 40] [--fit]

Mixtures and splits as in `known_truth.py`; everything is seeded. Scores and weights (`--fit`) are
chosen on the development side. There the student has heard the calls before, so that a threshold
from it would be too low: the recordings it never heard are divided once more by hash, one half
for the least room (the highest whole dB that keeps half of the real mixtures, with the student
and without), the other only reported. Noise recordings stand in both halves. What the teachers
make of each mixture is kept in `--cache`, so that a second run is quick. Without `--corpus` only
synthesized mixtures are measured.
"""

from __future__ import annotations

import argparse
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import known_truth
import numpy as np
import tried_scores
from known_truth import Mixture, Samples
from numpy.typing import NDArray
from scipy.stats import spearmanr
from tqdm import tqdm

from biodenoising.inference import scores
from biodenoising.metrics import bootstrap_interval, si_sdr
from biodenoising.storage import whole_file
from biodenoising.teachers import select

Values = NDArray[np.float64]
Score = Callable[["Case"], Values]

# Improvements beyond these teach the fit nothing that a choice needs.
FITTED_RANGE_DB = (-10.0, 30.0)
MEASURES = ("floor_db", "overlap", "likeness", "contrast")
WEIGHTED = ("FLOOR", "CLARITY", "LIKENESS", "CONTRAST")
ROOMS_DB = (-25.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0)
FIXED = (
    "demucs x1",
    "demucs x2",
    "noisereduce x1 blend 0.75",
    "noisereduce-nonstationary x1 blend 0.75",
    "subtraction x1",
)
STUDENT = "demucs"
# What no teacher should give: the noise instead of the call.
TURNED_ROUND = ("demucs x1", "noisereduce x1")


@dataclass(frozen=True)
class Case:
    """One mixture with its candidates: measures (candidates, measures), true SI-SDRi in dB."""

    kind: str
    recording: str
    held_back: bool
    room_db: float
    names: tuple[str, ...]
    gains_db: Values
    measures: Values
    tried: dict[str, Values]

    @property
    def side(self) -> str:
        """What the case is for: to fit on, to set the threshold with, or to report."""
        if not self.held_back:
            return "development"
        odd = hashlib.sha256(self.recording.encode()).digest()[1] % 2
        return "threshold" if odd else "held back"


# --- the table of candidates ---------------------------------------------------------------------


def all_cases(arguments: argparse.Namespace) -> tuple[list[Case], list[Case]]:
    """Return every mixture of both sides, with all teachers and without the student."""
    jobs: list[tuple[str, bool, int]] = []
    for held_back in (False, True):
        if arguments.corpus is not None:
            jobs += [("real", held_back, index) for index in range(arguments.real)]
        jobs += [("synth", held_back, index) for index in range(arguments.synthesized)]
    teachers: dict[str, known_truth.Teacher] = {}
    cases: tuple[list[Case], list[Case]] = ([], [])
    for kind, held_back, index in tqdm(jobs, desc="mixtures", unit="", mininterval=5):
        path = arguments.cache / f"{kind}_{int(held_back)}_{index:03d}.npz"
        if not path.exists():
            teachers = teachers or known_truth.open_teachers(arguments.teachers)
            mixture = _mixture(arguments, kind, held_back, index)
            _keep(path, mixture, {name: t(mixture.noisy) for name, t in teachers.items()})
        for some, case in zip(cases, _two_cases(path, kind, held_back), strict=True):
            some.append(case)
    return cases


def _mixture(arguments: argparse.Namespace, kind: str, held_back: bool, index: int) -> Mixture:
    made: Iterator[Mixture]
    count, seed = index + 1, arguments.seed
    if kind == "real":
        made = known_truth.real_mixtures(
            arguments.corpus, count, seed, held_back=held_back, first=index
        )
    else:
        made = known_truth.synthesized_mixtures(count, seed, held_back=held_back, first=index)
    return next(made)


def _keep(path: Path, mixture: Mixture, outputs: dict[str, Samples]) -> None:
    meta = (mixture.name, mixture.group, mixture.recording, str(mixture.snr_db))
    with whole_file(path) as temporary, open(temporary, "wb") as file:
        np.savez(
            file,
            noisy=mixture.noisy,
            clean=mixture.clean,
            outs=np.stack(list(outputs.values())),
            names=np.array(list(outputs)),
            meta=np.array(meta),
        )


def _two_cases(path: Path, kind: str, held_back: bool) -> Iterator[Case]:
    """Score a kept mixture's candidates, or read the scores while the code is older than they."""
    kept = path.with_suffix(".scores")
    code = max(
        Path(str(module.__file__)).stat().st_mtime for module in (scores, known_truth, tried_scores)
    )
    if not kept.exists() or kept.stat().st_mtime < code:
        with whole_file(kept) as temporary, open(temporary, "wb") as file:
            np.savez(file, allow_pickle=False, **_scored(path))
    with np.load(kept) as data:
        for some in ("all", "without"):
            yield Case(
                kind=kind,
                recording=str(data["recording"]),
                held_back=held_back,
                room_db=float(data["room"]),
                names=tuple(str(name) for name in data[f"{some} names"]),
                gains_db=data[f"{some} gains"],
                measures=data[f"{some} measures"],
                tried={name: data[f"{some} {name}"] for name in tried_scores.TRIED},
            )


def _scored(path: Path) -> dict[str, Any]:
    with np.load(path) as data:
        noisy, clean, recording = data["noisy"], data["clean"], data["meta"][2]
        outputs = {str(n): out for n, out in zip(data["names"], data["outs"], strict=True)}
    outputs |= known_truth.subtractions(noisy)
    candidates = known_truth.with_blends(noisy, outputs)
    for name in TURNED_ROUND:
        candidates[f"what {name} removes"] = noisy - candidates[name]
    names, audio = np.array(list(candidates)), np.stack(list(candidates.values()))
    before = si_sdr(noisy, clean)
    gains = np.clip([si_sdr(candidate, clean) - before for candidate in audio], -60, 60)
    analysed = scores.analyse(noisy)
    measured = [scores.scores_of(candidate, analysed) for candidate in audio]
    measures = np.array([[getattr(entry, name) for name in MEASURES] for entry in measured])
    alone = {name: score(noisy, audio) for name, score in tried_scores.BY_ITSELF.items()}
    arrays: dict[str, Any] = {"recording": np.array(recording), "room": scores.room_db(analysed)}
    for some, keep in (
        ("all", np.ones(len(names), bool)),
        ("without", np.array([STUDENT not in name for name in names])),
    ):
        arrays[f"{some} names"], arrays[f"{some} gains"] = names[keep], gains[keep]
        arrays[f"{some} measures"] = measures[keep]
        for name, score in tried_scores.AMONG_OTHERS.items():
            arrays[f"{some} {name}"] = score(noisy, audio[keep])
        for name, values in alone.items():
            arrays[f"{some} {name}"] = values[keep]
    return arrays


# --- fitting and measuring -----------------------------------------------------------------------


def fitted_weights(cases: Sequence[Case]) -> Values:
    """Return intercept and weights of the four measures, by least squares.

    Every case counts the same, however many candidates it has.
    """
    rows = np.concatenate([_terms(case) for case in cases])
    wanted = np.concatenate([np.clip(case.gains_db, *FITTED_RANGE_DB) for case in cases])
    share = np.concatenate([np.full(len(case.names), len(case.names) ** -0.5) for case in cases])
    weights, *_ = np.linalg.lstsq(rows * share[:, None], wanted * share, rcond=None)
    return np.asarray(weights)


def _terms(case: Case) -> Values:
    """Return what the weights are for, one row a candidate; the first is the intercept's."""
    measured = [scores.Scores(*row) for row in case.measures.tolist()]
    rows = [
        (1.0, m.floor_db, scores.clarity_db(m.overlap), m.likeness, scores.lacking(m.contrast))
        for m in measured
    ]
    return np.array(rows)


def predicted(case: Case) -> Values:
    """Return what the shipped weights predict for each candidate, in dB."""
    return np.array(
        [scores.predicted_gain_db(scores.Scores(*row)) for row in case.measures.tolist()]
    )


def crossed(cases: Sequence[Case], parts: int = 5) -> list[Values]:
    """Return predictions by weights fitted without the case's own recording."""
    labels = sorted({case.recording for case in cases})
    part = {label: index % parts for index, label in enumerate(labels)}
    weights = [
        fitted_weights([case for case in cases if part[case.recording] != index])
        for index in range(parts)
    ]
    return [_terms(case) @ weights[part[case.recording]] for case in cases]


@dataclass(frozen=True)
class Choice:
    """What a score chose in each case: its own value, the true SI-SDRi and the oracle's, in dB."""

    score: Values
    gain_db: Values
    oracle_db: Values
    within: float

    @property
    def across(self) -> float:
        """Rank correlation over mixtures of the chosen one's score with its true improvement."""
        if np.ptp(self.score) == 0:
            return float("nan")
        return float(spearmanr(self.score, self.gain_db)[0])


def choose(cases: Sequence[Case], values: Sequence[Values]) -> Choice:
    """Take the highest score in every case."""
    best = [int(np.argmax(value)) for value in values]
    ranks = [
        spearmanr(value, case.gains_db)[0]
        for case, value in zip(cases, values, strict=True)
        if np.ptp(value) > 0
    ]
    return Choice(
        score=np.array([value[i] for value, i in zip(values, best, strict=True)]),
        gain_db=np.array([case.gains_db[i] for case, i in zip(cases, best, strict=True)]),
        oracle_db=np.array([case.gains_db.max() for case in cases]),
        within=float(np.mean(ranks)) if ranks else float("nan"),
    )


# --- what is printed -----------------------------------------------------------------------------


def print_scores(title: str, cases: Sequence[Case]) -> None:
    """Print one line a score: rank correlations, regret, and what its choices are worth."""
    print(f"\n### {title}: {len(cases)} mixtures, no rejection and best half\n")
    print(
        "| score | rank within | rank across | regret mean | regret median | improved % "
        "| SI-SDRi median | improved %, best half | SI-SDRi median, best half |"
    )
    print("|" + "---|" * 9)
    columns: dict[str, list[Values]] = {"**the one used**": [predicted(case) for case in cases]}
    for index, name in enumerate(MEASURES):
        if name == "overlap":
            columns["clarity_db"] = [_terms(case)[:, 2] for case in cases]
        else:
            columns[name] = [case.measures[:, index] for case in cases]
    for name in tried_scores.TRIED:
        columns[name] = [case.tried[name] for case in cases]
    for name in FIXED:
        if all(name in case.names for case in cases):
            columns[f"always {name}"] = [np.array(case.names) == name for case in cases]
    columns["oracle"] = [case.gains_db for case in cases]
    for name, values in columns.items():
        _print_score(name, choose(cases, [np.asarray(value, float) for value in values]))


def _print_score(name: str, choice: Choice) -> None:
    regret = choice.oracle_db - choice.gain_db
    half = np.argsort(-choice.score, kind="stable")[: len(choice.score) // 2]
    fixed = np.ptp(choice.score) == 0
    ends = [choice.gain_db] if fixed else [choice.gain_db, choice.gain_db[half]]
    shown = [f"{np.mean(gains > 0):.0%} | {np.median(gains):.1f}" for gains in ends]
    shown += ["- | -"] if fixed else []
    ranks = " | ".join("-" if np.isnan(r) else f"{r:.2f}" for r in (choice.within, choice.across))
    print(
        f"| {name} | {ranks} | {np.mean(regret):.1f} | {np.median(regret):.1f} | "
        + " | ".join(shown)
        + " |"
    )


def print_thresholds(
    title: str, cases: Sequence[Case], values: Sequence[Values], thresholds: Sequence[float]
) -> None:
    """Print what the least gain and each least room keep, and what that is worth."""
    print(f"\n### {title}\n")
    recordings = len({case.recording for case in cases})
    print(f"{len(cases)} mixtures of {recordings} call recordings\n")
    print("| least room dB | kept | improved | worse by 1 dB | SI-SDRi median [95 %] | regret |")
    print("|" + "---|" * 6)
    choice = choose(cases, values)
    room = np.array([case.room_db for case in cases])
    for threshold in thresholds:
        kept = (choice.score >= select.LEAST_GAIN_DB) & (room >= threshold)
        if not kept.any():
            continue
        groups = [case.recording for case, k in zip(cases, kept, strict=True) if k]
        interval = bootstrap_interval(choice.gain_db[kept], groups=groups)
        regret = (choice.oracle_db - choice.gain_db)[kept]
        print(
            f"| {threshold:g} | {np.mean(kept):.0%} ({kept.sum()}) | "
            f"{np.mean(choice.gain_db[kept] > 0):.0%} | "
            f"{np.mean(choice.gain_db[kept] < -1):.0%} | {interval.value:.1f} "
            f"[{interval.low:.1f}, {interval.high:.1f}] | {np.mean(regret):.1f} |"
        )


def print_report(cases: Sequence[Case], title: str) -> None:
    """Print the tables of one set of teachers: development to choose on, held back to report."""
    development = [case for case in cases if case.side == "development"]
    print_scores(f"{title}, development", development)
    print_thresholds(
        f"{title}, development, cross-fitted weights",
        development,
        crossed(development),
        ROOMS_DB,
    )
    held_back = [case for case in cases if case.side == "held back"]
    print_scores(f"{title}, held back", held_back)
    for side in ("threshold", "held back"):
        for kind in ("real", "synth"):
            some = [case for case in cases if case.side == side and case.kind == kind]
            if some:
                print_thresholds(
                    f"{title}, {side}, {kind}",
                    some,
                    [predicted(case) for case in some],
                    ROOMS_DB,
                )


def main() -> None:
    """Read the options, make the table, print the figures."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n", maxsplit=1)[0])
    parser.add_argument("--corpus", type=Path, default=os.environ.get("BIODENOISING_CORPUS"))
    parser.add_argument("--teachers", type=Path, default=os.environ.get("BIODENOISING_TEACHERS"))
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--real", type=int, default=86)
    parser.add_argument("--synthesized", type=int, default=40)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--fit", action="store_true", help="print fitted weights as well")
    arguments = parser.parse_args()
    arguments.corpus = Path(arguments.corpus) if arguments.corpus else None
    arguments.teachers = Path(arguments.teachers) if arguments.teachers else None
    everyone, without = all_cases(arguments)
    if arguments.fit:
        development = [case for case in (*everyone, *without) if not case.held_back]
        names = ("INTERCEPT", *(f"{name}_WEIGHT" for name in WEIGHTED))
        for name, weight in zip(names, fitted_weights(development), strict=True):
            print(f"{name} = {weight:.2f}")
    print_report(everyone, "All teachers")
    print_report(without, "Without the student")


if __name__ == "__main__":
    main()
