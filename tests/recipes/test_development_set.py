"""The development set takes nothing that is trained on and nothing of the benchmark."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from recipes.development.__main__ import main
from recipes.development.mixing import group_of, mixtures


def test_only_what_nobody_learns_from(research_corpus: Path, tmp_path: Path) -> None:
    made = list(mixtures(research_corpus, tmp_path / "set"))
    assert len(made) == 2
    assert {group_of(plan) for plan, _ in made} == {"frog"}
    assert len(list((tmp_path / "set" / "clean").iterdir())) == 1
    labels = sorted(path.name.split("_")[0] for path in (tmp_path / "set" / "noise").iterdir())
    assert labels == ["rain", "wind"]


def test_models_are_compared(
    research_corpus: Path, tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--corpus", str(research_corpus), "--folder", str(tmp_path / "set")]
    assert main([*arguments, "noisereduce", f"tiny={tiny_model}"]) == 0
    header, _, first, second = capsys.readouterr().out.splitlines()
    assert "frog (2)" in header
    assert first.startswith("| noisereduce |")
    assert "+0.00 [+0.00, +0.00]" in first
    kept = json.loads((tmp_path / "set" / "improvements.json").read_text())["improvements_db"]
    assert f"| {np.mean(kept['tiny']):.2f} |" in second
    assert main([*arguments, "no-such-model"]) == 2
    assert "no-such-model" in capsys.readouterr().err
