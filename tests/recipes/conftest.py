"""A folder of short recordings, a configuration for it, and runs in this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import yaml

from biodenoising.corpus.clips import is_held_back
from biodenoising.corpus.manifest import Row, read_manifest
from biodenoising.corpus.synthesis import synthesize_call, synthesize_noise
from recipes.pseudo_clean.__main__ import main

RATE_HZ = 22_050


def write_recording(path: Path, seed: int, *, calls: int = 2, rate: int = RATE_HZ) -> None:
    """Write calls a second and a half apart in quiet noise, 16-bit."""
    rng = np.random.default_rng(seed)
    audio = 0.5 * synthesize_noise("pink", rate, 1.0 + 2.5 * max(calls, 1), rng).astype(float)
    for number in range(calls):
        call = synthesize_call("whistle", rate, rng)
        start = int((0.8 + 2.5 * number) * rate)
        audio[start : start + len(call)] += 0.5 * call[: len(audio) - start]
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, audio, rate, subtype="PCM_16")


@dataclass
class Project:
    """A configuration file, what it reads and where it writes."""

    root: Path
    capsys: pytest.CaptureFixture[str]

    @property
    def run_folder(self) -> Path:
        return self.root / "run"

    @property
    def config(self) -> Path:
        return self.root / "config.yaml"

    def configure(self, **changes: Any) -> None:
        record: dict[str, Any] = {
            "run": str(self.run_folder),
            "sources": [{"kind": "folder", "name": "mine", "path": str(self.root / "in")}],
            "tiers": ["open", "unclear"],
            "teachers": [{"name": "noisereduce"}],
            "least_gain_db": 0.5,
        }
        record.update(changes)
        self.config.write_text(yaml.safe_dump(record), encoding="utf-8")

    def run(self, *options: str) -> tuple[int, str]:
        """Run in this process; return the exit code and what was told."""
        self.capsys.readouterr()
        code = main([str(self.config), *options])
        return code, self.capsys.readouterr().err

    def rows(self, name: str) -> list[Row]:
        return read_manifest(self.run_folder / name)

    def summary(self) -> dict[str, Any]:
        return json.loads((self.run_folder / "summary.json").read_text())

    def files(self) -> dict[str, bytes]:
        """Return the audio and the manifests of a run; journals tell times and are left out."""
        return {
            str(path.relative_to(self.run_folder)): path.read_bytes()
            for path in sorted(self.run_folder.rglob("*"))
            if path.is_file() and path.suffix in (".flac", ".wav", ".jsonl", ".part")
            and ".journal" not in path.parts
        }  # fmt: skip


@pytest.fixture
def project(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Project:
    """Two recordings with calls and a configuration with one quick teacher."""
    made = Project(tmp_path, capsys)
    for seed in (1, 2):
        write_recording(tmp_path / "in" / f"night/{seed}.wav", seed)
    made.configure()
    return made


@pytest.fixture
def recording() -> Callable[..., None]:
    """Writes a recording."""
    return write_recording


RESEARCH_RATE_HZ = 16_000
HELD = next(f"n{i}" for i in range(100) if is_held_back(f"n{i}"))
KEPT = next(f"n{i}" for i in range(100) if not is_held_back(f"n{i}"))


@pytest.fixture
def research_corpus(tmp_path: Path) -> Path:
    """A corpus with two calls and two noises for the development set; three for its rare one."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    rng = np.random.default_rng(0)
    calls = [
        ("research", "good", "r1", "lab", 30.0),
        ("research", "noisy", "r2", "lab", 10.0),
        ("research", "trained", "t1", "lab", 30.0),
        ("research", "same-source", "r3", "trainer", 30.0),
        ("train", "trained-too", "t1", "trainer", 30.0),
        ("benchmark", "measured", "b1", "lab", 30.0),
        ("train", "whale", "w1", "sea", 30.0),
        ("train", "whale-of-trainer", "w2", "trainer", 30.0),
        ("research", "bat", "a1", "cave", 30.0),
    ]
    groups = {"whale": "cetacean", "whale-of-trainer": "cetacean", "bat": "bat"}
    noises = [
        ("research", "rain", "m1"), ("research", "insects", "m2"), ("train", "wind", HELD),
        ("research", "ultrasonic", "m4"),
        ("train", "wind", KEPT), ("benchmark", "rain", "m3"),
    ]  # fmt: skip
    rows = [
        {"kind": "vocal", "set": s, "taxon": name, "recording": recording,
         "group": groups.get(name, "frog"), "tier": "noncommercial" if name in groups else "open",
         "source": source, "est_snr_db": snr_db, "path": f"{name}.wav", "noise_type": ""}
        for s, name, recording, source, snr_db in calls
    ] + [
        {"kind": "noise", "set": s, "taxon": "", "group": "none", "recording": recording,
         "tier": "open", "source": "n", "path": f"{s}-{recording}.wav", "noise_type": kind}
        for s, kind, recording in noises
    ]  # fmt: skip
    times = np.arange(2 * RESEARCH_RATE_HZ) / RESEARCH_RATE_HZ
    for number, row in enumerate(rows):
        row |= {"sha256": f"{number:064x}"[::-1], "sample_rate": RESEARCH_RATE_HZ}
        tone = np.sin(2 * np.pi * 1_000 * times) * (times % 0.5 < 0.2)
        noise = rng.standard_normal(len(times))
        samples = noise if row["kind"] == "noise" else tone
        soundfile.write(
            folder / row["path"], 0.3 * samples / np.abs(samples).max(), RESEARCH_RATE_HZ
        )
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder
