"""The measurement of adaptation: a place is made, old and new are heard, and it goes on."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

from biodenoising.errors import TrainingError
from biodenoising.metrics import Interval
from biodenoising.training import adaptation_check
from biodenoising.training.adaptation_check import Verdict
from recipes.adaptation import measure
from recipes.adaptation.measure import Place, is_held_out

RATE_HZ = 8_000
PLACES = (Place("marsh", "calls", "noise"), Place("attic", "calls", "noise"))


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Ten calls and ten noises of a second, on both sides of the division."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    rng = np.random.default_rng(0)
    times = np.arange(RATE_HZ) / RATE_HZ
    rows = []
    for number in range(20):
        kind = ("vocal", "noise")[number % 2]
        source = {"vocal": "calls", "noise": "noise"}[kind]
        sound = np.sin(2 * np.pi * 900 * times) if kind == "vocal" else rng.standard_normal(RATE_HZ)
        soundfile.write(folder / f"{number}.wav", 0.2 * sound, RATE_HZ)
        rows.append(
            {"path": f"{number}.wav", "set": "research", "tier": "unclear", "kind": kind,
             "source": source, "recording": f"{kind}{number}", "est_snr_db": 30.0}
        )  # fmt: skip
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name, value in {
        "PLACES": PLACES, "SCENES": 2, "SCENE_S": 6.0, "KNOWN": 4,
        "general": lambda place, corpus, folder: measure.make_place(place, corpus, folder),
    }.items():  # fmt: skip
        monkeypatch.setattr(measure, name, value)
    monkeypatch.setattr(adaptation_check, "SAMPLES", RATE_HZ)
    return folder


def test_what_is_measured_was_not_heard(corpus: Path, tmp_path: Path) -> None:
    known = measure.make_place(PLACES[0], corpus, tmp_path / "marsh")
    assert len(known) == 4
    assert all(is_held_out(mixture.call) for mixture in known)
    scenes = sorted(path.name for path in (tmp_path / "marsh").iterdir())
    assert scenes == ["000.wav", "001.wav"]
    assert soundfile.info(tmp_path / "marsh" / "000.wav").duration == 6.0


def test_a_place_is_not_rehearsed(corpus: Path, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in (corpus / "manifest.jsonl").read_text().splitlines()]
    for row in rows:
        row |= {"set": "train", "tier": "open"}
    rows[0]["tier"] = "noncommercial"
    others = [row | {"source": "theirs"} for row in rows]
    (corpus / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows + others))
    folder = measure.rehearsal(corpus, tmp_path / "rehearsal")
    kept = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    assert len(kept) == 19
    assert {row["source"] for row in kept} == {"theirs"}
    assert all((folder / row["path"]).is_file() for row in kept)


def test_the_way_of_what_was_not_used_is_told(
    corpus: Path, tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(folder: Path, model: Path, **options: Any) -> Any:
        steps = model.with_name("marsh.adapting") / "steps"
        steps.mkdir(parents=True)
        for name in ("step_025", "step_050"):
            card = json.loads(tiny_model.read_text()) | {"name": name}
            (steps / f"{name}.json").write_text(json.dumps(card))
            for kind in (".safetensors", ".onnx"):
                (steps / f"{name}{kind}").write_bytes(tiny_model.with_suffix(kind).read_bytes())
        verdict = Verdict(False, "not surely better", 0.25)
        return SimpleNamespace(targets=9, noises=5, steps=7, verdict=verdict, model=None)

    monkeypatch.setattr(measure, "adapt", refused)
    monkeypatch.setattr(measure, "DEFAULT_MODEL", str(tiny_model))
    record = measure.measure(PLACES[0], corpus, tmp_path / "out", 1.0, rehearse=False)
    assert record["farthest"]["share"] == 0.5
    (tmp_path / "out" / "marsh.json").write_text(json.dumps(record))
    assert "| marsh, not used | 9 | 7 | 0.5 |" in measure.table(tmp_path / "out")


def test_places_are_measured_once_and_tabled(
    corpus: Path,
    tmp_path: Path,
    tiny_model: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One place gets a model, the other is refused; broken off between them, it goes on."""
    asked = []

    def adapted(folder: Path, model: Path, **options: Any) -> Any:
        asked.append(model.stem)
        if asked == ["marsh", "attic"]:
            raise KeyboardInterrupt
        if model.stem == "attic":
            raise TrainingError("no calls found")
        interval = Interval(1.0, 0.5, 1.5)
        verdict = Verdict(True, "", 0.5, interval, interval, interval)
        return SimpleNamespace(targets=9, noises=5, steps=7, verdict=verdict, model=tiny_model)

    monkeypatch.setattr(measure, "adapt", adapted)
    # Old and new are one model here, so nothing is gained.
    monkeypatch.setattr(measure, "DEFAULT_MODEL", str(tiny_model))
    out = tmp_path / "out"
    out.mkdir()
    monkeypatch.setattr("sys.argv", ["measure", str(corpus), str(out), "--minutes", "1"])
    with pytest.raises(KeyboardInterrupt):
        measure.main()
    measure.main()
    assert asked == ["marsh", "attic", "attic"]
    capsys.readouterr()
    monkeypatch.setattr("sys.argv", ["measure", str(corpus), str(out), "--table"])
    measure.main()
    *_, refused, marsh = sorted(capsys.readouterr().out.splitlines()[2:])
    assert "| no calls found |" in refused
    assert "| marsh | 9 | 7 | 0.5 |" in marsh
    assert "+0.00 (+0.00 to +0.00) | +1.00 (+0.50 to +1.50) | +0.00" in marsh
    assert json.loads((out / "marsh.json").read_text())["place"] == dataclasses.asdict(PLACES[0])
