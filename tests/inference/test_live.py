"""Live sound: constant latency, any blocks, and what the same causal computation gives offline."""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biodenoising import AudioValueError, Denoiser, OptionError, list_models
from biodenoising.inference.live import FADE, HOP, Window, Windowed
from biodenoising.inference.running_level import RunningLevel
from biodenoising.inference.waiting import Block

RATE = 16_000
SAME = 1e-4  # of full scale: what the order of float32 sums may change
SHIPPED = [name for name in list_models() if not name.startswith("noisereduce")]


class Same:
    """A stage that passes joined on."""

    def push(self, block: Block) -> Block:
        return block

    def flush(self) -> Block:
        return np.zeros((1, 0), np.float32)


def noise(*shape: int, seed: int = 0) -> Block:
    return (0.1 * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


def run(denoiser: Denoiser, audio: np.ndarray, blocks: list[int]) -> np.ndarray:
    """Feed the blocks' lengths in turn; return everything that came, on the input's place."""
    stream = denoiser.stream(RATE, len(audio))
    parts, position, turn = [], 0, 0
    while position < audio.shape[1]:
        block = audio[:, position : position + blocks[turn % len(blocks)]]
        parts.append(stream.feed(block))
        assert parts[-1].shape == block.shape
        position, turn = position + block.shape[1], turn + 1
    parts.append(stream.flush())
    joined = np.concatenate(parts, axis=1)
    assert joined.shape[1] == audio.shape[1] + stream.latency
    assert not joined[:, : stream.latency].any()
    return joined[:, stream.latency :]


# --- streams -------------------------------------------------------------------------------------


@settings(max_examples=10, deadline=None)
@given(
    samples=st.integers(0, 9_000),
    channels=st.integers(1, 3),
    blocks=st.lists(st.integers(100, 3_000), min_size=1, max_size=4),
)
def test_blocks_do_not_change_what_is_heard(
    causal_model: Path, samples: int, channels: int, blocks: list[int]
) -> None:
    denoiser = Denoiser(causal_model)
    audio = noise(channels, samples)
    whole = run(denoiser, audio, [10**6])
    np.testing.assert_allclose(run(denoiser, audio, blocks), whole, atol=SAME)


def test_single_samples_are_blocks(causal_model: Path) -> None:
    audio = noise(1, 1_500)
    denoiser = Denoiser(causal_model)
    np.testing.assert_allclose(run(denoiser, audio, [1]), run(denoiser, audio, [10**6]), atol=SAME)


@pytest.mark.slow
@pytest.mark.parametrize("model", SHIPPED)
def test_blocks_do_not_change_what_shipped_models_give(model: str) -> None:
    denoiser = Denoiser(model)
    audio = noise(2, 90_000)
    audio[:, 40_000:41_000] *= 30
    whole = run(denoiser, audio, [10**6])
    assert np.abs(whole).max() > SAME
    for blocks in ([256], [4_000, 1, 33]):
        np.testing.assert_allclose(run(denoiser, audio, blocks), whole, atol=SAME)


@pytest.mark.slow
@pytest.mark.parametrize("model", SHIPPED)
def test_the_latency_is_what_a_stream_says(model: str) -> None:
    """A change of the input from one moment on changes no output before that moment's own place."""
    denoiser = Denoiser(model, threads=1)
    audio, change = noise(1, 60_000), 30_000
    other = audio.copy()
    other[:, change:] = noise(1, 30_000, seed=5)
    latency = denoiser.stream(RATE).latency
    outputs = []
    for sound in (audio, other):
        stream = denoiser.stream(RATE)
        outputs.append(np.concatenate([stream.feed(sound), stream.flush()], axis=1)[0])
    different = np.flatnonzero(outputs[0] != outputs[1])
    # As outputs come: nothing is felt before it went in, and something soon after.
    assert change <= different[0] <= change + latency
    assert denoiser.stream(48_000).latency_ms == pytest.approx(1000 * latency / 48_000)


@pytest.mark.slow
@pytest.mark.parametrize("model", SHIPPED)
def test_shipped_models_do_live_nearly_what_they_do_offline(model: str) -> None:
    """Tones in noise: the noise goes, the tones stay, at their place."""
    rng = np.random.default_rng(0)
    time_s = np.arange(8 * RATE) / RATE
    call = 0.3 * np.sin(2 * np.pi * 3_000 * time_s) * (time_s % 1.0 < 0.3)
    audio = (call + 0.1 * rng.standard_normal(len(time_s))).astype(np.float32)[None]
    denoiser = Denoiser(model)
    live, offline = run(denoiser, audio, [RATE])[0], denoiser.denoise(audio, RATE)[0]

    def gain_db(estimate: np.ndarray) -> float:
        error = [np.mean((x[RATE:] - call[RATE:]) ** 2) for x in (audio[0], estimate)]
        return float(10 * np.log10(error[0] / error[1]))

    assert gain_db(live) > max(3.0, gain_db(offline) - 3.0)


def test_channels_and_streams_are_independent(causal_model: Path) -> None:
    denoiser = Denoiser(causal_model)
    audio = noise(3, 6_000)
    together = run(denoiser, audio, [500])
    for channel in range(3):
        alone = run(denoiser, audio[channel : channel + 1], [500])
        np.testing.assert_allclose(together[channel], alone[0], atol=SAME)
    one, other = denoiser.stream(RATE), denoiser.stream(RATE)
    mixed = [(one.feed(audio[0, i : i + 500]), other.feed(audio[1, i : i + 500]))
             for i in range(0, 6_000, 500)]  # fmt: skip
    for index, stream in enumerate((one, other)):
        joined = np.concatenate([*(pair[index] for pair in mixed), stream.flush()])
        np.testing.assert_allclose(joined[stream.latency :], together[index], atol=SAME)
    with ThreadPoolExecutor(3) as pool:
        parallel = pool.map(lambda c: run(denoiser, audio[c : c + 1], [500]), range(3))
        for channel, heard in enumerate(parallel):
            np.testing.assert_allclose(heard[0], together[channel], atol=SAME)


@pytest.mark.parametrize("dtype", ["int16", "int32", "float64", "uint8"])
def test_dtype_and_scale_are_kept(causal_model: Path, dtype: str) -> None:
    denoiser = Denoiser(causal_model)
    audio = noise(1, 4_000)[0]
    whole = run(denoiser, audio[None], [4_000])[0]
    stream = denoiser.stream(RATE)
    scale = {"int16": 2**15, "int32": 2**31, "uint8": 2**7}.get(dtype, 1)
    middle = 128 if dtype == "uint8" else 0
    rounded = np.rint if scale > 1 else np.asarray
    block = rounded(audio.astype(np.float64) * scale + middle).astype(dtype)
    joined = np.concatenate([stream.feed(block), stream.flush()])[stream.latency :]
    assert joined.dtype == np.dtype(dtype)
    tolerance = 0.1 if dtype == "uint8" else 2e-3
    np.testing.assert_allclose((joined.astype(float) - middle) / scale, whole, atol=tolerance)


def test_mix_zero_only_delays(causal_model: Path) -> None:
    audio = noise(2, 3_000)
    stream = Denoiser(causal_model).stream(RATE, 2, mix=0.0)
    joined = np.concatenate([stream.feed(audio), stream.flush()], axis=1)
    np.testing.assert_allclose(joined[:, stream.latency :], audio, atol=1e-7)


def test_silence_stays_silent_and_ends(causal_model: Path) -> None:
    audio = np.zeros((1, 20_000), np.float32)
    assert not run(Denoiser(causal_model), audio, [700]).any()


def test_what_is_no_block_is_refused(tiny_model: Path) -> None:
    denoiser = Denoiser(tiny_model)
    stream = denoiser.stream(RATE, 2)
    with pytest.raises(AudioValueError, match="2 channels"):
        stream.feed(noise(3, 10))
    with pytest.raises(AudioValueError, match="NaN"):
        stream.feed(np.full((2, 5), np.nan))
    with pytest.raises(AudioValueError, match="1e30"):
        stream.feed(np.full((2, 5), 1e35))
    stream.feed(noise(2, 10))
    stream.flush()
    with pytest.raises(OptionError, match="has ended"):
        stream.feed(noise(2, 10))
    with pytest.raises(AudioValueError, match="0 channels"):
        denoiser.stream(RATE, 0)
    with pytest.raises(AudioValueError, match="sample rate"):
        denoiser.stream(5.0)
    with pytest.raises(OptionError, match="mix"):
        denoiser.stream(RATE, mix=3.0)


def test_models_that_hear_recordings_whole_have_no_stream() -> None:
    pytest.importorskip("noisereduce")
    with pytest.raises(OptionError, match="whole recordings only"):
        Denoiser("noisereduce").stream(RATE)


# --- short windows, level ------------------------------------------------------------------------


@given(
    samples=st.integers(0, 300),
    block=st.integers(1, 90),
    window=st.builds(
        Window,
        left=st.integers(0, 30),
        hop=st.integers(8, 40),
        fade=st.integers(0, 8),
    ),
)
def test_windows_join_without_a_trace(samples: int, block: int, window: Window) -> None:
    class Identity:
        def run(self, batch: Block, sample_rate: float) -> Block:
            assert batch.shape[1] == window.left + window.fresh
            return batch.copy()

    audio = noise(2, samples)
    stage = Windowed(Identity(), window, 2, 1.0)
    parts = []
    for start in range(0, samples, block):
        parts.append(stage.push(audio[:, start : start + block]))
        behind = min(start + block, samples) - sum(part.shape[1] for part in parts)
        assert behind <= window.latency
    joined = np.concatenate([np.zeros((2, 0)), *parts, stage.flush()], axis=1)
    np.testing.assert_allclose(joined, audio, atol=1e-6)


def test_a_model_without_steps_is_heard_in_short_windows(causal_model: Path) -> None:
    """A causal network gives the same in either way, but for where it starts afresh."""
    denoiser = Denoiser(causal_model)
    with_steps = denoiser.stream(RATE)
    denoiser.card = dataclasses.replace(denoiser.card, steps_sha256="")
    denoiser._stepper = None
    without = denoiser.stream(RATE)
    assert with_steps.latency < without.latency == HOP + FADE - 1
    audio = noise(1, 12_000)
    assert run(denoiser, audio, [700]).shape == audio.shape


@settings(max_examples=25, deadline=None)
@given(
    samples=st.integers(0, 3_000),
    block=st.integers(1, 700),
    frame=st.integers(1, 300),
    first=st.integers(1, 300),
)
def test_running_level_is_undone_whatever_the_blocks(
    samples: int, block: int, frame: int, first: int
) -> None:
    audio = noise(1, samples) * 3 + 1
    heard = []
    for size in (block, 10**6):
        stage = RunningLevel(Same(), 1, frame, min(first, frame))
        parts = [stage.push(audio[:, i : i + size]) for i in range(0, samples, size)]
        heard.append(np.concatenate([np.zeros((1, 0)), *parts, stage.flush()], axis=1))
    assert heard[0].shape == audio.shape
    np.testing.assert_allclose(heard[0], heard[1], atol=1e-5)
    if samples > 500:
        # The mean is taken out and not put back.
        residue = (audio - heard[0])[:, 300:].mean()
        assert residue == pytest.approx(1.0, abs=0.2)


def test_running_level_knows_nothing_of_what_comes() -> None:
    heard: list[Block] = []

    class Listener(Same):
        def push(self, block: Block) -> Block:
            heard.append(block)
            return block

    audio = noise(1, 100_000)
    audio[:, 50_000:] *= 100
    stage = RunningLevel(Listener(), 1, 256, 256)
    stage.push(audio)
    levelled = np.concatenate(heard, axis=1)[0]
    assert np.std(levelled[:49_900]) == pytest.approx(1.0, abs=0.05)
    assert np.std(levelled[95_000:]) == pytest.approx(1.0, abs=0.1)
