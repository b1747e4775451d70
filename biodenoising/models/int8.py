"""The weights of Demucs and CleanUNet as 8-bit integers, laid out for models.int8_graph.

Every column of a matrix has its own scale, so that its largest weight is 127 or -127.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Weights = dict[str, NDArray[np.float32]]
Arrays = dict[str, NDArray[Any]]  # float32 or int8

VALUES, SCALE = ".int8", ".scale"
LARGEST = 127
GATES = (0, 3, 1, 2)  # of input, forget, cell, output as torch has them, for ONNX
RECURRENT = "lstm.lstm."


def int8_weights(weights: Weights) -> Arrays:
    """Return the arrays that the 8-bit graph of a network with these float32 weights takes.

    What is added or normed by stays float32, and so do the first and the last layer, from which
    samples are never far (with them in 8 bits the development set lost 0.02 to 0.07 dB).
    """
    last = max(
        (int(name.split(".")[1]) for name in weights if name.startswith("decoder.")), default=0
    )
    kept = ("encoder.0.", f"decoder.{last}.", RECURRENT)
    made: Arrays = {name: x for name, x in weights.items() if name.startswith(kept[:2])}
    for name, weight in weights.items():
        if name.startswith(kept):
            continue
        matrix = _matrix(name, weight)
        if matrix is None:
            made[name] = weight
        else:
            made[name + VALUES], made[name + SCALE] = quantize(matrix)
    for ending in _recurrences(weights):
        made |= _recurrence(weights, ending)
    return {name: np.ascontiguousarray(array) for name, array in made.items()}


def quantize(matrix: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Return the integers of a matrix (..., rows, columns) and the scales of its columns."""
    largest = np.abs(matrix).max(axis=-2)
    scale = (np.where(largest > 0, largest, 1) / LARGEST).astype(np.float32)
    return np.rint(matrix / scale[..., None, :]).astype(np.int8), scale


def _matrix(name: str, weight: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """Return a layer's weight as what rows are multiplied with; None where it stays as it is."""
    if weight.ndim == 2:
        return weight.T
    if weight.ndim != 3:
        return None
    if not (name.startswith("decoder.") and weight.shape[2] > 1):
        return weight.transpose(2, 1, 0).reshape(-1, weight.shape[0])
    # Of a transposed convolution: what a frame gives to its own stride, and to the next one.
    inner, outer, kernel = weight.shape
    spread = weight.transpose(0, 2, 1).reshape(inner, 2, kernel // 2 * outer)
    return spread.transpose(1, 0, 2).reshape(2 * inner, -1)


def _recurrences(weights: Weights) -> list[str]:
    start = f"{RECURRENT}weight_ih_"
    return [name.removeprefix(start) for name in weights if name.startswith(start)]


def _recurrence(weights: Weights, ending: str) -> Arrays:
    """Return a layer of an LSTM, gates as ONNX orders them, with its axis of directions."""
    made: Arrays = {}
    for kind in ("ih", "hh"):
        name = f"{RECURRENT}weight_{kind}_{ending}"
        values, scale = quantize(_ordered(weights[name]).T)
        made[name + VALUES], made[name + SCALE] = values[None], scale[None]
    biases = [_ordered(weights[f"{RECURRENT}bias_{kind}_{ending}"]) for kind in ("ih", "hh")]
    made[f"{RECURRENT}bias_{ending}"] = np.concatenate(biases)[None]
    return made


def _ordered(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.concatenate([np.split(weight, len(GATES))[gate] for gate in GATES])
