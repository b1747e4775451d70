"""Networks by architecture name, and their export to a checkpoint of card, weights and graph.

Needs torch; the export also needs the onnx package (extra `train`).
"""

from __future__ import annotations

import copy
import dataclasses
import io
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import nn

from biodenoising.errors import ModelError
from biodenoising.models.cards import Card, card_record
from biodenoising.models.cleanunet import CleanUNet, CleanUNetSettings
from biodenoising.models.demucs import Demucs, DemucsSettings
from biodenoising.models.demucs_steps import DemucsSteps
from biodenoising.models.masknet import MaskNet, MaskNetSettings
from biodenoising.models.masknet_steps import MaskNetSteps
from biodenoising.models.steps import steps_of
from biodenoising.storage import sha256_of, whole_file

ONNX_OPSET = 17
TRACED_SAMPLES = 4_000
Network = Demucs | CleanUNet | MaskNet


def build_network(architecture: str, arguments: dict[str, Any]) -> Network:
    """Return an untrained network. Raises ModelError for a name or argument it does not know."""
    try:
        if architecture == "demucs":
            return Demucs(DemucsSettings(**arguments))
        if architecture == "cleanunet":
            return CleanUNet(CleanUNetSettings(**arguments))
        if architecture == "masknet":
            return MaskNet(MaskNetSettings(**arguments))
    except (TypeError, ValueError) as error:
        raise ModelError(f"{architecture}: arguments that it does not take ({error})") from error
    raise ModelError(f"no network for the architecture {architecture!r}")


def save_checkpoint(network: Network, card: Card, folder: Path, *, half: bool) -> Card:
    """Write NAME.safetensors, NAME.onnx and NAME.json; return the card with hashes filled in.

    A causal Demucs or mask network also gets NAME.steps.onnx, for live sound, and networks that
    models.int8_graph knows get NAME.int8.onnx.

    `half` stores float16; every value is rounded once here, so both runtimes get the same.
    """
    dtype = torch.float16 if half else torch.float32
    weights = {
        key: array.detach().to(dtype).contiguous()
        for key, array in network.state_dict().items()
        if array.is_floating_point()  # not what batch norms count in training
    }
    card = dataclasses.replace(
        card,
        folder=folder,
        arguments=dataclasses.asdict(network.settings),
        parameters=sum(array.numel() for array in weights.values()),
    )
    with whole_file(card.weights_path) as temporary:
        temporary.write_bytes(save(weights))
    with whole_file(card.graph_path) as temporary:
        temporary.write_bytes(export_graph(network))
    card = dataclasses.replace(
        card,
        weights_sha256=sha256_of(card.weights_path),
        graph_sha256=sha256_of(card.graph_path),
        steps_sha256="",
        int8_sha256="",
    )
    steps = export_steps(network)
    if steps is not None:
        with whole_file(card.steps_path) as temporary:
            temporary.write_bytes(steps)
        card = dataclasses.replace(card, steps_sha256=sha256_of(card.steps_path))
    integers = export_int8(network)
    if integers is not None:
        with whole_file(card.int8_path) as temporary:
            temporary.write_bytes(integers)
        card = dataclasses.replace(card, int8_sha256=sha256_of(card.int8_path))
    with whole_file(folder / f"{card.name}.json") as temporary:
        temporary.write_text(json.dumps(card_record(card), indent=2) + "\n", encoding="utf-8")
    return card


def export_graph(network: Network) -> bytes:
    """Return the network's ONNX graph with every weight marked external and left out.

    Input `noisy` and output `clean` have shape (batch, 1, samples), both free, samples valid; for
    a mask network they are its folded spectra, (batch, 2, 1 + fold, frames, bands).
    """
    noisy = torch.zeros(1, 1, network.valid_length(TRACED_SAMPLES))
    free = 2
    if isinstance(network, MaskNet):
        noisy, free = network.analyze(noisy), 3
    axes = {name: {0: "batch", free: "length"} for name in ("noisy", "clean")}
    return _export(_Traced(copy.deepcopy(network)), (noisy,), ["noisy"], ["clean"], axes)


def export_steps(network: Network) -> bytes | None:
    """Return the graph of a causal network's steps, as models.steps says; None where it has none.

    Its inputs are `noisy` and the states, its outputs `clean` and each state as NAME_out. `noisy`
    and `clean` are of the shapes that export_graph tells.
    """
    if isinstance(network, CleanUNet):
        return None
    masks = isinstance(network, MaskNet)
    architecture = "masknet" if masks else "demucs"
    steps = steps_of(architecture, dataclasses.asdict(network.settings))
    if steps is None:
        return None
    first, noisy = torch.zeros(1, 1, steps.first), torch.zeros(1, 1, 2 * steps.hop)
    traced: nn.Module
    if isinstance(network, MaskNet):
        first, noisy = network.analyze(first), network.analyze(noisy)
        traced = MaskNetSteps(copy.deepcopy(network)).eval()
    else:
        traced = DemucsSteps(copy.deepcopy(network)).eval()
    given = [torch.zeros(shape) for shape in steps.shapes(1).values()]
    # Traced at a later step, where no state is empty that ever holds something.
    with torch.inference_mode():
        _, *given = traced(first, *given)
    free = 3 if masks else 2
    axes: dict[str, dict[int, str]] = {
        name: {0: "batch", free: name} for name in ("noisy", "clean")
    }
    for name, axis in steps.axes.items():
        for end in ("", "_out"):
            axes[name + end] = {axis: "batch"} if axis or masks else {0: "batch", 2: name}
    kept = [f"{name}_out" for name in steps.states]
    clones = tuple(state.clone() for state in given)
    return _export(traced, (noisy, *clones), ["noisy", *steps.states], ["clean", *kept], axes)


def export_int8(network: Network) -> bytes | None:
    """Return the network's graph in 8-bit integers; None where it has none."""
    from biodenoising.models.int8_graph import has_int8, int8_graph

    if isinstance(network, MaskNet) or not has_int8(network):
        return None
    return int8_graph(network)


def _export(
    traced: nn.Module,
    given: tuple[torch.Tensor, ...],
    inputs: list[str],
    outputs: list[str],
    axes: dict[str, dict[int, str]],
) -> bytes:
    """Return the ONNX graph of a module that holds a network as `network`, without its weights."""
    import onnx

    traced = traced.eval()
    # The exporter merges weights of equal value; fresh random ones keep every weight its name.
    for weight in traced.state_dict().values():
        if weight.is_floating_point():
            nn.init.uniform_(weight, 0.1, 1.0)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            traced,
            given,
            buffer,  # type: ignore[arg-type]  # a buffer works, the annotation forgets it
            dynamo=False,
            do_constant_folding=False,
            opset_version=ONNX_OPSET,
            input_names=inputs,
            output_names=outputs,
            dynamic_axes=axes,
        )
    model = onnx.load_from_string(buffer.getvalue())
    weights = {name.removeprefix("network.") for name in traced.state_dict()}
    for initializer in model.graph.initializer:
        initializer.name = initializer.name.removeprefix("network.")
        if initializer.name in weights:
            _leave_out(onnx, initializer)
    for node in model.graph.node:
        for position, name in enumerate(node.input):
            node.input[position] = name.removeprefix("network.")
        node.doc_string = node.name = ""
    return bytes(model.SerializeToString())


class _Traced(nn.Module):
    """Presents what a runtime is to compute as the whole network."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, noisy: torch.Tensor) -> torch.Tensor:
        if isinstance(self.network, MaskNet):
            return self.network.masked(noisy)
        return self.network.core(noisy)


def _leave_out(onnx: Any, initializer: Any) -> None:
    """Mark an initializer as external: its array is handed to the session in memory."""
    size = int(np.prod(initializer.dims)) * 4
    initializer.ClearField("raw_data")
    initializer.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", "weights"), ("offset", "0"), ("length", str(size))):
        entry = initializer.external_data.add()
        entry.key, entry.value = key, value
