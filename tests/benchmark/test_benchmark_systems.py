"""Systems: what comes back is judged, delays are compensated, absent ones stay in the list."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import signal

from benchmark.mixtures import Mixture
from benchmark.systems import all_systems
from benchmark.systems.base import System, SystemFailure, estimate, of_noisy
from benchmark.systems.classic import wiener_oracle
from benchmark.systems.external import (
    check_related,
    external_system,
    ffmpeg_system,
    run_command,
)
from biodenoising import metrics
from biodenoising.errors import OptionError

SCRIPT = """
import sys, numpy, soundfile
samples, rate = soundfile.read(sys.argv[1], dtype="float32")
{change}
soundfile.write(sys.argv[2], samples, rate, subtype="FLOAT")
"""
FAULTS = {
    "half-length": ("samples = samples[::2]", "8000 samples"),
    "shuffled": ("numpy.random.default_rng(0).shuffle(samples)", "does not resemble"),
    "another rate": ("rate = 8000", "8000 Hz"),
    "stereo": ("samples = numpy.stack([samples] * 2, 1)", "2 channels"),
    "not finite": ("samples[5] = numpy.nan", "not finite"),
    "delayed": ("samples = numpy.roll(samples, 400) * (numpy.arange(16000) >= 400)", "shifted"),
    "failing": ("raise SystemExit('no licence')", "no licence"),
    "silent exit": ("raise SystemExit(0)", "no output"),
}


def _command(tmp_path: Path, change: str) -> list[str]:
    script = tmp_path / "tool.py"
    script.write_text(SCRIPT.format(change=change))
    return [sys.executable, str(script), "{input}", "{output}"]


def test_external_command_is_run(tmp_path: Path, noisy: np.ndarray) -> None:
    output = run_command(_command(tmp_path, "samples = samples * 0.5"), noisy, 16_000)
    assert output == pytest.approx(0.5 * noisy)


@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="needs ffmpeg")
@pytest.mark.parametrize("rate", [22_050, 44_100, 250_000])
def test_ffmpegs_delay_is_taken_out(rate: int) -> None:
    time = np.arange(rate + 137) / rate
    call = np.sin(2 * np.pi * 0.05 * rate * time) * (np.sin(6 * np.pi * time) > 0)
    noisy = (0.3 * call + 0.003 * np.random.default_rng(1).standard_normal(len(time))).astype("f4")
    output = ffmpeg_system().load()(Mixture(noisy, call, noisy - call, rate))
    assert len(output) == len(noisy)
    assert metrics.si_sdr(output, call) > 20  # one sample late would be 10


@pytest.mark.parametrize("fault", ["half-length", "shuffled", "failing"])
def test_external_faults_are_caught(tmp_path: Path, fault: str) -> None:
    noise = (0.1 * np.random.default_rng(0).standard_normal(16_000)).astype(np.float32)
    change, words = FAULTS[fault]
    with pytest.raises(SystemFailure, match=words):
        run_command(_command(tmp_path, change), noise, 16_000)


@pytest.mark.slow
@pytest.mark.parametrize("fault", sorted(FAULTS))
def test_all_external_faults_are_caught(tmp_path: Path, fault: str) -> None:
    noise = (0.1 * np.random.default_rng(0).standard_normal(16_000)).astype(np.float32)
    change, words = FAULTS[fault]
    with pytest.raises(SystemFailure, match=words):
        run_command(_command(tmp_path, change), noise, 16_000)


def test_unrelated_outputs_are_told_from_denoised_ones(noisy: np.ndarray) -> None:
    tone = 0.3 * np.sin(2 * np.pi * 1200 * np.arange(16_000) / 16_000)
    check_related(tone, noisy)
    check_related(np.zeros(16_000), noisy)
    check_related(-0.001 * noisy.astype(float), noisy)
    other = np.random.default_rng(9).standard_normal(16_000)
    with pytest.raises(SystemFailure, match="does not resemble"):
        check_related(other, noisy)


@pytest.mark.parametrize("option", ["tool", "=x {input} {output}", "a=x {input}"])
def test_system_option_is_checked(option: str) -> None:
    with pytest.raises(OptionError, match="--system"):
        external_system(option)


def test_absent_systems_stay_in_the_list() -> None:
    systems = all_systems(None, ["gone=/no/such/tool {input} {output}"])
    missing = {system.name: system.missing for system in systems}
    assert "not on this machine" in missing["gone"]
    assert "--teachers" in missing["GTCRN-dns3@16k"]
    assert missing["unprocessed"] == ""
    names = [system.name for system in systems]
    assert len(set(names)) == len(names)
    with pytest.raises(ValueError, match="two systems"):
        all_systems(None, ["unprocessed=cp {input} {output}"])


@pytest.mark.parametrize("name", ["webrtc-ns2@native", "speexdsp-ns@native", "logmmse"])
def test_delays_are_compensated(name: str) -> None:
    system = {s.name: s for s in all_systems()}[name]
    if system.missing:
        pytest.skip(system.missing)
    rng = np.random.default_rng(2)
    time_s = np.arange(32_000) / 16_000
    call = np.sin(2 * np.pi * (500 + 1500 * time_s) * time_s) * (np.sin(9 * time_s) > 0)
    parts = call.astype(np.float32), (0.01 * rng.standard_normal(32_000)).astype(np.float32)
    mixture = Mixture(parts[0] + parts[1], *parts, 16_000)
    output = estimate(system, system.load(), mixture)
    fits = signal.correlate(output, mixture.clean.astype(float), method="fft")
    assert abs(int(np.argmax(fits)) - (len(output) - 1)) <= 1


def test_oracle_beats_its_input() -> None:
    rng = np.random.default_rng(2)
    tone = np.sin(0.3 * np.arange(16_000)).astype(np.float32)
    noise = rng.standard_normal(16_000).astype(np.float32)
    output = wiener_oracle(Mixture(tone + noise, tone, noise, 16_000))
    assert metrics.si_sdr(output, tone) > metrics.si_sdr(tone + noise, tone) + 10


def test_wrong_shapes_and_levels_are_refused(noisy: np.ndarray) -> None:
    mixture = Mixture(noisy, noisy, 0 * noisy, 16_000)
    short = System("short", "peer", "1", lambda: of_noisy(lambda x, rate: x[1:]))
    broken = System("broken", "peer", "1", lambda: of_noisy(lambda x, rate: x * np.nan))
    for system, words in ((short, "shape"), (broken, "not finite")):
        with pytest.raises(SystemFailure, match=words):
            estimate(system, system.load(), mixture)
    seen = []
    level = System(
        "level",
        "peer",
        "1",
        lambda: of_noisy(lambda x, r: seen.append(x) or x),
        level_dependent=True,
    )
    assert estimate(level, level.load(), mixture) == pytest.approx(noisy, abs=1e-6)
    assert np.abs(seen[0]).max() == pytest.approx(0.5, abs=1e-6)
