"""The two ways to compute a network: ONNX Runtime by default, torch where asked for.

Both are given the same float32 weights; a test holds their outputs equal to 1e-4 of full scale.
Where ONNX Runtime may use 8-bit integers (inference.eight_bits) its outputs differ from those by
about a hundredth.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from threading import Lock
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from biodenoising.errors import ModelError, OptionError
from biodenoising.inference.eight_bits import exact_products, steady
from biodenoising.models import DEVICES, gating
from biodenoising.models.cards import SIZES, Card
from biodenoising.models.int8 import Weights, int8_weights
from biodenoising.models.lengths import valid_length
from biodenoising.models.registry import load_graph, load_int8, load_weights
from biodenoising.models.spectra import Grid, analyze, synthesize

ON_PROCESSOR = ("auto", "onnx", "cpu")
Batch = NDArray[np.float32]
# Each row at once takes 130 MB or so, and a run must stay below 500.
MOST_ROWS = 2
AS_ASKED = 1  # ONNX Runtime's kSameAsRequested
_REGISTERING = Lock()


def processors() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # macOS and Windows do not say


class Runtime(Protocol):
    """Denoises waveforms one by one."""

    @property
    def rows(self) -> int:
        """How many at once keep all its threads busy."""
        ...

    def run(self, batch: Batch, sample_rate: float) -> Batch:
        """Return the denoised waveforms, shape (batch, samples) in and out; rate in Hz."""
        ...


def open_runtime(
    card: Card, *, device: str = "auto", threads: int = 0
) -> OnnxRuntime | TorchRuntime | GatingRuntime:
    """Load a model for a device: `auto` and `onnx` are ONNX Runtime on the processor, others torch.

    `auto` computes with 8-bit integers where model, processor and sound allow it, `onnx` always
    with 32-bit floats.

    `threads` limits the processor threads of one call; 0 takes all. Raises ModelError where the
    checkpoint or the runtime's package is missing or does not fit, OptionError for the device.
    """
    if device not in DEVICES:
        raise OptionError(f"no device {device!r}; choose one of {', '.join(DEVICES)}")
    if card.architecture == "noisereduce":
        return GatingRuntime(card)
    if device in ("auto", "onnx"):
        return OnnxRuntime(card, threads, integers=device == "auto")
    return TorchRuntime(card, device, threads)


class GatingRuntime:
    """The noisereduce library; it takes the sampling rate into account."""

    name = "noisereduce"

    rows = 1

    def __init__(self, card: Card) -> None:
        gating.require_library()
        self._stationary = bool(card.arguments["stationary"])

    def run(self, batch: Batch, sample_rate: float) -> Batch:
        """Return the gated waveforms, (batch, samples)."""
        return gating.gate(batch, sample_rate, stationary=self._stationary)


class OnnxRuntime:
    """ONNX Runtime on the processor: a graph without weights, and the weights from memory.

    Rows are shared out among threads of our own: a recurrence has little that threads within a
    network could share, and what those share they round otherwise. So the number of threads does
    not change a bit of the result.
    """

    def __init__(self, card: Card, threads: int = 0, *, integers: bool = False) -> None:
        self.rows = min(threads or processors(), MOST_ROWS)
        weights, self._graph = load_weights(card), load_graph(card)
        self._floats: Any = None
        self._loading = Lock()
        self._integers = None
        # A checkpoint copied without this file is as good, and slower.
        there = bool(card.int8_sha256) and card.int8_path.exists()
        if integers and there and exact_products():
            self._integers = open_integers(card, weights)
        else:
            self._floats = open_session(card, self._graph, weights, threads=1)
        self.name = "onnxruntime" if self._integers is None else "onnxruntime-int8"
        self._pool: ThreadPoolExecutor | None = None
        self._pool_process = 0
        self._card = card
        self._grid = grid_of(card)

    def run(self, batch: Batch, sample_rate: float) -> Batch:
        """Return the denoised waveforms, (batch, samples)."""
        if self.rows == 1 or len(batch) == 1:
            return self._run(batch)
        parts = np.array_split(batch, min(self.rows, len(batch)))
        return np.concatenate(list(self._threads().map(self._run, parts)))

    def _threads(self) -> ThreadPoolExecutor:
        """Return the threads of this process: a fork copies their pool and not the threads."""
        if self._pool is None or self._pool_process != os.getpid():
            self._pool, self._pool_process = ThreadPoolExecutor(self.rows), os.getpid()
        return self._pool

    def _run(self, batch: Batch) -> Batch:
        noisy = _pad(batch, self._card)
        if self._grid is not None:
            masked = self._compute(analyze(noisy, self._grid), self._session())
            clean = synthesize(masked, batch.shape[1], self._grid)
        else:
            clean = self._waveforms(noisy[:, None])[:, 0]
        return np.ascontiguousarray(clean[:, : batch.shape[1]])

    def _waveforms(self, noisy: Batch) -> Batch:
        """Compute waveforms, (batch, 1, samples): with integers one by one, each at its scales."""
        calm = [self._integers is not None and steady(row[0]) for row in noisy]
        if not any(calm):
            return self._compute(noisy, self._session())
        sessions = [self._integers if each else self._session() for each in calm]
        parts = zip(noisy[:, None], sessions, strict=True)
        return np.concatenate([self._compute(row, session) for row, session in parts])

    def _session(self) -> Any:
        """Return the session in floats, opened when first needed: it takes time and memory."""
        with self._loading:
            if self._floats is None:
                weights = load_weights(self._card)
                self._floats = open_session(self._card, self._graph, weights, threads=1)
        return self._floats

    def _compute(self, noisy: Batch, session: Any) -> Batch:
        """Run the graph, which may be a stranger's: one output, of the input's shape."""
        try:
            made: list[Batch] = session.run(None, {"noisy": noisy})
        except session_errors() as error:
            raise mismatch(self._card, error) from error
        shapes = [np.shape(array) for array in made]
        if shapes != [noisy.shape] or made[0].dtype != noisy.dtype:
            raise mismatch(self._card, ValueError(f"outputs of shape {shapes} for {noisy.shape}"))
        return made[0]


def grid_of(card: Card) -> Grid | None:
    """Return the grid on which a mask network is given spectra; None for other networks."""
    if card.architecture != "masknet":
        return None
    return Grid(**{key: card.arguments[key] for key in SIZES["masknet"]})


def open_session(card: Card, graph: bytes, weights: Mapping[str, Any], threads: int) -> Any:
    """Return an ONNX Runtime session of a graph without weights and the card's weights.

    Raises ModelError where they do not fit.
    """
    import onnxruntime

    share_memory()
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.use_env_allocators", "1")
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # One planned block for a whole run takes more where little of it lives for long.
    options.enable_mem_pattern = False
    # Errors come back as exceptions; the library's own log would only repeat them.
    options.log_severity_level = 4
    values = [onnxruntime.OrtValue.ortvalue_from_numpy(a) for a in weights.values()]
    try:
        options.add_external_initializers(list(weights), values)
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except session_errors() as error:
        raise mismatch(card, error) from error


def share_memory() -> None:
    """Let all sessions of this process take memory from one pool that grows by what is asked for.

    Else each keeps one of its own, and doubles it whenever it is too small.
    """
    with _REGISTERING:
        _register_pool()


@cache
def _register_pool() -> None:
    """Register the pool; once, for again would be a second pool."""
    import onnxruntime as ort

    kind = ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR
    memory = ort.OrtMemoryInfo("Cpu", kind, 0, ort.OrtMemType.DEFAULT)
    ort.create_and_register_allocator(memory, ort.OrtArenaCfg({"arena_extend_strategy": AS_ASKED}))


def open_integers(card: Card, weights: Weights) -> Any:
    """Return a session of the card's graph in 8-bit integers. Raises ModelError."""
    graph = load_int8(card)
    try:
        arrays = int8_weights(weights)
    except (KeyError, ValueError, IndexError) as error:
        raise mismatch(card, error) from error
    return open_session(card, graph, arrays, threads=1)


@cache
def session_errors() -> tuple[type[Exception], ...]:
    """Return what ONNX Runtime raises for a graph that it cannot load or run."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    # They share no base class but Exception. Names in a hostile graph may be no text.
    own = tuple(e for e in vars(state).values() if _is_exception(e))
    return (*own, RuntimeError, ValueError)


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
        self.name, self.rows = f"torch-{device}", 1
        self._torch, self._device, self._card = torch, torch.device(device), card
        network = build_network(card.architecture, card.arguments)
        weights = {key: torch.from_numpy(array) for key, array in load_weights(card).items()}
        try:
            network.load_state_dict(weights)
        except RuntimeError as error:
            raise mismatch(card, error) from error
        self._network: Any = network.to(self._device).eval()

    def run(self, batch: Batch, sample_rate: float) -> Batch:
        """Return the denoised waveforms, (batch, samples)."""
        noisy = self._torch.from_numpy(_pad(batch, self._card)[:, None]).to(self._device)
        with self._torch.inference_mode():
            clean = self._network.core(noisy)
        return np.ascontiguousarray(clean.cpu().numpy()[:, 0, : batch.shape[1]])


def _pad(batch: Batch, card: Card) -> Batch:
    """Zero-pad (rows, samples) to a length the network maps onto itself."""
    arguments, length = card.arguments, batch.shape[1]
    if card.architecture == "masknet":
        length += -length % int(arguments["hop"])
    else:
        length = valid_length(
            length,
            depth=arguments["depth"],
            kernel=arguments["kernel"],
            stride=arguments["stride"],
            upsample=arguments.get("upsample", 1),
        )
    return np.pad(batch, ((0, 0), (0, length - batch.shape[1])))


def _is_exception(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, Exception)


def mismatch(card: Card, error: Exception) -> ModelError:
    """Return the error for weights or a graph that are not what the card says."""
    reason = str(error).strip().splitlines()[-1][:200]
    return ModelError(
        f"model {card.name}: the weights do not fit the network its card describes ({reason})"
    )
