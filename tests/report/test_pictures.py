"""Pictures hold the right frequency at the right place, and any decoder reads them."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile

from biodenoising.report.pictures import MAGMA, STEPS, Scale, colours, levels, png, scale_of
from biodenoising.report.sounds import audible_speed, listening_gain_db, mp3

RATE = 48_000


def tone(hertz: float, seconds: float = 2.0, rate: int = RATE) -> np.ndarray:
    return np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate).astype(np.float32)


@pytest.mark.parametrize("hertz", [900, 6_000, 20_000])
def test_a_tone_is_drawn_at_its_frequency_and_level(hertz: float) -> None:
    picture = levels(0.1 * tone(hertz))
    row = int(picture.mean(axis=1).argmax())
    assert (row + 0.5) / len(picture) * RATE / 2 == pytest.approx(hertz, abs=RATE / 2 / 170)
    # A row is the mean of three bins: up to 5 dB below the tone's level.
    assert -26 < picture[row].mean() < -20


def test_the_time_axis_is_even_and_short_sounds_are_drawn() -> None:
    late = np.concatenate([np.zeros(RATE), tone(5_000, 1.0)])
    loudest = levels(late).max(axis=0)
    assert np.flatnonzero(loudest > -40)[0] == pytest.approx(400, abs=8)
    for samples in (0, 1, 100, 2_000):
        assert np.isfinite(levels(np.zeros(samples, np.float32))).all()


def test_a_png_is_read_by_others() -> None:
    image = pytest.importorskip("matplotlib.image")
    picture = levels(tone(6_000) + 0.01 * np.random.default_rng(0).normal(size=2 * RATE))
    scale = scale_of(picture)
    pixels = image.imread(io.BytesIO(png(picture, scale)))
    assert pixels.shape[:2] == picture.shape
    brightest = int(pixels[:, :, :3].sum(axis=2).mean(axis=1).argmax())
    assert brightest == len(picture) - 1 - int(picture.mean(axis=1).argmax())
    flat = image.imread(io.BytesIO(png(np.zeros((4, 5), np.float32), Scale(-10.0, 10.0))))
    assert (flat == flat[0, 0]).all()


def test_the_colours_grow_brighter_evenly() -> None:
    table = np.frombuffer(colours(STEPS), np.uint8).reshape(-1, 3).astype(float)
    bright = table @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(bright) > 0).all()
    assert colours(STEPS)[:3] == MAGMA[:3]
    assert colours(STEPS)[-3:] == MAGMA[-3:]


def test_the_scale_has_the_background_dark_and_calls_bright() -> None:
    noise = 0.001 * np.random.default_rng(0).normal(size=2 * RATE)
    picture = levels(tone(6_000) * 0.3 + noise)
    scale = scale_of(picture)
    share = (np.median(picture) - scale.low) / (scale.high - scale.low)
    assert 0.05 < share < 0.35
    assert 45 <= scale.high - scale.low <= 80


@pytest.mark.parametrize("rate", [1_000, 16_000, 37_500, 96_000, 250_000])
def test_sounds_keep_their_length_at_every_rate(rate: int) -> None:
    made = mp3(0.5 * tone(300, 2.0, rate), rate)
    samples, played = soundfile.read(io.BytesIO(made))
    assert len(samples) / played == pytest.approx(2.0, abs=0.06)
    spectrum = np.abs(np.fft.rfft(samples[: 2 * played]))
    assert spectrum.argmax() / 2 == pytest.approx(300, abs=3)


def test_what_cannot_be_heard_is_played_at_another_speed() -> None:
    assert audible_speed(384_000, 60_000) == audible_speed(384_000, 0) == 0.1
    assert audible_speed(384_000, 9_000) == audible_speed(48_000, 20_000) == 1
    assert audible_speed(2_000, 100) == 8
    assert listening_gain_db(np.zeros(4, np.float32)) == 0
    assert listening_gain_db(np.array([0.09], np.float32)) == 20
