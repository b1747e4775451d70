"""Mixtures: exact sums, exact SNR, the same samples in every process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmark import draws
from benchmark.catalogue import open_set
from benchmark.mixtures import fitted_noise, loudest_part, mix
from benchmark.scenes import ControlSet, SceneSet
from benchmark.sets import MANIFEST, Settings, SyntheticSet, Unreachable, field_set
from biodenoising.errors import AudioValueError

ROOT = Path(__file__).resolve().parents[2]
DIGEST = """
from benchmark.sets import SyntheticSet
made = SyntheticSet(0)
print(",".join(made.load(plan).digest for plan in made.plans()[::25]))
"""


@pytest.mark.parametrize("snr_db", [-5.0, 0.0, 10.0])
def test_noisy_is_the_exact_sum_at_the_snr(snr_db: float) -> None:
    rng = np.random.default_rng(0)
    mixture = mix(rng.standard_normal(5000), rng.standard_normal(5000), 16_000, snr_db)
    assert np.array_equal(mixture.noisy, mixture.clean + mixture.noise)
    energies = [float(np.sum(part.astype(float) ** 2)) for part in (mixture.clean, mixture.noise)]
    assert 10 * np.log10(energies[0] / energies[1]) == pytest.approx(snr_db, abs=1e-4)
    assert np.abs(mixture.noisy).max() == pytest.approx(0.7, abs=1e-6)


def test_silence_and_lengths_are_refused() -> None:
    sound = np.ones(100)
    with pytest.raises(AudioValueError, match="reference is silent"):
        mix(np.zeros(100), sound, 16_000, 0.0)
    with pytest.raises(AudioValueError, match="noise is silent"):
        mix(sound, np.zeros(100), 16_000, 0.0)
    with pytest.raises(AudioValueError, match="99"):
        mix(sound, sound[1:], 16_000, 0.0)


def test_synthetic_mixtures_are_the_same_in_two_processes() -> None:
    outputs = set()
    for hash_seed in ("1", "2"):
        environment = {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT), "PATH": ""}
        done = subprocess.run(
            [sys.executable, "-c", DIGEST], env=environment, capture_output=True, check=True
        )
        outputs.add(done.stdout)
    assert len(outputs) == 1
    assert b"," in outputs.pop()


def test_draws_depend_on_text_only() -> None:
    assert draws.digest("a", 1, 0) == draws.digest("a", "1", "0")
    assert draws.digest("a", "bc") != draws.digest("ab", "c")
    assert sorted(draws.shuffled(range(9), "x")) == list(range(9))
    assert draws.shuffled([3, 1, 2], "x") == draws.shuffled([1, 2, 3], "x")
    assert all(0 <= draws.unit("u", n) < 1 for n in range(100))


def test_every_plan_of_a_set_has_its_own_name(tmp_path: Path) -> None:
    for base in (SyntheticSet(0), field_set(Settings(corpus=tmp_path))):
        for made in (base, ControlSet(base), SceneSet(base)):
            names = [plan.mixture for plan in made.plans()]
            assert len(set(names)) == len(names) > 0


def test_field_plans_keep_the_protocol(tmp_path: Path) -> None:
    made = field_set(Settings(corpus=tmp_path))
    media = {clip.path: clip for clip in (*made.calls, *made.noises)}
    assert len(made.plans()) == 2 * len(made.calls) == 338
    for plan in made.plans():
        call, noise = media[plan.clip], media[plan.noise]
        assert call.medium == noise.medium or noise.sample_rate >= 50_000
        assert plan.snr_db in (-5, 0, 5, 10)
    ultrasonic = field_set(Settings(corpus=tmp_path), "ultrasonic")
    assert min(plan.sample_rate for plan in ultrasonic.plans()) >= 50_000
    assert "benchmark/" in MANIFEST.read_text()
    assert "research/" not in MANIFEST.read_text()


def test_ultrasonic_clips_get_noise_played_fast() -> None:
    noise = np.sin(2 * np.pi * 0.1 * np.arange(48_000))
    fast = fitted_noise(noise, 48_000, 250_000, 4096, "x")
    slow = fitted_noise(noise, 48_000, 24_000, 4096, "x")
    assert np.argmax(np.abs(np.fft.rfft(fast))) == pytest.approx(0.1 * 4096, abs=1)
    assert np.argmax(np.abs(np.fft.rfft(slow))) == pytest.approx(0.2 * 4096, abs=1)
    assert len(fitted_noise(noise[:100], 48_000, 48_000, 4096, "x")) == 4096


def test_long_clips_keep_their_loudest_part() -> None:
    clip = np.zeros(100_000)
    clip[70_000:80_000] = 1
    part = loudest_part(clip, 10_000, 4.0)
    assert len(part) == 40_000
    assert 8_000 <= np.sum(part) <= 10_000
    clip[:10_000] = 1
    assert np.array_equal(loudest_part(clip, 10_000, 4.0), clip[:40_000])


def test_scenes_hold_the_calls_they_say() -> None:
    scenes = SceneSet(SyntheticSet(0))
    apart, overlapping = scenes.plans()[:2]
    for plan in (apart, overlapping):
        mixture = scenes.load(plan)
        assert mixture.events_s
        for onset, offset in mixture.events_s:
            rate = mixture.sample_rate
            part = mixture.clean[int(onset * rate) : int(offset * rate)]
            assert np.abs(part).max() > 0.05 * np.abs(mixture.clean).max()
    assert scenes.load(apart).digest == scenes.load(apart).digest


def test_controls_leave_parts_out() -> None:
    controls = ControlSet(SyntheticSet(0))
    plans = {plan.kind: plan for plan in controls.plans()}
    clean, noise = controls.load(plans["clean"]), controls.load(plans["noise"])
    assert not clean.noise.any()
    assert np.array_equal(clean.noisy, clean.clean)
    assert not noise.clean.any()
    assert np.abs(controls.load(plans["scaled"]).noisy).max() < 1e-3


def test_sets_say_what_they_need() -> None:
    for name, words in (
        ("field", "--corpus"),
        ("own", "--clean"),
        ("biodenoising-validation", "zip"),
    ):
        with pytest.raises(Unreachable, match=words):
            open_set(name, Settings())
