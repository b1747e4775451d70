"""What an ONNX graph is made of, read from its bytes without the onnx package.

A graph may come from a stranger: operators that repeat others (Loop, Scan), choose among them (If)
or, but for one, are not ONNX's own are refused, so that its work is bounded by the sizes of its
tensors. The format is Protocol Buffers' (protobuf.dev/programming-guides/encoding), the fields'
numbers are those of onnx.proto (github.com/onnx/onnx/blob/main/onnx/onnx.proto).
"""

from __future__ import annotations

from collections.abc import Iterator

from biodenoising.errors import ModelError

REFUSED = frozenset({"If", "Loop", "Scan", "SequenceMap"})
OWN_DOMAINS = frozenset({"", "ai.onnx"})
# Of ONNX Runtime's own, one: as bounded as ONNX's LSTM, which takes no integers.
ALLOWED = frozenset({("DynamicQuantizeLSTM", "com.microsoft")})
MODEL_GRAPH, MODEL_FUNCTIONS, GRAPH_NODE, NODE_OPERATOR, NODE_DOMAIN = 7, 25, 1, 4, 7
NAMES = (NODE_OPERATOR, NODE_DOMAIN)
VARINT, EIGHT_BYTES, DELIMITED, FOUR_BYTES = 0, 1, 2, 5


def check_operators(graph: bytes) -> None:
    """Raise ModelError for an operator that could run for ever or is not one of ONNX's own."""
    for operator, domain in operators(graph):
        if (operator, domain) in ALLOWED:
            continue
        if domain not in OWN_DOMAINS or operator in REFUSED:
            name = f"{domain}.{operator}" if domain else operator
            raise ModelError(f"has the operator {name[:80]!r}, which no model here may use")


def operators(graph: bytes) -> Iterator[tuple[str, str]]:
    """Yield (operator, domain) of each node. Raises ModelError for what is no ONNX model."""
    try:
        for number, part in _fields(graph):
            if number == MODEL_FUNCTIONS:
                raise ModelError("has functions of its own, which no model here may have")
            if number != MODEL_GRAPH:
                continue
            for inner, node in _fields(part):
                if inner == GRAPH_NODE:
                    said = {key: value.decode() for key, value in _fields(node) if key in NAMES}
                    yield said.get(NODE_OPERATOR, ""), said.get(NODE_DOMAIN, "")
    except (IndexError, ValueError) as error:
        raise ModelError("is no ONNX model") from error


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield number and content of a message's fields; of a number's field the content is empty."""
    place = 0
    while place < len(message):
        key, place = _number(message, place)
        kind, size = key & 7, 0
        if kind == VARINT:
            _, place = _number(message, place)
        elif kind == DELIMITED:
            size, place = _number(message, place)
        elif kind in (EIGHT_BYTES, FOUR_BYTES):
            place += 8 if kind == EIGHT_BYTES else 4
        else:
            raise ValueError(f"wire type {kind}")
        if place + size > len(message):
            raise IndexError(place + size)
        yield key >> 3, message[place : place + size]
        place += size


def _number(message: bytes, place: int) -> tuple[int, int]:
    """Return a number of seven bits a byte, the lowest first, and the place behind it."""
    value = shift = 0
    while True:
        byte = message[place]
        value |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if byte < 0x80:
            return value, place
        if shift > 63:
            raise ValueError("a number without end")
