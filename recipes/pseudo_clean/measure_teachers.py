"""Measure every teacher at several expansions on mixtures whose clean part is known.

python recipes/pseudo_clean/measure_teachers.py --corpus CORPUS [--teachers-weights FOLDER]

Half of the mixtures are synthesized calls in synthesized noise, half are clips of `train/vocal`
with a high signal-to-noise ratio in `train/noise`; nothing of the benchmark is touched. Every
mixture follows from (seed, number). Prints one row a teacher and expansion: the median SI-SDR
improvement with its 95 % interval, of each half too, and the share of mixtures made worse.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray
from scipy import signal
from tqdm import tqdm

from biodenoising.corpus.synthesis import CALLS, NOISES, synthesize_call, synthesize_noise
from biodenoising.errors import TeacherError
from biodenoising.metrics import bootstrap_interval, si_sdr
from biodenoising.teachers.base import Teacher
from biodenoising.teachers.expansion import blend, denoise_at
from biodenoising.teachers.registry import find_teacher, list_teachers
from biodenoising.teachers.weights import FOLDER_VARIABLE

Samples = NDArray[np.float32]
SNR_DB = (-5.0, 10.0)
LONGEST_S = 3.0
LEAST_SNR_DB = 20.0
ULTRASONIC_HZ = 50_000
PEAK = 0.7
EXPANSIONS = (1.0, 2.0)
SHARES = (1.0, 0.75)


@dataclass(frozen=True)
class Mixture:
    """A call in noise: `noisy` and `clean` of shape (samples,) at `sample_rate` Hz."""

    noisy: Samples
    clean: Samples
    sample_rate: int
    real: bool


def mixtures(corpus: Path | None, count: int, seed: int) -> Iterator[Mixture]:
    """Give `count` mixtures, every second one real where there is a corpus."""
    rows = manifest_rows(corpus) if corpus else {}
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        if corpus and number % 2:
            yield real_mixture(corpus, rows, rng)
        else:
            yield synthesized_mixture(rng)


def manifest_rows(corpus: Path) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of `train/` that serve as calls, and as noise."""
    with open(corpus / "manifest.jsonl", encoding="utf-8") as lines:
        rows = [row for row in map(json.loads, lines) if row["set"] == "train"]
    return {
        "vocal": [r for r in rows if r["kind"] == "vocal" and r["est_snr_db"] >= LEAST_SNR_DB],
        "noise": [r for r in rows if r["kind"] == "noise" and r["noise_type"] != "insects"],
    }


def real_mixture(
    corpus: Path, rows: dict[str, list[dict[str, Any]]], rng: np.random.Generator
) -> Mixture:
    """Mix the loudest stretch of a drawn clip with drawn noise; groups are drawn evenly."""
    groups = sorted({row["group"] for row in rows["vocal"]})
    group = groups[rng.integers(len(groups))]
    among = [row for row in rows["vocal"] if row["group"] == group]
    row, noise_row = (
        among[rng.integers(len(among))],
        rows["noise"][rng.integers(len(rows["noise"]))],
    )
    rate = int(row["sample_rate"])
    call = read_clip(corpus / row["path"], row.get("highpass_hz", 0.0))
    noise, noise_rate = read_clip(corpus / noise_row["path"], 0.0), int(noise_row["sample_rate"])
    # No resampling fills an ultrasonic band: noise of a lower rate is played as if at the clip's.
    if noise_rate != rate and not (rate >= ULTRASONIC_HZ and noise_rate < rate):
        noise = soxr.resample(noise, noise_rate, rate)
    return mixed(loudest(call, int(LONGEST_S * rate)), noise, rate, rng, real=True)


def synthesized_mixture(rng: np.random.Generator) -> Mixture:
    """Mix one or several synthesized calls with synthesized noise."""
    kind = sorted(CALLS)[rng.integers(len(CALLS))]
    rate = CALLS[kind].sample_rate
    length = int(LONGEST_S * rate)
    clean = np.zeros(length)
    for _ in range(int(rng.integers(1, 4))):
        call = synthesize_call(kind, rate, rng)[:length] * rng.uniform(0.3, 1.0)
        start = int(rng.integers(0, length - len(call) + 1))
        clean[start : start + len(call)] += call
    noise = synthesize_noise(sorted(NOISES)[rng.integers(len(NOISES))], rate, LONGEST_S, rng)
    return mixed(clean, noise, rate, rng, real=False)


def mixed(
    clean: NDArray[np.floating],
    noise: NDArray[np.floating],
    rate: int,
    rng: np.random.Generator,
    *,
    real: bool,
) -> Mixture:
    """Bring call and noise to a drawn SNR over the whole length."""
    noise = np.tile(noise, -(-len(clean) // len(noise)))
    start = int(rng.integers(0, len(noise) - len(clean) + 1))
    noise = noise[start : start + len(clean)]
    snr_db = rng.uniform(*SNR_DB)
    ratio = float(np.sum(clean**2)) / max(float(np.sum(noise**2)), 1e-20)
    noise = noise * np.sqrt(ratio * 10 ** (-snr_db / 10))
    scale = PEAK / float(np.abs(clean + noise).max())
    return Mixture(
        (scale * (clean + noise)).astype(np.float32), (scale * clean).astype(np.float32), rate, real
    )


def read_clip(path: Path, highpass_hz: float) -> NDArray[np.float64]:
    """Read one channel without its mean and what lies below `highpass_hz`, phase kept."""
    audio, rate = soundfile.read(path, dtype="float64", always_2d=True)
    mono = audio[:, 0] - audio[:, 0].mean()
    if highpass_hz > 0:
        sos = signal.butter(4, highpass_hz, "highpass", fs=rate, output="sos")
        mono = signal.sosfiltfilt(sos, mono, padlen=min(3 * len(sos) * 2, len(mono) - 1))
    return np.asarray(mono)


def loudest(samples: NDArray[np.float64], length: int) -> NDArray[np.float64]:
    """Return the stretch of at most `length` samples with the most energy."""
    if len(samples) <= length:
        return samples
    power = np.concatenate([[0.0], np.cumsum(samples**2)])
    start = int(np.argmax(power[length:] - power[:-length]))
    return samples[start : start + length]


def gains_of(
    teacher: Teacher, cases: list[Mixture], before: list[float], budget_s: float
) -> dict[tuple[float, float], NDArray[np.float64]]:
    """Return SI-SDR improvements in dB by (expansion, share); NaN from where time was up."""
    gains = {(e, s): np.full(len(cases), np.nan) for e in EXPANSIONS for s in SHARES}
    begun = time.process_time()
    for index, case in enumerate(cases):
        if time.process_time() - begun > budget_s:
            break
        for expansion in EXPANSIONS:
            denoised = denoise_at(teacher, case.noisy, case.sample_rate, expansion)
            for share in SHARES:
                estimate = blend(case.noisy, denoised, share)
                gains[expansion, share][index] = si_sdr(estimate, case.clean) - before[index]
    return gains


def row_of(name: str, gains: NDArray[np.float64], real: NDArray[np.bool_]) -> str:
    """Return one line of the table."""
    done = ~np.isnan(gains)  # a teacher that leaves nothing has -inf dB
    interval = bootstrap_interval(gains[done])
    halves = [np.median(gains[done & side]) if (done & side).any() else np.nan for side in
              (real, ~real)]  # fmt: skip
    worse = 100 * np.mean(gains[done] < 0)
    middle = f"{interval.value:.2f} [{interval.low:.2f}, {interval.high:.2f}]"
    split = f"{halves[0]:.2f} | {halves[1]:.2f}"
    return f"| {name} | {middle} | {split} | {worse:.0f} | {done.sum()} |"


def main() -> None:
    """Read the command line, measure, print the table; progress goes to stderr."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", type=Path, help="local copy of the corpus; else synthesis only")
    parser.add_argument("--teachers-weights", type=Path, help=f"sets {FOLDER_VARIABLE}")
    parser.add_argument("--teachers", nargs="*", help="names; all that are available by default")
    parser.add_argument("--count", type=int, default=60, help="mixtures (default 60)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--seconds", type=float, default=60.0, help="processor time a teacher may take"
    )
    options = parser.parse_args()
    if options.teachers_weights:
        os.environ[FOLDER_VARIABLE] = str(options.teachers_weights)
    cases = list(mixtures(options.corpus, options.count, options.seed))
    before = [si_sdr(case.noisy, case.clean) for case in cases]
    real = np.array([case.real for case in cases])
    statuses = list_teachers()
    names = options.teachers or [status.name for status in statuses if status.available]
    print("| teacher | SI-SDRi median [95 %] | real | synthesized | worse % | mixtures |")
    print("|---|---|---|---|---|---|")
    by_candidate: dict[str, NDArray[np.float64]] = {}
    for name in tqdm(names, desc="teachers", file=sys.stderr):
        try:
            gains = gains_of(find_teacher(name), cases, before, options.seconds)
        except TeacherError as error:
            print(error, file=sys.stderr)
            continue
        for (expansion, share), values in gains.items():
            label = f"{name} x{expansion:g} blend {share:g}"
            by_candidate[label] = values
            print(row_of(label, values, real), flush=True)
    if by_candidate:
        best = np.fmax.reduce(list(by_candidate.values()))
        print(row_of(f"oracle choice among {len(by_candidate)}", best, real))
    for status in statuses:
        if not status.available:
            print(f"not measured: {status.name}: {status.missing}", file=sys.stderr)


if __name__ == "__main__":
    main()
