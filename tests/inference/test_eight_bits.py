"""Products of 8-bit integers: close to those of floats, and left alone where they are not."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from biodenoising import Denoiser
from biodenoising.errors import ModelError
from biodenoising.inference import runtimes
from biodenoising.inference.eight_bits import FRAME, exact_products, steady
from biodenoising.inference.runtimes import OnnxRuntime
from biodenoising.models.cards import Card, Chunking
from biodenoising.models.int8 import int8_weights, quantize
from biodenoising.models.int8_graph import has_int8, probe_graph
from biodenoising.models.networks import Network, build_network, save_checkpoint
from biodenoising.models.registry import CHECKPOINTS, find_model, verify_model
from biodenoising.storage import sha256_of

SHIPPED = ("demucs", "cleanunet")
SMALL = {
    "demucs": {"hidden": 8, "depth": 3},
    "cleanunet": {
        "hidden": 8, "max_hidden": 16, "depth": 4, "blocks": 2, "heads": 2, "width": 16,
        "inner_width": 32,
    },
}  # fmt: skip
NEEDS_PRODUCTS = pytest.mark.skipif(
    not exact_products(), reason="the processor cuts sums of 8-bit products off"
)


def noise(samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(samples).astype(np.float32)


def with_click(samples: np.ndarray, level_db: float) -> np.ndarray:
    return np.concatenate([samples, noise(FRAME, 1) * np.float32(10 ** (level_db / 20)), samples])


def checkpoint(architecture: str, folder: Path) -> tuple[Network, Card]:
    torch.manual_seed(3)
    network = build_network(architecture, SMALL[architecture]).eval()
    card = Card(
        architecture, architecture, "a test's", "CC0-1.0", 16_000, Chunking(4_096, 256, 256)
    )
    return network, save_checkpoint(network, card, folder, half=False)


def distance_db(one: np.ndarray, other: np.ndarray) -> float:
    return float(10 * np.log10(np.sum((one - other) ** 2) / np.sum(other**2)))


@NEEDS_PRODUCTS
@pytest.mark.parametrize("architecture", SMALL)
@pytest.mark.parametrize("samples", [1_500, 7_000])
def test_integers_come_close_to_the_floats(architecture, samples, tmp_path) -> None:
    _, card = checkpoint(architecture, tmp_path)
    batch = noise(3 * samples).reshape(3, samples)
    floats, integers = OnnxRuntime(card, 1), OnnxRuntime(card, 1, integers=True)
    assert integers.name == "onnxruntime-int8"
    expected, made = floats.run(batch, 16_000), integers.run(batch, 16_000)
    assert made.shape == expected.shape
    assert not np.array_equal(made, expected)
    assert distance_db(made, expected) < -30


@NEEDS_PRODUCTS
@pytest.mark.parametrize("architecture", SMALL)
def test_every_waveform_has_scales_of_its_own(architecture, tmp_path) -> None:
    runtime = OnnxRuntime(checkpoint(architecture, tmp_path)[1], 2, integers=True)
    quiet, loud = noise(6_000), 30 * noise(6_000, 1)
    both = runtime.run(np.stack([quiet, loud]), 16_000)
    for alone, together in zip((quiet, loud), both, strict=True):
        np.testing.assert_array_equal(runtime.run(alone[None], 16_000)[0], together)


@NEEDS_PRODUCTS
def test_sound_with_a_click_is_computed_in_floats(tmp_path) -> None:
    _, card = checkpoint("demucs", tmp_path)
    batch = with_click(noise(6 * FRAME), 40)[None]
    expected = OnnxRuntime(card, 1).run(batch, 16_000)
    np.testing.assert_array_equal(OnnxRuntime(card, 1, integers=True).run(batch, 16_000), expected)


@NEEDS_PRODUCTS
@pytest.mark.parametrize("name", SHIPPED)
def test_the_shipped_ones_use_them_unless_told_otherwise(name) -> None:
    assert Denoiser(name).runtime == "onnxruntime-int8"
    audio = 0.1 * noise(30_000)
    exact = Denoiser(name, device="onnx")
    assert exact.runtime == "onnxruntime"
    fast = Denoiser(name).denoise(audio, 16_000)
    # Next to nothing is left of noise, so what was heard is the measure.
    error = fast - exact.denoise(audio, 16_000)
    assert distance_db(audio + error, audio) < -50
    np.testing.assert_array_equal(fast, Denoiser(name, threads=1).denoise(audio, 16_000))


def test_other_processors_and_models_compute_in_floats(monkeypatch) -> None:
    assert Denoiser("compact").runtime == "onnxruntime"
    monkeypatch.setattr(runtimes, "exact_products", lambda: False)
    assert Denoiser("demucs").runtime == "onnxruntime"


@given(st.integers(0, 5_000), st.integers(0, 2**31), st.floats(1e-3, 1e3))
def test_noise_is_steady_at_any_level(samples, seed, gain) -> None:
    assert steady(noise(samples, seed) * np.float32(gain)) == (samples >= FRAME)


@given(st.floats(-60, 60))
def test_what_a_click_towers_over_is_not(level_db) -> None:
    assert steady(with_click(noise(8 * FRAME), level_db)) == (level_db < 14) or 12 < level_db < 16


def test_silence_beside_sound_is_not_steady() -> None:
    assert not steady(np.concatenate([np.zeros(4 * FRAME, np.float32), noise(8 * FRAME)]))


def test_columns_are_scaled_to_the_whole_range() -> None:
    matrix = noise(60).reshape(10, 6) * np.array([1, 0, 1e-9, 1e3, 5, 1], np.float32)
    values, scale = quantize(matrix)
    assert values.dtype == np.int8
    np.testing.assert_array_equal(np.abs(values).max(axis=0), [127, 0, 127, 127, 127, 127])
    np.testing.assert_allclose(values * scale, matrix, atol=0.51 * scale.max())
    assert np.all(np.abs(values * scale - matrix) <= 0.501 * scale)


def test_graphs_hold_no_weights_and_the_shipped_ones_are_in_order() -> None:
    for name in SHIPPED:
        card = find_model(name)
        assert card.int8_path.stat().st_size < 60_000
        verify_model(card)
    assert (CHECKPOINTS / "int8.probe.onnx").read_bytes() == probe_graph()


@pytest.mark.parametrize(
    ("architecture", "arguments"),
    [("demucs", {"causal": False}), ("demucs", {"kernel": 6}), ("cleanunet", {"depth": 1})],
)
def test_networks_without_such_a_graph_are_exported_without(
    architecture, arguments, tmp_path
) -> None:
    network = build_network(architecture, SMALL[architecture] | arguments).eval()
    assert not has_int8(network)
    card = Card(
        architecture, architecture, "a test's", "CC0-1.0", 16_000, Chunking(4_096, 256, 256)
    )
    saved = save_checkpoint(network, card, tmp_path, half=False)
    assert not saved.int8_sha256
    assert not saved.int8_path.exists()
    assert OnnxRuntime(saved, 1, integers=True).name == "onnxruntime"


def test_a_checkpoint_without_the_graph_computes_in_floats(tmp_path) -> None:
    _, card = checkpoint("demucs", tmp_path)
    card.int8_path.unlink()
    assert Denoiser(tmp_path / "demucs.json").runtime == "onnxruntime"
    with pytest.raises(ModelError, match="cannot be read"):
        verify_model(card)


@NEEDS_PRODUCTS
def test_a_damaged_graph_and_weights_that_do_not_fit_are_refused(tmp_path) -> None:
    _, card = checkpoint("demucs", tmp_path)
    other = checkpoint("cleanunet", tmp_path)[1]
    with pytest.raises(ModelError, match="damaged"):
        OnnxRuntime(dataclasses.replace(card, int8_sha256="0" * 64), 1, integers=True)
    card.int8_path.write_bytes(other.int8_path.read_bytes())
    path = tmp_path / "demucs.json"
    record = json.loads(path.read_text()) | {"int8_sha256": sha256_of(card.int8_path)}
    path.write_text(json.dumps(record))
    with pytest.raises(ModelError, match="do not fit"):
        Denoiser(path)


def test_weights_without_their_biases_are_refused() -> None:
    with pytest.raises(KeyError):
        int8_weights({"lstm.lstm.weight_ih_l0": noise(64).reshape(16, 4)})
