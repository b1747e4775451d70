"""Damaged and hostile model files: refused in one line, whatever the damage."""

from __future__ import annotations

import json
import pickle
import random
import shutil
from pathlib import Path

import numpy as np
import pytest

from biodenoising import Denoiser
from biodenoising.errors import ModelError
from biodenoising.storage import sha256_of

SUFFIXES = (".json", ".safetensors", ".onnx")
DAMAGES = [
    "empty", "cut 1", "cut 10", "cut 50", "cut 90", "cut 99", "header flip", "data flip", "zeros",
    "text", "pickle", "twice", "nested", "huge header", "missing", "a folder",
]  # fmt: skip


class Bomb:
    """Unpickled, it would leave a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def damage(path: Path, how: str, trap: Path) -> None:
    whole, rng = path.read_bytes(), random.Random(how)
    raw = bytearray(whole)
    word, _, number = how.rpartition(" ")
    if how.endswith("flip"):
        low, high = (0, 64) if word == "header" else (64, len(raw))
        raw[rng.randrange(low, high)] ^= 0x80
    elif word == "cut":
        raw = raw[: len(raw) * int(number) // 100]
    elif how in ("missing", "a folder"):
        path.unlink()
        if how == "a folder":
            path.mkdir()
        return
    else:
        raw = bytearray({
            "empty": b"", "zeros": bytes(len(raw)), "text": b"these are field notes\n" * 50,
            "pickle": pickle.dumps(Bomb(trap)), "twice": whole * 2, "nested": b"[" * 100_000,
            "huge header": (1 << 40).to_bytes(8, "little") + whole[8:],
        }[how])  # fmt: skip
    path.write_bytes(raw)


def own(model: Path, folder: Path) -> Path:
    for suffix in SUFFIXES:
        shutil.copy(Path(model).with_suffix(suffix), folder / f"tiny{suffix}")
    return folder / "tiny.json"


def vouch(card: Path) -> None:
    """Let the card name the damaged files' own hashes: a stranger who made both."""
    record = json.loads(card.read_text())
    for key, suffix in (("weights_sha256", ".safetensors"), ("graph_sha256", ".onnx")):
        path = card.with_suffix(suffix)
        if path.is_file():
            record[key] = sha256_of(path)
    card.write_text(json.dumps(record))


@pytest.mark.parametrize(
    "vouched", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["damaged", "hostile"]
)
@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_damaged_model_is_refused(tiny_model, tmp_path, suffix, how, vouched) -> None:
    card, trap = own(tiny_model, tmp_path), tmp_path / "trap"
    damage(card.with_suffix(suffix), how, trap)
    if vouched and suffix != ".json":
        vouch(card)
    noise = np.random.default_rng(0).uniform(-0.3, 0.3, 9_000).astype(np.float32)
    refusal = ""
    try:
        after = Denoiser(card).denoise(noise, 16_000)
    except ModelError as error:
        refusal = str(error)
    if refusal:
        assert refusal.isprintable()
    else:
        # A flipped bit may lie where nothing depends on it, or make another honest number.
        assert how in ("header flip", "data flip", "twice")
        assert vouched or suffix == ".json"
        assert after.shape == noise.shape
    assert not trap.exists()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", "../tiny"), ("name", 5), ("architecture", "os.system"), ("architecture", None),
        ("sample_rate", "16k"), ("sample_rate", None), ("chunking", {}), ("chunking", []),
        ("chunking", {"samples": 10**12}), ("arguments", []), ("arguments", {"hidden": "4"}),
        ("arguments", {"hidden": 10**9}), ("arguments", {"depth": -1}), ("parameters", -1),
        ("parameters", "many"), ("weights_sha256", ""), ("graph_sha256", None), ("extra", 1),
        ("sample_rate", 0), ("sample_rate", -5), ("sample_rate", 10**30),
    ],
)  # fmt: skip
def test_a_card_with_nonsense_is_refused(tiny_model, tmp_path, key, value) -> None:
    card = own(tiny_model, tmp_path)
    record = json.loads(card.read_text())
    record[key] = {**record[key], **value} if key == "chunking" and value else value
    card.write_text(json.dumps(record))
    with pytest.raises(ModelError) as caught:
        Denoiser(card).denoise(np.zeros(9_000, np.float32), 16_000)
    assert str(caught.value).isprintable()
