"""The networks are the published ones in size, lengths and state dicts; exports are faithful."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy
import torch
from hypothesis import given
from hypothesis import strategies as st

from biodenoising.errors import ModelError
from biodenoising.inference.runtimes import OnnxRuntime, TorchRuntime
from biodenoising.models.cards import Card, Chunking
from biodenoising.models.cleanunet import CleanUNet, CleanUNetSettings
from biodenoising.models.demucs import Demucs, DemucsSettings
from biodenoising.models.masknet import (
    COMPRESSION,
    SMALLEST,
    FrequencyDeconv,
    MaskNet,
    MaskNetSettings,
    apply_masks,
    features_of,
)
from biodenoising.models.networks import build_network, save_checkpoint
from biodenoising.models.spectra import AT_ONCE, Grid, analyze, synthesize

torch.manual_seed(0)
SMALL_MASKS = {"channels": (4, 6, 8), "across": 6, "along": 8}
SMALL = {
    "masknet": MaskNet(MaskNetSettings(**SMALL_MASKS)),
    "demucs": Demucs(DemucsSettings(hidden=4)),
    "demucs-both-ways": Demucs(DemucsSettings(hidden=4, causal=False)),
    "cleanunet": CleanUNet(
        CleanUNetSettings(hidden=4, max_hidden=16, width=16, heads=2, inner_width=32, blocks=2)
    ),
}


def parameters(network: torch.nn.Module) -> int:
    return sum(weight.numel() for weight in network.parameters())


def card(name: str, architecture: str) -> Card:
    chunking = Chunking(64_000, 4_096, 1_024, warm_up=4_096)
    return Card(name, architecture, "for tests", "MIT", 16_000, chunking)


@pytest.mark.parametrize(
    ("settings", "count"),
    [
        (DemucsSettings(hidden=48), 18_867_937),
        (DemucsSettings(hidden=64), 33_533_569),
        (DemucsSettings(hidden=48, causal=False), 34_216_417),
        (DemucsSettings(hidden=64, causal=False, stride=2, upsample=2), 60_813_953),
    ],
)
def test_demucs_has_the_published_size(settings: DemucsSettings, count: int) -> None:
    assert parameters(Demucs(settings)) == count


@pytest.mark.parametrize(("blocks", "count"), [(5, 46_071_937), (3, 39_771_265)])
def test_cleanunet_has_the_published_size(blocks: int, count: int) -> None:
    assert parameters(CleanUNet(CleanUNetSettings(blocks=blocks))) == count


def test_valid_lengths_are_the_published_ones() -> None:
    demucs, cleanunet = SMALL["demucs"], SMALL["cleanunet"]
    assert [demucs.valid_length(n) for n in (1, 16_000, 64_000)] == [597, 16_213, 64_085]
    assert [cleanunet.valid_length(n) for n in (16_000, 64_000, 160_000)] == [
        16_126,
        64_254,
        160_254,
    ]


@given(st.integers(1, 200_000))
def test_valid_length_is_a_fixed_point_and_no_shorter(length: int) -> None:
    for network in (SMALL["demucs"], SMALL["cleanunet"]):
        valid = network.valid_length(length)
        assert valid >= length
        assert network.valid_length(valid) == valid


def dns48_layout() -> dict[str, tuple[int, ...]]:
    """The shapes of the public dns48 state dict, written down from its documentation."""
    shapes: dict[str, tuple[int, ...]] = {}
    inner = 1
    for level, width in enumerate((48, 96, 192, 384, 768)):
        decoder = 4 - level
        shapes[f"encoder.{level}.0.weight"] = (width, inner, 8)
        shapes[f"encoder.{level}.0.bias"] = (width,)
        shapes[f"encoder.{level}.2.weight"] = (2 * width, width, 1)
        shapes[f"encoder.{level}.2.bias"] = (2 * width,)
        shapes[f"decoder.{decoder}.0.weight"] = (2 * width, width, 1)
        shapes[f"decoder.{decoder}.0.bias"] = (2 * width,)
        shapes[f"decoder.{decoder}.2.weight"] = (width, inner, 8)
        shapes[f"decoder.{decoder}.2.bias"] = (inner,)
        inner = width
    for layer in (0, 1):
        for kind in ("ih", "hh"):
            shapes[f"lstm.lstm.weight_{kind}_l{layer}"] = (3072, 768)
            shapes[f"lstm.lstm.bias_{kind}_l{layer}"] = (3072,)
    return shapes


def test_a_state_dict_in_the_dns48_layout_loads_and_runs() -> None:
    generator = torch.Generator().manual_seed(0)
    weights = {k: 0.01 * torch.randn(s, generator=generator) for k, s in dns48_layout().items()}
    network = Demucs()
    network.load_state_dict(weights)
    with torch.inference_mode():
        clean = network(torch.randn(1, 1, 3_000, generator=generator))
    assert clean.shape == (1, 1, 3_000)
    assert torch.isfinite(clean).all()


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("samples", [1, 2, 597, 5_000])
def test_any_length_comes_back(name: str, samples: int) -> None:
    noisy = torch.randn(2, 1, samples)
    before = noisy.clone()
    with torch.inference_mode():
        clean = SMALL[name].eval()(noisy)
    assert clean.shape == noisy.shape
    assert torch.isfinite(clean).all()
    assert torch.equal(noisy, before), "the input must not be changed in place"


def test_networks_ignore_the_level() -> None:
    generator = torch.Generator().manual_seed(0)
    noisy = torch.randn(1, 1, 4_000, generator=generator) * 100  # far above the floor of the level
    for network in SMALL.values():
        with torch.inference_mode():
            loud, quiet = network.eval()(noisy), network.eval()(noisy / 4) * 4
        assert (loud - quiet).abs().max() < 1e-4 * loud.abs().max()


def test_causal_networks_do_not_hear_the_future() -> None:
    demucs = SMALL["demucs"].eval()
    noisy = torch.randn(1, 1, demucs.valid_length(8_000))
    changed = noisy.clone()
    changed[..., 6_000:] = torch.randn_like(changed[..., 6_000:])
    with torch.inference_mode():
        difference = (demucs.core(noisy) - demucs.core(changed)).abs()[0, 0]
    assert difference[: 6_000 - 700].max() < 1e-6  # one window of 597 and the resampling filter
    assert difference[6_000:].max() > 1e-3


def test_masks_are_taken_from_spectra_that_give_the_waveform_back() -> None:
    masknet = SMALL["masknet"]
    # Without the transforms' highest bins, which carry nothing in a recording.
    noisy = low_passed((2 * AT_ONCE + 22) * 256)
    with torch.inference_mode():
        spectra = masknet.analyze(torch.from_numpy(noisy)[:, None])
        both = masknet.synthesize(spectra, noisy.shape[1])[:, 0].numpy()
    np.testing.assert_allclose(both, 2 * noisy, atol=5e-3)
    grid = Grid(512, 2048, 256)
    np.testing.assert_allclose(analyze(noisy, grid), spectra.numpy(), atol=1e-5)
    np.testing.assert_allclose(synthesize(spectra.numpy(), noisy.shape[1], grid), both, atol=1e-5)


def low_passed(samples: int) -> np.ndarray:
    white = np.random.default_rng(0).standard_normal((2, samples))
    sos = scipy.signal.butter(8, 0.8, output="sos")
    return scipy.signal.sosfilt(sos, white).astype(np.float32)


@pytest.mark.parametrize(
    "settings", [{"short": 500}, {"long": 768}, {"channels": (4,) * 9}, {"floor": 1}]
)
def test_impossible_masknets_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="masknet: arguments that it does not take"):
        build_network("masknet", settings)


def test_the_floor_of_a_masknet_is_what_it_leaves_of_everything() -> None:
    free = build_network("masknet", SMALL_MASKS).eval()
    floored = build_network("masknet", {**SMALL_MASKS, "floor": 0.25}).eval()
    floored.load_state_dict(free.state_dict())
    noisy = torch.from_numpy(low_passed(20 * 256))[:, None]
    with torch.inference_mode():
        expected = 0.75 * free.core(noisy) + 0.25 * noisy
        np.testing.assert_allclose(floored.core(noisy), expected, atol=5e-3)


def test_the_masknet_hears_no_future_where_it_is_causal() -> None:
    masknet = build_network("masknet", {**SMALL_MASKS, "causal": True}).eval()
    noisy = torch.randn(1, 1, 8_192)
    changed = noisy.clone()
    changed[..., 6_000:] = torch.randn_like(changed[..., 6_000:])
    with torch.inference_mode():
        difference = (masknet.core(noisy) - masknet.core(changed)).abs()[0, 0]
    assert difference[: 6_000 - 2_048].max() < 1e-6  # a frame of the long transform
    assert difference[6_000:].max() > 1e-3


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("half", [True, False])
def test_both_runtimes_agree(name: str, half: bool, tmp_path: Path) -> None:
    architecture = name.split("-")[0]
    saved = save_checkpoint(SMALL[name], card(name, architecture), tmp_path, half=half)
    onnx, torch_ = OnnxRuntime(saved, 1), TorchRuntime(saved, "cpu")
    noisy = np.random.default_rng(0).standard_normal((3, 7_000)).astype(np.float32)
    np.testing.assert_allclose(onnx.run(noisy, 1), torch_.run(noisy, 1), atol=1e-4)
    assert saved.graph_path.stat().st_size < 150_000, "the graph must not hold the weights"


def test_unknown_networks_and_arguments_are_refused() -> None:
    with pytest.raises(ModelError, match="no network"):
        build_network("wavenet", {})
    with pytest.raises(ModelError, match="does not take"):
        build_network("demucs", {"hiden": 4})
    with pytest.raises(ModelError, match="does not take"):
        build_network("demucs", {"upsample": 3})


@pytest.mark.parametrize("last", [False, True])
def test_a_deconvolution_out_of_training_is_the_transposed_one_with_its_norm(last: bool) -> None:
    layer = FrequencyDeconv(6, 5, last=last)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.uniform_(-1, 1)
        if not last:
            layer[1].running_mean.uniform_(-1, 1)
            layer[1].running_var.uniform_(0.1, 2)
    layer.eval()
    x = torch.randn(2, 6, 7, 8)
    torch.testing.assert_close(
        layer(x), torch.nn.Sequential.forward(layer, x), rtol=1e-4, atol=1e-5
    )


def test_features_are_compressed_moduli_and_the_spectra_with_such_moduli() -> None:
    spectra = torch.randn(2, 2, 3, 4, 5)
    modulus = (spectra.square().sum(1) + SMALLEST).sqrt()
    unit = spectra / modulus[:, None]
    compressed = modulus**COMPRESSION
    parts = [compressed, unit[:, 0] * compressed, unit[:, 1] * compressed]
    torch.testing.assert_close(features_of(spectra), torch.cat(parts, dim=1))


@pytest.mark.parametrize("floor", [0.0, 0.2])
def test_masks_are_bounded_gated_and_floored(floor: float) -> None:
    """Against the formulas in complex numbers, with the gate as a softmax of its two sides."""
    spectra, raw = torch.randn(2, 2, 3, 4, 5), 3 * torch.randn(2, 8, 4, 5)
    masks = torch.complex(raw[:, :3], raw[:, 3:6])
    gate = raw[:, 6:].softmax(1)[:, [0, 1, 1]]
    masks = masks / masks.abs() * masks.abs().tanh() * gate * (1 - floor)
    masks[:, 0] += floor
    expected = torch.complex(spectra[:, 0], spectra[:, 1]) * masks
    masked = apply_masks(spectra, raw, floor)
    torch.testing.assert_close(
        torch.complex(masked[:, 0], masked[:, 1]), expected, rtol=1e-4, atol=1e-5
    )
