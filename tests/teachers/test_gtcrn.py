"""GTCRN: the layout of the public weights, and the same sound as the authors' own export."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from biodenoising.errors import TeacherError
from biodenoising.teachers.base import Wave
from biodenoising.teachers.gtcrn import FRAME, HOP, WEIGHTS
from biodenoising.teachers.registry import find_teacher
from biodenoising.teachers.spectra import istft, sqrt_hann, stft
from biodenoising.teachers.weights import fill, load_state

torch = pytest.importorskip("torch")

EXPORT = "gtcrn/gtcrn_simple.onnx"
SAME = 1e-4  # of full scale
PARAMETERS, FIXED = 48_245, 24_576
NORM_EPS = 1e-5


def test_layout_and_size() -> None:
    """REFERENCE: 48,245 parameters, 24,576 of them the fixed bands."""
    from biodenoising.teachers.gtcrn_network import GTCRN

    network = GTCRN()
    assert sum(p.numel() for p in network.parameters()) == PARAMETERS
    assert sum(p.numel() for p in network.erb.parameters()) == FIXED
    shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    assert shapes["encoder.en_convs.2.point_conv1.weight"] == (16, 24, 1, 1)
    assert shapes["decoder.de_convs.0.point_conv1.weight"] == (24, 16, 1, 1)
    assert shapes["decoder.de_convs.4.conv.weight"] == (16, 2, 1, 5)
    assert shapes["dpgrnn2.intra_rnn.rnn2.weight_ih_l0_reverse"] == (12, 8)
    assert shapes["encoder.en_convs.4.tra.att_gru.weight_hh_l0"] == (48, 16)
    assert shapes["dpgrnn1.inter_ln.weight"] == (33, 16)


def test_the_past_does_not_hear_the_future() -> None:
    from biodenoising.teachers.gtcrn_network import GTCRN

    torch.manual_seed(1)
    network = GTCRN().eval()
    spectra = torch.randn(1, 2, 20, 257)
    changed = spectra.clone()
    changed[:, :, 12:] += 1.0
    with torch.no_grad():
        before, after = network(spectra)[:, :, :12], network(changed)[:, :, :12]
    assert torch.allclose(before, after, atol=1e-6)


def test_saved_weights_come_back(tmp_path: Path) -> None:
    from biodenoising.teachers.gtcrn_network import GTCRN

    torch.manual_seed(4)
    network = GTCRN().eval()
    torch.save({"epoch": 3, "model": network.state_dict()}, tmp_path / "w.tar")
    again = fill("gtcrn", GTCRN(), load_state("gtcrn", tmp_path / "w.tar"))
    spectra = torch.randn(1, 2, 9, 257)
    with torch.no_grad():
        assert torch.allclose(network(spectra), again(spectra), atol=1e-5)
    state = network.state_dict()
    del state["erb.erb_fc.weight"]
    with pytest.raises(TeacherError, match="do not fit its network"):
        fill("gtcrn", GTCRN(), state)


def test_missing_weights_say_how_to_get_them(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pooch.HTTPDownloader.__call__", _unreachable)
    with pytest.raises(TeacherError, match="could not be fetched") as caught:
        find_teacher("gtcrn")
    assert WEIGHTS["gtcrn"].url in str(caught.value)
    assert WEIGHTS["gtcrn"].path in str(caught.value)


def _unreachable(*arguments: object, **options: object) -> None:
    from requests import ConnectionError as Unreachable

    raise Unreachable


@pytest.mark.parametrize("size", [320, 512])
@pytest.mark.parametrize("samples", [1, 255, 256, 257, 5_000])
def test_the_transform_and_back_changes_nothing(size: int, samples: int) -> None:
    audio = np.random.default_rng(1).standard_normal(samples).astype(np.float32)
    window = sqrt_hann(size)
    again = istft(stft(audio, window, size // 2), window, size // 2, samples)
    assert again == pytest.approx(audio, abs=1e-5)


def test_equal_to_the_authors_export(noisy: Wave) -> None:
    """Our whole-recording network against their graph that passes states from frame to frame.

    The export is of other weights than the two checkpoints, so its own are put into our network.
    """
    onnxruntime, onnx = pytest.importorskip("onnxruntime"), pytest.importorskip("onnx")
    folder = os.environ.get("BIODENOISING_TEACHERS")
    if not folder or not (Path(folder) / EXPORT).is_file():
        pytest.skip(f"BIODENOISING_TEACHERS names no folder with {EXPORT}")
    from biodenoising.teachers.gtcrn_network import GTCRN

    path = str(Path(folder) / EXPORT)
    network = fill("gtcrn", GTCRN(), _exported_state(onnx, path, GTCRN().state_dict()))
    rng = np.random.default_rng(5)
    for audio in (noisy, rng.uniform(-0.5, 0.5, 20_000).astype(np.float32)):
        expected = _streamed(onnxruntime.InferenceSession(path), audio)
        spectrum = stft(audio, sqrt_hann(FRAME), HOP)
        parts = np.stack([spectrum.real, spectrum.imag])[None].astype(np.float32)
        clean = network(torch.from_numpy(parts))[0].numpy()
        ours = istft(clean[0] + 1j * clean[1], sqrt_hann(FRAME), HOP, len(audio))
        assert np.abs(ours - expected).max() < SAME
        assert np.abs(expected).max() > 50 * SAME


def _exported_state(onnx: Any, path: str, state: dict[str, Any]) -> dict[str, Any]:
    """Return the export's weights under our names.

    Its convolutions have taken their norms in, its recurrences keep the gates in another order,
    and what is unnamed stands in the order in which the network computes.
    """
    graph = onnx.load(path).graph
    arrays = {i.name: onnx.numpy_helper.to_array(i) for i in graph.initializer}
    found = {k.replace("ConvTranspose2d.", "").replace("Conv2d.", ""): v for k, v in arrays.items()}
    queues = _names_in_order(state)
    for node in graph.node:
        held = [arrays[name] for name in node.input if name in arrays]
        if node.op_type == "Conv" and node.input[1].startswith("onnx::"):
            conv, norm = queues["conv"].pop(0)
            found |= {f"{conv}.weight": held[0], f"{conv}.bias": held[1]}
            ones = np.ones(len(held[1]), np.float32)
            found |= {f"{norm}.weight": ones, f"{norm}.bias": 0 * ones}
            found |= {f"{norm}.running_mean": 0 * ones, f"{norm}.running_var": ones - NORM_EPS}
        elif node.op_type == "PRelu":
            found[queues["act"].pop(0)] = held[0].reshape(1)
        elif node.op_type == "MatMul" and held:
            found[queues["linear"].pop(0)] = held[0].T
        elif node.op_type == "GRU":
            name = queues["gru"].pop(0)
            for side, suffix in enumerate(("", "_reverse")[: len(held[0])]):
                found |= _gru(name, suffix, *(array[side] for array in held[:3]))
    assert not any(queues.values())
    counters = {k: v for k, v in state.items() if k.endswith("num_batches_tracked")}
    taken = {k: torch.from_numpy(np.array(found[k])) for k in state if k not in counters}
    return taken | counters


def _names_in_order(state: dict[str, Any]) -> dict[str, list[Any]]:
    """Return our names of what the export leaves unnamed, in the order of computation."""
    named = list(state)
    blocks = [f"encoder.en_convs.{i}" for i in range(5)]
    convs = [(f"{b}.conv", f"{b}.bn") for b in blocks[:2]]
    for block in blocks[2:]:
        for part in ("point_conv1", "depth_conv", "point_conv2"):
            norm = part.replace("conv", "bn") if part != "depth_conv" else "depth_bn"
            convs.append((f"{block}.{part}", f"{block}.{norm}"))
    ends = [k for k in named if k.endswith("fc.weight") and not k.startswith("erb.")]
    within = [k for k in named if k.endswith("weight_ih_l0")]

    def place(key: str) -> int:
        return ("encoder", "dpgrnn1", "dpgrnn2", "decoder").index(key.split(".")[0])

    return {
        "conv": convs,
        "act": [k for k in named if "act.weight" in k],
        "linear": ["erb.erb_fc.weight", *sorted(ends, key=place), "erb.ierb_fc.weight"],
        "gru": [k.removesuffix(".weight_ih_l0") for k in sorted(within, key=place)],
    }


def _gru(name: str, suffix: str, inner: Any, hidden: Any, bias: Any) -> dict[str, Any]:
    """Reorder update, reset, new to reset, update, new."""

    def turned(array: Any) -> Any:
        update, reset, new = np.split(array, 3)
        return np.concatenate([reset, update, new])

    halves = np.split(bias, 2)
    return {
        f"{name}.weight_ih_l0{suffix}": turned(inner),
        f"{name}.weight_hh_l0{suffix}": turned(hidden),
        f"{name}.bias_ih_l0{suffix}": turned(halves[0]),
        f"{name}.bias_hh_l0{suffix}": turned(halves[1]),
    }


def _streamed(session: object, audio: Wave) -> Wave:
    window = sqrt_hann(FRAME)
    spectrum = stft(audio, window, HOP)
    inputs = session.get_inputs()  # type: ignore[attr-defined]
    states = {i.name: np.zeros(i.shape, np.float32) for i in inputs if i.name != "mix"}
    wanted = ["enh", *(f"{name}_out" for name in states)]
    enhanced = np.zeros_like(spectrum)
    for index, frame in enumerate(spectrum):
        mix = np.stack([frame.real, frame.imag], -1)[None, :, None].astype(np.float32)
        out, *carried = session.run(wanted, {"mix": mix, **states})  # type: ignore[attr-defined]
        states = dict(zip(states, carried, strict=True))
        enhanced[index] = out[0, :, 0, 0] + 1j * out[0, :, 0, 1]
    return istft(enhanced, window, HOP, len(audio))
