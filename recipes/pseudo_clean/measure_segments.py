"""Measure how well segments are found: synthesized scenes, laid-out clips, annotated recordings.

    python recipes/pseudo_clean/measure_segments.py [--corpus FOLDER] [--draws 3]

Prints tables. Without a corpus (or BIODENOISING_CORPUS) only the synthesized scenes are measured.
Only `train` rows are looked at. The defaults were chosen with seeds below 1000; these are above.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import resource
import shutil
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray
from scipy import signal

from biodenoising.corpus.segments import SegmentSettings, find_segments
from biodenoising.corpus.synthesis import CALLS, NOISES, synthesize_call, synthesize_noise

Samples = NDArray[np.float32]
Spans = list[tuple[float, float]]
Row = dict[str, Any]
SEED = 1_000
SNRS_DB = (-5, 0, 5, 10, 15, 20)
RATE_FACTORS = (1.0, 1.5, 2.0)
LARGEST_RATE_HZ = 500_000
IOU = 0.5
SENTENCES = {
    "it": "Registrazione di un merlo che canta nel giardino, alle cinque di mattina, tre maggio.",
    "pt": "Gravação de um melro a cantar no jardim, às cinco e meia da manhã, três de maio.",
    "ru": "Запись чёрного дрозда в саду, пять часов утра, третье мая, погода спокойная.",
    "en": "Willow warbler, alarm call, beside the railway bridge, with a shotgun microphone.",
}


@dataclass(frozen=True)
class Scene:
    """Samples with the spans that hold calls, seconds; `labels` say what it is made of."""

    audio: Samples
    rate: float
    calls: Spans
    labels: tuple[str, ...]


@dataclass
class Tally:
    """Sums over scenes, in seconds and events."""

    common_s: float = 0.0
    found_s: float = 0.0
    true_s: float = 0.0
    matched: int = 0
    found: int = 0
    true: int = 0
    noise_s: float = 0.0
    noise_with_call_s: float = 0.0
    free_s: float = 0.0

    def add(self, other: Tally) -> None:
        """Add another's sums."""
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))

    def text(self) -> str:
        """Return the figures of one line of a table."""
        figures = (
            self.common_s / max(self.found_s, 1e-9),
            self.common_s / max(self.true_s, 1e-9),
            self.matched / max(self.found, 1),
            self.matched / max(self.true, 1),
            self.noise_with_call_s / max(self.noise_s, 1e-9),
            self.noise_s / max(self.free_s, 1e-9),
        )
        return "".join(f"{figure:9.3f}" for figure in figures)


HEADER = f"{'':<30}{'time P':>9}{'time R':>9}{'event P':>9}{'event R':>9}{'call in':>9}{'noise':>9}"


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", default=os.environ.get("BIODENOISING_CORPUS"))
    parser.add_argument("--draws", type=int, default=3, help="scenes of each call in each noise")
    options = parser.parse_args()
    print("time and event precision and recall; share of the noise found that holds calls;")
    print("noise found as a share of the time without calls\n")
    show("synthesized scenes", synthesized(options.draws))
    if options.corpus:
        corpus = Path(options.corpus)
        with open(corpus / "manifest.jsonl", encoding="utf-8") as lines:
            rows = [row for row in map(json.loads, lines) if row["set"] == "train"]
        show("clips of train/vocal laid into train/noise", laid_out(corpus, rows))
        show("annotated recordings", annotated(corpus, rows))
        show_shares(corpus, rows)
        show_speech(corpus, rows)
    show_cost()


def counted(scene: Scene) -> Tally:
    """Find a scene's segments and count them against the truth."""
    segments = find_segments(scene.audio, scene.rate)
    calls = [(s.start_s, s.end_s) for s in segments if s.kind == "call"]
    noise = [(s.start_s, s.end_s) for s in segments if s.kind == "noise"]
    truth = merged(scene.calls, SegmentSettings().least_gap_s)
    return Tally(
        common_s=overlap(truth, calls),
        found_s=length(calls),
        true_s=length(truth),
        matched=matches(truth, calls),
        found=len(calls),
        true=len(truth),
        noise_s=length(noise),
        noise_with_call_s=overlap(merged(scene.calls, 0.0), noise),
        free_s=len(scene.audio) / scene.rate - length(truth),
    )


def show(title: str, scenes: Iterator[Scene]) -> None:
    """Print a table of all scenes and of each of their labels."""
    tallies: dict[str, Tally] = defaultdict(Tally)
    for scene in scenes:
        tally = counted(scene)
        for label in ("all", *scene.labels):
            tallies[label].add(tally)
    print(f"{title}\n{HEADER}")
    for label in ["all", *sorted(set(tallies) - {"all"})]:
        print(f"{label:<30}{tallies[label].text()}")
    print(flush=True)


def synthesized(draws: int) -> Iterator[Scene]:
    """Make scenes of every call in every noise, the SNR and the rate going round."""
    for draw in range(draws):
        pairs = [(call, noise) for call in CALLS for noise in NOISES]
        for place, (call, noise) in enumerate(pairs):
            rng = np.random.default_rng((SEED, draw, place))
            snr_db = SNRS_DB[(place + draw * 2) % len(SNRS_DB)]
            factor = RATE_FACTORS[(place // len(SNRS_DB) + draw) % len(RATE_FACTORS)]
            rate = min(CALLS[call].sample_rate * factor, LARGEST_RATE_HZ)
            duration_s = 20.0 if rate < 100_000 else 5.0
            background = synthesize_noise(noise, rate, duration_s, rng)
            yield lay(
                sung(call, rate, rng), background, rate, snr_db, rng,
                (f"call: {call}", f"noise: {noise}", f"snr: {snr_db:3d} dB"),
            )  # fmt: skip


def sung(kind: str, rate: float, rng: np.random.Generator) -> Iterator[Samples]:
    """Make calls without end, without the silence around them."""
    while True:
        call = synthesize_call(kind, rate, rng)
        yield np.trim_zeros(np.where(np.abs(call) > 1e-3, call, 0))


def lay(
    bodies: Iterable[Samples],
    background: Samples,
    rate: float,
    snr_db: float,
    rng: np.random.Generator,
    labels: tuple[str, ...],
) -> Scene:
    """Lay calls into noise with pauses of 0.3-4 s, at an SNR over the time of the calls."""
    clean = np.zeros_like(background)
    inside = np.zeros(len(background), bool)
    calls: Spans = []
    at = int(rng.uniform(0.5, 2.0) * rate)
    for body in bodies:
        if at + len(body) > len(background) - int(0.2 * rate):
            break
        clean[at : at + len(body)] = body
        inside[at : at + len(body)] = True
        calls.append((at / rate, (at + len(body)) / rate))
        at += len(body) + int(rng.uniform(0.3, 4.0) * rate)
    if calls:
        ratio = np.mean(np.square(background, dtype=np.float64)) / np.mean(clean[inside] ** 2)
        clean *= np.float32(np.sqrt(ratio * 10 ** (snr_db / 10)))
    return Scene(clean + background, rate, calls, labels)


def laid_out(corpus: Path, rows: list[Row]) -> Iterator[Scene]:
    """Lay the loud parts of clean clips into noise clips, sample for sample, at known times."""
    vocal = [r for r in rows if r["kind"] == "vocal" and r["est_snr_db"] >= 18][::8]
    noise = [r for r in rows if r["kind"] == "noise" and r["noise_type"] != "insects"]
    noise = [r for r in noise if r["duration_s"] >= 5]
    for place, row in enumerate(vocal):
        rng = np.random.default_rng((SEED, 7, place))
        background_row = noise[int(rng.integers(len(noise)))]
        background, _ = read(corpus, background_row)
        clip, rate = read(corpus, row)
        if row.get("highpass_hz", 0) > 0:
            sos = signal.butter(4, row["highpass_hz"], "highpass", fs=rate, output="sos")
            clip = signal.sosfiltfilt(sos, clip).astype(np.float32)
        snr_db = SNRS_DB[place % len(SNRS_DB)]
        # The noise is taken sample for sample, as if recorded at the rate of the call.
        background = np.resize(background, int(max(len(background), 12 * rate, 4 * len(clip))))
        bodies = [clip[start:end] for start, end in loud_parts(clip, rate)]
        yield lay(
            bodies, background, rate, snr_db, rng,
            (f"group: {row['group']}", f"noise: {background_row['noise_type']}",
             f"snr: {snr_db:3d} dB"),
        )  # fmt: skip


def loud_parts(clip: Samples, rate: float) -> list[tuple[int, int]]:
    """Return the samples (start, end) of what lies less than 20 dB below the loudest moment."""
    hop = max(int(0.005 * rate), 1)
    power = np.square(clip[: len(clip) // hop * hop], dtype=np.float64).reshape(-1, hop).mean(1)
    loud = np.flatnonzero(power > 0.01 * power.max()) * hop
    spans = merged([(start / rate, (start + hop) / rate) for start in loud], 0.25)
    return [(int(start * rate), int(end * rate)) for start, end in spans if end - start > 0.01]


def annotated(corpus: Path, rows: list[Row]) -> Iterator[Scene]:
    """Read the recordings with marked events; in soundscapes other animals are not marked."""
    by_path = {row["path"]: row for row in rows}
    with open(corpus / "annotations.jsonl", encoding="utf-8") as lines:
        for entry in map(json.loads, lines):
            row = by_path.get(entry["path"])
            if row is None or not entry["events"]:
                continue
            audio, rate = read(corpus, row)
            calls = [(max(e[0], 0.0), min(e[1], row["duration_s"])) for e in entry["events"]]
            yield Scene(audio, rate, calls, (f"{row['kind']}: {row['taxon'] or row['group']}",
                                             row["kind"]))  # fmt: skip


def show_shares(corpus: Path, rows: list[Row]) -> None:
    """Print how much of the clips called noise, and of those called vocal, is found to be what."""
    print("share of the time found to be        call    noise    clips without")
    for kind, missing, label in (
        ("noise", "noise", "noise_type"),
        ("vocal", "call", "group"),
        ("soundscape", "call", "group"),
    ):
        shares = defaultdict(list)
        for row in [r for r in rows if r["kind"] == kind and r["duration_s"] >= 2][::4]:
            audio, rate = read(corpus, row)
            segments = find_segments(audio, rate)
            parts = [
                sum(s.end_s - s.start_s for s in segments if s.kind == name) / row["duration_s"]
                for name in ("call", "noise", missing)
            ]
            for key in ("all", row[label]):
                shares[key].append(parts)
        for key, parts_of in sorted(shares.items(), key=lambda item: -len(item[1])):
            call, noise, _ = np.mean(parts_of, axis=0)
            none = np.mean([part[2] == 0 for part in parts_of])
            print(f"{kind + ' ' + key:<24}{len(parts_of):>6}{call:>11.3f}{noise:>9.3f}"
                  f"{none:>8.3f} {missing}")  # fmt: skip
    print()


def show_speech(corpus: Path, rows: list[Row]) -> None:
    """Print how much announced speech is found in noise, and how often a clip without is taken."""
    print("speech")
    quiet = [r for r in rows if r["kind"] == "noise" and r["duration_s"] >= 5]
    quiet = [r for r in quiet if 16_000 <= r["sample_rate"] <= 50_000 and r["noise_type"] != "room"]
    if shutil.which("espeak-ng"):
        for snr_db in (0, 5, 10, 20):
            found = [
                heard(spoken(corpus, quiet[(37 * k + snr_db) % len(quiet)], k, snr_db))
                for k in range(20)
            ]
            print(f"  announcements at {snr_db:2d} dB: {np.mean([f > 0 for f in found]):.2f} found,"
                  f" {np.mean(found):.2f} of their time")  # fmt: skip
    for kind in ("vocal", "noise", "soundscape"):
        some = [r for r in rows if r["kind"] == kind and r["duration_s"] >= 2.2][1::5]
        taken = [row["group"] for row in some if heard(read(corpus, row)) > 0]
        print(f"  {kind} clips taken for speech: {len(taken)} of {len(some)} {sorted(set(taken))}")
    print()


def spoken(corpus: Path, row: Row, number: int, snr_db: float) -> tuple[Samples, float]:
    """Return a synthesized announcement in a noise clip, at the clip's rate."""
    rng = np.random.default_rng((SEED, number))
    language = list(SENTENCES)[number % len(SENTENCES)]
    voice = language + ["", "+f2", "+m3", "+f4", "+m7"][int(rng.integers(5))]
    words = ["espeak-ng", "-v", voice, "-s", str(rng.integers(120, 190)), "-p",
             str(rng.integers(20, 75)), "--stdout", SENTENCES[language]]  # fmt: skip
    wave = subprocess.run(words, capture_output=True, check=True).stdout
    speech, speech_rate = soundfile.read(io.BytesIO(wave), dtype="float32")
    noise, rate = read(corpus, row)
    speech = soxr.resample(speech, speech_rate, rate)
    noise = np.resize(noise, len(speech))
    gain = np.sqrt(np.mean(noise**2) / np.mean(speech**2) * 10 ** (snr_db / 10))
    return (noise + gain * speech).astype(np.float32), rate


def heard(recording: tuple[Samples, float]) -> float:
    """Return the share of a recording that is taken for speech."""
    audio, rate = recording
    segments = find_segments(audio, rate)
    spans = [s.end_s - s.start_s for s in segments if s.kind == "speech"]
    return sum(spans) * rate / len(audio)


def show_cost() -> None:
    """Print time and memory for ten minutes at 48 kHz, with and without listening for speech."""
    audio = np.random.default_rng(0).standard_normal(48_000 * 600).astype(np.float32) / 10
    for settings in (SegmentSettings(), SegmentSettings(speech_within_s=0)):
        start = time.monotonic()
        find_segments(audio, 48_000, settings=settings)
        print(f"10 min at 48 kHz in {time.monotonic() - start:.1f} s"
              f" (speech within {settings.speech_within_s:g} s)")  # fmt: skip
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB,"
          f" {audio.nbytes / 1e6:.0f} MB of it the samples")  # fmt: skip


def read(corpus: Path, row: Row) -> tuple[Samples, float]:
    """Return a clip's first channel and rate."""
    audio, rate = soundfile.read(corpus / row["path"], dtype="float32", always_2d=True)
    return audio[:, 0], float(rate)


def merged(spans: Spans, gap_s: float) -> Spans:
    """Return spans in order, those closer than the gap as one."""
    result: Spans = []
    for start, end in sorted(spans):
        if result and start - result[-1][1] < gap_s:
            result[-1] = (result[-1][0], max(result[-1][1], end))
        else:
            result.append((start, end))
    return result


def length(spans: Spans) -> float:
    """Return the summed length in seconds."""
    return sum(end - start for start, end in spans)


def overlap(first: Spans, second: Spans) -> float:
    """Return the seconds that two lists of disjoint spans share."""
    return sum(max(0.0, min(b, d) - max(a, c)) for a, b in first for c, d in second)


def matches(truth: Spans, found: Spans) -> int:
    """Return how many true spans have a found one of their own with an overlap of `IOU`."""
    left = list(found)
    count = 0
    for a, b in truth:
        shares = [max(0.0, min(b, d) - max(a, c)) / (max(b, d) - min(a, c)) for c, d in left]
        if shares and max(shares) >= IOU:
            left.pop(int(np.argmax(shares)))
            count += 1
    return count


if __name__ == "__main__":
    main()
