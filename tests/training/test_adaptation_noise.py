"""What the present model empties is noise, where there is too little of the other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from biodenoising.corpus.manifest import MANIFEST_NAME, read_manifest
from biodenoising.corpus.segments import Kind, Segment
from biodenoising.corpus.synthesis import synthesize_noise
from biodenoising.errors import TrainingError
from biodenoising.training import adaptation_material
from biodenoising.training.adaptation_material import gather
from biodenoising.training.adaptation_noise import FRAME_S, emptied, is_scarce
from biodenoising.training.adaptation_survey import survey

RATE = 8_000


def segment(start_s: float, end_s: float, kind: Kind = "call") -> Segment:
    return Segment(start_s, end_s, kind, 100.0, 3_000.0, 20.0)


def noise(seconds: float, rate: int = RATE) -> NDArray[np.float32]:
    return 0.1 * synthesize_noise("pink", rate, seconds, np.random.default_rng(0))


def test_a_quarter_of_a_stretch_is_enough() -> None:
    found = [segment(0, 20), segment(20, 25, "noise"), segment(30, 39.9, "noise")]
    assert is_scarce(found, 60.0)
    assert not is_scarce([*found, segment(40, 41, "noise")], 60.0)


def test_the_span_is_where_nothing_is_left() -> None:
    noisy = noise(10)
    denoised = noisy.copy()
    denoised[3 * RATE : 7 * RATE] *= 0.09  # 21 dB down
    assert emptied(noisy, denoised, RATE, [segment(0, 10)], 1.0) == [(3.0, 7.0)]
    denoised[3 * RATE : 7 * RATE] *= 1.3  # 19 dB
    assert emptied(noisy, denoised, RATE, [segment(0, 10)], 1.0) == []


def test_what_is_known_already_silent_or_short_is_left_out() -> None:
    noisy = noise(12)
    noisy[8 * RATE : 10 * RATE] = 0
    denoised = 0 * noisy
    found = [segment(2.1, 4, "noise"), segment(4, 12), segment(5.0, 6.0, "clipped")]
    spans = emptied(noisy, denoised, RATE, found, 1.0)
    assert spans == [(0.0, 2.0), (4.0, 5.0), (6.0, 8.0), (10.0, 12.0)]
    assert emptied(noisy, denoised, RATE, found, 2.0) == [(0.0, 2.0), (6.0, 8.0), (10.0, 12.0)]


@settings(deadline=None)
@given(st.lists(st.booleans(), max_size=30), st.sampled_from([1_000, 11_025, 48_000]))
def test_spans_are_the_runs_of_empty_frames(kept: list[bool], rate: int) -> None:
    size = round(FRAME_S * rate)
    rng = np.random.default_rng(len(kept))
    noisy = rng.standard_normal(len(kept) * size + size // 2).astype(np.float32)
    gains = np.repeat(np.where(kept, 0.5, 0.05), size).astype(np.float32)
    denoised = noisy * np.concatenate([gains, np.zeros(size // 2, np.float32)])
    spans = emptied(noisy, denoised, rate, [], 1.9 * FRAME_S)  # two frames, rounded
    covered = [any(a <= n * size / rate < b for a, b in spans) for n in range(len(kept))]
    for number, here in enumerate(kept):
        beside = [not kept[n] for n in (number - 1, number + 1) if 0 <= n < len(kept)]
        assert covered[number] == (not here and any(beside))


def test_rain_that_never_rests_gives_noise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that is heard stands out, and the model hears no call in its second half."""
    for number in range(2):
        soundfile.write(tmp_path / f"{number}.wav", noise(20), RATE, subtype="FLOAT")
    monkeypatch.setattr(
        adaptation_material, "segment_blocks", lambda blocks, rate, **other: (segment(0, 20),)
    )
    monkeypatch.setattr(adaptation_material, "find_teacher", lambda name: Half())
    monkeypatch.setattr(
        adaptation_material, "denoise_at", lambda teacher, wave, rate: teacher(wave)
    )
    monkeypatch.setattr(adaptation_material, "lacking", lambda rows: "")
    work = tmp_path / "work"
    gather(survey([tmp_path]), [], "any", work, 1e6, step=lambda share: None, tell=print)
    rows = [row for row in read_manifest(work / MANIFEST_NAME) if row.kind == "noise"]
    assert [(row.start_s, row.duration_s) for row in rows] == [(10.0, 10.0)] * 2
    assert all((work / row.path).exists() for row in rows)


class Half:
    """A teacher that leaves nothing of the second half."""

    version = "1"

    def __call__(self, wave: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.where(np.arange(len(wave)) < len(wave) // 2, wave, 0).astype(np.float32)


def test_marks_say_where_calls_are_and_no_model_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    soundfile.write(tmp_path / "0.wav", noise(20), RATE, subtype="FLOAT")
    (tmp_path / "0.txt").write_text("1.0\t19.0\tcall\n", encoding="utf-8")
    monkeypatch.setattr(
        adaptation_material, "segment_blocks", lambda blocks, rate, **other: (segment(0, 20),)
    )
    monkeypatch.setattr(adaptation_material, "find_teacher", lambda *a: pytest.fail("was asked"))
    with pytest.raises(TrainingError):
        gather(survey([tmp_path]), [], "any", tmp_path / "work", 1e6, step=print, tell=print)
