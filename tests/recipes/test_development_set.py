"""The development set takes nothing that is trained on and nothing of the benchmark."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from biodenoising.corpus.clips import is_held_back
from recipes.development.__main__ import main
from recipes.development.mixing import group_of, mixtures

RATE = 16_000
HELD = next(f"n{i}" for i in range(100) if is_held_back(f"n{i}"))
KEPT = next(f"n{i}" for i in range(100) if not is_held_back(f"n{i}"))


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
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
    ]
    noises = [
        ("research", "rain", "m1"), ("research", "insects", "m2"), ("train", "wind", HELD),
        ("train", "wind", KEPT), ("benchmark", "rain", "m3"),
    ]  # fmt: skip
    rows = [
        {"kind": "vocal", "set": s, "taxon": name, "group": "frog", "recording": recording,
         "source": source, "est_snr_db": snr_db, "path": f"{name}.wav", "noise_type": ""}
        for s, name, recording, source, snr_db in calls
    ] + [
        {"kind": "noise", "set": s, "taxon": "", "group": "none", "recording": recording,
         "source": "n", "path": f"{s}-{recording}.wav", "noise_type": kind}
        for s, kind, recording in noises
    ]  # fmt: skip
    times = np.arange(2 * RATE) / RATE
    for number, row in enumerate(rows):
        row |= {"sha256": f"{number:064x}"[::-1], "sample_rate": RATE}
        tone = np.sin(2 * np.pi * 1_000 * times) * (times % 0.5 < 0.2)
        noise = rng.standard_normal(len(times))
        samples = noise if row["kind"] == "noise" else tone
        soundfile.write(folder / row["path"], 0.3 * samples / np.abs(samples).max(), RATE)
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_only_what_nobody_learns_from(corpus: Path, tmp_path: Path) -> None:
    made = list(mixtures(corpus, tmp_path / "set"))
    assert len(made) == 2
    assert {group_of(plan) for plan, _ in made} == {"frog"}
    assert len(list((tmp_path / "set" / "clean").iterdir())) == 1
    labels = sorted(path.name.split("_")[0] for path in (tmp_path / "set" / "noise").iterdir())
    assert labels == ["rain", "wind"]


def test_models_are_compared(
    corpus: Path, tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--corpus", str(corpus), "--folder", str(tmp_path / "set")]
    assert main([*arguments, "noisereduce", f"tiny={tiny_model}"]) == 0
    header, _, first, second = capsys.readouterr().out.splitlines()
    assert "frog (2)" in header
    assert first.startswith("| noisereduce |")
    assert "+0.00 [+0.00, +0.00]" in first
    kept = json.loads((tmp_path / "set" / "improvements.json").read_text())["improvements_db"]
    assert f"| {np.mean(kept['tiny']):.2f} |" in second
    assert main([*arguments, "no-such-model"]) == 2
    assert "no-such-model" in capsys.readouterr().err
