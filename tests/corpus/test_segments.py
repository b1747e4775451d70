"""Segments: calls and noise where they are, nothing else, at any rate and in any blocks."""

from __future__ import annotations

import shutil
import subprocess
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import signal

from biodenoising.corpus.activity import HOP, TILE
from biodenoising.corpus.annotations import Annotation
from biodenoising.corpus.segments import (
    Segment,
    SegmentSettings,
    find_segments,
    segment_blocks,
    segment_file,
)
from biodenoising.corpus.synthesis import CALLS, synthesize_call, synthesize_noise
from biodenoising.errors import AudioReadError, AudioValueError, OptionError

Samples = NDArray[np.float32]
Spans = list[tuple[float, float]]
SCENE_S = {True: 20.0, False: 4.0}


def scene(
    kind: str, noise: str, rate: float, snr_db: float, seed: int = 0
) -> tuple[Samples, Spans]:
    """Return calls of one kind about two seconds apart in noise, and where they are."""
    rng = np.random.default_rng(seed)
    audio = synthesize_noise(noise, rate, SCENE_S[rate < 100_000], rng)
    clean, spans = np.zeros_like(audio), []
    at = int(0.6 * rate)
    while True:
        call = np.trim_zeros(synthesize_call(kind, rate, rng))
        if at + len(call) > len(audio) - 0.3 * rate:
            break
        clean[at : at + len(call)] = call
        spans.append((at / rate, (at + len(call)) / rate))
        at += len(call) + int(rng.uniform(0.9, 2.5) * rate)
    power = sum(float((clean[int(a * rate) : int(b * rate)] ** 2).sum()) for a, b in spans)
    seconds = sum(b - a for a, b in spans)
    clean *= np.sqrt(0.01 * seconds * rate / power * 10 ** (snr_db / 10))
    return (audio + clean).astype(np.float32), spans


def spans_of(segments: tuple[Segment, ...], kind: str) -> Spans:
    return [(s.start_s, s.end_s) for s in segments if s.kind == kind]


def overlap(first: Spans, second: Spans) -> float:
    return sum(max(0.0, min(b, d) - max(a, c)) for a, b in first for c, d in second)


def length(spans: Spans) -> float:
    return sum(b - a for a, b in spans)


@pytest.mark.parametrize("kind", CALLS)
def test_calls_are_found_and_noise_is_free_of_them(kind: str) -> None:
    rate = CALLS[kind].sample_rate
    audio, truth = scene(kind, "pink", rate, snr_db=10)
    segments = find_segments(audio, rate, settings=SegmentSettings(speech_within_s=0))
    calls, noise = spans_of(segments, "call"), spans_of(segments, "noise")
    assert overlap(truth, calls) > 0.85 * length(truth)
    # Six hops of smear at each end are two fifths of a second at 4 kHz.
    smeared = [(a - 6 * HOP / rate, b + 6 * HOP / rate) for a, b in truth]
    assert overlap(smeared, calls) > 0.8 * length(calls)
    assert overlap(truth, noise) < 0.01 * length(noise)
    assert length(noise) > 0.3 * (len(audio) / rate - length(truth))


@pytest.mark.parametrize("expansion", [0.05, 1, 20])
def test_the_rate_changes_times_and_nothing_else(expansion: float) -> None:
    """The same samples at another rate give the same segments, where no time in seconds rules."""
    audio, _ = scene("whistle", "wind", 20_000, snr_db=5)
    base = SegmentSettings(speech_within_s=0)
    scaled = SegmentSettings(
        speech_within_s=0, **{
            name: getattr(base, name) * expansion
            for name in ("least_gap_s", "least_noise_s", "guard_s", "longest_s")
        },
    )  # fmt: skip
    native = find_segments(audio, 20_000, settings=base)
    slowed = find_segments(audio, 20_000 / expansion, settings=scaled)
    assert len(native) > 5
    assert [s.kind for s in native] == [s.kind for s in slowed]
    for one, other in zip(native, slowed, strict=True):
        assert other.start_s == pytest.approx(one.start_s * expansion)
        assert other.high_hz == pytest.approx(one.high_hz / expansion)
        assert other.score == one.score


@pytest.mark.parametrize("sizes", [[1_000], [70_001, 3, 200_000], [TILE * HOP]])
def test_blocks_change_nothing(sizes: list[int]) -> None:
    rng = np.random.default_rng(5)
    audio = np.stack([scene("trill", "rain", 24_000, 8, seed)[0] for seed in (1, 2)])
    audio = np.concatenate([audio, audio[:, ::-1]], axis=1)
    whole = find_segments(audio.T, 24_000)
    blocks, at = [], 0
    while at < audio.shape[1]:
        size = int(rng.choice(sizes))
        blocks.append(audio[:, at : at + size])
        at += size
    assert len(whole) > 8
    assert segment_blocks(iter(blocks), 24_000) == whole


@settings(max_examples=40, deadline=None)
@given(
    samples=st.integers(0, 60_000),
    rate=st.sampled_from([1_000, 8_000, 44_100, 384_000, 500_000]),
    channels=st.integers(1, 3),
    level=st.sampled_from([1e-7, 1e-3, 1.0, 100.0]),
    seed=st.integers(0, 100),
)
def test_segments_are_ordered_and_within_bounds(
    samples: int, rate: int, channels: int, level: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    audio = rng.standard_normal((samples, channels)) * level
    audio[samples // 3 : samples // 2] *= 30
    segments = find_segments(audio, rate)
    assert [s.start_s for s in segments] == sorted(s.start_s for s in segments)
    for segment in segments:
        assert 0 <= segment.start_s < segment.end_s <= samples / rate + 1e-9
        assert 0 <= segment.low_hz <= segment.high_hz <= rate / 2
        assert np.isfinite(segment.score)
    for kind in ("call", "noise"):
        spans = spans_of(segments, kind)
        assert all(b <= c for (_, b), (c, _) in pairwise(spans))
    assert overlap(spans_of(segments, "call"), spans_of(segments, "noise")) == 0


@pytest.mark.parametrize("value", [0.0, 0.25])
def test_silence_and_constants_are_silent(value: float) -> None:
    segments = find_segments(np.full(40_000, value, np.float32), 16_000)
    assert [(s.kind, s.start_s, s.end_s) for s in segments] == [("silent", 0.0, 2.5)]


def test_nothing_gives_nothing() -> None:
    assert find_segments(np.zeros(0, np.float32), 16_000) == ()


@pytest.mark.parametrize("colour", ["white", "pink", "brown"])
@pytest.mark.parametrize("rate", [1_000, 44_100, 500_000])
def test_steady_noise_holds_no_calls(colour: str, rate: int) -> None:
    audio = synthesize_noise(colour, rate, 30 if rate < 100_000 else 3, np.random.default_rng(2))
    segments = find_segments(audio, rate)
    assert length(spans_of(segments, "call")) < 0.02 * len(audio) / rate
    assert length(spans_of(segments, "noise")) > 0.8 * len(audio) / rate


def test_close_calls_are_one_and_long_ones_are_divided() -> None:
    rate, rng = 16_000, np.random.default_rng(0)
    audio = synthesize_noise("white", rate, 12, rng)
    tone = np.sin(2 * np.pi * 3_000 * np.arange(rate // 4) / rate).astype(np.float32)
    for start in (2.0, 2.6, 6.0):  # 0.35 s apart, then 3 s
        audio[int(start * rate) : int(start * rate) + len(tone)] += tone
    calls = spans_of(find_segments(audio, rate), "call")
    assert calls == [pytest.approx((2.0, 2.85), abs=0.1), pytest.approx((6.0, 6.25), abs=0.1)]
    apart = SegmentSettings(least_gap_s=0.2)
    assert len(spans_of(find_segments(audio, rate, settings=apart), "call")) == 3
    short = SegmentSettings(longest_s=1.0)
    parts = spans_of(find_segments(audio, rate, settings=short), "noise")
    assert max(b - a for a, b in parts) <= 1.0
    assert len(parts) > 8


def test_the_band_of_a_call_is_told() -> None:
    rate = 44_100
    audio = synthesize_noise("pink", rate, 10, np.random.default_rng(1))
    time_s = np.arange(rate // 2) / rate
    audio[3 * rate : 3 * rate + len(time_s)] += signal.chirp(time_s, 4_000, 0.5, 8_000)
    calls = [s for s in find_segments(audio, rate) if s.kind == "call"]
    assert len(calls) == 1
    assert calls[0].low_hz == pytest.approx(4_200, rel=0.15)
    assert calls[0].high_hz == pytest.approx(7_800, rel=0.15)


def test_clipped_calls_and_silences_are_turned_down() -> None:
    audio, truth = scene("whistle", "pink", 16_000, snr_db=20)
    first, last = truth[0], truth[-1]
    peak = float(np.abs(audio).max())
    loud = slice(int(first[0] * 16_000), int(first[1] * 16_000))
    audio[loud] = np.clip(audio[loud] * 8, -peak, peak)
    gap = (truth[1][1] + 0.2, truth[1][1] + 0.5)
    audio[int(gap[0] * 16_000) : int(gap[1] * 16_000)] = 0
    segments = find_segments(audio, 16_000)
    assert overlap(spans_of(segments, "clipped"), [first]) > 0.9 * length([first])
    assert overlap(spans_of(segments, "call"), [first]) == 0
    assert overlap(spans_of(segments, "call"), [last]) > 0.9 * length([last])
    assert spans_of(segments, "silent") == [pytest.approx(gap, abs=2 * HOP / 16_000)]
    assert overlap(spans_of(segments, "noise"), [gap]) == 0


def test_annotations_say_where_calls_are() -> None:
    audio, truth = scene("whistle", "pink", 16_000, snr_db=20)
    marked = [Annotation(truth[0][0], truth[0][1], "a", 1_000, 7_000), Annotation(2.0, 2.1)]
    segments = find_segments(audio, 16_000, annotations=[*marked, Annotation(90, 91)])
    calls = [s for s in segments if s.kind == "call"]
    assert len(calls) in (1, 2)
    assert length(spans_of(segments, "call")) < length([truth[0]]) + 0.7
    assert (calls[0].low_hz, calls[0].high_hz) == (1_000, 7_000)
    # What nobody marked but stands out is no noise either.
    assert overlap(spans_of(segments, "noise"), truth) < 0.02 * length(truth)


def test_files_are_read_as_arrays_are(tmp_path: Path) -> None:
    audio, _ = scene("frog pulse train", "stream", 8_000, snr_db=10)
    path = tmp_path / "pond.wav"
    soundfile.write(path, audio / 4, 8_000, subtype="FLOAT")
    assert segment_file(path) == find_segments(audio / 4, 8_000)
    with pytest.raises(AudioReadError, match=r"none\.wav: cannot be opened"):
        segment_file(tmp_path / "none.wav")


def test_values_that_are_no_numbers(tmp_path: Path) -> None:
    audio, _ = scene("whistle", "pink", 16_000, snr_db=10)
    audio[100_000:101_000] = np.nan
    with pytest.raises(AudioValueError, match="NaN or infinite"):
        find_segments(audio, 16_000)
    path = tmp_path / "torn.wav"
    soundfile.write(path, audio, 16_000, subtype="FLOAT")
    lost = spans_of(segment_file(path), "silent")
    assert lost == [pytest.approx((6.25, 6.3125), abs=2 * HOP / 16_000)]


@pytest.mark.parametrize(
    ("audio", "rate"),
    [
        (np.zeros((2, 2, 2), np.float32), 16_000),
        (np.zeros(100, np.int16), 16_000),
        (np.zeros((100, 0), np.float32), 16_000),
        (np.zeros(100, np.float32), 999),
        (np.zeros(100, np.float32), float("nan")),
    ],
)
def test_what_is_no_audio_is_refused(audio: NDArray[np.generic], rate: float) -> None:
    with pytest.raises(AudioValueError):
        find_segments(audio, rate)


@pytest.mark.parametrize(
    "options",
    [
        {"hold_score": 9.0}, {"hold_score": 0.0}, {"quiet_score": 0.0}, {"least_gap_s": -1.0},
        {"guard_s": float("nan")}, {"longest_s": 0.05}, {"speech_within_s": float("inf")},
    ],
)  # fmt: skip
def test_settings_out_of_range_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(OptionError, match=next(iter(options))):
        SegmentSettings(**options)


# --- speech --------------------------------------------------------------------------------------


def voiced(seconds: float, rate: int, seed: int) -> Samples:
    """Return syllables of a buzz with gliding pitch through vowels that change, as a voice has."""
    rng = np.random.default_rng(seed)
    parts = []
    while sum(map(len, parts)) < seconds * rate:
        n = int(rng.uniform(0.12, 0.22) * rate)
        pitch = np.linspace(*rng.uniform(100, 150, 2), n)
        buzz = signal.sawtooth(2 * np.pi * np.cumsum(pitch) / rate)
        vowel = np.zeros(n)
        for low, high in ((300, 800), (900, 2_200), (2_300, 2_900)):
            centre = rng.uniform(low, high)
            band = (0.85 * centre, 1.15 * centre)
            vowel += signal.sosfilt(signal.butter(1, band, "bandpass", fs=rate, output="sos"), buzz)
        gap = rng.standard_normal(int(rng.uniform(0.03, 0.1) * rate)) * 0.02
        parts += [vowel * np.hanning(n) ** 0.5, np.diff(gap, append=0.0)]
    speech = np.concatenate(parts)[: int(seconds * rate)]
    return (0.2 * speech / np.sqrt(np.mean(speech**2))).astype(np.float32)


def with_speech(speech: Samples, rate: int) -> tuple[Samples, float]:
    """Return ten seconds of noise and whistles after an announcement, and when that ends."""
    audio, _ = scene("whistle", "pink", rate, snr_db=10, seed=4)
    audio = np.concatenate([synthesize_noise("pink", rate, len(speech) / rate,
                                             np.random.default_rng(3)), audio])  # fmt: skip
    audio *= 0.2
    audio[: len(speech)] += speech[: len(audio)]
    return audio, len(speech) / rate


@pytest.mark.parametrize("rate", [16_000, 48_000, 192_000])
def test_a_voice_at_the_beginning_is_turned_down(rate: int) -> None:
    audio, end_s = with_speech(soxr.resample(voiced(6.0, 16_000, 0), 16_000, rate), rate)
    segments = find_segments(audio, rate)
    speech = spans_of(segments, "speech")
    assert overlap(speech, [(0.0, end_s)]) > 0.8 * end_s
    assert overlap(speech, [(end_s + 2.0, 99.0)]) == 0
    assert overlap(spans_of(segments, "call"), speech) == 0
    assert overlap(spans_of(segments, "noise"), speech) == 0
    assert spans_of(segments, "call")
    deaf = find_segments(audio, rate, settings=SegmentSettings(speech_within_s=0))
    assert not spans_of(deaf, "speech")
    assert overlap(spans_of(deaf, "call"), [(0.0, end_s)]) > 0.5 * end_s


@pytest.mark.skipif(not shutil.which("espeak-ng"), reason="espeak-ng is not installed")
def test_an_announcement_is_turned_down(tmp_path: Path) -> None:
    words = "Common blackbird, song, recorded in the park at five in the morning, third of May."
    path = tmp_path / "said.wav"
    subprocess.run(["espeak-ng", "-v", "en", "-w", str(path), words], check=True)
    speech, rate = soundfile.read(path, dtype="float32")
    audio, end_s = with_speech(speech, rate)
    found = spans_of(find_segments(audio, rate), "speech")
    assert overlap(found, [(0.0, end_s)]) > 0.8 * end_s


@pytest.mark.parametrize("kind", [kind for kind in CALLS if CALLS[kind].sample_rate < 100_000])
def test_calls_are_not_taken_for_speech(kind: str) -> None:
    rate = CALLS[kind].sample_rate
    audio, _ = scene(kind, "pink", rate, snr_db=15)
    assert length(spans_of(find_segments(audio, rate), "speech")) == 0


def test_no_voice_is_looked_for_below_its_band() -> None:
    audio, _ = with_speech(voiced(6.0, 16_000, 0), 16_000)
    assert not spans_of(find_segments(audio, 3_900), "speech")
