"""Recordings made up of synthesized calls in synthesized noise, and the calls alone beside them.

`recordings/` holds what a recorder would have brought home, with Audacity labels beside every
second recording and one file that is none; `truth/` holds the calls of each without the noise.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from biodenoising.corpus.synthesis import synthesize_call, synthesize_noise
from biodenoising.storage import whole_file

# Kind of call, rate in Hz, length in s, kind of noise.
SCENES = (
    ("whistle", 44_100, 12.0, "wind"),
    ("frog pulse train", 22_050, 12.0, "stream"),
    ("primate hoot", 16_000, 12.0, "rain"),
    ("bat sweep", 250_000, 4.0, "pink"),
    ("bark", 32_000, 12.0, "traffic"),
    ("dolphin whistle", 48_000, 10.0, "ship"),
    ("trill", 44_100, 12.0, "pink"),
    ("insect stridulation", 32_000, 12.0, "wind"),
    ("whale moan", 8_000, 20.0, "brown"),
    ("harmonic stack", 22_050, 12.0, "hum"),
)
BROKEN = "broken.wav"
SNR_DB = (3.0, 12.0)
PEAK = 0.5
LEAST_GAP_S, LARGEST_GAP_S = 1.5, 3.0


def synthesize(folder: Path, seed: int) -> None:
    """Write all recordings of a seed below `folder`; what is there already is written again."""
    for number, (kind, rate, length_s, noise_kind) in enumerate(SCENES):
        rng = np.random.default_rng([seed, number])
        calls, labels = _calls(kind, rate, int(length_s * rate), rng)
        noise = synthesize_noise(noise_kind, rate, length_s, rng)[: len(calls)]
        heard = calls != 0
        ratio = float(np.mean(np.square(calls[heard]))) / float(np.mean(np.square(noise)))
        noise = noise * np.sqrt(ratio * 10 ** (-rng.uniform(*SNR_DB) / 10))
        scale = PEAK / float(np.abs(calls + noise).max())
        name = f"{number:02d}_{kind.replace(' ', '_')}"
        _write(folder / "recordings" / f"{name}.wav", scale * (calls + noise), rate, "PCM_16")
        _write(folder / "truth" / f"{name}.wav", scale * calls, rate, "FLOAT")
        if number % 2:
            lines = [f"{start:.4f}\t{end:.4f}\t{kind}\n" for start, end in labels]
            with whole_file(folder / "recordings" / f"{name}.txt") as temporary:
                temporary.write_text("".join(lines), encoding="utf-8")
    with whole_file(folder / "recordings" / BROKEN) as temporary:
        temporary.write_text("This is no recording.\n", encoding="utf-8")


def _calls(
    kind: str, rate: int, samples: int, rng: np.random.Generator
) -> tuple[NDArray[np.float64], list[tuple[float, float]]]:
    """Return calls in silence, shape (samples,), and when they begin and end, in seconds."""
    calls = np.zeros(samples)
    labels: list[tuple[float, float]] = []
    start = int(rng.uniform(0.8, LEAST_GAP_S) * rate)
    while True:
        call = synthesize_call(kind, rate, rng) * rng.uniform(0.5, 1.0)
        if start + len(call) > samples - rate // 2:
            return calls, labels
        calls[start : start + len(call)] = call
        labels.append((start / rate, (start + len(call)) / rate))
        start += len(call) + int(rng.uniform(LEAST_GAP_S, LARGEST_GAP_S) * rate)


def _write(path: Path, audio: NDArray[np.float64], rate: int, subtype: str) -> None:
    with whole_file(path) as temporary:
        soundfile.write(temporary, audio, rate, format="WAV", subtype=subtype)
