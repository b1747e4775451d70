"""Mixtures of real and synthesized calls with noise, at random playback rates, from a manifest.

Targets are clips of `train/vocal` with a high signal-to-noise ratio, high-passed at their row's
`highpass_hz`. Every mixture follows from (seed, index) alone.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray
from scipy import ndimage, signal

from biodenoising.corpus.synthesis import CALLS, NOISES, synthesize_call, synthesize_noise

Samples = NDArray[np.float32]
HELD_BACK_TENTHS = 1
# Weights made from these would have to be GPL themselves, or rest on a licence nobody has checked.
UNFIT_LICENCES = ("GPL", "NOT verified")
LOUD_EVENT_DB = (15.0, 45.0)
GATE_WINDOW, GATE_FLOOR_DB = 1024, -26.0


@dataclass(frozen=True)
class MixtureSettings:
    """What the mixtures are made of; levels in dB, rates as powers of two."""

    samples: int = 32_000
    least_target_snr_db: float = 15.0
    tiers: tuple[str, ...] = ("open", "copyleft")
    snr_db: tuple[float, float] = (-8.0, 18.0)
    octaves: float = 1.2
    synthesized_calls: float = 0.2
    synthesized_noise: float = 0.25
    second_caller: float = 0.1
    loud_event: float = 0.08
    second_noise: float = 0.3
    noise_only: float = 0.04
    clean_only: float = 0.04
    band_limited: float = 0.35


@dataclass(frozen=True)
class Clip:
    """One recording in memory, and how often it is to be drawn."""

    audio: Samples
    weight: float
    noise_floor: float = 1e-3  # power of the noise left in the clip, of the whole


def select_rows(
    corpus: Path, kind: str, settings: MixtureSettings, *, held_back: bool
) -> list[dict[str, Any]]:
    """Return the manifest's rows of `train/<kind>` that are used, one side of the split."""
    with open(corpus / "manifest.jsonl", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return [
        row
        for row in rows
        if row["set"] == "train"
        and row["kind"] == kind
        and row["tier"] in settings.tiers
        and (kind == "noise" or row["est_snr_db"] >= settings.least_target_snr_db)
        and row["noise_type"] != "insects"
        and not any(words in row["licence"] for words in UNFIT_LICENCES)
        and is_held_back(row["recording"]) == held_back
    ]


def load_clips(
    corpus: Path, kind: str, settings: MixtureSettings, *, held_back: bool
) -> list[Clip]:
    """Read the clips of `select_rows`.

    Rare taxa and sources weigh more: by the inverse root of how often each stands in the set.
    """
    rows = select_rows(corpus, kind, settings, held_back=held_back)
    label = "taxon" if kind == "vocal" else "noise_type"
    labels = [row[label] for row in rows]
    sources = [row["source"] for row in rows]
    return [
        _clip(
            read_clip(corpus / row["path"], row.get("highpass_hz", 0.0)),
            (labels.count(row[label]) * sources.count(row["source"])) ** -0.5,
            row["est_snr_db"] if kind == "vocal" else None,
        )
        for row in rows
    ]


def _clip(audio: Samples, weight: float, snr_db: float | None) -> Clip:
    if snr_db is None:
        return Clip(audio, weight)
    gated = gate(audio)
    removed = np.mean((audio - gated) ** 2) / np.mean(audio**2)
    # What is taken away must be no more than the noise that was measured in the clip: a call that
    # goes on all the time (a cicada's) looks like a noise floor and is left as it is.
    if removed <= 10 ** (-(snr_db - 3) / 10):
        return Clip(gated, weight, max(10 ** (-(snr_db + 6) / 10), 1e-3))
    return Clip(audio, weight, max(10 ** (-snr_db / 10), 1e-3))


def gate(audio: Samples) -> Samples:
    """Turn down what is not above the quietest sixth of its frequency bin."""
    overlap = GATE_WINDOW * 3 // 4
    padded = np.pad(audio, (0, max(0, 2 * GATE_WINDOW - len(audio))))
    _, _, bins = signal.stft(padded, nperseg=GATE_WINDOW, noverlap=overlap)
    power = ndimage.uniform_filter(np.abs(bins) ** 2, 3)
    floor = np.percentile(power[:, 2:-2], 16, axis=1, keepdims=True)
    gain = np.clip(1 - 4 * floor / (power + 1e-20), 10 ** (GATE_FLOOR_DB / 20), 1)
    _, clean = signal.istft(bins * gain, nperseg=GATE_WINDOW, noverlap=overlap)
    return clean[: len(audio)].astype(np.float32)


def is_held_back(recording: str) -> bool:
    """Tell by hash whether a recording belongs to the validation tenth."""
    return hashlib.sha256(recording.encode()).digest()[0] % 10 < HELD_BACK_TENTHS


def read_clip(path: Path, highpass_hz: float) -> Samples:
    """Read one channel and remove what lies below `highpass_hz`, without phase shift."""
    audio, rate = soundfile.read(path, dtype="float64", always_2d=True)
    mono = audio[:, 0] - audio[:, 0].mean()
    if highpass_hz > 0:
        sos = signal.butter(4, highpass_hz, "highpass", fs=rate, output="sos")
        mono = signal.sosfiltfilt(sos, mono, padlen=min(3 * len(sos) * 2, len(mono) - 1))
    return mono.astype(np.float32)


class Mixer:
    """Makes mixture number `index` of a seed: (noisy, target), each of shape (samples,)."""

    def __init__(
        self, calls: list[Clip], noises: list[Clip], settings: MixtureSettings, seed: int
    ) -> None:
        self.calls, self.noises = calls, noises
        self.settings, self.seed = settings, seed
        self._call_odds = _odds(calls)
        self._noise_odds = _odds(noises)

    def __call__(self, index: int) -> tuple[Samples, Samples, np.float32]:
        """Return mixture number `index`: noisy, target, and the noise known to be in the target.

        Both are at the level where the noisy one has rms 1; the noise is a share of power.
        """
        rng = np.random.default_rng((self.seed, index))
        s = self.settings
        target, floor = self._call(rng)
        if rng.random() < s.second_caller:
            other, other_floor = self._call(rng)
            target, floor = target + other * 10 ** (rng.uniform(-12, 3) / 20), floor + other_floor
        noise = self._noise(rng)
        if rng.random() < s.second_noise:
            noise = noise + self._noise(rng) * 10 ** (rng.uniform(-10, 6) / 20)
        if rng.random() < s.band_limited:
            target, noise = _limit_band(rng, target, noise)
        draw = rng.random()
        snr_db = rng.uniform(*s.snr_db)
        if draw < s.noise_only:
            target, floor = np.zeros_like(target), 1e-3
        elif draw < s.noise_only + s.clean_only:
            snr_db = rng.uniform(30, 60)
        else:
            target = target / _rms(target)
        noise = noise / _rms(noise) * 10 ** (-snr_db / 20)
        if rng.random() < s.loud_event:
            event = _loud_event(rng, s.samples) * _rms(noise)
            target, noise = (
                (target + event, noise) if rng.random() < 0.4 else (target, noise + event)
            )
        noisy = target + noise
        level = 1.0 / _rms(noisy)
        noisy, target = noisy * level, target * level
        return noisy.astype(np.float32), target.astype(np.float32), np.float32(floor)

    def _call(self, rng: np.random.Generator) -> tuple[Samples, float]:
        s = self.settings
        clip = Clip(np.zeros(0, np.float32), 1.0)
        if rng.random() >= s.synthesized_calls:
            clip = self.calls[rng.choice(len(self.calls), p=self._call_odds)]
        audio = clip.audio
        if not len(audio):
            kind = list(CALLS)[rng.integers(len(CALLS))]
            audio = synthesize_call(kind, CALLS[kind].sample_rate, rng)
        speed = 2 ** rng.uniform(-s.octaves, s.octaves)
        return _fit(audio, s.samples, speed, rng, loud=True), clip.noise_floor

    def _noise(self, rng: np.random.Generator) -> Samples:
        s = self.settings
        if rng.random() < s.synthesized_noise:
            kind = list(NOISES)[rng.integers(len(NOISES))]
            rate = rng.choice([8000.0, 16000.0, 44100.0, 96000.0])
            return synthesize_noise(kind, rate, s.samples / rate, rng)[: s.samples]
        audio = self.noises[rng.choice(len(self.noises), p=self._noise_odds)].audio
        return _fit(audio, s.samples, 2 ** rng.uniform(-s.octaves, s.octaves), rng, loud=False)


def _odds(clips: list[Clip]) -> NDArray[np.float64]:
    weights = np.array([clip.weight for clip in clips])
    return weights / weights.sum()


def _rms(x: Samples) -> float:
    return max(float(np.sqrt(np.mean(x**2))), 1e-9)


def _fit(
    audio: Samples, samples: int, speed: float, rng: np.random.Generator, *, loud: bool
) -> Samples:
    """Cut, resample to `speed` times the playback rate and bring to length and rms 1.

    A call is cut where it is loud and padded with silence, noise anywhere and repeated.
    """
    wanted = int(samples * speed) + 1
    if len(audio) > wanted:
        if loud:
            power = np.add.reduceat(audio**2, np.arange(0, len(audio), 1024)) + 1e-12
            centre = 1024 * rng.choice(len(power), p=power / power.sum())
            start = int(np.clip(centre - rng.uniform(0.1, 0.9) * wanted, 0, len(audio) - wanted))
        else:
            start = int(rng.integers(len(audio) - wanted))
        audio = audio[start : start + wanted]
    elif not loud:
        audio = np.resize(np.concatenate([audio, audio[::-1]]), wanted)
    audio = soxr.resample(audio, speed, 1.0, quality="MQ")[:samples]
    if len(audio) < samples:
        before = int(rng.integers(samples - len(audio) + 1))
        audio = np.pad(audio, (before, samples - len(audio) - before))
    return audio / _rms(audio)


def _limit_band(
    rng: np.random.Generator, target: Samples, noise: Samples
) -> tuple[Samples, Samples]:
    """Low- or high-pass both at one random corner: recordings end at many frequencies."""
    if rng.random() < 0.7:
        sos = signal.butter(int(rng.integers(2, 9)), rng.uniform(0.2, 0.9), "lowpass", output="sos")
    else:
        corner = 10 ** rng.uniform(-2.5, -0.7)
        sos = signal.butter(int(rng.integers(1, 5)), corner, "highpass", output="sos")
    filtered = signal.sosfilt(sos, target)
    if np.mean(filtered**2) < 0.1 * np.mean(target**2):
        return target, noise
    return filtered.astype(np.float32), signal.sosfilt(sos, noise).astype(np.float32)


def _loud_event(rng: np.random.Generator, samples: int) -> Samples:
    """Return a knock, a clap or a shriek, far above noise of rms 1: a few to some hundred ms."""
    length = int(10 ** rng.uniform(1.5, 3.9))
    start = int(rng.integers(samples))
    length = min(length, samples - start)
    time = np.arange(length)
    if rng.random() < 0.5:
        sound = rng.standard_normal(length)
        if length > 64:
            corners = np.sort(10 ** rng.uniform(-2.3, -0.05, 2)) + np.array([0, 0.03])
            corners = np.minimum(corners, 0.98)
            sos = signal.butter(1, corners, "bandpass", output="sos")
            sound = signal.sosfilt(sos, sound)
    else:
        sound = np.sin(2 * np.pi * 10 ** rng.uniform(-2.3, -0.4) * time + rng.uniform(0, 6))
    sound = sound * np.exp(-time / length * rng.uniform(0, 6))
    event = np.zeros(samples, np.float32)
    peak = max(float(np.abs(sound).max(initial=0.0)), 1e-9)
    event[start : start + length] = sound / peak * 10 ** (rng.uniform(*LOUD_EVENT_DB) / 20)
    return event
