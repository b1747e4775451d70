"""Options of any value: either refused with a sentence, or they do what they say."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biodenoising.cli.denoise import Band
from biodenoising.errors import OptionError
from biodenoising.inference.denoiser import Denoiser, DenoiseSettings

numbers = st.floats(allow_nan=True, allow_infinity=True)


@given(mix=numbers, attenuation=st.none() | numbers)
def test_shares_lie_between_nothing_and_all(mix, attenuation) -> None:
    try:
        share = DenoiseSettings(mix, attenuation).share
    except OptionError:
        assert not (0 <= mix <= 1 and (attenuation is None or attenuation >= 0))
    else:
        assert 0 <= share <= mix <= 1


@given(low=st.floats(0, 1e6), high=st.floats(0, 1e6), thousands=st.booleans())
def test_bands_are_read_as_written(low, high, thousands) -> None:
    unit = 1000 if thousands else 1
    text = f"{low:.3f}{'k' * thousands}-{high:.3f}{'K' * thousands}"
    found = Band().convert(text, None, None)
    assert found == pytest.approx((round(low, 3) * unit, round(high, 3) * unit))
    if low < high - 0.001:
        DenoiseSettings(band=found)


@given(st.text(max_size=12))
def test_no_other_text_is_a_band(text) -> None:
    import click

    try:
        low, high = Band().convert(text, None, None)
    except click.UsageError:
        return
    assert math.isfinite(low)
    assert math.isfinite(high)


@settings(max_examples=15, deadline=None)
@given(data=st.data(), channels=st.integers(1, 3), length=st.integers(0, 9_000))
def test_blocks_do_not_matter_and_lengths_are_kept(tiny_model, data, channels, length) -> None:
    denoiser = _denoiser(str(tiny_model))
    noise = np.random.default_rng(length).normal(0, 0.1, (channels, length)).astype(np.float32)
    whole = denoiser.open(16_000, channels)
    first, last = whole.push(noise), whole.flush()
    stream, parts, start = denoiser.open(16_000, channels), [], 0
    while start < length:
        step = data.draw(st.integers(1, 4_000))
        parts.append(stream.push(noise[:, start : start + step]))
        start += step
    parts.append(stream.flush())
    for kind in (0, 1):
        at_once = np.concatenate([first[kind], last[kind]], axis=1)
        in_parts = np.concatenate([part[kind] for part in parts], axis=1)
        assert at_once.shape == in_parts.shape == noise.shape
        assert np.abs(at_once - in_parts).max(initial=0) <= 1e-6


_loaded: dict[str, Denoiser] = {}


def _denoiser(model: str) -> Denoiser:
    if model not in _loaded:
        _loaded[model] = Denoiser(model)
    return _loaded[model]
