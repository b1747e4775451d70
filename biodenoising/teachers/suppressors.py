"""Classic suppressors of telephony and statistics: logMMSE, WebRTC's and Speex's.

They assume little about what they keep, and so spare animals more than networks for speech do.
WebRTC and Speex work in 10 ms of 16-bit samples at 16 kHz and lag behind; that is taken back.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from functools import partial

import numpy as np

from biodenoising.teachers.base import Entry, Teacher, Wave
from biodenoising.teachers.expansion import fitted
from biodenoising.teachers.packages import missing_package, package_version, require

RATE, FRAME = 16_000, 160
FULL_SCALE = 32_767
WEBRTC_LEVEL = 2
# Samples that the output of Process10ms lags behind at levels 1 to 4.
WEBRTC_DELAY = 96
# The preprocessor overlaps and adds: every sample comes back one frame later.
SPEEX_DELAY = FRAME
# logMMSE takes the beginning for noise and drops its last frame.
LOGMMSE_LEAST_S = 0.25
LOGMMSE_BEHIND_S = 0.04
Step = Callable[[bytes], bytes]


def _load_logmmse(threads: int) -> Teacher:
    require("logmmse", missing_package("logmmse", "pip install logmmse"))
    # Importing it turns floating-point warnings into errors for the whole process.
    before = np.geterr()
    library = importlib.import_module("logmmse")
    np.seterr(**before)

    def enhance(heard: Wave, rate: float) -> Wave:
        short = max(0, int(LOGMMSE_LEAST_S * rate) - len(heard))
        padded = np.pad(heard, (0, short), mode="symmetric")
        padded = np.pad(padded, (0, int(LOGMMSE_BEHIND_S * rate) + 2))
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            clean = np.asarray(library.logmmse(padded, round(rate)))
        # Frames of digital silence divide nothing by nothing.
        return np.nan_to_num(fitted(clean, len(heard))).astype(np.float32)

    return Teacher("logmmse", "MIT", None, enhance, package_version("logmmse"))


def _webrtc_step() -> Step:
    processor = importlib.import_module("webrtc_noise_gain").AudioProcessor(0, WEBRTC_LEVEL)
    return lambda codes: bytes(processor.Process10ms(codes).audio)


def _speex_step() -> Step:
    processor = importlib.import_module("speexdsp_ns").NoiseSuppression.create(FRAME, RATE)
    return lambda codes: bytes(processor.process(codes))


def _load_frames(
    name: str, licence: str, package: tuple[str, str], start: Callable[[], Step], delay: int,
    threads: int,
) -> Teacher:  # fmt: skip
    module, distribution = package
    require(name, missing_package(module, f"pip install {distribution}"))

    def enhance(heard: Wave, rate: float) -> Wave:
        step = start()  # fresh: nothing of one recording is remembered in the next
        behind = delay + (-(len(heard) + delay)) % FRAME
        codes = np.round(np.pad(heard, (0, behind)) * FULL_SCALE)
        frames = np.clip(codes, -FULL_SCALE - 1, FULL_SCALE).astype("<i2").reshape(-1, FRAME)
        output = np.frombuffer(b"".join(step(frame.tobytes()) for frame in frames), "<i2")
        return (output[delay : delay + len(heard)] / FULL_SCALE).astype(np.float32)

    return Teacher(name, licence, RATE, enhance, package_version(distribution))


def _framewise(
    name: str, licence: str, module: str, distribution: str, start: Callable[[], Step], delay: int
) -> Entry:
    return Entry(
        name,
        licence,
        RATE,
        "A suppressor of stationary noise for telephony.",
        partial(_load_frames, name, licence, (module, distribution), start, delay),
        partial(missing_package, module, f"pip install {distribution}"),
    )


ENTRIES = (
    Entry(
        "logmmse",
        "MIT",
        None,
        "The classic estimator of log spectral amplitudes.",
        _load_logmmse,
        partial(missing_package, "logmmse", "pip install logmmse"),
    ),
    _framewise(
        "webrtc", "BSD-3-Clause (WebRTC), Apache-2.0 (wheel)", "webrtc_noise_gain",
        "webrtc-noise-gain", _webrtc_step, WEBRTC_DELAY,
    ),
    _framewise("speex", "BSD-3-Clause", "speexdsp_ns", "speexdsp-ns", _speex_step, SPEEX_DELAY),
)  # fmt: skip
