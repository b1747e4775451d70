"""One loud event must not change the rest of a recording."""

from __future__ import annotations

import numpy as np
import pytest

from biodenoising import Denoiser, list_models

RATE = 44_100
MAY_CHANGE_BY_DB = 3.0
SHIPPED = [name for name in list_models() if not name.startswith("noisereduce")]


@pytest.mark.slow
@pytest.mark.parametrize("above_db", [17, 37])
@pytest.mark.parametrize("model", SHIPPED)
def test_the_background_stays_down_after_a_loud_event(model: str, above_db: float) -> None:
    background = np.random.default_rng(0).standard_normal(10 * RATE) * 0.01
    event = background.copy()
    gain = 0.01 * 2**0.5 * 10 ** (above_db / 20)
    event[2 * RATE : 2 * RATE + 2_000] += gain * np.sin(0.3 * np.arange(2_000))
    denoiser = Denoiser(model)
    left = [denoiser.denoise(audio, RATE)[7 * RATE :] for audio in (background, event)]
    without, with_event = (10 * np.log10(np.mean(np.square(part))) for part in left)
    assert with_event - without < MAY_CHANGE_BY_DB


@pytest.mark.slow
@pytest.mark.parametrize("above_db", [17, 37])
@pytest.mark.parametrize("model", SHIPPED)
def test_live_sound_forgets_a_loud_event_too(model: str, above_db: float) -> None:
    """With states passed on for ever, Demucs let the background through 36 dB louder."""
    background = np.random.default_rng(0).standard_normal(10 * RATE) * 0.01
    event = background.copy()
    gain = 0.01 * 2**0.5 * 10 ** (above_db / 20)
    event[2 * RATE : 2 * RATE + 2_000] += gain * np.sin(0.3 * np.arange(2_000))
    denoiser = Denoiser(model)
    left = [denoiser.stream(RATE).feed(audio)[7 * RATE :] for audio in (background, event)]
    without, with_event = (10 * np.log10(np.mean(np.square(part))) for part in left)
    assert with_event - without < MAY_CHANGE_BY_DB
