"""Hearing at two rates: lengths, blocks and phases are kept, and what both hear is averaged."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from biodenoising import Denoiser, ModelError
from biodenoising.inference.two_rates import TwoRates
from biodenoising.inference.waiting import Block, Waiting
from biodenoising.models.registry import find_model, fingerprint


class Delayed:
    """Scale a stream, holding some samples back as a network does."""

    def __init__(self, gain: float, held: int, channels: int) -> None:
        self.gain, self.held, self.wait = np.float32(gain), held, Waiting(channels)

    def push(self, block: Block) -> Block:
        self.wait.put(block)
        return self.wait.take(max(0, self.wait.samples - self.held)) * self.gain

    def flush(self) -> Block:
        return self.wait.take(self.wait.samples) * self.gain


def through(stage: TwoRates, audio: Block, block: int) -> Block:
    parts = [stage.push(audio[:, i : i + block]) for i in range(0, audio.shape[1], block)]
    return np.concatenate([*parts, stage.flush()], axis=1)


@given(
    samples=st.integers(0, 9_000),
    block=st.integers(1, 4_000),
    channels=st.integers(1, 3),
    decimation=st.integers(2, 5),
    held=st.tuples(st.integers(0, 700), st.integers(0, 700)),
)
def test_where_both_agree_the_result_is_theirs(samples, block, channels, decimation, held) -> None:
    audio = np.random.default_rng(samples).standard_normal((channels, samples)).astype("f4")
    block = max(block, samples // 20)
    fine, coarse = (Delayed(0.5, each, channels) for each in held)
    result = through(TwoRates(fine, coarse, channels, decimation), audio, block)
    assert result.shape == audio.shape
    np.testing.assert_allclose(result, audio / 2, atol=1e-6)


@pytest.mark.parametrize("block", [777, 40_000])
def test_bands_that_both_hear_are_averaged(block) -> None:
    times = np.arange(40_000) / 16_000
    low = np.sin(2 * np.pi * 440 * times).astype("f4")[None]
    high = np.sin(2 * np.pi * 5_000 * times + 1).astype("f4")[None]
    stage = TwoRates(Delayed(1, 5_000, 1), Delayed(0, 300, 1), 1, 4)
    result = through(stage, low + high, block)
    inner = slice(2_000, -2_000)
    np.testing.assert_allclose(result[:, inner], (low / 2 + high)[:, inner], atol=2e-3)


def test_an_opinion_may_itself_be_two() -> None:
    times = np.arange(40_000) / 16_000
    tones = [np.sin(2 * np.pi * f * times + f).astype("f4")[None] for f in (300, 2_800, 6_500)]
    below = TwoRates(Delayed(0, 300, 1), Delayed(1, 900, 1), 1, 2)
    result = through(TwoRates(Delayed(1, 5_000, 1), below, 1, 2, 2 / 3), sum(tones), 3_333)
    expected = 2 / 3 * tones[0] + 1 / 3 * tones[1] + tones[2]
    inner = slice(2_000, -2_000)
    np.testing.assert_allclose(result[:, inner], expected[:, inner], atol=3e-3)


@pytest.mark.parametrize("decimations", [[4], [2, 4], [2, 6]])
def test_a_card_may_ask_for_it(tiny_model: Path, tmp_path: Path, decimations: list[int]) -> None:
    rng = np.random.default_rng(0)
    audio = rng.standard_normal((2, 30_000)).astype("f4")
    model = tmp_path / tiny_model.name
    for path in tiny_model.parent.glob(f"{tiny_model.stem}.*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    record = json.loads(model.read_text())
    model.write_text(json.dumps(record | {"decimations": decimations}))
    plain, twice = Denoiser(tiny_model), Denoiser(model)
    one, two = plain.denoise(audio, 16_000), twice.denoise(audio, 16_000)
    assert two.shape == audio.shape
    assert np.abs(one - two).max() > 1e-3
    stream = twice.open(16_000, 2)
    parts = [stream.push(audio[:, i : i + 1_111])[0] for i in range(0, 30_000, 1_111)]
    np.testing.assert_allclose(np.concatenate([*parts, stream.flush()[0]], 1), two, atol=1e-5)
    assert fingerprint(twice.card) != fingerprint(dataclasses.replace(twice.card, decimations=()))


@pytest.mark.parametrize(
    ("decimations", "words"),
    [
        ([0], "the first 2 or more"),
        ([2, 3], "multiple of the one before"),
        ([4, 2], "multiple of the one before"),
        ([2, 2], "multiple of the one before"),
        (["2"], "not a whole number|not a model card"),
        (4, "not a model card"),
    ],
)
def test_decimations_that_make_no_sense(
    tiny_model: Path, tmp_path: Path, decimations: object, words: str
) -> None:
    model = tmp_path / tiny_model.name
    model.write_text(json.dumps(json.loads(tiny_model.read_text()) | {"decimations": decimations}))
    with pytest.raises(ModelError, match=words):
        find_model(model)
