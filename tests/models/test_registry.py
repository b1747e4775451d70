"""Checkpoints are found, checked and refused with a sentence that says what to do."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from biodenoising.errors import ModelError
from biodenoising.inference.runtimes import OnnxRuntime, TorchRuntime
from biodenoising.models.registry import find_model, list_models, load_weights, verify_model
from biodenoising.storage import sha256_of


def rewrite(card: Path, **changes: object) -> None:
    record = json.loads(card.read_text())
    record.update(changes)
    card.write_text(json.dumps(record))


def rewrite_weights(card: Path, weights: dict[str, np.ndarray]) -> None:
    path = card.with_suffix(".safetensors")
    save_file(weights, path)
    total = sum(array.size for array in weights.values())
    rewrite(card, weights_sha256=sha256_of(path), parameters=total)


@pytest.fixture
def own_model(tiny_model: Path, tmp_path: Path) -> Path:
    """A copy of the small checkpoint that a test may damage."""
    for suffix in (".json", ".safetensors", ".onnx"):
        source = Path(tiny_model).with_suffix(suffix)
        (tmp_path / source.name).write_bytes(source.read_bytes())
    return tmp_path / Path(tiny_model).with_suffix(".json").name


def test_every_shipped_model_is_whole() -> None:
    names = list_models()
    assert names[0] == "compact"
    assert {"noisereduce", "noisereduce-nonstationary"} <= set(names)
    for name in names:
        card = find_model(name)
        verify_model(card)
        assert card.licence
        if card.parameters:
            assert card.training, f"{name} does not say what it was trained on"


@pytest.mark.parametrize("suffix", [".json", ".safetensors", ".onnx"])
def test_a_model_is_found_by_any_of_its_files(own_model: Path, suffix: str) -> None:
    assert find_model(own_model.with_suffix(suffix)).parameters > 0


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ModelError, match=r"no model 'demux'; choose one of compact, .*noisereduce"):
        find_model("demux")


def test_a_pickle_is_never_loaded(tmp_path: Path) -> None:
    path = tmp_path / "evil.th"
    path.write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(ModelError, match="can run code"):
        find_model(path)


def test_a_pickle_by_another_name_is_refused(own_model: Path) -> None:
    weights = own_model.with_suffix(".safetensors")
    weights.write_bytes(pickle.dumps({"a": 1}))
    rewrite(own_model, weights_sha256=sha256_of(weights))
    with pytest.raises(ModelError, match="not a safetensors file"):
        load_weights(find_model(own_model))


@pytest.mark.parametrize("suffix", [".safetensors", ".onnx"])
def test_a_damaged_file_is_refused(own_model: Path, suffix: str) -> None:
    path = own_model.with_suffix(suffix)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ModelError, match="damaged"):
        verify_model(find_model(own_model))


@pytest.mark.parametrize("suffix", [".safetensors", ".onnx"])
def test_a_missing_file_is_named(own_model: Path, suffix: str) -> None:
    own_model.with_suffix(suffix).unlink()
    with pytest.raises(ModelError, match=suffix):
        verify_model(find_model(own_model))


def test_wrong_shapes_are_refused_by_both_runtimes(own_model: Path) -> None:
    weights = load_file(own_model.with_suffix(".safetensors"))
    key = "encoder.0.0.weight"
    weights[key] = np.zeros((*weights[key].shape[:-1], 9), weights[key].dtype)
    rewrite_weights(own_model, weights)
    for runtime in (OnnxRuntime, lambda card: TorchRuntime(card, "cpu")):
        with pytest.raises(ModelError, match="do not fit"):
            runtime(find_model(own_model))


def test_a_missing_tensor_is_refused_by_both_runtimes(own_model: Path) -> None:
    weights = load_file(own_model.with_suffix(".safetensors"))
    del weights["encoder.0.0.bias"]
    rewrite_weights(own_model, weights)
    for runtime in (OnnxRuntime, lambda card: TorchRuntime(card, "cpu")):
        with pytest.raises(ModelError, match="do not fit"):
            runtime(find_model(own_model))


def test_weights_that_are_not_finite_are_refused(own_model: Path) -> None:
    weights = load_file(own_model.with_suffix(".safetensors"))
    weights["encoder.0.0.bias"][0] = np.nan
    rewrite_weights(own_model, weights)
    with pytest.raises(ModelError, match="not finite"):
        load_weights(find_model(own_model))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "JSON is damaged"),
        ("[]", "not a model card"),
        ("{}", "not a model card"),
        ('{"name": "x", "chunking": {"samples": 1}}', "not a model card"),
    ],
)
def test_a_damaged_card_is_refused(own_model: Path, text: str, message: str) -> None:
    own_model.write_text(text)
    with pytest.raises(ModelError, match=message):
        find_model(own_model)


def test_a_card_of_another_architecture_or_name_is_refused(own_model: Path) -> None:
    rewrite(own_model, architecture="wavenet")
    with pytest.raises(ModelError, match="unknown architecture"):
        find_model(own_model)
    rewrite(own_model, architecture="demucs", name="other")
    with pytest.raises(ModelError, match="must agree"):
        find_model(own_model)
