"""Hits and false alarms are counted as they should be, and the page says what was measured."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from benchmark import downstream
from benchmark.detection import Score
from benchmark.detectors import BIRDNET_RATE_HZ, DETECTORS, OnsetOffset, matched, windows
from benchmark.mixtures import Plan, mix
from biodenoising import Denoiser


def plan(**others: Any) -> Plan:
    named = {
        "set": "x", "mixture": "a+b@0dB", "clip": "a", "noise": "b", "snr_db": 0.0,
        "group": "bird", "taxon": "x", "noise_type": "rain", "sample_rate": 16_000, "kind": "scene",
    }  # fmt: skip
    return Plan(**{**named, **others})


def test_onsets_are_matched_one_to_one() -> None:
    assert matched([0.1, 0.5], [0.105, 0.9]) == Score(1, 1, 1)
    assert matched([0.1, 0.101], [0.1]) == Score(1, 1, 0)
    assert matched([], [0.1]) == Score(0, 0, 1)


@pytest.mark.parametrize(("seconds", "count"), [(0.5, 1), (3, 1), (3.1, 2), (6, 3)])
def test_windows_cover_everything(seconds: float, count: int) -> None:
    samples = np.ones(int(seconds * BIRDNET_RATE_HZ), np.float32)
    cut = windows(samples)
    assert [len(window) for window in cut] == [3 * BIRDNET_RATE_HZ] * count
    assert cut[-1][0] == 1


def test_each_version_of_a_mixture_is_scored(tiny_model: Any) -> None:
    rng = np.random.default_rng(0)
    time_s = np.arange(32_000) / 16_000
    call = np.sin(2 * np.pi * 3_000 * time_s) * ((time_s % 1 > 0.4) & (time_s % 1 < 0.6))
    mixture = mix(call, 0.1 * rng.normal(size=len(call)), 16_000, 20.0)
    known = type(mixture)(
        mixture.noisy, mixture.clean, mixture.noise, 16_000, ((0.4, 0.6), (1.4, 1.6))
    )
    heard = downstream.versions(known, Denoiser(tiny_model))
    assert np.allclose(heard["blend"], (heard["noisy"] + heard["denoised"]) / 2)
    heard["denoised"] = np.zeros_like(known.noisy)
    rows = downstream.scored(plan(), known, heard, [OnsetOffset()])
    counts = {row["version"]: (row["hits"], row["misses"]) for row in rows}
    assert counts["noisy"] == (2, 0)
    assert counts["denoised"] == (0, 2)
    assert downstream.scored(plan(kind="mixture"), known, heard, [OnsetOffset()]) == []


def test_the_page_has_the_figures() -> None:
    rows = [
        {
            "detector": "onset/offset", "mixture": f"{clip}@{snr}", "clip": clip, "snr_db": snr,
            "version": version, "seconds": 30.0, "hits": hits, "false_alarms": 3,
            "misses": 4 - hits,
        }
        for clip in ("a", "b", "c")
        for snr in (0.0, 10.0)
        for version, hits in (("noisy", 2), ("denoised", 3), ("blend", 2))
    ]  # fmt: skip
    text = downstream.page(
        {
            "model": "m",
            "weights_sha256": "0123456789abcdef",
            "missing": {"BatDetect2": "needs it"},
            "rows": rows,
        }
    )
    assert "| +0 dB | 12 | 50 | 75 | 50 | 6.0 | 6.0 | 6.0 |" in text
    assert "denoised +25 [+25, +25]; blend +0 [+0, +0]" in text
    assert "Not measured: needs it." in text
    assert all(f"## {detector.name}" in text for detector in DETECTORS)


def test_the_committed_page_agrees_with_its_figures(capsys: pytest.CaptureFixture[str]) -> None:
    assert downstream.main(["--check"]) == 0, capsys.readouterr().out
    results = json.loads(downstream.RESULTS.read_text("utf-8"))
    assert {row["detector"] for row in results["rows"]} <= {d.name for d in DETECTORS}
