"""Spectrograms as PNG, without a drawing library: eight bits a pixel and a table of colours."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft, signal

Levels = NDArray[np.float32]

FFT = 1024
BINS_A_ROW = 3
COLUMNS = 800
FRAMES_A_COLUMN = 2
LEAST_RANGE_DB, MOST_RANGE_DB = 45.0, 80.0
BELOW_MEDIAN_DB = 12.0
STEPS = 40  # more would be noise in the picture and bytes in the page
TINY = 1e-14
# Matplotlib's magma (N. Smith and S. van der Walt, CC0) at 21 even places; straight between
# them, no colour is off by more than 2 of 255.
MAGMA = bytes.fromhex(
    "000004" "06051a" "140e36" "251255" "3b0f70" "51127c" "641a80" "782281" "8c2981"
    "a1307e" "b73779" "ca3e72" "de4968" "ed5a5f" "f7705c" "fc8961" "fe9f6d" "feb77e"
    "fecf92" "fde7a9" "fcfdbf"
)  # fmt: skip


@dataclass(frozen=True)
class Scale:
    """The levels in dB that are drawn in the darkest and the brightest colour."""

    low: float
    high: float


def levels(samples: NDArray[np.floating], columns: int = COLUMNS) -> Levels:
    """Return a spectrogram in dB of samples of shape (samples,): (frequencies, columns).

    Rows go from 0 Hz to half the sampling rate. A full-scale sine is at about 0 dB.
    """
    samples = np.asarray(samples, np.float32)
    columns = max(min(columns, len(samples) // 16), 1)
    window = signal.get_window("hann", FFT).astype(np.float32)
    centres = (np.arange(columns * FRAMES_A_COLUMN) + 0.5) * len(samples)
    starts = (centres / (columns * FRAMES_A_COLUMN)).astype(np.int64)
    padded = np.pad(samples, FFT // 2)
    views = np.lib.stride_tricks.sliding_window_view(padded, FFT)[starts]
    bins = fft.rfft(views * window, axis=1)[:, 1:]
    power = (bins.real**2 + bins.imag**2) / (window.sum() / 2) ** 2
    rows = power.shape[1] // BINS_A_ROW
    power = power[:, : rows * BINS_A_ROW].reshape(columns, FRAMES_A_COLUMN, rows, BINS_A_ROW)
    return np.asarray(10 * np.log10(power.mean(axis=(1, 3)).T + TINY), np.float32)


def scale_of(before: Levels) -> Scale:
    """Return the scale that suits the recording before: background dark, calls bright."""
    # The loudest cells alone may be clicks, and rare calls are no share of all cells.
    high = max(float(np.quantile(before, 0.999)) + 3, float(before.max()) - 6)
    low = max(float(np.median(before)) - BELOW_MEDIAN_DB, high - MOST_RANGE_DB)
    return Scale(low, max(high, low + LEAST_RANGE_DB))


def png(picture: Levels, scale: Scale) -> bytes:
    """Return levels as a PNG, the lowest frequency at the bottom."""
    share = (picture - scale.low) / (scale.high - scale.low)
    pixels = np.rint(np.clip(share, 0, 1) * (STEPS - 1)).astype(np.uint8)[::-1]
    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 8, 3, 0, 0, 0)
    parts = [
        (b"IHDR", header),
        (b"PLTE", colours(STEPS)),
        (b"IDAT", _packed(pixels)),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, body) for name, body in parts)


def colours(count: int) -> bytes:
    """Return `count` colours from dark to bright, three bytes each."""
    anchors = np.frombuffer(MAGMA, np.uint8).reshape(-1, 3).astype(float)
    places = np.linspace(0, len(anchors) - 1, count)
    mixed = [np.interp(places, np.arange(len(anchors)), anchors[:, i]) for i in range(3)]
    return bytes(np.rint(np.stack(mixed, axis=1)).astype(np.uint8))


def _packed(pixels: NDArray[np.uint8]) -> bytes:
    """Return the rows compressed, each pixel as its difference from the one to its left."""
    differences = np.diff(pixels, axis=1, prepend=np.uint8(0))
    return zlib.compress(np.insert(differences, 0, 1, axis=1).tobytes(), 9)


def _chunk(name: bytes, body: bytes) -> bytes:
    check = zlib.crc32(name + body)
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", check)
