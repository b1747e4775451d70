"""Every teacher that can be had here keeps the promises of the interface."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import signal

from biodenoising.errors import AudioValueError, TeacherError
from biodenoising.teachers.base import HEARD_PEAK, Teacher, Wave, run_teacher
from biodenoising.teachers.expansion import denoise_at
from biodenoising.teachers.registry import find_teacher, list_teachers

STATUSES = {status.name: status for status in list_teachers()}
# Speech enhancers that remove this call leave too little to see where it stands.
HEARD_DB = -30.0
# WebRTC and Speex round to 16 bits.
LEVEL_TOLERANCE = 1e-3


@pytest.fixture(params=sorted(STATUSES))
def teacher(request: pytest.FixtureRequest) -> Teacher:
    """Every teacher in turn."""
    status = STATUSES[request.param]
    if not status.available:
        pytest.skip(f"{status.name} is not available here")
    return find_teacher(request.param)


def test_shape_type_and_finiteness(teacher: Teacher, noisy: Wave) -> None:
    for expansion in (0.5, 1.0, 2.0):
        clean = denoise_at(teacher, noisy, 16_000, expansion)
        assert clean.shape == noisy.shape
        assert clean.dtype == np.float32
        assert np.isfinite(clean).all()
        assert np.abs(clean).max() < 2.0
    assert teacher.name
    assert teacher.licence
    assert teacher.version


def test_silence_stays_silence(teacher: Teacher) -> None:
    assert not denoise_at(teacher, np.zeros(8_000, np.float32), 16_000, 2.0).any()


@pytest.mark.parametrize("samples", [0, 1, 2, 7, 159, 1_000])
def test_very_short_input(teacher: Teacher, noisy: Wave, samples: int) -> None:
    clean = denoise_at(teacher, noisy[:samples], 16_000)
    assert clean.shape == (samples,)
    assert np.isfinite(clean).all()


def test_silence_around_a_call(teacher: Teacher, noisy: Wave) -> None:
    silence = np.zeros(8_000, np.float32)
    clean = denoise_at(teacher, np.concatenate([silence, noisy[:8_000], silence]), 16_000)
    assert np.isfinite(clean).all()
    # What sounds before anything was played would be targets made of nothing.
    assert np.abs(clean[:6_000]).max() < 1e-3


@pytest.mark.parametrize("gain", [1e-5, 100.0])
def test_level_changes_nothing_but_the_level(teacher: Teacher, noisy: Wave, gain: float) -> None:
    clean = denoise_at(teacher, noisy, 16_000)
    scaled = denoise_at(teacher, (gain * noisy).astype(np.float32), 16_000) / gain
    assert np.abs(scaled - clean).max() < LEVEL_TOLERANCE * np.abs(clean).max()


@pytest.mark.parametrize("expansion", [1.0, 2.0])
def test_nothing_moves_in_time(teacher: Teacher, noisy: Wave, expansion: float) -> None:
    clean = denoise_at(teacher, noisy, 16_000, expansion).astype(np.float64)
    if 10 * np.log10(clean @ clean / (noisy @ noisy) + 1e-20) < HEARD_DB:
        pytest.skip("it removes this call")
    fits = signal.correlate(clean, noisy.astype(np.float64), method="fft")
    assert abs(int(np.argmax(fits)) - (len(noisy) - 1)) <= 1


def test_one_call_does_not_change_the_next(teacher: Teacher, noisy: Wave) -> None:
    first = denoise_at(teacher, noisy, 16_000)
    denoise_at(teacher, noisy[::-1].copy(), 16_000)
    assert np.array_equal(denoise_at(teacher, noisy, 16_000), first)


def test_a_teacher_is_heard_at_one_level(make_teacher: Callable[..., Teacher], noisy: Wave) -> None:
    heard = []
    teacher = make_teacher(lambda x, rate: heard.append((x, rate)) or x, rate=None)
    clean = run_teacher(teacher, 1e-3 * noisy, 44_100.0)
    assert clean == pytest.approx(1e-3 * noisy, abs=1e-9)
    samples, rate = heard[0]
    assert rate == 44_100.0
    assert np.abs(samples).max() == pytest.approx(HEARD_PEAK, rel=1e-6)


def test_bad_results_are_refused(make_teacher: Callable[..., Teacher], noisy: Wave) -> None:
    with pytest.raises(TeacherError, match=r"teacher made: gave shape \(31999,\)"):
        run_teacher(make_teacher(lambda x, rate: x[1:]), noisy, 16_000)
    with pytest.raises(TeacherError, match="not finite"):
        run_teacher(make_teacher(lambda x, rate: x * np.nan), noisy, 16_000)


def test_bad_input_is_refused(make_teacher: Callable[..., Teacher], noisy: Wave) -> None:
    for audio, words in (
        (noisy.reshape(2, -1), "one channel"),
        (np.full(100, np.nan, np.float32), "NaN"),
        (noisy.astype(complex), "dtype"),
    ):
        with pytest.raises(AudioValueError, match=words):
            denoise_at(make_teacher(), audio, 16_000)
    with pytest.raises(AudioValueError, match="sample rate"):
        denoise_at(make_teacher(), noisy, 3.0)


def test_long_input_goes_in_pieces(make_teacher: Callable[..., Teacher]) -> None:
    lengths = []
    teacher = make_teacher(lambda x, rate: lengths.append(len(x)) or 0.5 * x, longest=8_192)
    noisy = np.random.default_rng(1).uniform(-1, 1, 50_000).astype(np.float32)
    clean = run_teacher(teacher, noisy, 16_000)
    assert clean == pytest.approx(0.5 * noisy, abs=1e-6)
    assert len(lengths) > 5
    assert max(lengths) <= 8_192
