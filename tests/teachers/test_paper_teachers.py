"""The paper's teachers: weights in the layout of the public files load; others are refused."""

from __future__ import annotations

import dataclasses
import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from biodenoising.errors import TeacherError
from biodenoising.storage import sha256_of
from biodenoising.teachers import cleanunet_dns, demucs_dns48
from biodenoising.teachers.base import Entry, Wave, run_teacher
from biodenoising.teachers.expansion import denoise_at
from biodenoising.teachers.registry import find_teacher
from biodenoising.teachers.waveform import waveform_entry
from biodenoising.teachers.weights import WeightsFile

torch = pytest.importorskip("torch")

# REFERENCE 3.1 and 3.2: parameters of the public models, and the shapes of some of their tensors.
PUBLIC = {
    "demucs-dns48": (
        demucs_dns48,
        18_867_937,
        r"(encoder|decoder)\.[0-4]\.[02]\.(weight|bias)|"
        r"lstm\.lstm\.(weight|bias)_(ih|hh)_l[01]",
        {
            "encoder.0.0.weight": (48, 1, 8),
            "encoder.4.2.weight": (1536, 768, 1),
            "decoder.0.2.weight": (768, 384, 8),
            "decoder.4.2.bias": (1,),
            "lstm.lstm.weight_ih_l1": (3072, 768),
        },
    ),
    "cleanunet-dns": (
        cleanunet_dns,
        46_071_937,
        r"(encoder|decoder)\.[0-7]\.[02]\.(weight|bias)|tsfm_conv[12]\.(weight|bias)|"
        r"tsfm_encoder\.layer_norm\.(weight|bias)|tsfm_encoder\.layer_stack\.[0-4]\."
        r"(slf_attn\.(w_qs|w_ks|w_vs|fc)\.weight|slf_attn\.layer_norm\.(weight|bias)|"
        r"pos_ffn\.(w_1|w_2|layer_norm)\.(weight|bias))",
        {
            "encoder.0.0.weight": (64, 1, 4),
            "encoder.7.2.weight": (1536, 768, 1),
            "decoder.7.2.weight": (64, 1, 4),
            "tsfm_conv1.weight": (512, 768, 1),
            "tsfm_encoder.layer_stack.4.pos_ffn.w_1.weight": (2048, 512),
            "tsfm_encoder.layer_stack.0.slf_attn.w_qs.weight": (512, 512),
        },
    ),
}


def _small_demucs() -> Any:
    from biodenoising.models.demucs import Demucs, DemucsSettings

    return Demucs(DemucsSettings(hidden=4))


def _small_cleanunet() -> Any:
    from biodenoising.models.cleanunet import CleanUNet, CleanUNetSettings

    return CleanUNet(
        CleanUNetSettings(hidden=4, max_hidden=16, width=16, inner_width=32, blocks=2, heads=2)
    )


SMALL = {"demucs": (_small_demucs, ()), "cleanunet": (_small_cleanunet, ("model_state_dict",))}


def _entry(folder: Path, kind: str, *, zipped: bool = True) -> tuple[Entry, Any]:
    """Save a small network as its authors would have; return the entry and the network."""
    torch.manual_seed(8)
    build, nest = SMALL[kind]
    network = build().eval()
    record = dict(network.state_dict())
    for key in nest:
        record = {"iter": 10, key: record, "optimizer_state_dict": {"state": {}}}
    torch.save(record, folder / "w.th", _use_new_zipfile_serialization=zipped)
    file = WeightsFile("w.th", "https://example.invalid/w.th", sha256_of(folder / "w.th"), 0.1)
    return waveform_entry(kind, "none", "Small.", file, build), network


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("kind", sorted(SMALL))
def test_public_layouts_load(nowhere: Path, noisy: Wave, kind: str, zipped: bool) -> None:
    entry, network = _entry(nowhere, kind, zipped=zipped)
    assert entry.missing() == ""
    teacher = entry.load(1)
    clean = teacher.enhance(noisy, 16_000)
    with torch.no_grad():
        expected = network(torch.from_numpy(noisy)[None, None])[0, 0].numpy()
    assert np.abs(clean - expected).max() < 1e-5
    assert np.abs(clean).max() > 1e-3
    again = denoise_at(teacher, (0.01 * noisy).astype(np.float32), 48_000, 1.5)
    assert again.shape == noisy.shape
    assert run_teacher(teacher, noisy[:3], 16_000).shape == (3,)


@pytest.mark.parametrize("kind", sorted(SMALL))
def test_the_input_is_left_as_it_was(nowhere: Path, noisy: Wave, kind: str) -> None:
    """The published CleanUNet overwrote its input, so that a second pass heard another sound."""
    teacher = _entry(nowhere, kind)[0].load(1)
    before = noisy.copy()
    first = teacher.enhance(noisy, 16_000)
    assert np.array_equal(noisy, before)
    assert np.array_equal(teacher.enhance(noisy, 16_000), first)


def test_weights_of_another_network_are_refused(nowhere: Path) -> None:
    entry, _ = _entry(nowhere, "demucs")
    larger = partial(_build_larger)
    other = waveform_entry("t", "none", "Larger.", _file(nowhere), larger)
    assert entry.load(1)
    with pytest.raises(TeacherError, match="teacher t: its weights do not fit its network"):
        other.load(1)


def _build_larger() -> Any:
    from biodenoising.models.demucs import Demucs, DemucsSettings

    return Demucs(DemucsSettings(hidden=6))


def _file(folder: Path) -> WeightsFile:
    return WeightsFile("w.th", "https://example.invalid/w.th", sha256_of(folder / "w.th"), 0.1)


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_the_networks_have_the_public_layout(name: str) -> None:
    module, parameters, names, shapes = PUBLIC[name]
    state = module._build().state_dict()
    assert sum(value.numel() for value in state.values()) == parameters
    assert [key for key in state if not re.fullmatch(names, key)] == []
    for key, shape in shapes.items():
        assert tuple(state[key].shape) == shape


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_missing_weights_say_how_to_get_them(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    from requests import ConnectionError as Unreachable

    def unreachable(*arguments: object, **options: object) -> None:
        raise Unreachable

    monkeypatch.setattr("pooch.HTTPDownloader.__call__", unreachable)
    file = PUBLIC[name][0].WEIGHTS
    with pytest.raises(TeacherError, match=f"teacher {name}: its weights could not be") as caught:
        find_teacher(name)
    assert file.url in str(caught.value)
    assert file.path in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_files_of_full_size_load_and_run(
    nowhere: Path, noisy: Wave, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    module = PUBLIC[name][0]
    path = nowhere / module.WEIGHTS.path
    path.parent.mkdir(parents=True)
    torch.save({"model_state_dict": module._build().state_dict()}, path)
    file = dataclasses.replace(module.WEIGHTS, sha256=sha256_of(path))
    entry = module.ENTRIES[0]
    teacher = waveform_entry(name, entry.licence, "", file, module._build).load(1)
    for expansion in (1.0, 2.0):
        clean = denoise_at(teacher, noisy, 16_000, expansion)
        assert clean.shape == noisy.shape
        assert np.isfinite(clean).all()
