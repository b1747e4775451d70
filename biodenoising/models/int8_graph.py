"""ONNX graphs of Demucs and CleanUNet whose products are of 8-bit integers.

Frames stand in rows and channels in columns, so that a convolution whose kernel is two strides long
is one product: rows of two strides of the input times a matrix. Activations are quantized as they
come, each product's at one scale; the weights are handed over quantized (models.int8). Needs the
onnx package (extra `train`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from biodenoising.models.cleanunet import MASKED, NORM_FLOOR, CleanUNet
from biodenoising.models.demucs import SINC_ZEROS, Demucs, half_sample_kernel
from biodenoising.models.int8 import RECURRENT, SCALE, VALUES, int8_weights

OPSET, EXTRA_DOMAIN = 17, "com.microsoft"
TYPES = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.int8): TensorProto.INT8}
LAST = 2**62  # an end that no axis reaches


def int8_graph(network: Demucs | CleanUNet) -> bytes:
    """Return the graph, every weight marked external and left out.

    Input `noisy` and output `clean` have shape (1, 1, samples), samples free and valid.
    """
    weights = {k: v.detach().float().numpy() for k, v in network.state_dict().items()}
    graph = _Graph(int8_weights(weights))
    clean = _demucs(graph, network) if isinstance(network, Demucs) else _cleanunet(graph, network)
    return graph.model(clean)


def has_int8(network: Demucs | CleanUNet) -> bool:
    """Tell whether a network is of the kind that int8_graph knows.

    Kernels are two strides long, there is a layer between the first and the last, and an LSTM does
    not look ahead.
    """
    s = network.settings
    return s.kernel == 2 * s.stride and s.depth > 1 and getattr(s, "causal", True)


class _Graph:
    """Nodes and initializers, named as they come."""

    def __init__(self, weights: dict[str, NDArray[Any]]) -> None:
        self.weights = weights
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def op(self, kind: str, *given: str, count: int = 1, domain: str = "", **said: Any) -> Any:
        """Add a node; return the name of its output, or the names where it has several."""
        made = [f"x{len(self.nodes)}_{number}" for number in range(count)]
        self.nodes.append(helper.make_node(kind, given, made, domain=domain, **said))
        return made[0] if count == 1 else made

    def constant(self, value: Any, dtype: Any = np.int64) -> str:
        """Add a constant; return its name."""
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def reshape(self, x: str, shape: list[int]) -> str:
        """Give an array another shape; 0 keeps an axis."""
        return str(self.op("Reshape", x, self.constant(shape)))

    def cut(self, x: str, start: int, end: int, axis: int = 0) -> str:
        """Cut an axis."""
        return str(self.op("Slice", x, *(self.constant([n]) for n in (start, end, axis))))

    def pairs(self, rows: str, stride_values: int) -> str:
        """Return each stride of `rows` and the next one beside it."""
        strides = self.reshape(rows, [-1, stride_values])
        parts = self.cut(strides, 0, -1), self.cut(strides, 1, LAST)
        return str(self.op("Concat", *parts, axis=1))

    def quantized(self, x: str) -> tuple[str, str, str]:
        """Return an array as integers, their scale and their zero."""
        values, scale, zero = self.op("DynamicQuantizeLinear", x, count=3)
        return values, scale, zero

    def product(self, x: tuple[str, str, str], weight: str, bias: str = "", repeat: int = 1) -> str:
        """Return integer rows times a weight, plus a bias, as float32."""
        values, scale, zero = x
        y = self.op("MatMulInteger", values, weight + VALUES, zero)
        y = self.op("Cast", y, to=TensorProto.FLOAT)
        y = self.op("Mul", y, self.op("Mul", scale, weight + SCALE))
        if bias and repeat > 1:
            bias = self.op("Tile", bias, self.constant([repeat]))
        return str(self.op("Add", y, bias)) if bias else str(y)

    def model(self, clean: str) -> bytes:
        """Return the whole as a model."""
        self.nodes.append(helper.make_node("Identity", [clean], ["clean"]))
        shape: list[str | int | None] = [1, 1, "length"]
        ends = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
            for name in ("noisy", "clean")
        ]
        used = {name for node in self.nodes for name in node.input}
        outside = [_outside(name, x) for name, x in self.weights.items() if name in used]
        graph = helper.make_graph(
            self.nodes, "int8", ends[:1], ends[1:], initializer=[*self.constants, *outside]
        )
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(EXTRA_DOMAIN, 1)]
        made = helper.make_model(graph, opset_imports=opsets, ir_version=8)
        return bytes(made.SerializeToString())


def _demucs(g: _Graph, network: Demucs) -> str:
    s = network.settings
    doublings = s.upsample.bit_length() - 1
    kernel = g.constant(half_sample_kernel().numpy(), np.float32)
    x = "noisy"
    for _ in range(doublings):
        x = _doubled(g, x, kernel)
    x, skips = _encoded(g, g.reshape(x, [-1, 1]), s.depth, s.stride)
    x = _recurrence(g, x, network.lstm.lstm.hidden_size)
    x = g.reshape(_decoded(g, x, skips, s.stride), [1, 1, -1])
    for _ in range(doublings):
        x = _halved(g, x, kernel)
    return x


def _cleanunet(g: _Graph, network: CleanUNet) -> str:
    s = network.settings
    x, skips = _encoded(g, g.reshape("noisy", [-1, 1]), s.depth, s.stride)
    x = g.product(g.quantized(x), "tsfm_conv1.weight", "tsfm_conv1.bias")
    x = _normed(g, x, "tsfm_encoder.layer_norm")
    frames = g.op("Slice", g.op("Shape", x), *(g.constant([n]) for n in (0, 1, 0)))
    square = g.op("Concat", frames, frames, axis=0)
    masked = numpy_helper.from_array(np.array([MASKED], np.float32))
    future = g.op("ConstantOfShape", square, value=masked)
    future = g.op("Trilu", future, g.constant(1), upper=1)
    for number in range(s.blocks):
        x = _attended(g, x, future, f"tsfm_encoder.layer_stack.{number}", s.heads)
    x = g.product(g.quantized(x), "tsfm_conv2.weight", "tsfm_conv2.bias")
    return g.reshape(_decoded(g, x, skips, s.stride), [1, 1, -1])


def _encoded(g: _Graph, x: str, depth: int, stride: int) -> tuple[str, list[str]]:
    """Return what the encoder makes of rows, and what it made on the way."""
    skips = []
    for level in range(depth):
        name = f"encoder.{level}"
        weight = f"{name}.0.weight"
        if weight in g.weights:
            out, inner, kernel = g.weights[weight].shape
            matrix = g.op("Transpose", weight, perm=[2, 1, 0])
            matrix = g.reshape(matrix, [kernel * inner, out])
            x = g.op("Gemm", g.pairs(x, stride * inner), matrix, f"{name}.0.bias")
        else:
            inner = len(g.weights[weight + VALUES]) // (2 * stride)
            values, scale, zero = g.quantized(x)
            x = g.product((g.pairs(values, stride * inner), scale, zero), weight, f"{name}.0.bias")
        x = _gated(g, g.op("Relu", x), f"{name}.2")
        skips.append(x)
    return x, skips


def _decoded(g: _Graph, x: str, skips: list[str], stride: int) -> str:
    """Return the rows of samples that the decoder makes."""
    for level in range(len(skips)):
        x = _gated(g, g.op("Add", x, skips.pop()), f"decoder.{level}.0")
        name = f"decoder.{level}.2"
        x = g.op("Pad", x, g.constant([1, 0, 1, 0]))
        if f"{name}.weight" in g.weights:
            inner, out, _ = g.weights[f"{name}.weight"].shape
            matrix = g.op("Transpose", f"{name}.weight", perm=[0, 2, 1])
            matrix = g.reshape(matrix, [inner, 2, stride * out])
            matrix = g.reshape(g.op("Transpose", matrix, perm=[1, 0, 2]), [2 * inner, -1])
            rows = g.op("Concat", g.cut(x, 1, LAST), g.cut(x, 0, -1), axis=1)
            bias = g.op("Tile", f"{name}.bias", g.constant([stride]))
            x = g.op("Gemm", rows, matrix, bias)
        else:
            out = g.weights[f"{name}.weight{VALUES}"].shape[1] // stride
            values, scale, zero = g.quantized(x)
            rows = g.op("Concat", g.cut(values, 1, LAST), g.cut(values, 0, -1), axis=1)
            x = g.product((rows, scale, zero), f"{name}.weight", f"{name}.bias", repeat=stride)
            x = g.op("Relu", x)
        x = g.reshape(x, [-1, out])
    return x


def _gated(g: _Graph, x: str, name: str) -> str:
    """Return the gated linear unit of a 1x1 convolution."""
    if f"{name}.weight" in g.weights:
        matrix = g.op("Transpose", g.op("Squeeze", f"{name}.weight", g.constant([2])), perm=[1, 0])
        x = g.op("Gemm", x, matrix, f"{name}.bias")
    else:
        x = g.product(g.quantized(x), f"{name}.weight", f"{name}.bias")
    kept, gate = g.op("Split", x, count=2, axis=1)
    return str(g.op("Mul", kept, g.op("Sigmoid", gate)))


def _recurrence(g: _Graph, x: str, units: int) -> str:
    """Return the frames after both layers of the LSTM."""
    x = g.op("Unsqueeze", x, g.constant([1]))
    zero = g.constant(np.zeros((1, 4 * units)), np.int8)
    for layer in ("l0", "l1"):
        inward, back = (f"{RECURRENT}weight_{kind}_{layer}" for kind in ("ih", "hh"))
        given = [x, inward + VALUES, back + VALUES, f"{RECURRENT}bias_{layer}", "", "", "", ""]
        given += [inward + SCALE, zero, back + SCALE, zero]
        x = g.op("DynamicQuantizeLSTM", *given, domain=EXTRA_DOMAIN, hidden_size=units)
        x = g.op("Squeeze", x, g.constant([1]))
    return str(g.op("Squeeze", x, g.constant([1])))


def _attended(g: _Graph, x: str, future: str, name: str, heads: int) -> str:
    """Return the frames after a block of attention."""
    own, inner = f"{name}.slf_attn", f"{name}.pos_ffn"
    width = g.weights[f"{own}.fc.weight{VALUES}"].shape[0]
    given = g.quantized(x)
    asked, known, said = (
        g.op("Transpose", g.reshape(g.product(given, f"{own}.w_{kind}s.weight"), [0, heads, -1]),
             perm=[1, 2, 0] if kind == "k" else [1, 0, 2])
        for kind in "qkv"
    )  # fmt: skip
    scaling = g.constant((width / heads) ** -0.5, np.float32)
    scores = g.op("Mul", g.op("MatMul", asked, known), scaling)
    shares = g.op("Softmax", g.op("Add", scores, future), axis=-1)
    heard = g.op("Transpose", g.op("MatMul", shares, said), perm=[1, 0, 2])
    heard = g.product(g.quantized(g.reshape(heard, [0, -1])), f"{own}.fc.weight")
    x = _normed(g, g.op("Add", heard, x), f"{own}.layer_norm")
    y = g.product(g.quantized(x), f"{inner}.w_1.weight", f"{inner}.w_1.bias")
    y = g.product(g.quantized(g.op("Relu", y)), f"{inner}.w_2.weight", f"{inner}.w_2.bias")
    return _normed(g, g.op("Add", y, x), f"{inner}.layer_norm")


def _normed(g: _Graph, x: str, name: str) -> str:
    norm = (f"{name}.weight", f"{name}.bias")
    return str(g.op("LayerNormalization", x, *norm, epsilon=NORM_FLOOR, axis=-1))


def _doubled(g: _Graph, x: str, kernel: str) -> str:
    between = g.cut(g.op("Conv", x, kernel, pads=[SINC_ZEROS] * 2), 1, LAST, axis=2)
    both = [g.op("Unsqueeze", each, g.constant([-1])) for each in (x, between)]
    return g.reshape(g.op("Concat", *both, axis=-1), [1, 1, -1])


def _halved(g: _Graph, x: str, kernel: str) -> str:
    """Return half the rate; the valid length is even."""
    even, odd = g.op("Split", g.reshape(x, [1, 1, -1, 2]), count=2, axis=-1)
    even, odd = (g.op("Squeeze", each, g.constant([-1])) for each in (even, odd))
    between = g.cut(g.op("Conv", odd, kernel, pads=[SINC_ZEROS] * 2), 0, -1, axis=2)
    return str(g.op("Mul", g.op("Add", even, between), g.constant(0.5, np.float32)))


def _outside(name: str, array: NDArray[Any]) -> Any:
    """Return an initializer whose array is handed to the session in memory."""
    made = TensorProto(name=name, data_type=TYPES[array.dtype], dims=array.shape)
    made.data_location = TensorProto.EXTERNAL
    for key, value in (("location", "weights"), ("offset", "0"), ("length", str(array.nbytes))):
        entry = made.external_data.add()
        entry.key, entry.value = key, value
    return made


def probe_graph() -> bytes:
    """Return a graph of one product, by which inference.eight_bits tells whether it is exact."""
    kinds = {"a": TensorProto.UINT8, "b": TensorProto.INT8, "y": TensorProto.INT32}
    ends = [helper.make_tensor_value_info(name, kind, [None, None]) for name, kind in kinds.items()]
    node = helper.make_node("MatMulInteger", ["a", "b"], ["y"])
    graph = helper.make_graph([node], "probe", ends[:2], ends[2:])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    return bytes(made.SerializeToString())
