"""The development set takes nothing that is trained on and nothing of the benchmark."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from biodenoising import Denoiser
from recipes.development import expansions
from recipes.development.__main__ import live, main
from recipes.development.mixing import SURROUNDING, group_of, mixtures, surrounded


def labels_in(folder: Path) -> list[str]:
    return sorted(path.name.split("_")[0] for path in folder.iterdir())


def test_only_what_nobody_learns_from(research_corpus: Path, tmp_path: Path) -> None:
    made = list(mixtures(research_corpus, tmp_path / "set"))
    assert len(made) == 4
    assert labels_in(tmp_path / "set" / "clean") == ["bat", "frog"]
    assert {group_of(plan) for plan, _ in made} == {"bat", "frog"}
    assert labels_in(tmp_path / "set" / "noise") == ["rain", "wind"]


def test_rare_animals_of_the_withheld_tier_too(research_corpus: Path, tmp_path: Path) -> None:
    made = list(mixtures(research_corpus, tmp_path / "set", per_clip=1, rare=True))
    assert len(made) == 2
    assert labels_in(tmp_path / "set" / "clean") == ["bat", "cetacean"]
    assert labels_in(tmp_path / "set" / "noise") == ["rain", "ultrasonic", "wind"]


def test_a_mixture_lies_between_its_own_noise_made_quieter(
    research_corpus: Path, tmp_path: Path
) -> None:
    _, mixture = next(mixtures(research_corpus, tmp_path / "set"))
    for number, quieter_db in enumerate((20, 40, 60, 80, 20)):
        whole = surrounded(mixture, number)
        inside = slice(SURROUNDING, SURROUNDING + len(mixture.noisy))
        np.testing.assert_array_equal(whole.noisy[inside], mixture.noisy)
        np.testing.assert_array_equal(whole.clean[inside], mixture.clean)
        np.testing.assert_array_equal(whole.noisy[:SURROUNDING], whole.noise[:SURROUNDING])
        assert not whole.clean[:SURROUNDING].any()
        assert not whole.clean[inside.stop :].any()
        loudest = np.abs(whole.noise[inside.stop :]).max() / np.abs(mixture.noise).max()
        assert 20 * np.log10(loudest) == pytest.approx(-quieter_db, abs=6)


def test_models_are_compared(
    research_corpus: Path, tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--corpus", str(research_corpus), "--folder", str(tmp_path / "set")]
    assert main([*arguments, "noisereduce", f"tiny={tiny_model}"]) == 0
    header, _, first, second = capsys.readouterr().out.splitlines()
    assert "bat (2) | frog (2)" in header
    assert first.startswith("| noisereduce |")
    assert "+0.00 [+0.00, +0.00]" in first
    kept = json.loads((tmp_path / "set" / "improvements.json").read_text())["improvements_db"]
    assert f"| {np.mean(kept['tiny']):.2f} |" in second
    assert main([*arguments, "--quiet-around", f"tiny={tiny_model}"]) == 0
    assert "bat (2) | frog (2)" in capsys.readouterr().out
    assert main([*arguments, "--live", f"tiny={tiny_model}"]) == 0
    whole, streamed = capsys.readouterr().out.splitlines()[2:]
    assert whole.startswith("| tiny |")
    assert streamed.startswith("| tiny live |")
    assert main([*arguments, "no-such-model"]) == 2
    assert "no-such-model" in capsys.readouterr().err


@pytest.mark.parametrize("samples", [1, 5_000, 40_000])
def test_what_a_stream_makes_lies_on_the_input(
    samples: int, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With nothing mixed in of what the model makes, the stream gives back what it was fed."""
    audio = np.random.default_rng(0).normal(size=samples).astype(np.float32)
    denoiser = Denoiser(tiny_model)
    monkeypatch.setattr(denoiser, "stream", partial(denoiser.stream, mix=0.0))
    heard = live(denoiser, audio, 16_000)
    np.testing.assert_allclose(heard, audio, atol=1e-6)


def test_expansions_are_measured_once_and_compared(
    research_corpus: Path, tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--corpus", str(research_corpus), "--folder", str(tmp_path / "set")]
    arguments += ["--model", str(tiny_model), "--ratios", "1", "2"]
    assert expansions.main(arguments) == 0
    assert "nothing was measured yet" in capsys.readouterr().out
    assert expansions.main([*arguments, "0.5"]) == 0
    shown = capsys.readouterr().out
    rows = expansions.read(tmp_path / "set" / "expansions.jsonl")
    assert [row["ratio"] for row in rows] == [1, 2] * 4 + [0.5] * 4
    plain = np.mean([row["gain_db"] for row in rows if row["ratio"] == 1])
    assert f"| {plain:.2f} |" in next(line for line in shown.splitlines() if "| x 1 |" in line)
    assert expansions.main(["--folder", str(tmp_path / "set"), "--table"]) == 0
    assert capsys.readouterr().out == shown


def test_auto_takes_what_is_predicted_best_and_the_oracle_what_is() -> None:
    """Of two mixtures one is predicted right; at the other the margin keeps what is heard now."""
    gains = {0.5: (1.0, 9.0), 1.0: (2.0, 3.0), 2.0: (7.0, 4.0)}
    predicted = {0.5: (1.0, 2.4), 1.0: (2.0, 2.0), 2.0: (9.0, 2.1)}
    rows = [
        {
            "mixture": n, "clip": f"{n}.wav", "ratio": ratio, "gain_db": gains[ratio][n],
            "predicted_db": predicted[ratio][n],
        }
        for n in range(2)
        for ratio in gains
    ]  # fmt: skip
    means = {
        line.split("|")[1].strip(): float(line.split("|")[3])
        for line in expansions.table(rows).splitlines()
        if line.startswith(("| x", "| auto", "| oracle"))
    }
    assert means["x 1"] == 2.5
    assert means["auto (0.5 1 2)"] == 5.0
    assert means["auto without its margin"] == 8.0
    assert means["oracle (0.5 1 2)"] == 8.0
