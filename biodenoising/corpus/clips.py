"""Clips in memory, chosen from manifests: targets that are clean enough, and noises.

A clip's weight says how often it is drawn (rare taxa and sources more often than their number of
files), its floor how much noise its target still holds. One tenth of the recordings is held back
from training, by a hash of the recording's name, so that no recording stands on both sides.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray
from scipy import ndimage, signal

from biodenoising.errors import AudioReadError, TrainingError
from biodenoising.storage import printable

Samples = NDArray[np.float32]
Row = dict[str, Any]

GATE_WINDOW, GATE_FLOOR_DB = 1024, -26.0
LEAST_FLOOR = 1e-3
NEEDED_KEYS = ("path", "kind")
UNKNOWN = {"set": "", "recording": "", "source": "", "licence": "", "tier": ""}


@dataclass(frozen=True)
class ClipSettings:
    """Which rows of a manifest are used, and how often each is drawn.

    A clip's weight is (clips with its taxon or noise type) ** -label_balance times (clips of its
    source) ** -source_balance: with 0 every file counts alike, with 1 every source does.
    `refused_licences` are words in a licence that rule a clip out. `unlabelled_kinds` serve where
    a training learns from recordings that are not clean enough for targets.
    """

    sets: tuple[str, ...] = ("train",)
    stages: tuple[str, ...] = ("segment", "target")
    target_kinds: tuple[str, ...] = ("vocal",)
    noise_kinds: tuple[str, ...] = ("noise",)
    unlabelled_kinds: tuple[str, ...] = ("vocal", "soundscape")
    tiers: tuple[str, ...] = ("open", "copyleft")
    # Weights made from these would have to be GPL themselves, or rest on a licence nobody checked.
    refused_licences: tuple[str, ...] = ("GPL", "NOT verified")
    refused_noises: tuple[str, ...] = ("insects",)
    least_target_snr_db: float = 15.0
    gate_targets: bool = True
    label_balance: float = 0.5
    source_balance: float = 0.5
    held_back_tenths: int = 1

    def __post_init__(self) -> None:
        if "benchmark" in self.sets:
            raise ValueError("the set benchmark is never trained on")
        if not 0 <= self.held_back_tenths <= 9:
            raise ValueError("held_back_tenths must be between 0 and 9")


@dataclass(frozen=True)
class Clip:
    """One recording in memory, mono at its own rate, and how often it is to be drawn.

    `noise_floor` is the power of the noise known to be in the clip, as a share of the whole.
    """

    audio: Samples
    weight: float
    noise_floor: float = LEAST_FLOOR


def read_rows(folder: Path) -> list[Row]:
    """Return the rows of FOLDER/manifest.jsonl. Raises TrainingError naming the line at fault."""
    path = folder / "manifest.jsonl"
    rows = []
    try:
        with open(path, encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                if not line.strip():
                    continue
                row = json.loads(line)
                missing = [key for key in NEEDED_KEYS if key not in row]
                if missing:
                    raise ValueError(f"no {', '.join(missing)} in line {number}")
                rows.append(UNKNOWN | row)
    except OSError as error:
        raise TrainingError(
            f"{printable(path)}: no manifest to read ({error.strerror}); name a corpus folder"
        ) from error
    except ValueError as error:
        raise TrainingError(
            f"{printable(path)}: not a manifest ({error}); write it anew"
        ) from error
    return rows


def select_rows(
    rows: Sequence[Row], settings: ClipSettings, *, noise: bool, held_back: bool
) -> list[Row]:
    """Return the rows that serve as noise, or as targets, on one side of the split."""
    kinds = settings.noise_kinds if noise else settings.target_kinds
    return [
        row
        for row in rows
        if row["kind"] in kinds
        and (noise or _snr_db(row) >= settings.least_target_snr_db)
        and row.get("noise_type") not in settings.refused_noises
        and _is_fit(row, settings, held_back=held_back)
    ]


def select_unlabelled(rows: Sequence[Row], settings: ClipSettings) -> list[Row]:
    """Return the rows with calls in noise that are no targets, none of them held back."""
    targets = {row["path"] for row in select_rows(rows, settings, noise=False, held_back=False)}
    return [
        row
        for row in rows
        if row["kind"] in settings.unlabelled_kinds
        and row["path"] not in targets
        and _is_fit(row, settings, held_back=False)
    ]


def load_unlabelled(folders: Sequence[Path], settings: ClipSettings) -> list[Clip]:
    """Read the clips of `select_unlabelled` of all folders into memory, as they were recorded."""
    chosen = [
        (folder, row)
        for folder in folders
        for row in select_unlabelled(read_rows(folder), settings)
    ]
    weights = balanced_weights([row for _, row in chosen], settings, noise=False)
    return [
        Clip(read_clip(folder / row["path"], row.get("highpass_hz") or 0.0), weight, 1.0)
        for (folder, row), weight in zip(chosen, weights, strict=True)
    ]


def load_clips(
    folders: Sequence[Path],
    settings: ClipSettings,
    *,
    noise: bool,
    held_back: bool,
    most: int | None = None,
) -> list[Clip]:
    """Read the clips of `select_rows` of all folders into memory, weighted over all of them.

    With `most`, so many of them drawn by the hash of their paths.
    """
    chosen = choose_rows(folders, settings, noise=noise, held_back=held_back, most=most)
    weights = balanced_weights([row for _, row in chosen], settings, noise=noise)
    return [
        _clip(folder, row, weight, settings, noise=noise)
        for (folder, row), weight in zip(chosen, weights, strict=True)
    ]


def choose_rows(
    folders: Sequence[Path],
    settings: ClipSettings,
    *,
    noise: bool,
    held_back: bool,
    most: int | None = None,
) -> list[tuple[Path, Row]]:
    """Return the rows that `load_clips` reads, each with its folder."""
    chosen = [
        (folder, row)
        for folder in folders
        for row in select_rows(read_rows(folder), settings, noise=noise, held_back=held_back)
    ]
    if most is not None:
        chosen = sorted(chosen, key=lambda each: _hash(each[1]["path"]))[:most]
    return chosen


def balanced_weights(rows: Sequence[Row], settings: ClipSettings, *, noise: bool) -> list[float]:
    """Return how often each row is to be drawn, relative to the others."""
    label = "noise_type" if noise else "taxon"
    labels = Counter(row.get(label) for row in rows)
    sources = Counter(row["source"] for row in rows)
    return [
        labels[row.get(label)] ** -settings.label_balance
        * sources[row["source"]] ** -settings.source_balance
        for row in rows
    ]


def is_held_back(recording: str, tenths: int = 1) -> bool:
    """Tell by hash whether a recording belongs to the share held back for checks."""
    return _hash(recording)[0] % 10 < tenths


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()


def read_clip(path: Path, highpass_hz: float = 0.0) -> Samples:
    """Read the first channel and remove what lies below `highpass_hz`, without phase shift.

    Raises AudioReadError.
    """
    try:
        audio, rate = soundfile.read(path, dtype="float64", always_2d=True)
    except (OSError, soundfile.SoundFileError) as error:
        raise AudioReadError(f"{printable(path)}: cannot be read as audio ({error})") from error
    if not len(audio):
        raise AudioReadError(f"{printable(path)}: holds no samples; take it out of the manifest")
    mono = audio[:, 0] - audio[:, 0].mean()
    if highpass_hz > 0:
        sos = signal.butter(4, highpass_hz, "highpass", fs=rate, output="sos")
        mono = signal.sosfiltfilt(sos, mono, padlen=min(3 * len(sos) * 2, len(mono) - 1))
    return np.asarray(mono, np.float32)


def gate_floor(audio: Samples) -> Samples:
    """Turn down what is not above the quietest sixth of its frequency bin, by at most 26 dB."""
    overlap = GATE_WINDOW * 3 // 4
    padded = np.pad(audio, (0, max(0, 2 * GATE_WINDOW - len(audio))))
    _, _, bins = signal.stft(padded, nperseg=GATE_WINDOW, noverlap=overlap)
    power = ndimage.uniform_filter(np.abs(bins) ** 2, 3)
    floor = np.percentile(power[:, 2:-2], 16, axis=1, keepdims=True)
    gain = np.clip(1 - 4 * floor / (power + 1e-20), 10 ** (GATE_FLOOR_DB / 20), 1)
    _, clean = signal.istft(bins * gain, nperseg=GATE_WINDOW, noverlap=overlap)
    return np.asarray(clean[: len(audio)], np.float32)


def _clip(folder: Path, row: Row, weight: float, settings: ClipSettings, *, noise: bool) -> Clip:
    audio = read_clip(folder / row["path"], row.get("highpass_hz") or 0.0)
    if noise:
        return Clip(audio, weight)
    snr_db = _snr_db(row)
    if settings.gate_targets:
        gated = gate_floor(audio)
        removed = float(np.mean((audio - gated) ** 2) / max(float(np.mean(audio**2)), 1e-20))
        # What is taken away must be no more than the noise that was measured in the clip: a call
        # that goes on all the time (a cicada's) looks like a noise floor and is left as it is.
        if removed <= 10 ** (-(snr_db - 3) / 10):
            return Clip(gated, weight, max(10 ** (-(snr_db + 6) / 10), LEAST_FLOOR))
    return Clip(audio, weight, max(10 ** (-snr_db / 10), LEAST_FLOOR))


def _is_fit(row: Row, settings: ClipSettings, *, held_back: bool) -> bool:
    return (
        row["set"] in settings.sets
        and row.get("stage", "segment") in settings.stages
        and not row.get("rejected")
        and row["tier"] in settings.tiers
        and not any(words in row["licence"] for words in settings.refused_licences)
        and is_held_back(row["recording"], settings.held_back_tenths) == held_back
    )


def _snr_db(row: Row) -> float:
    """Return what the manifest says about a target; one made clean says nothing."""
    value = row.get("est_snr_db")
    return 40.0 if value is None else float(value)
