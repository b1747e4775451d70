"""Arrays as people have them to float32 blocks and back; what is no audio is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from biodenoising.errors import AudioValueError
from biodenoising.inference.waiting import Block

LOWEST_RATE_HZ = 100.0
HIGHEST_RATE_HZ = 2_000_000.0
MOST_CHANNELS = 64


def as_array(audio: Any) -> NDArray[Any]:
    """Return what is given, a torch tensor as well, as an array. Raises AudioValueError."""
    if hasattr(audio, "detach"):
        tensor = audio.detach().cpu()
        # numpy has no such type.
        return np.asarray((tensor.float() if "bfloat16" in str(tensor.dtype) else tensor).numpy())
    try:
        return np.asarray(audio)
    except ValueError as error:
        raise AudioValueError(
            f"audio is a {type(audio).__name__} of unlike parts; give (samples,) or (channels, "
            "samples)"
        ) from error


def check_audio(audio: NDArray[Any], sample_rate: float) -> None:
    """Raise AudioValueError, saying how to mend it, for what is not audio."""
    if audio.ndim not in (1, 2):
        raise AudioValueError(
            f"audio has shape {audio.shape}; give (samples,) or (channels, samples)"
        )
    if audio.ndim == 2 and len(audio) > MOST_CHANNELS:
        hint = "; it looks like (samples, channels): pass audio.T" if audio.shape[1] <= 64 else ""
        raise AudioValueError(
            f"audio of shape {audio.shape} would have {len(audio)} channels, more than "
            f"{MOST_CHANNELS}{hint}"
        )
    if audio.ndim == 2 and len(audio) == 0:
        raise AudioValueError("audio has no channels; give (samples,) or (channels, samples)")
    if not (np.issubdtype(audio.dtype, np.floating) or np.issubdtype(audio.dtype, np.integer)):
        raise AudioValueError(f"audio has dtype {audio.dtype}; give floating point or integers")
    if not hasattr(sample_rate, "__float__"):
        raise AudioValueError(f"sample rate is {sample_rate!r}; give a number of Hz")
    if not LOWEST_RATE_HZ <= sample_rate <= HIGHEST_RATE_HZ:
        raise AudioValueError(
            f"sample rate is {float(sample_rate):g} Hz; it must lie between {LOWEST_RATE_HZ:g} and "
            f"{HIGHEST_RATE_HZ:g}"
        )
    if np.issubdtype(audio.dtype, np.floating):
        bad = audio.size - int(np.count_nonzero(np.isfinite(audio)))
        if bad:
            raise AudioValueError(
                f"audio has {bad} values that are NaN or infinite; "
                "replace them first, for example by numpy.nan_to_num"
            )


def as_float(audio: NDArray[Any]) -> tuple[Block, float]:
    """Return float32 samples and the factor that brought integers to -1..1."""
    if np.issubdtype(audio.dtype, np.floating):
        # Float64 beyond float32's range would overflow to infinity.
        largest = float(np.abs(audio).max(initial=0.0))
        scale = largest if largest > 1e30 else 1.0
        return (audio / scale).astype(np.float32), scale
    limits = np.iinfo(audio.dtype)
    scale = (float(limits.max) - float(limits.min) + 1) / 2
    middle = float(limits.max) + 1 - scale
    return ((audio.astype(np.float64) - middle) / scale).astype(np.float32), scale


def as_dtype(clean: Block, dtype: np.dtype[Any], scale: float) -> NDArray[Any]:
    """Undo as_float; integers are rounded and clipped."""
    if np.issubdtype(dtype, np.floating):
        return (clean.astype(np.float64) * scale).astype(dtype)
    limits = np.iinfo(dtype)
    middle = float(limits.max) + 1 - scale
    levels = np.rint(clean.astype(np.float64) * scale + middle)
    return np.clip(levels, float(limits.min), float(limits.max)).astype(dtype)
