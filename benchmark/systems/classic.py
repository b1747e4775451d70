"""Peers that learn nothing: nothing at all, high-pass filters, gates and classic suppressors."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import partial

import numpy as np

from benchmark.clips import highpassed
from benchmark.mixtures import Audio, Mixture
from benchmark.spectra import istft, sqrt_hann, stft
from benchmark.systems.base import (
    Enhance,
    Estimate,
    Process,
    System,
    at_native,
    at_rate,
    fitted,
    installed,
    of_noisy,
    package_version,
)

BLEND = 0.25
"""Share of the input that the blended variants keep."""

WEBRTC_RATE = SPEEX_RATE = 16_000
WEBRTC_FRAME = SPEEX_FRAME = 160
WEBRTC_LEVEL = 2
WEBRTC_DELAY = 96
"""Samples that the output of Process10ms lags, measured with a chirp at levels 1-4."""
SPEEX_DELAY = SPEEX_FRAME
"""The preprocessor overlaps and adds: it returns every sample one frame later."""
ORACLE_FRAME = 512


def classic_systems() -> list[System]:
    """Return the systems of this module, the oracle included."""
    return [
        System("unprocessed", "reference", "1", lambda: of_noisy(lambda noisy, rate: noisy)),
        System("oracle Wiener mask", "oracle", "1", lambda: wiener_oracle),
        *(_highpass(name, cutoff) for name, cutoff in HIGHPASSES.items()),
        *_noisereduce_systems(),
        _logmmse(),
        *_webrtc_systems(),
        _speex(),
    ]


HIGHPASSES: dict[str, Callable[[int], float]] = {
    "highpass-200Hz": lambda rate: 200.0,
    "highpass-1kHz": lambda rate: 1000.0,
    "highpass-sr/16": lambda rate: rate / 16,
}


def _highpass(name: str, cutoff_hz: Callable[[int], float]) -> System:
    def enhance(noisy: Audio, rate: int) -> Estimate:
        return highpassed(noisy.astype(np.float64), rate, cutoff_hz(rate))

    return System(name, "peer", "butterworth-4-zero-phase", lambda: of_noisy(enhance))


def wiener_oracle(mixture: Mixture) -> Estimate:
    """Return the mixture under the Wiener mask of its true parts, in frames of 512 samples."""
    window, hop = sqrt_hann(ORACLE_FRAME), ORACLE_FRAME // 4
    call, noise = (np.abs(stft(x, window, hop)) ** 2 for x in (mixture.clean, mixture.noise))
    mask = call / np.maximum(call + noise, 1e-20)
    return istft(mask * stft(mixture.noisy, window, hop), window, hop, len(mixture.noisy))


def _noisereduce_systems() -> list[System]:
    systems = []
    for label, stationary in (("stationary", True), ("nonstationary", False)):
        for suffix, blend in (("", 0.0), ("+25% input", BLEND)):
            systems.append(
                System(
                    f"noisereduce-{label}{suffix}",
                    "peer",
                    f"noisereduce {package_version('noisereduce')} blend {blend:g}",
                    partial(_noisereduce, stationary, blend),
                    packages=("noisereduce",),
                    missing="" if installed("noisereduce") else "pip install noisereduce",
                )
            )
    return systems


def _noisereduce(stationary: bool, blend: float) -> Process:
    library = importlib.import_module("noisereduce")

    def enhance(noisy: Audio, rate: int) -> Estimate:
        reduced = np.asarray(library.reduce_noise(y=noisy, sr=rate, stationary=stationary))
        return (1 - blend) * reduced + blend * noisy

    return of_noisy(enhance)


def _logmmse() -> System:
    def load() -> Process:
        # Importing logmmse turns floating-point warnings into errors for the whole process.
        before = np.geterr()
        library = importlib.import_module("logmmse")
        np.seterr(**before)

        def enhance(noisy: Audio, rate: int) -> Estimate:
            # It drops its last frame; and only float32 input comes back as an array.
            padded = np.pad(noisy, (0, int(0.04 * rate) + 2)).astype(np.float32)
            with np.errstate(all="ignore"):
                output = library.logmmse(padded, rate)
            return fitted(output, len(noisy))

        return of_noisy(enhance)

    return System(
        "logmmse",
        "peer",
        f"logmmse {package_version('logmmse')}",
        load,
        packages=("logmmse",),
        missing="" if installed("logmmse") else "pip install logmmse",
    )


def _framewise(step: Callable[[bytes], bytes], frame: int, delay: int, noisy: Audio) -> Estimate:
    """Run an int16 frame processor over the samples and take its delay back."""
    padded = np.pad(noisy, (0, delay + (-(len(noisy) + delay)) % frame))
    codes = np.clip(np.round(padded * 32767), -32768, 32767).astype("<i2")
    output = b"".join(step(codes[i : i + frame].tobytes()) for i in range(0, len(codes), frame))
    return np.frombuffer(output, "<i2")[delay : delay + len(noisy)] / 32767.0


def _webrtc_systems() -> list[System]:
    def enhance(noisy: Audio) -> Estimate:
        library = importlib.import_module("webrtc_noise_gain")
        processor = library.AudioProcessor(0, WEBRTC_LEVEL)
        return _framewise(
            lambda codes: bytes(processor.Process10ms(codes).audio),
            WEBRTC_FRAME,
            WEBRTC_DELAY,
            noisy,
        )

    variants: list[tuple[str, Enhance]] = [
        ("native", at_native(enhance)),
        ("16k", at_rate(enhance, WEBRTC_RATE)),
    ]
    return [
        System(
            f"webrtc-ns{WEBRTC_LEVEL}@{label}",
            "peer",
            f"webrtc-noise-gain {package_version('webrtc-noise-gain')} level {WEBRTC_LEVEL}",
            partial(of_noisy, variant),
            level_dependent=True,
            packages=("webrtc-noise-gain",),
            missing="" if installed("webrtc_noise_gain") else "pip install webrtc-noise-gain",
        )
        for label, variant in variants
    ]


def _speex() -> System:
    def enhance(noisy: Audio) -> Estimate:
        library = importlib.import_module("speexdsp_ns")
        processor = library.NoiseSuppression.create(SPEEX_FRAME, SPEEX_RATE)
        return _framewise(
            lambda codes: bytes(processor.process(codes)), SPEEX_FRAME, SPEEX_DELAY, noisy
        )

    return System(
        "speexdsp-ns@native",
        "peer",
        f"speexdsp-ns {package_version('speexdsp-ns')}",
        lambda: of_noisy(at_native(enhance)),
        level_dependent=True,
        packages=("speexdsp-ns",),
        missing="" if installed("speexdsp_ns") else "pip install speexdsp-ns",
    )
