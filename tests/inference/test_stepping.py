"""Causal networks step by step: what the whole network gives, at once, and successors in turn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_live import RATE, SAME, noise

from biodenoising import Denoiser
from biodenoising.inference.runtimes import OnnxRuntime, TorchRuntime
from biodenoising.inference.stepping import States, Stepped, StepRuntime, Turns
from biodenoising.inference.waiting import Block
from biodenoising.models.cards import Card, Chunking, read_card
from biodenoising.models.spectra import Grid, analyze, frames_of, synthesize, waves_of
from biodenoising.models.steps import Steps, demucs_steps, masknet_steps

ENDLESS = Turns(context=1, fade=1, period=10**6)


def joined(stage: Stepped, audio: Block, blocks: list[int]) -> Block:
    """Push the blocks' lengths in turn; return all output."""
    parts, position, turn = [np.zeros((len(audio), 0), np.float32)], 0, 0
    while position < audio.shape[1]:
        size = blocks[turn % len(blocks)]
        parts.append(stage.push(audio[:, position : position + size]))
        position, turn = position + size, turn + 1
    return np.concatenate([*parts, stage.flush()], axis=1)


def test_steps_give_what_the_whole_network_gives(causal_model: Path) -> None:
    """The graph of the steps against the graph of the whole, level and all else left out."""
    card = read_card(causal_model)
    audio = noise(2, 20_000)
    stepped = joined(Stepped(StepRuntime(card), ENDLESS, 2), audio, [333])
    behind = np.pad(audio, ((0, 0), (0, 2_000)))
    whole = OnnxRuntime(card).run(behind, RATE)[:, :20_000]
    np.testing.assert_allclose(stepped, whole, atol=SAME * np.abs(whole).max())
    assert np.abs(whole).max() > 0.01


@settings(max_examples=25, deadline=None)
@given(
    samples=st.integers(1, 3_000),
    channels=st.integers(1, 3),
    blocks=st.lists(st.integers(1, 900), min_size=1, max_size=4),
)
def test_masks_are_those_of_the_whole_sound(
    tiny_masks: Path, samples: int, channels: int, blocks: list[int]
) -> None:
    """Any blocks against the network in torch, run on the whole at once."""
    import torch

    card = read_card(tiny_masks)
    audio = noise(channels, samples, seed=samples)
    stepped = joined(Stepped(StepRuntime(card), ENDLESS, channels), audio, blocks)
    with torch.inference_mode():
        whole = TorchRuntime(card, "cpu").run(audio, RATE)
    np.testing.assert_allclose(stepped, whole, atol=SAME * 0.1)


@settings(max_examples=50, deadline=None)
@given(
    hop=st.integers(1, 20),
    fold=st.integers(1, 5),
    frames=st.lists(st.integers(1, 9), min_size=1, max_size=5),
)
def test_spectra_of_parts_are_those_of_the_whole(hop: int, fold: int, frames: list[int]) -> None:
    grid = Grid(2 * hop, 2 * hop * fold, hop)
    audio = noise(2, hop * sum(frames), seed=hop)
    end, late = np.zeros((2, grid.margin), np.float32), np.zeros((2, grid.margin), np.float32)
    spectra, waves, position = [], [], 0
    for count in frames:
        heard = np.concatenate([end, audio[:, position : position + count * hop]], axis=1)
        spectra.append(frames_of(heard, grid))
        made = waves_of(spectra[-1], grid)
        made[:, : grid.margin] += late
        waves.append(made[:, : count * hop])
        position, end, late = (
            position + count * hop,
            heard[:, -grid.margin :],
            made[:, count * hop :],
        )
    parts, whole = np.concatenate(spectra, axis=3), analyze(audio, grid)
    np.testing.assert_allclose(parts, whole[:, :, :, : sum(frames)], atol=1e-6)
    there = np.concatenate([*waves, late], axis=1)[:, grid.margin :]
    whole[:, :, :, sum(frames) :] = 0
    np.testing.assert_allclose(there, synthesize(whole, there.shape[1], grid), atol=1e-5)


@pytest.mark.parametrize("blocks", [[1], [31, 700], [32], [2_000]])
def test_every_hop_of_masks_comes_with_the_last_frame_it_is_in(
    tiny_masks: Path, blocks: list[int]
) -> None:
    """No sooner could it come, and `latency` is what the first sample of a hop waits."""
    card = read_card(tiny_masks)
    runtime, audio = StepRuntime(card), noise(1, 5_000)
    stage, received, returned, waited = Stepped(runtime, ENDLESS, 1), 0, 0, []
    for turn in range(5_000 // max(blocks)):
        size = blocks[turn % len(blocks)]
        returned += stage.push(audio[:, received : received + size]).shape[1]
        received += size
        assert returned == max(0, received // 32 - 256 // 32 + 1) * 32
        waited.append(received - returned)
    assert max(waited) <= runtime.steps.latency == 255
    assert max(waited) == 255 or blocks != [1]
    assert Denoiser(tiny_masks).latency() == 255


class Numbering:
    """Networks that give their own number, and check that they hear everything in turn."""

    steps = Steps(first=13, lead=3, hop=5, states={}, axes={})

    def __init__(self) -> None:
        self.begun: list[int] = []  # where each one began

    def run(self, noisy: Block, states: States | None) -> tuple[Block, States]:
        first, size = int(noisy[0, 0]), noisy.shape[1]
        if states is None:
            number, given = len(self.begun), size - (self.steps.first - self.steps.lead)
            self.begun.append(first)
        else:
            (number, expected), given = states["number"], size
            assert first == expected
        np.testing.assert_array_equal(noisy[0], first + np.arange(size))
        after = {"number": np.array([number, first + size])}
        return np.full((1, given), number, np.float32), after


@pytest.mark.parametrize("block", [1, 7, 1_000])
def test_every_network_has_its_turn_after_its_context(block: int) -> None:
    turns, runtime = Turns(context=4, fade=2, period=10), Numbering()
    stage = Stepped(runtime, turns, 1)
    audio = np.arange(250, dtype=np.float32)[None]
    clean = np.concatenate([stage.push(audio[:, i : i + block]) for i in range(0, 250, block)], 1)[
        0
    ]
    # Hop n gives the outputs from 5 n - 2 on; the successor begins with hop 10.
    assert runtime.begun == [0, 50, 100, 150, 200]
    for number in range(1, 4):
        fade = slice(50 * number + 18, 50 * number + 28)
        rise = np.sin(0.5 * np.pi * (np.arange(10) + 0.5) / 10) ** 2
        np.testing.assert_allclose(clean[fade], number - 1 + rise, atol=1e-6)
        assert (clean[fade.stop : fade.stop + 40] == number).all()
    assert (clean[:68] == 0).all()


@pytest.mark.parametrize(
    ("change", "reason"),
    [({"causal": False}, "hears ahead"), ({"upsample": 8}, "no whole number of samples")],
)
def test_networks_without_steps(change: dict[str, object], reason: str) -> None:
    arguments = {
        "hidden": 4, "depth": 5, "kernel": 8, "stride": 4, "growth": 2, "upsample": 4,
        "causal": True,
    }  # fmt: skip
    assert demucs_steps(arguments) is not None
    assert demucs_steps(arguments | change) is None, reason


@pytest.mark.parametrize("upsample", [1, 2, 4])
@pytest.mark.parametrize("depth", [3, 5])
def test_steps_of_other_sizes(upsample: int, depth: int, tmp_path: Path) -> None:
    import torch

    from biodenoising.models.demucs import Demucs, DemucsSettings
    from biodenoising.models.networks import save_checkpoint

    torch.manual_seed(0)
    network = Demucs(DemucsSettings(hidden=2, depth=depth, upsample=upsample))
    card = save_checkpoint(
        network, Card("small", "demucs", "", "", RATE, Chunking(9_000, 0, 0)), tmp_path, half=False
    )
    if not card.steps_sha256:
        assert demucs_steps(card.arguments) is None
        return
    runtime = StepRuntime(card)
    steps, audio = runtime.steps, noise(1, 5_000)
    states, parts, position = None, [], 0
    while position + steps.first <= 5_000:
        size = steps.first if not parts else steps.hop
        clean, states = runtime.run(audio[:, position : position + size], states)
        assert clean.shape[1] == (steps.lead if not parts else steps.hop)
        parts.append(clean)
        position += size
    stepped = np.concatenate(parts, axis=1)
    whole = OnnxRuntime(card).run(np.pad(audio, ((0, 0), (0, 3_000))), RATE)
    np.testing.assert_allclose(stepped, whole[:, : stepped.shape[1]], atol=1e-5)


@pytest.mark.parametrize(
    "changes",
    [
        {"long": 64},
        {"blocks": 1, "channels": (4,)},
        {"blocks": 3, "floor": 0.0},
        {"short": 128, "long": 128, "hop": 64},
    ],
)
def test_steps_of_other_masks(
    changes: dict[str, object], write_masks: Callable[..., Path], tmp_path: Path
) -> None:
    card = read_card(write_masks(tmp_path, **changes))
    audio = noise(2, 2_000)
    stepped = joined(Stepped(StepRuntime(card), ENDLESS, 2), audio, [300])
    np.testing.assert_allclose(stepped, OnnxRuntime(card).run(audio, RATE), atol=SAME * 0.1)


def test_masks_that_hear_ahead_have_no_steps(
    write_masks: Callable[..., Path], tmp_path: Path
) -> None:
    card = read_card(write_masks(tmp_path, causal=False))
    assert masknet_steps(card.arguments) is None
    assert not card.steps_sha256
    assert not card.steps_path.exists()


def test_a_loud_event_is_forgotten_with_the_network_that_heard_it(tiny_masks: Path) -> None:
    """Successors begin from nothing: after one has taken over, it never happened."""
    card = read_card(tiny_masks)
    runtime, turns = StepRuntime(card), Turns.of(card.chunking, 32)
    calm = noise(1, 12_000)
    loud = calm.copy()
    loud[:, 1_000:1_500] *= 100
    heard = [joined(Stepped(runtime, turns, 1), audio, [450]) for audio in (calm, loud)]
    difference = np.abs(heard[0] - heard[1])[0]
    over = (turns.period + turns.context + turns.fade) * 32
    assert difference[2_000:over].max() > 0
    assert difference[over:].max() == 0
    # What the second network gives is what it gives by itself.
    begun = turns.period * 32
    alone = joined(Stepped(runtime, ENDLESS, 1), calm[:, begun:], [450])[:, over - begun :]
    before = turns.period * 32 - turns.fade * 32
    np.testing.assert_allclose(
        heard[0][:, over : over + before], alone[:, :before], atol=SAME * 0.1
    )
