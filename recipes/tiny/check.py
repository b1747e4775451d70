"""Hold the result of a run on synthesized recordings against the truth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from biodenoising.corpus.manifest import Row, read_manifest
from biodenoising.corpus.pieces import read_piece
from biodenoising.metrics import si_sdr

LEAST_TARGETS = 15
LEAST_MEDIAN_GAIN_DB = 3.0
LEAST_IMPROVED = 0.9
# More of a noise stretch's power than this is a call that was not seen.
MOST_CALL_IN_NOISE = 0.01
MOST_NOISE_WITH_CALLS = 0.1


@dataclass(frozen=True)
class Verdict:
    """What came of the comparison: SI-SDR gained by each target, targets of nothing, spoilt noise.

    `gains_db` is the SI-SDR of a target against the calls as they were made, less that of the
    segment as it was cut.
    """

    gains_db: tuple[float, ...]
    empty_targets: int
    noise: int
    noise_with_calls: int

    def complaints(self) -> list[str]:
        """Return what is not as good as it must be."""
        found = []
        targets = len(self.gains_db) + self.empty_targets
        if targets < LEAST_TARGETS:
            found.append(f"{targets} targets, at least {LEAST_TARGETS} are in the recordings")
        if self.gains_db and np.median(self.gains_db) < LEAST_MEDIAN_GAIN_DB:
            found.append(f"the median target gains less than {LEAST_MEDIAN_GAIN_DB:g} dB")
        if self.improved < LEAST_IMPROVED:
            found.append(f"less than {LEAST_IMPROVED:.0%} of the targets are nearer to the truth")
        if not self.noise:
            found.append("no noise was found")
        if self.noise_with_calls > MOST_NOISE_WITH_CALLS * self.noise:
            found.append("too much of the noise holds calls")
        return found

    @property
    def improved(self) -> float:
        """The share of targets that are nearer to the truth than their segments."""
        targets = len(self.gains_db) + self.empty_targets
        return sum(gain > 0 for gain in self.gains_db) / targets if targets else 0.0

    def __str__(self) -> str:
        gains = self.gains_db or (float("nan"),)
        return (
            f"{len(self.gains_db)} targets gain {np.median(gains):.1f} dB SI-SDR at the median "
            f"(lowest {min(gains):.1f}, highest {max(gains):.1f}), {self.improved:.0%} are nearer "
            f"to the truth, {self.empty_targets} hold no call at all; {self.noise} stretches of "
            f"noise, {self.noise_with_calls} with calls in them"
        )


def check(run: Path, truth: Path) -> Verdict:
    """Compare the targets and the noise of a finished run with the calls below `truth`."""
    gains, empty, noise, spoilt = [], 0, 0, 0
    for row in read_manifest(run / "manifest.jsonl"):
        audio = read_piece(run / row.path)
        calls = _truth_of(row, truth, len(audio))
        if row.kind == "noise":
            noise += 1
            share = float(np.sum(calls**2)) / max(float(np.sum(audio.astype(float) ** 2)), 1e-20)
            spoilt += share > MOST_CALL_IN_NOISE
        elif not calls.any():
            empty += 1
        else:
            segment = read_piece(run / row.parent)
            gains.append(si_sdr(audio, calls) - si_sdr(segment, calls))
    return Verdict(tuple(gains), empty, noise, spoilt)


def _truth_of(row: Row, truth: Path, samples: int) -> NDArray[np.float64]:
    """Return the calls alone in the stretch that a row was cut from."""
    name = Path(row.parent if row.kind == "noise" else _recording(row)).name
    start = round(row.start_s * row.sample_rate)
    path = truth / name
    calls, _ = soundfile.read(path, start=start, stop=start + samples, dtype="float64")
    return np.asarray(calls)


def _recording(row: Row) -> str:
    # A piece is named after its recording, the key and its number.
    return f"{Path(row.parent).stem.rsplit('_', 2)[0]}.wav"
