"""The two ways to compute a network: ONNX Runtime by default, torch where asked for.

Both are given the same float32 weights; a test holds their outputs equal to 1e-4 of full scale.
"""

from __future__ import annotations

import os
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from biodenoising.errors import ModelError, OptionError
from biodenoising.models import gating
from biodenoising.models.cards import Card
from biodenoising.models.lengths import valid_length
from biodenoising.models.registry import load_graph, load_weights

DEVICES = ("auto", "cpu", "cuda", "mps")
Batch = NDArray[np.float32]
State = NDArray[np.float32]


class BatchRuntime(Protocol):
    """Denoises waveforms one by one, without a memory."""

    def run(self, batch: Batch, sample_rate: float) -> Batch:
        """Return the denoised waveforms, shape (batch, samples) in and out; rate in Hz."""
        ...


class StepRuntime(Protocol):
    """Denoises consecutive chunks of a recording and passes a state on."""

    def first_state(self, channels: int) -> State:
        """Return the state before a recording's first chunk."""
        ...

    def step(self, chunk: Batch, state: State) -> tuple[Batch, State]:
        """Return a denoised chunk, (channels, samples), and the state for the next one."""
        ...


def open_runtime(
    card: Card, *, device: str = "auto", threads: int = 0
) -> OnnxRuntime | TorchRuntime | GatingRuntime:
    """Load a model for a device: `auto` is ONNX Runtime on the processor, others are torch.

    `threads` limits the processor threads of one call; 0 takes all. Raises ModelError where the
    checkpoint or the runtime's package is missing or does not fit, OptionError for the device.
    """
    if device not in DEVICES:
        raise OptionError(f"no device {device!r}; choose one of {', '.join(DEVICES)}")
    if card.architecture == "noisereduce":
        return GatingRuntime(card)
    if device == "auto":
        return OnnxRuntime(card, threads)
    return TorchRuntime(card, device, threads)


class GatingRuntime:
    """The noisereduce library; it takes the sampling rate into account."""

    name = "noisereduce"

    def __init__(self, card: Card) -> None:
        gating.require_library()
        self._stationary = bool(card.arguments["stationary"])

    def run(self, batch: Batch, sample_rate: float) -> Batch:
        """Return the gated waveforms, (batch, samples)."""
        return gating.gate(batch, sample_rate, stationary=self._stationary)


class OnnxRuntime:
    """ONNX Runtime on the processor: a graph without weights, and the weights from memory."""

    name = "onnxruntime"

    def __init__(self, card: Card, threads: int = 0) -> None:
        import onnxruntime
        from onnxruntime.capi import onnxruntime_pybind11_state as state

        # They share no base class but Exception.
        errors = tuple(e for e in vars(state).values() if _is_exception(e))
        weights = load_weights(card)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or len(os.sched_getaffinity(0))
        options.inter_op_num_threads = 1
        # Errors come back as exceptions; the library's own log would only repeat them.
        options.log_severity_level = 4
        values = [onnxruntime.OrtValue.ortvalue_from_numpy(a) for a in weights.values()]
        try:
            options.add_external_initializers(list(weights), values)
            graph = load_graph(card)
            self._session = onnxruntime.InferenceSession(
                graph, options, providers=["CPUExecutionProvider"]
            )
        except (*errors, RuntimeError) as error:
            raise _mismatch(card, error) from error
        self._card = card

    def run(self, batch: Batch, sample_rate: float) -> Batch:
        """Return the denoised waveforms, (batch, samples)."""
        (clean,) = self._session.run(None, {"noisy": _pad(batch, self._card)})
        return np.ascontiguousarray(clean[:, 0, : batch.shape[1]])

    def first_state(self, channels: int) -> State:
        """Return the state before a recording's first chunk."""
        _, layers, _, width = self._session.get_inputs()[1].shape
        return np.zeros((2, layers, channels, width), np.float32)

    def step(self, chunk: Batch, state: State) -> tuple[Batch, State]:
        """Return a denoised chunk, (channels, samples), and the state for the next one."""
        inputs = {"noisy": _pad(chunk, self._card), "state": state}
        clean, state = self._session.run(None, inputs)
        return np.ascontiguousarray(clean[:, 0, : chunk.shape[1]]), state


class TorchRuntime:
    """Torch on the processor, a CUDA or an Apple device."""

    def __init__(self, card: Card, device: str, threads: int = 0) -> None:
        try:
            import torch

            from biodenoising.models.networks import build_network
        except ImportError as error:
            raise ModelError(
                f"device {device} needs torch: pip install 'biodenoising[torch]', or leave "
                "--device away to use ONNX Runtime"
            ) from error
        if device == "cuda" and not torch.cuda.is_available():
            raise ModelError("no CUDA device is available here; leave --device away")
        if device == "mps" and not torch.backends.mps.is_available():
            raise ModelError("no Apple (mps) device is available here; leave --device away")
        if threads:
            torch.set_num_threads(threads)
        self.name = f"torch-{device}"
        self._torch, self._device, self._card = torch, torch.device(device), card
        network = build_network(card.architecture, card.arguments)
        weights = {key: torch.from_numpy(array) for key, array in load_weights(card).items()}
        try:
            network.load_state_dict(weights)
        except RuntimeError as error:
            raise _mismatch(card, error) from error
        self._network: Any = network.to(self._device).eval()

    def run(self, batch: Batch, sample_rate: float) -> Batch:
        """Return the denoised waveforms, (batch, samples)."""
        with self._torch.inference_mode():
            clean = self._network.core(self._send(_pad(batch, self._card)))
        return np.ascontiguousarray(clean.cpu().numpy()[:, 0, : batch.shape[1]])

    def first_state(self, channels: int) -> State:
        """Return the state before a recording's first chunk."""
        lstm = self._network.lstm.lstm
        return np.zeros((2, lstm.num_layers, channels, lstm.hidden_size), np.float32)

    def step(self, chunk: Batch, state: State) -> tuple[Batch, State]:
        """Return a denoised chunk, (channels, samples), and the state for the next one."""
        with self._torch.inference_mode():
            clean, after = self._network.step(
                self._send(_pad(chunk, self._card)), self._send(state)
            )
        return np.ascontiguousarray(
            clean.cpu().numpy()[:, 0, : chunk.shape[1]]
        ), after.cpu().numpy()

    def _send(self, array: Batch) -> Any:
        return self._torch.from_numpy(array).to(self._device)


def _pad(batch: Batch, card: Card) -> Batch:
    """Zero-pad (rows, samples) to (rows, 1, samples) of a length the network maps onto itself."""
    arguments = card.arguments
    least = card.chunking.left + card.chunking.right + 1 if card.stateful else 1
    length = valid_length(
        max(batch.shape[1], least),
        depth=arguments["depth"],
        kernel=arguments["kernel"],
        stride=arguments["stride"],
        upsample=arguments.get("upsample", 1),
    )
    return np.pad(batch, ((0, 0), (0, length - batch.shape[1])))[:, None]


def _is_exception(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, Exception)


def _mismatch(card: Card, error: Exception) -> ModelError:
    reason = str(error).strip().splitlines()[-1][:200]
    return ModelError(
        f"model {card.name}: the weights do not fit the network its card describes ({reason})"
    )
