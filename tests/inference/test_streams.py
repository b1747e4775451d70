"""Streams: nothing moves, nothing is lost, and neither blocks nor chunks change the result."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biodenoising import list_models
from biodenoising.errors import OptionError
from biodenoising.inference.band import Banded, Highpass, worked_rate
from biodenoising.inference.chunks import Stitcher
from biodenoising.inference.denoiser import Denoiser
from biodenoising.inference.level import FRAME, REACH, Levelled, Stage
from biodenoising.inference.waiting import Block
from biodenoising.models.cards import Chunking

# Samples of a recording at full scale; what two orders of float32 sums may differ by.
EXACT = 1e-6
OVERLAPPING = Chunking(20, left=3, right=2, overlap=4, batch=2)


class Identity:
    """A network that changes nothing."""

    rows = 1

    def run(self, batch: Block, sample_rate: float) -> Block:
        return batch.copy()


class Same:
    """A stage that passes everything on."""

    def push(self, block: Block) -> Block:
        return block

    def flush(self) -> Block:
        return np.zeros((1, 0), np.float32)


class Gap:
    """A stage that turns everything to silence."""

    def push(self, block: Block) -> Block:
        return np.zeros_like(block)

    def flush(self) -> Block:
        return np.zeros((1, 0), np.float32)


def noise(*shape: int, seed: int = 0) -> Block:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def feed(stage: Stage, audio: Block, block: int) -> Block:
    parts = [stage.push(audio[:, i : i + block]) for i in range(0, audio.shape[1], block)]
    return np.concatenate([*parts, stage.flush()], axis=1)


@given(
    samples=st.integers(0, 300),
    channels=st.integers(1, 3),
    block=st.integers(1, 200),
    plan=st.builds(
        lambda share, left, **plan: Chunking(left=left, warm_up=min(share, left), **plan),
        share=st.integers(0, 4),
        samples=st.integers(12, 60),
        left=st.integers(0, 4),
        right=st.integers(0, 3),
        overlap=st.integers(0, 4),
        batch=st.integers(1, 5),
    ),
)
def test_chunks_join_without_a_trace(
    samples: int, channels: int, block: int, plan: Chunking
) -> None:
    audio = noise(channels, samples)
    joined = feed(Stitcher(Identity(), plan, channels, 1.0), audio, block)
    assert joined.shape == audio.shape
    np.testing.assert_allclose(joined, audio, atol=EXACT)


def test_chunks_are_really_cut_and_faded() -> None:
    """A network that returns each chunk's number shows the seams where they belong."""

    class Numbering:
        rows = 1
        count = 0

        def run(self, batch: Block, sample_rate: float) -> Block:
            out = np.zeros_like(batch)
            for row in out:
                row[:] = self.count
                self.count += 1
            return out

    plan = dataclasses.replace(OVERLAPPING, batch=1)
    joined = feed(Stitcher(Numbering(), plan, 1, 1.0), noise(1, 60), 7)[0]
    first_seam = plan.samples - plan.right - plan.overlap
    assert (joined[:first_seam] == 0).all()
    fade = joined[first_seam : first_seam + plan.overlap]
    assert (np.diff(fade) > 0).all()
    assert (joined[first_seam + plan.overlap : first_seam + plan.hop] == 1).all()


def test_digital_silence_is_not_heard() -> None:
    """A dead channel, and what lies between triggered recordings, cost nothing and stay silent."""

    class Hissing:
        rows = 2
        heard = 0

        def run(self, batch: Block, sample_rate: float) -> Block:
            assert batch.any(axis=1).all()
            self.heard += len(batch)
            return batch + 1

    audio = np.zeros((2, 400), np.float32)
    audio[0, 170:200] = noise(30)
    network = Hissing()
    joined = feed(Stitcher(network, OVERLAPPING, 2, 1.0), audio, 33)
    assert 0 < network.heard < 6
    assert not joined[1].any()
    assert not joined[0, :150].any()
    assert not joined[0, 220:].any()
    np.testing.assert_allclose(joined[0, 170:200], audio[0, 170:200] + 1, atol=EXACT)
    quiet = Hissing()
    assert not feed(Stitcher(quiet, OVERLAPPING, 2, 1.0), 0 * audio, 33).any()
    assert quiet.heard == 0


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 5 * FRAME), st.integers(1, 3 * FRAME), st.integers(1, 2))
def test_levelling_is_undone(samples: int, block: int, channels: int) -> None:
    audio = noise(channels, samples) * 3 + 1

    class Listener(Same):
        def flush(self) -> Block:
            return np.zeros((channels, 0), np.float32)

    levelled = feed(Levelled(Listener(), channels), audio, block)
    assert levelled.shape == audio.shape
    if samples > 100:
        # The mean is taken out and not put back: what comes out is the deviation from it.
        residue = (audio - levelled).mean(axis=1)
        np.testing.assert_allclose(residue, audio.mean(axis=1), atol=0.2)


def test_networks_hear_unit_level_wherever_it_lies() -> None:
    heard = []

    class Listener(Same):
        def push(self, block: Block) -> Block:
            heard.append(block)
            return block

    quiet_then_loud = noise(1, 400 * FRAME)
    quiet_then_loud[:, : 200 * FRAME] *= 1e-4
    feed(Levelled(Listener(), 1), quiet_then_loud, 10_000)
    levels = np.concatenate(heard, axis=1).reshape(-1, FRAME).std(axis=1)
    far = np.abs(np.arange(400) - 200) > REACH + 1
    np.testing.assert_allclose(levels[far], 1.0, atol=0.15)


def test_a_loud_event_is_not_felt_beyond_the_reach_of_the_level() -> None:
    audio = noise(1, 300 * FRAME) * 0.01
    shot = audio.copy()
    shot[:, 150 * FRAME : 150 * FRAME + 500] += 5
    heard: dict[str, list[Block]] = {"without": [], "with": []}

    class Listener(Same):
        def __init__(self, name: str) -> None:
            self.name = name

        def push(self, block: Block) -> Block:
            heard[self.name].append(block)
            return block

    feed(Levelled(Listener("without"), 1), audio, 4_000)
    feed(Levelled(Listener("with"), 1), shot, 4_000)
    difference = np.abs(
        np.concatenate(heard["with"], axis=1) - np.concatenate(heard["without"], axis=1)
    )[0]
    beyond = np.abs(np.arange(len(difference)) - 150 * FRAME) > (REACH + 2) * FRAME
    assert difference[beyond].max() < 1e-6
    assert difference[~beyond].max() > 1


def test_silence_and_dc_come_out_silent(tiny_model: Path) -> None:
    denoiser = Denoiser(tiny_model)
    assert not denoiser.denoise(np.zeros(9_000, np.float32), 16_000).any()
    assert np.abs(denoiser.denoise(np.full(9_000, 0.5, np.float32), 16_000)).max() < 1e-6
    padded = np.concatenate([np.zeros((1, 200 * FRAME), np.float32), noise(1, 100 * FRAME)], 1)
    assert not denoiser.denoise(padded, 16_000)[:, : 100 * FRAME].any()


def test_the_first_chunk_hears_the_beginning_mirrored() -> None:
    heard = []

    class Listener(Identity):
        def run(self, batch: Block, sample_rate: float) -> Block:
            heard.append(batch)
            return batch.copy()

    plan = dataclasses.replace(OVERLAPPING, left=6, warm_up=6)
    audio = noise(1, 50)
    feed(Stitcher(Listener(), plan, 1, 1.0), audio, 4)
    np.testing.assert_array_equal(heard[0][0, :6], audio[0, 5::-1])
    np.testing.assert_array_equal(heard[0][0, 6:], audio[0, :14])


@pytest.mark.parametrize("channels", [1, 3])
def test_threads_do_not_change_a_sample(tiny_model: Path, channels: int) -> None:
    """Rows are shared out among threads, each computed as if it were alone."""
    audio = noise(channels, 90_000)
    alone, shared, many = (
        Denoiser(tiny_model, threads=n).denoise(audio, 16_000) for n in (1, 2, 4)
    )
    np.testing.assert_array_equal(shared, alone)
    np.testing.assert_array_equal(many, alone)


@pytest.mark.parametrize("batch", [2, 5])
def test_batches_do_not_change_the_result(tiny_model: Path, batch: int) -> None:
    audio = noise(2, 90_000)
    denoiser = Denoiser(tiny_model, threads=1)
    alone = denoiser.denoise(audio, 16_000)
    chunking = dataclasses.replace(denoiser.card.chunking, batch=batch)
    denoiser.card = dataclasses.replace(denoiser.card, chunking=chunking)
    np.testing.assert_allclose(denoiser.denoise(audio, 16_000), alone, atol=EXACT)


@pytest.mark.parametrize("samples", [1, 500, 8_000, 50_001])
def test_blocks_do_not_change_what_a_network_gives(tiny_model: Path, samples: int) -> None:
    audio = noise(2, samples)
    results = []
    for block in (777, 4_096, 10**6):
        stream = Denoiser(tiny_model).open(16_000, 2)
        parts = [stream.push(audio[:, i : i + block])[0] for i in range(0, samples, block)]
        results.append(np.concatenate([*parts, stream.flush()[0]], axis=1))
    assert all(result.shape == audio.shape for result in results)
    np.testing.assert_allclose(results[1], results[0], atol=EXACT)
    np.testing.assert_allclose(results[2], results[0], atol=EXACT)


@pytest.mark.slow
@pytest.mark.parametrize(
    "model", [name for name in list_models() if not name.startswith("noisereduce")]
)
def test_the_seams_of_shipped_models_are_not_heard(model: str) -> None:
    """Real sound as context makes a chunk what the whole recording would have given, nearly."""
    denoiser = Denoiser(model)
    audio = noise(1, 300_000)
    audio += 3 * np.sin(0.2 * np.arange(300_000)) * (np.arange(300_000) % 20_000 < 8_000)
    cut = denoiser.denoise(audio, 44_100)
    chunking = dataclasses.replace(denoiser.card.chunking, samples=400_000)
    denoiser.card = dataclasses.replace(denoiser.card, chunking=chunking)
    whole = denoiser.denoise(audio, 44_100)
    assert 10 * np.log10(np.mean((cut - whole) ** 2) / np.mean(whole**2)) < -20


def test_channels_are_independent(tiny_model: Path) -> None:
    audio = noise(3, 30_000)
    together = Denoiser(tiny_model).denoise(audio, 16_000)
    for channel in range(3):
        alone = Denoiser(tiny_model).denoise(audio[channel], 16_000)
        np.testing.assert_allclose(together[channel], alone, atol=EXACT)


@pytest.mark.parametrize(
    "rates", [(48_000, 16_000), (44_100, 16_000), (8_000, 16_000), (22_050, 300)]
)
@pytest.mark.parametrize("low_hz", [0.0, 40.0])
def test_an_unchanged_band_leaves_everything_unchanged(
    rates: tuple[int, int], low_hz: float
) -> None:
    audio = noise(1, rates[0] + 7)
    kept = feed(Banded(Same(), 1, rates, low_hz, keep=True), audio, 4_321)
    assert kept.shape == audio.shape
    np.testing.assert_allclose(kept, audio, atol=EXACT)


def tone(frequency_hz: float, rate: int, samples: int) -> Block:
    return np.sin(2 * np.pi * frequency_hz * np.arange(samples) / rate)[None].astype(np.float32)


@pytest.mark.parametrize(
    ("frequency_hz", "inside"),
    [(200, False), (450, False), (1_500, True), (6_000, True), (11_000, False)],
)
def test_only_the_band_is_worked_on(frequency_hz: float, inside: bool) -> None:
    rate, band = 48_000, (1_000.0, 8_000.0)
    worked = worked_rate(rate, 16_000, None, band)
    audio = tone(frequency_hz, rate, rate)
    middle = slice(rate // 4, -rate // 4)
    # A network that mutes all it hears removes what is inside and, if told so, what is outside.
    silenced = feed(Banded(Gap(), 1, (rate, worked), band[0], keep=True), audio, 5_000)[0, middle]
    expected = 0.0 if inside else 1.0
    assert np.abs(silenced).max() == pytest.approx(expected, abs=1e-3)
    # A network that changes nothing, with the outside muted, is a band-pass without delay.
    passed = feed(Banded(Same(), 1, (rate, worked), band[0], keep=False), audio, 5_000)[0, middle]
    np.testing.assert_allclose(passed, audio[0, middle] * (1.0 if inside else 0.0), atol=2e-3)


def test_the_highpass_has_no_delay_whatever_the_blocks() -> None:
    audio = noise(2, 20_000)
    expected = None
    for block in (13, 500, 20_000):
        highpass = Highpass(50.0, 8_000.0, 2)
        parts = [
            highpass.push(audio[:, i : i + block], last=False) for i in range(0, 20_000, block)
        ]
        filtered = np.concatenate([*parts, highpass.push(audio[:, :0], last=True)], axis=1)
        assert filtered.shape == audio.shape
        expected = filtered if expected is None else expected
        np.testing.assert_allclose(filtered, expected, atol=1e-5)
    lag = np.correlate(expected[0], audio[0], "full").argmax() - (audio.shape[1] - 1)
    assert lag == 0


@pytest.mark.parametrize(
    ("expansion", "band", "rate"),
    [
        (None, None, 48_000),
        (1.0, None, 16_000),
        (10.0, None, 160_000),
        (None, (20.0, 450.0), 1_000),
    ],
)
def test_worked_rates(
    expansion: float | None, band: tuple[float, float] | None, rate: float
) -> None:
    assert worked_rate(48_000, 16_000, expansion, band) == pytest.approx(rate)


def test_impossible_rates_are_refused() -> None:
    with pytest.raises(OptionError, match="reaches above 4000 Hz"):
        worked_rate(8_000, 16_000, None, (1_000, 5_000))
    with pytest.raises(OptionError, match="choose a smaller one"):
        worked_rate(8_000, 16_000, 100.0, None)
