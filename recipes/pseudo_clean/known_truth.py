"""Mixtures with known truth, and what teachers make of them, for measuring the selection.

Real calls are clips of `train/vocal` with at least 20 dB, high-passed at their row's `highpass_hz`,
in noise of `train/noise`; synthesized ones need no corpus. The split is by source recording and
by what the shipped student has heard: its training clips are for development, and held back is
only what it was never given (the tenth its recipe sets aside, and the non-commercial tier).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray
from scipy import signal

from biodenoising import Denoiser
from biodenoising.corpus.synthesis import CALLS, NOISES, synthesize_call, synthesize_noise

Samples = NDArray[np.float32]
Teacher = Callable[[Samples], Samples]

SECONDS, MOST_SAMPLES = 4.0, 131_072
SNR_DB = (-5.0, 15.0)
LEAST_TARGET_SNR_DB = 20.0
UNFIT_LICENCES = ("GPL", "NOT verified")
HELD_BACK_TENTHS = 1  # as recipes/first/mixtures.py, from which the student learned
BLENDS = (0.75, 0.5)
SUBTRACTED = (2.0, 6.0)
GTCRN_FILE = Path("gtcrn") / "gtcrn_simple.onnx"
# Teachers work in samples; any rate at which their fixed smoothing is sensible will do.
HEARD_RATE_HZ = 16_000


@dataclass(frozen=True)
class Mixture:
    """A noisy segment whose clean part is known, both of shape (samples,)."""

    name: str
    group: str
    recording: str
    snr_db: float
    noisy: Samples
    clean: Samples


def is_held_back(row: dict[str, Any]) -> bool:
    """Tell whether the shipped student never heard this row of the manifest."""
    digest = hashlib.sha256(row["recording"].encode()).digest()
    return digest[0] % 10 < HELD_BACK_TENTHS or row["tier"] == "noncommercial"


def rows_of(corpus: Path, kind: str, *, held_back: bool) -> list[dict[str, Any]]:
    """Return the rows of `train/<kind>` on one side of the split."""
    with open(corpus / "manifest.jsonl", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return [
        row
        for row in rows
        if row["set"] == "train"
        and row["kind"] == kind
        and (kind == "noise" or row["est_snr_db"] >= LEAST_TARGET_SNR_DB)
        and row["noise_type"] != "insects"
        and not any(words in row["licence"] for words in UNFIT_LICENCES)
        and is_held_back(row) == held_back
    ]


def real_mixtures(
    corpus: Path, count: int, seed: int, *, held_back: bool, first: int = 0
) -> Iterator[Mixture]:
    """Give mixtures `first` to `count` of real calls; groups and noises are evened out."""
    calls, noises = (rows_of(corpus, kind, held_back=held_back) for kind in ("vocal", "noise"))
    call_odds, noise_odds = _odds(calls, "group"), _odds(noises, "noise_type")
    for index in range(first, count):
        rng = np.random.default_rng((seed, int(held_back), 0, index))
        call = calls[rng.choice(len(calls), p=call_odds)]
        noise = noises[rng.choice(len(noises), p=noise_odds)]
        samples = min(int(SECONDS * call["sample_rate"]), MOST_SAMPLES)
        clean = _cut(_read(corpus, call), samples, rng, loud=True)
        # Noise is taken as samples, as the teachers take it, so that it fills the call's band.
        bed = _cut(_read(corpus, noise), samples, rng, loud=False)
        snr_db = float(rng.uniform(*SNR_DB))
        yield _mix(f"real {index}", call["group"], call["recording"], snr_db, clean, bed)


def synthesized_mixtures(
    count: int, seed: int, *, held_back: bool, first: int = 0
) -> Iterator[Mixture]:
    """Give mixtures `first` to `count` of synthesized calls in synthesized noise."""
    for index in range(first, count):
        rng = np.random.default_rng((seed, int(held_back), 1, index))
        kind = list(CALLS)[rng.integers(len(CALLS))]
        rate = CALLS[kind].sample_rate * int(rng.integers(1, 3))
        samples = min(int(SECONDS * rate), MOST_SAMPLES)
        clean = np.zeros(samples, np.float32)
        for _ in range(int(rng.integers(1, 5))):
            call = synthesize_call(kind, rate, rng)[:samples]
            start = int(rng.integers(samples - len(call) + 1))
            clean[start : start + len(call)] += call * 10 ** (rng.uniform(-12, 0) / 20)
        bed = synthesize_noise(
            list(NOISES)[rng.integers(len(NOISES))], rate, samples / rate + 0.01, rng
        )[:samples]
        snr_db = float(rng.uniform(*SNR_DB))
        name = f"synthesized {index}"
        yield _mix(name, CALLS[kind].group, name, snr_db, clean, bed)


def open_teachers(weights: Path | None) -> dict[str, Teacher]:
    """Return the teachers at their time expansions; a speech network too where its file is."""
    teachers: dict[str, Teacher] = {}
    for model, expansions in (
        ("demucs", (0.25, 0.5, 1, 2)),
        ("noisereduce", (0.5, 1, 2)),
        ("noisereduce-nonstationary", (0.5, 1, 2)),
    ):
        denoiser = Denoiser(model, threads=1)
        for expansion in expansions:
            teachers[f"{model} x{expansion:g}"] = _expanded(_heard(denoiser), expansion)
    if weights is not None and (weights / GTCRN_FILE).exists():
        teachers["gtcrn x1"] = _gtcrn(weights / GTCRN_FILE)
    return teachers


def subtractions(noisy: Samples) -> dict[str, Samples]:
    """Return spectral subtraction of each band's median power, once gently and once harshly.

    The simplest teachers there are; they share the score's idea of what noise is, so that a score
    which relied on it alone would take them for the best.
    """
    bins = signal.stft(noisy, nperseg=1024)[2]
    power = np.abs(bins) ** 2
    floor = np.median(power, axis=1, keepdims=True) / np.maximum(power, 1e-20)
    return {
        f"subtraction {strength:g} x1": signal.istft(
            bins * np.clip(1 - strength * floor, 0.05, 1), nperseg=1024
        )[1][: len(noisy)].astype(np.float32)
        for strength in SUBTRACTED
    }


def with_blends(noisy: Samples, outputs: dict[str, Samples]) -> dict[str, Samples]:
    """Return all candidates: the teachers' outputs, their blends with the input, some means."""
    candidates = dict(outputs)
    for name, output in outputs.items():
        for blend in BLENDS:
            candidates[f"{name} blend {blend:g}"] = blend * output + (1 - blend) * noisy
    usual = [name for name in outputs if not name.startswith(("gtcrn", "subtraction"))]
    for one, other in combinations(usual, 2):
        same = one.rsplit(" ", 1)[0] == other.rsplit(" ", 1)[0]
        if same or (one.endswith(" x1") and other.endswith(" x1")):
            candidates[f"mean of {one} and {other}"] = (outputs[one] + outputs[other]) / 2
    return candidates


def _mix(
    name: str, group: str, recording: str, snr_db: float, clean: Samples, noise: Samples
) -> Mixture:
    active = clean[clean != 0]
    level = float(np.sqrt(np.mean(active**2))) if len(active) else 1.0
    noise = noise * (level / max(_rms(noise), 1e-9) * 10 ** (-snr_db / 20))
    gain = 0.1 / max(_rms(clean + noise), 1e-9)
    noisy = ((clean + noise) * gain).astype(np.float32)
    return Mixture(name, group, recording, snr_db, noisy, (clean * gain).astype(np.float32))


def _read(corpus: Path, row: dict[str, Any]) -> Samples:
    audio, rate = soundfile.read(corpus / row["path"], dtype="float64", always_2d=True)
    mono = audio[:, 0] - audio[:, 0].mean()
    if row.get("highpass_hz", 0.0) > 0:
        sos = signal.butter(4, row["highpass_hz"], "highpass", fs=rate, output="sos")
        mono = signal.sosfiltfilt(sos, mono, padlen=min(12, len(mono) - 1))
    return mono.astype(np.float32)


def _cut(audio: Samples, samples: int, rng: np.random.Generator, *, loud: bool) -> Samples:
    """Cut around a loud moment and pad with silence (a call), or anywhere and repeat (noise)."""
    if len(audio) <= samples and loud:
        before = int(rng.integers(samples - len(audio) + 1))
        return np.pad(audio, (before, samples - len(audio) - before))
    if len(audio) <= samples:
        return np.resize(np.concatenate([audio, audio[::-1]]), samples)
    start = int(rng.integers(len(audio) - samples))
    if loud:
        power = np.add.reduceat(audio**2, np.arange(0, len(audio), 1024)) + 1e-12
        centre = 1024 * int(rng.choice(len(power), p=power / power.sum()))
        first = centre - rng.uniform(0.1, 0.9) * samples
        start = int(np.clip(first, 0, len(audio) - samples))
    return audio[start : start + samples]


def _odds(rows: list[dict[str, Any]], label: str) -> NDArray[np.float64]:
    labels = [row[label] for row in rows]
    recordings = [row["recording"] for row in rows]
    weights = np.array(
        [
            labels.count(row[label]) ** -0.5 / recordings.count(row["recording"]) ** 0.5
            for row in rows
        ]
    )
    return weights / weights.sum()


def _rms(x: Samples) -> float:
    return float(np.sqrt(np.mean(np.square(x, dtype=np.float64))))


def _heard(denoiser: Denoiser) -> Teacher:
    return lambda audio: np.asarray(denoiser.denoise(audio, HEARD_RATE_HZ), np.float32)


def _expanded(teacher: Teacher, expansion: float) -> Teacher:
    """Return the teacher hearing the recording `expansion` times slower, without aliases."""
    if expansion == 1:
        return teacher

    def slowed(audio: Samples) -> Samples:
        heard = teacher(soxr.resample(audio, 1.0, expansion).astype(np.float32))
        back = soxr.resample(heard, expansion, 1.0)[: len(audio)]
        return np.pad(back, (0, len(audio) - len(back))).astype(np.float32)

    return slowed


def _gtcrn(path: Path) -> Teacher:
    """Return the speech network GTCRN, frame by frame from its streaming graph."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options)
    shapes = {entry.name: entry.shape for entry in session.get_inputs()}
    window = np.sqrt(signal.windows.hann(512, sym=False)).astype(np.float32)

    def denoise(audio: Samples) -> Samples:
        padded = np.pad(audio, (256, 512))
        frames = np.lib.stride_tricks.sliding_window_view(padded, 512)[::256]
        bins = np.fft.rfft(frames * window).astype(np.complex64)
        state = {name: np.zeros(shapes[name], np.float32) for name in list(shapes)[1:]}
        clean = np.zeros(len(frames) * 256 + 256, np.float32)
        for index, spectrum in enumerate(bins):
            mix = np.stack([spectrum.real, spectrum.imag], -1)[None, :, None]
            enhanced, *caches = session.run(None, {"mix": mix, **state})
            state = dict(zip(state, caches, strict=True))
            frame = np.fft.irfft(enhanced[0, :, 0, 0] + 1j * enhanced[0, :, 0, 1])
            clean[index * 256 : index * 256 + 512] += (frame * window).astype(np.float32)
        return clean[256 : 256 + len(audio)]

    return denoise
