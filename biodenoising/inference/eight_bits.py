"""When a network may be computed with 8-bit integers: the processor and the sound decide.

Activations share a scale over a whole chunk, so what is far quieter than the loudest moment of it
would be lost. Chunks of that kind are computed in float32.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from biodenoising.models.registry import CHECKPOINTS

FRAME = 512  # samples
QUIET_SHARE = 0.2
# On the development set, with clicks 20, 30 and 40 dB above the sound too, chunks below 20 dB lose
# 0.03 dB in the mean at most, all of them up to 2.5 dB; with later weights those below 20 dB lost
# 0.06 dB.
LARGEST_RANGE_DB = 14.0
SILENCE = 1e-12


def steady(samples: NDArray[np.float32]) -> bool:
    """Tell whether a chunk, shape (samples,), keeps within a range that 8 bits do justice to.

    Its loudest frame lies at most 14 dB above the level that a fifth of its frames stay below.
    """
    whole = samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME)
    if not len(whole):
        return False
    level_db = 10 * np.log10(np.einsum("ij,ij->i", whole, whole) / FRAME + SILENCE)
    return bool(level_db.max() - np.quantile(level_db, QUIET_SHARE) <= LARGEST_RANGE_DB)


@cache
def exact_products() -> bool:
    """Tell whether this processor multiplies 8-bit integers without cutting sums off.

    Those that do (AVX-512 VNNI, AVX-VNNI, ARM's dot product) are also fast at it; on others sums of
    two products end at 32,767.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        (CHECKPOINTS / "int8.probe.onnx").read_bytes(), options, ["CPUExecutionProvider"]
    )
    a, b = np.full((32, 64), 255, np.uint8), np.full((64, 32), 127, np.int8)
    (product,) = session.run(None, {"a": a, "b": b})
    return bool((product == 255 * 127 * 64).all())
