"""Mixtures follow from seed and index; levels, SNRs, rates and bands are what the settings say."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from biodenoising.corpus.augment import (
    carry_far,
    clip_softly,
    colour,
    fit_length,
    limit_band,
    loud_event,
    quieten_around,
    reverberate,
    rms,
    through_mp3,
    warp_time,
)
from biodenoising.corpus.clips import (
    Clip,
    ClipSettings,
    balanced_weights,
    gate_floor,
    is_held_back,
    load_clips,
    read_rows,
    select_rows,
    select_unlabelled,
)
from biodenoising.corpus.mixtures import Listener, Mixer, MixtureSettings
from biodenoising.errors import AudioReadError, TrainingError

RATE = 16_000
SAMPLES = 8_192
PLAIN = MixtureSettings().plain(SAMPLES, (0.0, 0.0))


def tone(frequency: float, samples: int = SAMPLES, rate: float = 1.0) -> np.ndarray:
    """A tone; without a rate, `frequency` is in cycles per sample."""
    return np.sin(2 * np.pi * frequency / rate * np.arange(samples)).astype(np.float32)


def white(samples: int = SAMPLES, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(samples).astype(np.float32)


def share_above(x: np.ndarray, corner: float) -> float:
    """The share of power above `corner`, itself a share of half the rate."""
    power = np.abs(np.fft.rfft(x)) ** 2
    return float(power[int(corner * len(power)) :].sum() / power.sum())


CALLS = [Clip(tone(0.05), 1.0), Clip(tone(0.11), 1.0)]
NOISES = [Clip(white(20_000, seed), 1.0) for seed in (1, 2)]


def mixer(seed: int = 1, **settings: Any) -> Mixer:
    return Mixer(CALLS, NOISES, dataclasses.replace(PLAIN, **settings), seed)


# --- mixtures ------------------------------------------------------------------------------------


def test_a_mixture_follows_from_seed_and_index() -> None:
    everything = dataclasses.replace(MixtureSettings(), samples=SAMPLES)
    one, other = (Mixer(CALLS, NOISES, everything, 7) for _ in range(2))
    other(3)  # what was made before does not matter
    for index in range(12):
        for ours, theirs in zip(one(index), other(index), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    assert not np.array_equal(one(0).noisy, one(1).noisy)
    assert not np.array_equal(one(0).noisy, Mixer(CALLS, NOISES, everything, 8)(0).noisy)


def test_everything_at_once_is_finite_and_as_long_as_asked() -> None:
    names = [field.name for field in dataclasses.fields(MixtureSettings) if field.type == "Chance"]
    always = {name: 1.0 for name in names if name not in ("noise_only", "clean_only")}
    settings = dataclasses.replace(PLAIN, **always)
    for index in range(10):
        mixture = Mixer([], [], settings, 1)(index)
        assert mixture.noisy.dtype == mixture.target.dtype == np.float32
        assert mixture.noisy.shape == mixture.target.shape == (SAMPLES,)
        assert np.isfinite(mixture.noisy).all()
        assert np.isfinite(mixture.target).all()
        assert rms(mixture.noisy) == pytest.approx(1, rel=1e-4)


@pytest.mark.parametrize("snr_db", [-8.0, 0.0, 12.0])
def test_the_snr_is_what_was_asked_for(snr_db: float) -> None:
    for index in range(5):
        noisy, target, _ = mixer(snr_db=(snr_db, snr_db))(index)
        ratio = 20 * np.log10(rms(target) / rms(noisy - target))
        assert ratio == pytest.approx(snr_db, abs=0.01)


def test_snrs_fill_their_range() -> None:
    make = mixer(snr_db=(-5.0, 10.0))
    found = []
    for index in range(60):
        noisy, target, _ = make(index)
        found.append(20 * np.log10(rms(target) / rms(noisy - target)))
    assert -5.01 < min(found) < -3
    assert 8 < max(found) < 10.01


def test_levels_spread_over_40_db() -> None:
    make = mixer(level_db=(-40.0, 0.0))
    levels = [20 * np.log10(rms(make(index).noisy)) for index in range(60)]
    assert -40.01 < min(levels) < -35
    assert -5 < max(levels) < 0.01
    assert rms(mixer()(0).noisy) == pytest.approx(1, rel=1e-5)


def test_peak_level_is_the_targets_and_stays_in_its_range() -> None:
    make = mixer(level="peak", target_peak=(0.5, 1.0), snr_db=(-5.0, 10.0))
    peaks = [float(np.abs(make(index).target).max()) for index in range(30)]
    assert 0.499 < min(peaks) < 0.65
    assert 0.85 < max(peaks) < 1.001


def test_noise_only_and_clean_only() -> None:
    quiet = mixer(noise_only=1.0)(0)
    assert not quiet.target.any()
    assert quiet.noisy.any()
    clean = mixer(clean_only=1.0)(0)
    assert 20 * np.log10(rms(clean.target) / rms(clean.noisy - clean.target)) > 29.9
    make = mixer(noise_only=0.2)
    silent = sum(not make(index).target.any() for index in range(200))
    assert 20 <= silent <= 60


def test_two_callers_are_both_in_the_target_and_bring_their_noise() -> None:
    make = mixer(second_caller=1.0)
    for index in range(20):
        spectrum = np.abs(np.fft.rfft(make(index).target))
        loud = [spectrum[round(f * SAMPLES)] > 20 * np.median(spectrum) for f in (0.05, 0.11)]
        if all(loud):
            break
    else:
        pytest.fail("never two different callers")
    assert make(0).noise_floor == pytest.approx(2e-3)


def test_several_noises_are_added() -> None:
    hum = [Clip(tone(0.2, 20_000), 1.0), Clip(tone(0.3, 20_000), 1.0)]
    make = Mixer(CALLS, hum, dataclasses.replace(PLAIN, further_noise=1.0), 1)
    found = 0
    for index in range(10):
        noisy, target, _ = make(index)
        spectrum = np.abs(np.fft.rfft((noisy - target) * np.hanning(SAMPLES)))
        peaks = [spectrum[round(f * SAMPLES)] for f in (0.2, 0.3)]
        found += min(peaks) > 0.05 * max(peaks)
    assert found >= 3


def test_synthesis_needs_no_clips_and_clips_are_asked_for_by_name() -> None:
    mixture = Mixer([], [], dataclasses.replace(PLAIN, synthesized_calls=1, synthesized_noise=1), 1)
    assert mixture(0).target.any()
    with pytest.raises(TrainingError, match="synthesized_calls"):
        Mixer([], NOISES, PLAIN, 1)
    with pytest.raises(TrainingError, match="synthesized_noise"):
        Mixer(CALLS, [], PLAIN, 1)


def test_draws_are_by_weight() -> None:
    calls = [Clip(tone(0.05), 3.0), Clip(tone(0.11), 1.0)]
    make = Mixer(calls, NOISES, PLAIN, 1)
    first = 0
    for index in range(200):
        spectrum = np.abs(np.fft.rfft(make(index).target))
        first += spectrum[round(0.05 * SAMPLES)] > spectrum[round(0.11 * SAMPLES)]
    assert 130 <= first <= 170


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"samples": 3}, "samples"),
        ({"snr_db": (5.0, -5.0)}, "snr_db must be written as lowest, highest"),
        ({"mp3": 1.5}, "mp3 must be between 0 and 1"),
        ({"noise_only": 0.6, "clean_only": 0.6}, "must not exceed 1"),
    ],
)
def test_contradictory_settings_are_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        MixtureSettings(**change)


# --- what happens to sounds ----------------------------------------------------------------------


@pytest.mark.parametrize("speed", [0.5, 1.0, 1.7])
def test_a_higher_playback_rate_raises_pitch(speed: float) -> None:
    heard = fit_length(tone(0.05, 40_000), SAMPLES, speed, np.random.default_rng(1), call=False)
    peak = np.argmax(np.abs(np.fft.rfft(heard * np.hanning(SAMPLES)))) / SAMPLES
    assert peak == pytest.approx(0.05 * speed, abs=2 / SAMPLES)
    assert rms(heard) == pytest.approx(1, rel=1e-5)


def test_what_a_higher_rate_moves_beyond_half_the_rate_is_gone() -> None:
    """A tone at 0.4 played at twice the rate would fold to 0.2."""
    both = tone(0.05, 40_000) + tone(0.4, 40_000)
    heard = fit_length(both, SAMPLES, 2.0, np.random.default_rng(1), call=False)
    spectrum = np.abs(np.fft.rfft(heard * np.hanning(SAMPLES)))
    alias, kept = spectrum[round(0.2 * SAMPLES)], spectrum[round(0.1 * SAMPLES)]
    assert 20 * np.log10(alias / kept) < -60


def test_calls_are_padded_and_noise_is_repeated() -> None:
    rng = np.random.default_rng(1)
    call = fit_length(tone(0.05, 1_000), SAMPLES, 1.0, rng, call=True)
    assert np.count_nonzero(call) <= 1_000
    noise = fit_length(white(1_000), SAMPLES, 1.0, rng, call=False)
    assert np.count_nonzero(noise) > 0.99 * SAMPLES


def test_calls_are_cut_where_they_are_loud() -> None:
    long = np.zeros(100_000, np.float32)
    long[70_000:71_000] = tone(0.05, 1_000)
    cuts = [
        fit_length(long, SAMPLES, 1.0, np.random.default_rng(seed), call=True) for seed in range(10)
    ]
    assert sum(bool(cut.any()) for cut in cuts) >= 9


def test_a_band_limit_takes_from_both_and_leaves_the_call() -> None:
    limited = 0
    for seed in range(40):
        call, noise = limit_band(tone(0.1), white(), np.random.default_rng(seed))
        assert np.mean(call**2) >= 0.09 * np.mean(tone(0.1) ** 2)
        limited += share_above(noise, 0.95) < 0.01 or 1 - share_above(noise, 0.02) < 0.005
    assert limited >= 20


def test_distance_dampens_high_tones_more_and_keeps_the_call() -> None:
    for seed in range(10):
        rng = np.random.default_rng(seed)
        far = carry_far(tone(0.05) + tone(0.4), rng)
        spectrum = np.abs(np.fft.rfft(far))
        assert spectrum[round(0.4 * SAMPLES)] < 0.8 * spectrum[round(0.05 * SAMPLES)]
    highest = carry_far(tone(0.49), np.random.default_rng(1))
    assert rms(highest) == pytest.approx(1, rel=1e-5)


def test_calls_are_heard_backwards_where_that_is_asked_for() -> None:
    calls = [Clip((tone(0.05) * np.linspace(0, 1, SAMPLES)).astype(np.float32), 1.0)]
    forwards = Mixer(calls, NOISES, PLAIN, 0)(3)
    backwards = Mixer(calls, NOISES, dataclasses.replace(PLAIN, reversal=1.0), 0)(3)
    before, after = forwards.target / rms(forwards.target), backwards.target / rms(backwards.target)
    np.testing.assert_allclose(after, before[::-1], atol=1e-4)


def test_a_warped_tone_goes_up_and_down_and_ends_where_it_did() -> None:
    plain = tone(0.1)
    for seed in range(5):
        warped = warp_time(plain, np.random.default_rng(seed))
        assert len(warped) == SAMPLES
        np.testing.assert_allclose(warped[[0, -1]], plain[[0, -1]], atol=1e-3)
        crossings = np.flatnonzero(np.diff(np.signbit(warped)))
        pitches = 32 / np.diff(crossings[::64])  # of a sample, over 32 cycles at a time
        assert pitches.max() > 1.05 * pitches.min()
        # Speeds within a quarter of an octave of each other's mean, so pitches within half of one.
        assert pitches.min() > 0.1 * 2**-0.5
        assert pitches.max() < 0.1 * 2**0.5


def test_colour_changes_bands_by_no_more_than_it_may() -> None:
    noise = white(4 * SAMPLES)
    coloured = colour(noise, np.random.default_rng(3))
    assert rms(coloured) == pytest.approx(1, rel=1e-5)
    ratio = np.abs(np.fft.rfft(coloured)) / np.abs(np.fft.rfft(noise))
    gains_db = 20 * np.log10(ratio[1:-1])
    assert 3 < np.ptp(gains_db) < 18.1
    assert np.abs(np.diff(gains_db[1000:])).max() < 0.1  # smooth


def test_reverberation_follows_the_call_and_is_weaker() -> None:
    click = np.zeros(SAMPLES, np.float32)
    click[1_000] = 1
    for seed in range(10):
        wet = reverberate(click, np.random.default_rng(seed))
        assert np.abs(wet[:999]).max() < 1e-3 * np.abs(wet).max()
        echoes = float(np.sum(wet[1_001:] ** 2) / wet[1_000] ** 2)
        assert 10**-2.1 < echoes <= 10**-0.25


def test_loud_events_are_loud_and_short() -> None:
    for seed in range(20):
        event = loud_event(SAMPLES, np.random.default_rng(seed))
        assert 10 ** (15 / 20) * 0.99 <= np.abs(event).max() <= 10 ** (45 / 20) * 1.01
        assert np.count_nonzero(event) <= 10**3.9


def test_soft_clipping_bends_peaks_only() -> None:
    x = np.linspace(-1, 1, 201).astype(np.float32)
    bent = [clip_softly(x, np.random.default_rng(seed)) for seed in range(10)]
    for y in bent:
        np.testing.assert_allclose(y[95:106], x[95:106], rtol=0.03, atol=1e-4)
        assert (np.diff(y) > 0).all()
        assert np.abs(y).max() < 1
    assert min(float(y[-1]) for y in bent) < 0.6


def test_mp3_stays_in_place_and_loses_little() -> None:
    chirp = np.sin(np.cumsum(np.linspace(0.05, 0.6, SAMPLES))).astype(np.float32)
    for seed in range(12):
        coded = through_mp3(3 * chirp, np.random.default_rng(seed))
        assert coded.shape == chirp.shape
        error = rms(coded - 3 * chirp) / rms(3 * chirp)
        assert 1e-4 < error < 0.35  # a shift by one sample would make it larger


# --- clips ---------------------------------------------------------------------------------------


def row(number: int, **values: Any) -> dict[str, Any]:
    return {
        "path": f"clip{number}.wav", "set": "train", "kind": "vocal", "recording": f"r{number}",
        "source": "one", "licence": "CC0-1.0", "tier": "open", "taxon": "Rana", "noise_type": "",
        "est_snr_db": 30.0, **values,
    }  # fmt: skip


def corpus(folder: Path, rows: list[dict[str, Any]]) -> Path:
    folder.mkdir(exist_ok=True)
    for number, each in enumerate(rows):
        samples = 0.3 * tone(2_000, RATE, RATE) + 0.001 * white(RATE, number)
        soundfile.write(folder / each["path"], samples, RATE, subtype="FLOAT")
    lines = "\n".join(json.dumps(each) for each in rows)
    (folder / "manifest.jsonl").write_text(lines, encoding="utf-8")
    return folder


def test_rows_are_chosen_by_set_tier_licence_and_snr() -> None:
    rows = [
        row(0),
        row(1, set="benchmark"),
        row(2, tier="noncommercial"),
        row(3, licence="GPL-3.0"),
        row(4, est_snr_db=10.0),
        row(5, kind="noise", noise_type="rain", est_snr_db=3.0),
        row(6, kind="noise", noise_type="insects"),
        row(7, stage="candidate"),
        row(8, stage="target", rejected="too quiet"),
        row(9, stage="target"),
    ]
    settings = ClipSettings(held_back_tenths=0)
    chosen = select_rows(rows, settings, noise=False, held_back=False)
    assert [each["path"] for each in chosen] == ["clip0.wav", "clip9.wav"]
    chosen = select_rows(rows, settings, noise=True, held_back=False)
    assert [each["path"] for each in chosen] == ["clip5.wav"]
    with pytest.raises(ValueError, match="benchmark is never trained on"):
        ClipSettings(sets=("train", "benchmark"))


def test_unlabelled_rows_are_no_targets_and_not_held_back() -> None:
    rows = [
        row(0),
        row(1, est_snr_db=5.0),
        row(2, kind="soundscape"),
        row(3, kind="noise"),
        row(4, kind="soundscape", licence="GPL-3.0"),
    ]
    chosen = select_unlabelled(rows, ClipSettings(held_back_tenths=0))
    assert [each["path"] for each in chosen] == ["clip1.wav", "clip2.wav"]
    many = [row(number, kind="soundscape") for number in range(200)]
    used = {each["recording"] for each in select_unlabelled(many, ClipSettings())}
    assert 160 <= len(used) < 200
    assert not any(is_held_back(name) for name in used)


def test_segments_of_recordings_follow_from_their_number() -> None:
    short, long = Clip(white(3_000), 1.0), Clip(white(30_000, 1), 1.0)
    settings = dataclasses.replace(PLAIN, call_octaves=1.0)
    one, other = (Listener([short, long], settings, 3) for _ in range(2))
    for index in range(8):
        segment = one(index)
        np.testing.assert_array_equal(segment, other(index))
        assert segment.shape == (SAMPLES,)
        assert rms(segment) == pytest.approx(1, rel=1e-4)
        assert rms(segment[-500:]) > 0.3  # repeated, not padded
    with pytest.raises(TrainingError, match="no unlabelled recordings"):
        Listener([], settings, 3)


def test_no_recording_stands_on_both_sides_of_the_split() -> None:
    rows = [row(number, recording=f"r{number // 2}") for number in range(400)]
    sides = [
        {
            each["recording"]
            for each in select_rows(rows, ClipSettings(), noise=False, held_back=side)
        }
        for side in (False, True)
    ]
    assert not sides[0] & sides[1]
    assert len(sides[0] | sides[1]) == 200
    assert 8 <= len(sides[1]) <= 36
    assert all(is_held_back(name) for name in sides[1])


def test_weights_are_balanced_by_taxon_and_source() -> None:
    rows = [row(n, taxon="Rana", source="a") for n in range(9)] + [row(9, taxon="Hyla", source="b")]
    even = ClipSettings(label_balance=0, source_balance=1)
    by_source: Counter[str] = Counter()
    for each, weight in zip(rows, balanced_weights(rows, even, noise=False), strict=True):
        by_source[each["source"]] += weight  # type: ignore[assignment]
    assert by_source["a"] == pytest.approx(by_source["b"])
    half = balanced_weights(rows, ClipSettings(), noise=False)
    assert half[-1] / half[0] == pytest.approx(9)
    plain = balanced_weights(rows, ClipSettings(label_balance=0, source_balance=0), noise=False)
    assert len(set(plain)) == 1


def test_clips_are_read_highpassed_with_the_noise_known_to_be_in_them(tmp_path: Path) -> None:
    folder = corpus(tmp_path, [row(0), row(1, highpass_hz=4_000.0), row(2, est_snr_db=20.0)])
    settings = ClipSettings(held_back_tenths=0, gate_targets=False)
    kept, filtered, noisier = load_clips([folder], settings, noise=False, held_back=False)
    assert rms(kept.audio) == pytest.approx(0.3 / 2**0.5, rel=0.01)
    assert rms(filtered.audio) < 0.01
    assert kept.noise_floor == pytest.approx(1e-3)
    assert noisier.noise_floor == pytest.approx(1e-2)


def test_gating_lowers_the_floor_between_calls() -> None:
    audio = 0.01 * white(3 * RATE)
    audio[RATE : RATE + 4_000] += tone(0.1, 4_000)
    gated = gate_floor(audio)
    assert rms(gated[2 * RATE :]) < 0.5 * rms(audio[2 * RATE :])
    assert rms(gated[RATE : RATE + 4_000]) == pytest.approx(2**-0.5, rel=0.02)


def test_a_bad_manifest_is_named_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no manifest to read"):
        read_rows(tmp_path)
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_text(json.dumps(row(0)) + '\n\n{"path": "x"}\n', encoding="utf-8")
    with pytest.raises(TrainingError, match=r"no kind in line 3"):
        read_rows(tmp_path)
    manifest.write_text("{not json\n", encoding="utf-8")
    with pytest.raises(TrainingError, match="not a manifest"):
        read_rows(tmp_path)


def test_a_clip_that_is_no_audio_is_named(tmp_path: Path) -> None:
    folder = corpus(tmp_path, [row(0)])
    (folder / "clip0.wav").write_bytes(b"nothing")
    with pytest.raises(AudioReadError, match=r"clip0\.wav"):
        load_clips([folder], ClipSettings(held_back_tenths=0), noise=False, held_back=False)


# --- quiet surroundings --------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(30))
def test_surroundings_are_quieter_but_for_a_stretch_around_the_peak(seed: int) -> None:
    rng = np.random.default_rng(seed)
    call, noise = white(seed=seed) * np.hanning(SAMPLES).astype(np.float32), white(seed=90)
    quiet_call, quiet_noise = quieten_around(call, noise, rng)
    gain = quiet_noise / noise
    peak = int(np.abs(call).argmax())
    assert gain[peak] == pytest.approx(1, abs=1e-5)
    assert gain.max() <= 1 + 1e-5
    assert gain.min() >= 10 ** (-80 / 20) * 0.99
    rising = np.diff(gain) > 1e-6
    assert not (rising[peak + 1 :]).any(), "it rises to the stretch and falls from it"
    assert np.array_equal(quiet_call, call) or np.allclose(quiet_call, call * gain, atol=1e-5)
    assert quiet_noise.dtype == quiet_call.dtype == np.float32


def test_some_surroundings_take_the_call_with_them_and_some_begin_the_recording() -> None:
    call, noise = tone(0.05) * np.hanning(SAMPLES).astype(np.float32), white()
    made = [quieten_around(call, noise, np.random.default_rng(seed)) for seed in range(100)]
    with_call = np.mean([not np.array_equal(quiet_call, call) for quiet_call, _ in made])
    from_start = np.mean([quiet_noise[0] == noise[0] for _, quiet_noise in made])
    to_end = np.mean([quiet_noise[-1] == noise[-1] for _, quiet_noise in made])
    assert 0.3 < with_call < 0.7
    assert 0.15 < from_start < 0.6
    assert 0.15 < to_end < 0.6


def test_mixtures_are_quiet_around_where_it_is_asked_for() -> None:
    plain, quiet = mixer()(0), mixer(quiet_around=1.0)(0)
    ratio = np.array([rms(part) for part in np.array_split(quiet.noisy - quiet.target, 16)])
    assert ratio.max() > 3 * ratio.min()
    steady = np.array([rms(part) for part in np.array_split(plain.noisy - plain.target, 16)])
    assert steady.max() < 1.2 * steady.min()
