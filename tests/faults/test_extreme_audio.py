"""Extreme but honest recordings: all come out, of the same shape, finite, and noted where odd."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from biodenoising import denoise_tree

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "audio"))

from recordings import read_all

RATES = [
    1_000, 2_000, 4_000, 8_000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000,
    192_000, 250_000, 256_000, 384_000, 500_000, 1_000_000,
]  # fmt: skip
LENGTHS = [0, 1, 2, 3, 127, 128, 129, 255, 256, 257, 511, 512, 513, 4_095, 4_096, 65_535, 65_537]
CHANNELS = [1, 2, 3, 8, 63, 64]
SUBTYPES = ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"]
N = 6_000
_rng = np.random.default_rng(5)
_noise = _rng.uniform(-0.3, 0.3, (N, 1)).astype(np.float32)


def _click() -> np.ndarray:
    samples = np.zeros((N, 1), np.float32)
    samples[N // 2] = 1
    return samples


def _holes() -> np.ndarray:
    samples = _noise.copy()
    samples[1_000:2_000] = np.nan
    return samples


SIGNALS = {
    "silence": np.zeros((N, 1), np.float32),
    "dc": np.full((N, 1), 0.5, np.float32),
    "square": np.sign(np.sin(np.arange(N) / 7 + 0.1))[:, None].astype(np.float32),
    "click": _click(),
    "denormal": np.full((N, 1), 1e-40, np.float32),
    "tiny": _noise * np.float32(1e-30),
    "huge": _noise * np.float32(1e30),
    "largest": np.where(_noise > 0, np.float32(3e38), np.float32(-3e38)),
    "nan run": _holes(),
    "all nan": np.full((N, 1), np.nan, np.float32),
    "infinite": np.where(_noise > 0.29, np.float32(np.inf), _noise),
    "dead channel": np.concatenate([_noise, np.zeros_like(_noise)], axis=1),
    "inverted stereo": np.concatenate([_noise, -_noise], axis=1),
    "one nan channel": np.concatenate([_noise, np.full_like(_noise, np.nan)], axis=1),
    "full scale": np.ones((N, 1), np.float32),
    "alternating": np.tile(np.array([[1], [-1]], np.float32), (N // 2, 1)),
    "least bit": np.full((N, 1), 2.0**-23, np.float32),
    "loud then silent": np.concatenate([_noise[: N // 2] * 3, np.zeros((N // 2, 1), np.float32)]),
}


def files() -> dict[str, tuple[np.ndarray, int, str]]:
    """Return samples, rate and subtype by file name."""
    made = {f"rate {rate}.wav": (_noise, rate, "PCM_16") for rate in RATES}
    made |= {f"rate {rate}.flac": (_noise, rate, "PCM_16") for rate in RATES if rate <= 655_350}
    long = _rng.uniform(-0.3, 0.3, (max(LENGTHS), 2)).astype(np.float32)
    made |= {f"length {n}.wav": (long[:n], 48_000, "PCM_24") for n in LENGTHS}
    made |= {f"length {n}.flac": (long[:n], 48_000, "PCM_16") for n in LENGTHS if n}
    wide = _rng.uniform(-0.3, 0.3, (500, 64)).astype(np.float32)
    made |= {f"channels {n}.wav": (wide[:, :n], 48_000, "PCM_16") for n in CHANNELS}
    made |= {f"subtype {name}.wav": (_noise, 22_050, name) for name in SUBTYPES}
    made |= {f"subtype {name}.aif": (_noise, 22_050, name) for name in SUBTYPES[1:6]}
    made |= {f"signal {name}.wav": (s, 48_000, "FLOAT") for name, s in SIGNALS.items()}
    quiet = {n: s for n, s in SIGNALS.items() if np.isfinite(s).all() and abs(s).max() <= 1}
    return made | {f"integer {name}.wav": (s, 48_000, "PCM_16") for name, s in quiet.items()}


FILES = files()


@pytest.fixture(scope="module")
def run(tmp_path_factory, tiny_model):
    root = tmp_path_factory.mktemp("extreme")
    (root / "in").mkdir()
    for name, (samples, rate, subtype) in FILES.items():
        container = {".aif": "AIFF", ".flac": "FLAC"}.get(Path(name).suffix, "WAV")
        soundfile.write(root / "in" / name, samples, rate, subtype=subtype, format=container)
    summary = denoise_tree(root / "in", root / "out", model=tiny_model, jobs=1)
    return root / "in", root / "out", {str(o.name): o for o in summary.outcomes}


@pytest.mark.parametrize("name", FILES)
def test_an_extreme_recording_comes_out(run, name: str) -> None:
    source, output, outcomes = run
    outcome = outcomes[name]
    assert outcome.status == "done", outcome.message
    before, _, _ = read_all(source / name)
    after, info, notes = read_all(output / name)
    samples, rate, subtype = FILES[name]
    assert (info.sample_rate, info.subtype) == (rate, subtype)
    assert after.shape == before.shape == samples.T.shape
    assert np.isfinite(after).all()
    assert notes == []
    found = " ".join(outcome.result.notes)
    for channel, (old, new) in enumerate(zip(before, after, strict=True)):
        if not np.nan_to_num(old).any() and subtype != "ALAW":
            assert not new.any(), f"channel {channel} was silent"
    if not np.isfinite(samples).all():
        assert "NaN or infinite" in found
    if not len(samples):
        assert "no samples" in found
    elif not np.nan_to_num(before).any():
        assert "silent" in found
