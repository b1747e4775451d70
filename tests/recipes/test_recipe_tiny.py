"""The tiny recipe, and that its check would notice."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import soundfile

from biodenoising.teachers.candidates import TeacherPlan
from recipes.pseudo_clean.__main__ import run_stages
from recipes.tiny import synthesize
from recipes.tiny.__main__ import main, settings_of
from recipes.tiny.check import Verdict, check


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        (Verdict((8.0,) * 20, 0, 20, 0), []),
        (Verdict((8.0,) * 5, 0, 20, 0), ["5 targets, at least"]),
        (Verdict((1.0,) * 20, 0, 20, 0), ["the median target gains"]),
        (Verdict((8.0,) * 17 + (-9.0,) * 3, 0, 20, 0), ["nearer to the truth"]),
        (Verdict((8.0,) * 17, 3, 20, 0), ["nearer to the truth"]),
        (Verdict((8.0,) * 20, 0, 0, 0), ["no noise was found"]),
        (Verdict((8.0,) * 20, 0, 20, 3), ["too much of the noise holds calls"]),
    ],
)
def test_the_check_complains(verdict, words) -> None:
    complaints = verdict.complaints()
    assert len(complaints) == len(words)
    for complaint, word in zip(complaints, words, strict=True):
        assert word in complaint


def test_the_check_compares_with_the_truth(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(synthesize, "SCENES", synthesize.SCENES[:2])
    synthesize.synthesize(tmp_path / "run_made", 1)
    settings = settings_of(tmp_path / "run", tmp_path / "run_made", 1)
    quick = dataclasses.replace(settings, teachers=(TeacherPlan("noisereduce"),), least_gain_db=-9)
    run_stages(quick)
    verdict = check(tmp_path / "run", tmp_path / "run_made/truth")
    assert verdict.gains_db
    assert np.median(verdict.gains_db) > 0
    assert verdict.noise_with_calls == 0
    path = next((tmp_path / "run/targets").rglob("*.flac"))
    audio, rate = soundfile.read(path)
    soundfile.write(path, np.random.default_rng(1).normal(0, 0.1, len(audio)), rate, "PCM_24")
    spoilt = check(tmp_path / "run", tmp_path / "run_made/truth")
    changed = [
        (before, after)
        for before, after in zip(verdict.gains_db, spoilt.gains_db, strict=True)
        if before != after
    ]
    assert len(changed) == 1
    assert changed[0][1] < -10


@pytest.mark.slow
def test_the_whole_recipe(tmp_path, capsys) -> None:
    assert main(["--run", str(tmp_path / "run")]) == 0
    assert "nearer to the truth" in capsys.readouterr().out
