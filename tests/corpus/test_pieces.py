"""Pieces are the samples that were meant, and rumble is all that is taken away."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile

from biodenoising.corpus.pieces import (
    lowest_call_hz,
    piece_name,
    read_piece,
    read_pieces,
    without_rumble,
    write_piece,
)
from biodenoising.corpus.synthesis import synthesize_noise
from biodenoising.errors import AudioReadError

RATE_HZ = 16_000


def tone(hz: float, seconds: float = 1.0, rate: int = RATE_HZ) -> np.ndarray:
    return np.sin(2 * np.pi * hz * np.arange(int(seconds * rate)) / rate).astype(np.float32)


def test_stretches_are_the_samples_of_the_recording(tmp_path) -> None:
    rng = np.random.default_rng(1)
    audio = rng.uniform(-0.5, 0.5, (200_000, 2)) * [0.1, 1.0]
    soundfile.write(tmp_path / "a.wav", audio, RATE_HZ, subtype="FLOAT")
    spans = [
        (150_000, 190_000),
        (0, 70_000),
        (60_000, 160_000),
        (199_990, 300_000),
        (400_000, 9**9),
    ]
    found = dict(read_pieces(tmp_path / "a.wav", spans))
    assert sorted(found) == [0, 1, 2, 3]
    for index, piece in found.items():
        loud = audio[slice(*spans[index]), 1]
        assert piece.dtype == np.float32
        assert np.allclose(piece, loud - loud.mean(), atol=1e-6)


def test_values_that_are_no_numbers_count_as_silence(tmp_path) -> None:
    audio = np.full(1000, 0.5, np.float32)
    audio[500:] = np.nan
    soundfile.write(tmp_path / "a.wav", audio, RATE_HZ, subtype="FLOAT")
    [(_, piece)] = read_pieces(tmp_path / "a.wav", [(0, 1000)])
    assert np.allclose(piece, np.repeat([0.25, -0.25], 500))


def test_no_recording(tmp_path) -> None:
    (tmp_path / "a.wav").write_bytes(b"nothing")
    with pytest.raises(AudioReadError):
        list(read_pieces(tmp_path / "a.wav", [(0, 10)]))


@pytest.mark.parametrize("rate", [2_000, 44_100, 384_000, 500_001, 1_000_000])
def test_written_and_read_again(tmp_path, rate) -> None:
    path = tmp_path / piece_name("a", rate)
    audio = 0.5 * tone(440, 0.2, rate)
    assert write_piece(path, audio, rate) == 0
    assert soundfile.info(path).samplerate == rate
    assert np.allclose(read_piece(path), audio, atol=2e-7)


def test_what_is_too_loud_is_turned_down_and_said(tmp_path) -> None:
    audio = 4 * tone(440)
    gain_db = write_piece(tmp_path / "a.flac", audio, RATE_HZ)
    assert gain_db == pytest.approx(20 * np.log10(0.999 / np.abs(audio).max()))
    assert np.allclose(read_piece(tmp_path / "a.flac"), audio * 10 ** (gain_db / 20), atol=1e-6)


def test_rumble_goes_and_the_call_stays_where_it_is() -> None:
    rumble, call = 3 * tone(60), tone(2_000)
    cleaned = without_rumble(rumble + call + 0.7, RATE_HZ, 500)
    middle = slice(2_000, -2_000)
    assert np.max(np.abs(cleaned - call)[middle]) < 1e-3
    assert np.allclose(without_rumble(call + 0.7, RATE_HZ, 0), call, atol=1e-6)


@pytest.mark.parametrize("samples", [0, 1, 2, 50])
def test_short_pieces_are_filtered_too(samples) -> None:
    assert len(without_rumble(np.ones(samples, np.float32), RATE_HZ, 100)) == samples


def test_the_lowest_of_a_call_is_found_in_steady_noise() -> None:
    rng = np.random.default_rng(2)
    audio = synthesize_noise("brown", RATE_HZ, 4.0, rng)
    audio[24_000:40_000] += 0.3 * tone(1_500) + 0.1 * tone(3_000)
    assert 1_400 < lowest_call_hz(audio, RATE_HZ) < 1_510


def test_the_lowest_of_nothing_is_unknown() -> None:
    assert lowest_call_hz(np.zeros(40_000, np.float32), RATE_HZ) == 0
    assert lowest_call_hz(tone(1_000, 0.01), RATE_HZ) == 0
