"""Digital silence is given back as it came, and what sounds is heard as if there were none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from biodenoising.inference import gaps
from biodenoising.inference.denoiser import LEAST_GAP, Denoiser, DenoiseSettings
from biodenoising.inference.gaps import Gaps
from biodenoising.inference.waiting import Block

LEAST = 10


class Late:
    """A stage that turns samples about, seven of them late, and keeps what it was given."""

    def __init__(self, begun: list[Late]) -> None:
        begun.append(self)
        self.given = np.zeros((2, 0), np.float32)
        self.out = 0

    def push(self, block: Block) -> Block:
        self.given = np.concatenate([self.given, block], axis=1)
        return self.upto(max(self.given.shape[1] - 7, 0))

    def flush(self) -> Block:
        return self.upto(self.given.shape[1])

    def upto(self, end: int) -> Block:
        ready = -self.given[:, self.out : end]
        self.out = max(end, self.out)
        return ready


def feed(stage: Gaps, audio: Block, block: int) -> Block:
    parts = [stage.push(audio[:, i : i + block]) for i in range(0, audio.shape[1], block)]
    return np.concatenate([np.zeros((2, 0)), *parts, stage.flush()], axis=1)


def recording(lengths: list[int]) -> Block:
    """Stretches of sound and of silence in turn; one channel alone is silent at times, too."""
    parts = []
    for number, length in enumerate(lengths):
        part = np.random.default_rng(number).uniform(0.1, 1, (2, length)) * (number % 2)
        part[number // 2 % 2] *= number % 3 > 0
        parts.append(part)
    return np.concatenate([np.zeros((2, 0)), *parts], axis=1).astype(np.float32)


@given(st.lists(st.integers(0, 30), max_size=9), st.integers(1, 50))
def test_gaps_stay_where_they_are_and_are_not_heard(lengths: list[int], block: int) -> None:
    audio, begun = recording(lengths), list[Late]()
    out = feed(Gaps(lambda: Late(begun), 2, LEAST), audio, block)
    np.testing.assert_array_equal(out, -audio)
    sounding = audio.any(axis=0)
    assert len(begun) == (1 if sounding.any() else 0)
    for stage in begun:
        silent = "".join("s" if sounds else "z" for sounds in stage.given.any(axis=0))
        assert "z" * LEAST not in silent
        assert silent[0] == silent[-1] == "s"
        assert silent.count("s") == sounding.sum()


@given(st.lists(st.integers(0, 60), max_size=12), st.integers(1, 90))
def test_a_piece_ends_where_its_gaps_are_too_much_to_keep_back(
    lengths: list[int], block: int
) -> None:
    audio = recording(lengths)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gaps, "MOST_KEPT_BACK", 100)
        pieces = []
        for size in (block, max(audio.shape[1], 1)):
            begun: list[Late] = []
            stage = Gaps(lambda begun=begun: Late(begun), 2, LEAST)  # type: ignore[misc]
            given, parts = 0, [np.zeros((2, 0))]
            for start in range(0, audio.shape[1], size):
                given += audio[:, start : start + size].shape[1]
                parts.append(stage.push(audio[:, start : start + size]))
                assert given - sum(part.shape[1] for part in parts) <= 100 + 7 + LEAST + size
            np.testing.assert_array_equal(np.concatenate([*parts, stage.flush()], axis=1), -audio)
            pieces.append([each.given for each in begun])
    assert len(pieces[0]) == len(pieces[1])
    for one, other in zip(*pieces, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    "settings", [DenoiseSettings(), DenoiseSettings(band=(500, 3_000)), DenoiseSettings(mix=0.5)]
)
def test_a_recording_in_pieces_comes_out_as_the_whole(
    tiny_model: Path, settings: DenoiseSettings, run: Callable[..., Block]
) -> None:
    audio = 0.1 * np.random.default_rng(0).standard_normal((2, 40_000)).astype(np.float32)
    silence = np.zeros((2, 3 * LEAST_GAP), np.float32)
    parts = [silence, audio[:, :9_000], silence, audio[:, 9_000:], silence]
    parted, edges = np.concatenate(parts, axis=1), np.cumsum([part.shape[1] for part in parts])
    whole = run(tiny_model, audio, settings, 5_000)
    for block in (1_000, 70_000):
        out = run(tiny_model, parted, settings, block)
        assert out.shape == parted.shape
        pieces = np.split(out, edges[:-1], axis=1)
        np.testing.assert_allclose(np.concatenate(pieces[1::2], axis=1), whole, atol=1e-6)
        assert not np.concatenate(pieces[::2], axis=1).any()


@pytest.fixture
def run() -> Callable[..., Block]:
    """Return what denoises an array in blocks."""

    def denoised(model: Path, audio: Block, settings: DenoiseSettings, block: int) -> Block:
        stream = Denoiser(model).open(16_000, len(audio), settings)
        parts = [stream.push(audio[:, i : i + block])[0] for i in range(0, audio.shape[1], block)]
        return np.concatenate([*parts, stream.flush()[0]], axis=1)

    return denoised
