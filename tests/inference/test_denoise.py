"""`denoise` on arrays: shape, dtype and level are kept; what is no audio is refused in one line."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from biodenoising import AudioValueError, Denoiser, ModelError, OptionError, denoise


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).standard_normal(shape) * 0.1


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    shape=st.one_of(
        st.tuples(st.integers(0, 3_000)), st.tuples(st.integers(1, 4), st.integers(0, 3_000))
    ),
    dtype=st.sampled_from(["float16", "float32", "float64", "int16", "int32", "uint8"]),
    rate=st.sampled_from([1_000, 8_000, 44_100, 500_000]),
)
def test_shape_and_dtype_are_kept(
    tiny_model: Path, shape: tuple[int, ...], dtype: str, rate: int
) -> None:
    audio = noise(*shape)
    if not np.issubdtype(dtype, np.floating):
        audio = audio * 1_000 if dtype != "uint8" else 128 + audio * 50
    audio = audio.astype(dtype)
    before = audio.copy()
    clean = denoise(audio, rate, model=tiny_model)
    assert isinstance(clean, np.ndarray)
    assert (clean.shape, clean.dtype) == (audio.shape, audio.dtype)
    assert np.array_equal(audio, before), "the input must not be changed"


@pytest.mark.parametrize("dtype", ["int16", "int32", "uint8", "float32"])
def test_mix_zero_gives_the_input_back(tiny_model: Path, dtype: str) -> None:
    audio = (noise(2, 9_000) * (100 if dtype != "float32" else 1)).astype(dtype)
    assert np.array_equal(denoise(audio, 16_000, model=tiny_model, mix=0), audio)
    assert np.array_equal(denoise(audio, 16_000, model=tiny_model, max_attenuation_db=0), audio)


def test_mix_and_attenuation_blend(tiny_model: Path) -> None:
    audio = noise(9_000)
    clean = denoise(audio, 16_000, model=tiny_model)
    half = denoise(audio, 16_000, model=tiny_model, mix=0.5)
    limited = denoise(audio, 16_000, model=tiny_model, max_attenuation_db=20)
    np.testing.assert_allclose(half, 0.5 * (audio + clean), atol=1e-6)
    np.testing.assert_allclose(limited, 0.1 * audio + 0.9 * clean, atol=1e-6)


def test_the_level_is_kept(tiny_model: Path) -> None:
    audio = noise(9_000)
    loud, quiet = (denoise(audio * gain, 16_000, model=tiny_model) for gain in (1.0, 1e-4))
    np.testing.assert_allclose(quiet * 1e4, loud, rtol=1e-6, atol=1e-5)


def test_integers_clip_and_do_not_wrap(tiny_model: Path) -> None:
    audio = np.where(np.arange(9_000) % 100 < 50, 32_767, -32_768).astype(np.int16)
    clean = denoise(audio, 16_000, model=tiny_model)
    assert clean.dtype == np.int16


@pytest.mark.parametrize(
    ("audio", "message"),
    [
        (noise(2_000, 2), r"looks like \(samples, channels\): pass audio.T"),
        (noise(70, 5_000), "more than 64"),
        (noise(2, 3, 100), r"give \(samples,\)"),
        (np.float32(1), r"give \(samples,\)"),
        (np.zeros((0, 100)), "no channels"),
        (np.array(["a"]), "give floating point"),
        ((noise(100), 16_000), "a tuple of unlike parts"),
        (noise(100).astype(complex), "give floating point"),
        (np.array([0.0, np.nan, np.inf]), "2 values that are NaN or infinite"),
    ],
)
def test_what_is_no_audio_is_refused(tiny_model: Path, audio: Any, message: str) -> None:
    with pytest.raises(AudioValueError, match=message) as caught:
        denoise(audio, 16_000, model=tiny_model)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("rate", [0, -1, 10, 1e9, float("nan"), None, "16000", [16_000]])
def test_impossible_rates_are_refused(tiny_model: Path, rate: Any) -> None:
    with pytest.raises(AudioValueError, match="sample rate"):
        denoise(noise(100), rate, model=tiny_model)


@pytest.mark.parametrize(
    "options",
    [
        {"mix": 1.5},
        {"mix": float("nan")},
        {"max_attenuation_db": -1},
        {"time_expansion": 0},
        {"band": (500, 100)},
        {"band": (100, 500), "time_expansion": 2},
        {"outside": "both"},
    ],
)
def test_impossible_options_are_refused(tiny_model: Path, options: dict[str, Any]) -> None:
    with pytest.raises(OptionError):
        denoise(noise(100), 16_000, model=tiny_model, **options)


def test_tensors_come_back_as_tensors(tiny_model: Path) -> None:
    audio = noise(2, 5_000)
    clean = denoise(torch.from_numpy(audio), 16_000, model=tiny_model)
    assert isinstance(clean, torch.Tensor)
    assert clean.dtype == torch.float64
    np.testing.assert_allclose(clean.numpy(), denoise(audio, 16_000, model=tiny_model))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.int16])
def test_tensors_of_any_dtype_keep_it(tiny_model: Path, dtype: torch.dtype) -> None:
    audio = (torch.from_numpy(noise(5_000)) * (1 if dtype.is_floating_point else 1_000)).to(dtype)
    clean = denoise(audio.requires_grad_(dtype.is_floating_point), 16_000, model=tiny_model)
    assert (clean.dtype, clean.shape) == (dtype, audio.shape)
    expected = denoise(audio.detach().double().numpy(), 16_000, model=tiny_model)
    allowed = 0.01 * np.abs(expected).max() if dtype.is_floating_point else 1.0
    assert np.abs(clean.double().numpy() - expected).max() < allowed


def test_one_denoiser_serves_several_threads(tiny_model: Path) -> None:
    denoiser = Denoiser(tiny_model)
    recordings = [noise(5_000 + 1_000 * i) for i in range(8)]
    expected = [denoiser.denoise(audio, 16_000) for audio in recordings]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda audio: denoiser.denoise(audio, 16_000), recordings))
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_a_pickled_denoiser_loads_its_model_where_it_arrives(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tiny_model.parent)
    denoiser = Denoiser(tiny_model.name, threads=1)
    audio = noise(9_000)
    pickled = pickle.dumps(denoiser)
    assert len(pickled) < 1_000
    expected = denoiser.denoise(audio, 16_000)
    monkeypatch.chdir("/")
    assert np.array_equal(pickle.loads(pickled).denoise(audio, 16_000), expected)
    assert copy.deepcopy(denoiser).card.name == denoiser.card.name
    by_name = pickle.loads(pickle.dumps(Denoiser("light", device="onnx")))
    assert (by_name.card.name, by_name.runtime) == ("light", "onnxruntime")


def test_a_model_that_is_written_anew_is_loaded_anew(tiny_model: Path, tmp_path: Path) -> None:
    from biodenoising.models.cards import read_card
    from biodenoising.models.networks import build_network, save_checkpoint

    card, audio = read_card(tiny_model), noise(9_000)
    made = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        network = build_network(card.architecture, card.arguments).eval()
        save_checkpoint(network, card, tmp_path, half=False)
        made.append(denoise(audio, 16_000, model=tmp_path / tiny_model.name))
        made.append(denoise(audio, 16_000, model=str(tmp_path / tiny_model.name)))
    assert np.array_equal(made[0], made[1])
    assert np.array_equal(made[2], made[3])
    assert not np.allclose(made[0], made[2])


def test_an_unknown_device_is_refused(tiny_model: Path) -> None:
    with pytest.raises(OptionError, match="choose one of auto, onnx, cpu"):
        Denoiser(tiny_model, device="tpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_a_missing_device_is_named(tiny_model: Path) -> None:
    with pytest.raises(ModelError, match="no CUDA device"):
        Denoiser(tiny_model, device="cuda")


@pytest.mark.parametrize("rate", [1_000, 2_000, 16_000, 250_000, 384_000, 500_000])
@pytest.mark.parametrize("model", ["noisereduce", "noisereduce-nonstationary"])
def test_noisereduce_works_at_any_rate_and_on_silence(rate: int, model: str) -> None:
    audio = noise(20_000)
    clean = denoise(audio, rate, model=model)
    assert np.isfinite(clean).all()
    assert np.square(clean).sum() < np.square(audio).sum()
    assert not denoise(np.zeros(5_000), rate, model=model).any()


def test_noisereduce_gives_what_the_library_gives() -> None:
    import noisereduce

    audio = noise(60_000).astype(np.float32)
    for model, stationary in (("noisereduce", True), ("noisereduce-nonstationary", False)):
        expected = noisereduce.reduce_noise(y=audio, sr=22_050, stationary=stationary)
        np.testing.assert_allclose(denoise(audio, 22_050, model=model), expected, atol=1e-6)


def test_both_runtimes_agree_on_a_real_recording() -> None:
    recording = Path(__file__).parents[2] / "docs" / "demo" / "powdermill_dawn.flac"
    audio, rate = soundfile.read(recording, dtype="float32")
    quiet = denoise(audio, rate)
    np.testing.assert_allclose(quiet, denoise(audio, rate, device="cpu"), atol=1e-4)
    # It is a denoiser: what it leaves is quieter, and not silence.
    assert 0.01 < np.square(quiet).sum() / np.square(audio).sum() < 0.9
