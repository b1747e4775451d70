"""`time_expansion="auto"`: what is listened to, what is taken, and how little it depends on."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from scipy import signal

from biodenoising import Denoiser, DenoiseSettings, OptionError, denoise, denoise_file
from biodenoising.corpus.synthesis import synthesize_call
from biodenoising.inference import denoiser as module
from biodenoising.inference.choosing import (
    LEAST_MARGIN_DB,
    RATIOS,
    STRETCH_SAMPLES,
    STRETCHES,
    best_ratio,
    telling_stretches,
)

RATE_HZ = 48_000
AUTO = DenoiseSettings(time_expansion="auto")


def hiss(samples: int, seed: int = 0) -> np.ndarray:
    return 0.02 * np.random.default_rng(seed).standard_normal(samples).astype(np.float32)


def with_calls(samples: int, at: list[int]) -> np.ndarray:
    audio = hiss(samples)
    for number, start in enumerate(at):
        call = synthesize_call("whistle", RATE_HZ, np.random.default_rng(number))[:40_000]
        audio[start : start + len(call)] += 0.5 * call
    return audio


def in_blocks(audio: np.ndarray, size: int) -> Iterator[np.ndarray]:
    for start in range(0, audio.shape[1], size):
        yield audio[:, start : start + size]


def test_the_stretches_with_calls_are_listened_to() -> None:
    places = [1, 4, 6]
    audio = with_calls(8 * STRETCH_SAMPLES, [n * STRETCH_SAMPLES + 20_000 for n in places])
    kept = telling_stretches([audio[None]], 1)
    wanted = [audio[n * STRETCH_SAMPLES :][:STRETCH_SAMPLES] for n in places]
    assert len(kept) == STRETCHES
    for stretch in wanted:
        assert any(np.array_equal(stretch, other) for other in kept)


def test_the_stretches_do_not_depend_on_the_blocks() -> None:
    audio = np.stack([hiss(700_000), with_calls(700_000, [10_000, 300_000])])
    whole = telling_stretches([audio], 2)
    for size in (1_000, 65_536, 140_000):
        pieces = telling_stretches(in_blocks(audio, size), 2)
        assert all(np.array_equal(a, b) for a, b in zip(whole, pieces, strict=True))


def test_the_louder_channel_is_heard_and_what_is_no_number_is_silence() -> None:
    loud, soft = hiss(20_000), 0.1 * hiss(20_000, 1)
    loud[100], soft[5] = np.nan, np.inf
    (kept,) = telling_stretches([np.stack([soft, loud])], 2)
    assert kept[100] == 0
    assert np.array_equal(np.delete(kept, 100), np.delete(loud, 100))


@pytest.mark.parametrize("samples", [0, 10, 4_000])
def test_too_short_or_silent_recordings_are_left_as_they_are(samples: int) -> None:
    assert telling_stretches([hiss(samples)[None]], 1) == []
    assert telling_stretches([np.zeros((1, 300_000), np.float32)], 1) == []
    assert best_ratio([], lambda audio, ratio: audio) == 1.0


def test_memory_does_not_grow_with_the_recording() -> None:
    block = hiss(1 << 17)[None]
    tracemalloc.start()
    try:
        telling_stretches((block for _ in range(60)), 1)
        assert tracemalloc.get_traced_memory()[1] < 30e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("good", RATIOS)
def test_the_ratio_at_which_the_model_cleans_is_taken(good: float) -> None:
    """At one ratio the hiss between the calls goes, at the others only half of it."""
    audio = with_calls(STRETCH_SAMPLES, [20_000, 80_000])
    clean = audio - hiss(STRETCH_SAMPLES)

    def hear(samples: np.ndarray, ratio: float) -> np.ndarray:
        share = np.float32(0.05 if ratio == good else 0.5)
        return clean + share * (samples - clean)

    assert best_ratio([audio], hear) == good
    assert LEAST_MARGIN_DB > 0


def test_hardly_better_is_not_better() -> None:
    audio = with_calls(STRETCH_SAMPLES, [20_000, 80_000])
    clean = audio - hiss(STRETCH_SAMPLES)

    def hear(samples: np.ndarray, ratio: float) -> np.ndarray:
        return clean + np.float32(0.100 if ratio == 2 else 0.101) * (samples - clean)

    assert best_ratio([audio], hear) == 1.0


def test_every_channel_is_denoised_at_the_one_that_was_chosen(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    audio = np.stack([hiss(30_000), hiss(30_000, 1)])
    heard = Denoiser(tiny_model, threads=1)
    monkeypatch.setattr(module, "best_ratio", lambda stretches, hear: 2.0)
    chosen = heard.denoise(audio, RATE_HZ, time_expansion="auto", mix=0.5)
    # Twice as slowly as its samples: 96 kHz, which is 6 times the model's 16.
    assert np.array_equal(chosen, heard.denoise(audio, RATE_HZ, time_expansion=6, mix=0.5))
    monkeypatch.setattr(module, "best_ratio", lambda stretches, hear: 1.0)
    same = heard.denoise(audio, RATE_HZ, time_expansion="auto")
    assert np.array_equal(same, heard.denoise(audio, RATE_HZ))


def test_what_is_compared_is_the_models_work_whole(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither mix nor limit nor the recording's level plays a part in the choice."""
    made: list[np.ndarray] = []
    heard = Denoiser(tiny_model, threads=1)
    monkeypatch.setattr(
        module,
        "best_ratio",
        lambda stretches, hear: made.append(hear(next(iter(stretches)), 0.5)) or 1.0,
    )
    audio = hiss(20_000)
    heard.settle(
        DenoiseSettings(mix=0.1, max_attenuation_db=3, time_expansion="auto"),
        RATE_HZ,
        1,
        [audio[None]],
    )
    assert np.array_equal(made[0], heard.denoise(audio, RATE_HZ, time_expansion=1.5))


def test_settings_without_auto_ask_for_no_sound(tiny_model: Path) -> None:
    def never() -> Iterator[np.ndarray]:
        raise AssertionError
        yield

    settings = DenoiseSettings(time_expansion=2.0)
    assert Denoiser(tiny_model).settle(settings, RATE_HZ, 1, never()) is settings


def test_a_stream_cannot_wait_for_the_choice(tiny_model: Path) -> None:
    with pytest.raises(OptionError, match="whole recording"):
        Denoiser(tiny_model).open(RATE_HZ, 1, AUTO)
    with pytest.raises(OptionError, match="leave band and time expansion away"):
        Denoiser(tiny_model).open(RATE_HZ, 1, AUTO, live=True)


def test_other_words_and_a_band_are_refused() -> None:
    with pytest.raises(OptionError, match="a number or auto"):
        DenoiseSettings(time_expansion="fast")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="not both"):
        DenoiseSettings(time_expansion="auto", band=(100, 500))


def test_files_are_denoised_as_arrays_are(tmp_path: Path) -> None:
    """The shipped model: whatever it chooses for the sound, it chooses for the file of it."""
    import soundfile

    audio = signal.lfilter([1], [1, -0.9], with_calls(50_000, [5_000])).astype(np.float32) * 0.2
    soundfile.write(tmp_path / "x.wav", audio, RATE_HZ, subtype="FLOAT")
    result = denoise_file(tmp_path / "x.wav", tmp_path / "y.wav", time_expansion="auto")
    written = soundfile.read(tmp_path / "y.wav", dtype="float32")[0]
    assert np.array_equal(written, denoise(audio, RATE_HZ, time_expansion="auto"))
    assert np.array_equal(written, denoise(audio, RATE_HZ, time_expansion=result.time_expansion))
