"""The experiments' corpora differ by their targets only, and a grid of them goes on and is told."""

from __future__ import annotations

import dataclasses

import numpy as np
import soundfile
import yaml

from biodenoising.corpus.manifest import read_manifest, write_manifest
from recipes.experiments.__main__ import HERE, ONE_RATE, STUDENTS, main
from recipes.experiments.corpora import CHOSEN, TEACHERS, build
from recipes.pseudo_clean import targets

SMALL = {
    "compact": {"short": 128, "long": 256, "hop": 64, "channels": [4, 4, 4], "across": 4,
                "along": 4, "blocks": 1},
}  # fmt: skip


def test_kinds_differ_by_their_targets_only(project, tmp_path) -> None:
    assert project.run()[0] == 0
    kinds = ["noisy", "noisereduce", CHOSEN]
    corpora = {kind: build(kind, project.run_folder, tmp_path / "corpora") for kind in kinds}
    rows = {kind: read_manifest(corpora[kind] / "manifest.jsonl") for kind in kinds}
    noise = {kind: [row for row in rows[kind] if row.kind == "noise"] for kind in kinds}
    assert noise["noisy"]
    assert noise["noisy"] == noise["noisereduce"] == noise[CHOSEN]
    calls = {kind: [row for row in rows[kind] if row.kind == "vocal"] for kind in kinds}
    parents = {row.path for row in calls["noisy"]}
    assert {row.parent for row in calls["noisereduce"]} == parents
    assert {row.parent for row in calls[CHOSEN]} <= parents
    assert {row.teacher for row in calls["noisereduce"]} == {"noisereduce"}
    for row in calls["noisereduce"]:
        made, _ = soundfile.read(corpora["noisereduce"] / row.path)
        given, _ = soundfile.read(corpora["noisy"] / row.parent)
        assert len(made) == len(given)
        assert np.std(made) < np.std(given)


def test_students_are_trained_scored_and_told(
    project, research_corpus, recording, tmp_path, capsys
) -> None:
    for seed in range(3, 9):
        recording(tmp_path / f"in/day/{seed}.wav", seed)
    assert project.run()[0] == 0
    students = tmp_path / "students"
    students.mkdir()
    settings = yaml.safe_load((HERE / "compact.yaml").read_text())
    settings |= {
        "network": SMALL["compact"], "batch": 2, "schedule": {"steps": 4, "warm_up_steps": 1},
        "checks": {"every_steps": 4, "held_back": 1, "own": 1, "samples": 8000},
        "machine": {"workers": 0}, "export": {
            "licence": "CC-BY-NC-SA-4.0", "chunking": {"samples": 16000, "left": 1024, "right": 0},
        },
    }  # fmt: skip
    settings["mixtures"]["samples"] = 8192
    settings["corpus"] |= {"held_back_tenths": 5, "tiers": ["open", "unclear"]}
    (students / "compact.yaml").write_text(yaml.safe_dump(settings))
    results = tmp_path / "RESULTS.md"
    results.write_text("# Old\n\n## compact\n\nOld.\n\n## demucs\n\nOf another day.\n")
    arguments = [
        str(project.run_folder), "--corpus", str(research_corpus), "--folder",
        str(tmp_path / "experiments"), "--students", str(students), "--only", "compact/c*",
        "--results", str(results),
    ]  # fmt: skip
    assert main(arguments) == 0
    page = results.read_text()
    for kind in (CHOSEN, ONE_RATE, "chosen + synthesis"):
        assert f"| {kind} | 4 x 2 x 8192 | 1 |" in page
        assert f"| compact, {kind} |" in page
    assert "compact, noisy" not in page
    assert "Old" not in page
    assert page.endswith("\n## demucs\n\nOf another day.\n")
    made = {}
    for kind, name in ((CHOSEN, "chosen"), (ONE_RATE, "chosen-at-recorded-rates")):
        text = (tmp_path / f"experiments/runs/compact-{name}/settings.yaml").read_text()
        made[kind] = yaml.safe_load(text)["mixtures"]["call_octaves"]
    assert made[CHOSEN] > 0
    assert made[ONE_RATE] == 0
    assert "compact on chosen" in capsys.readouterr().err
    assert main(arguments) == 0
    assert "compact on" not in capsys.readouterr().err
    assert results.read_text() == page
    assert "of an earlier round" not in page

    rows = read_manifest(project.run_folder / targets.LIST)
    by_student = [dataclasses.replace(r, teacher="compact" if r.path else "") for r in rows]
    write_manifest(project.run_folder / targets.LIST, by_student)
    assert main(arguments) == 0
    assert "compact of an earlier round already stood among the teachers" in results.read_text()


def test_every_student_has_settings() -> None:
    from biodenoising.training.configuration import read_settings

    for student in STUDENTS:
        assert read_settings(HERE / f"{student}.yaml").name == student
    assert set(TEACHERS) >= {"noisy", "noisereduce"}
