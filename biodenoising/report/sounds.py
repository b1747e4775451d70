"""Short stretches as MP3: what every browser plays, at a seventh of the size of samples.

MP3 knows a few sampling rates only, all within hearing: other rates are brought to one of them, and
what is too high or too low to hear is also played slower or faster.
"""

from __future__ import annotations

import io

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from biodenoising.signals import interrupts_held

Samples = NDArray[np.float32]

MP3_RATES_HZ = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
QUALITY = 0.5  # of 0 (best) to 1; variable bit rate, about 50 kbit/s of birdsong
ULTRASONIC_RATE_HZ, INFRASONIC_RATE_HZ = 96_000, 4_000
AUDIBLE_HZ = 15_000
SLOWER, FASTER = 10.0, 8.0
LOUDEST = 0.9
MOST_GAIN_DB = 40.0


def mp3(samples: Samples, sample_rate: float) -> bytes:
    """Return mono samples as an MP3 at the nearest rate that it has, none lower if possible."""
    rate = next((r for r in MP3_RATES_HZ if r >= sample_rate), MP3_RATES_HZ[-1])
    if rate != sample_rate:
        samples = soxr.resample(samples, sample_rate, rate)
    target = io.BytesIO()
    with interrupts_held():
        soundfile.write(
            target, np.clip(samples, -1, 1), rate, format="MP3", subtype="MPEG_LAYER_III",
            bitrate_mode="VARIABLE", compression_level=QUALITY,
        )  # fmt: skip
    return target.getvalue()


def audible_speed(sample_rate: float, highest_hz: float) -> float:
    """Return how fast to play what could not be heard otherwise: 0.1, 8, or 1 for the rest.

    `highest_hz` is the upper edge of the calls, 0 where none are known.
    """
    if sample_rate >= ULTRASONIC_RATE_HZ and (highest_hz == 0 or highest_hz > AUDIBLE_HZ):
        return 1 / SLOWER
    return FASTER if sample_rate <= INFRASONIC_RATE_HZ else 1.0


def listening_gain_db(samples: Samples) -> float:
    """Return by how much a stretch is played louder, so that quiet recordings can be heard."""
    peak = float(np.abs(samples).max(initial=0.0))
    if peak == 0:
        return 0.0
    return round(min(20 * float(np.log10(LOUDEST / peak)), MOST_GAIN_DB), 1)
