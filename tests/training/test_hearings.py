"""A mixture heard at fractions of its rate too: what learns is what the denoiser will do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as how
from hypothesis import strategies as st
from torch import Tensor

from biodenoising import Denoiser
from biodenoising.corpus.synthesis import synthesize_call, synthesize_noise
from biodenoising.metrics import si_sdr
from biodenoising.models.networks import build_network
from biodenoising.models.registry import find_model
from biodenoising.training.data import Material
from biodenoising.training.hearings import hear
from biodenoising.training.settings import TrainingSettings
from biodenoising.training.state import RunState, load_weights
from biodenoising.training.trainer import train

Make = Callable[..., TrainingSettings]


@how(deadline=None)
@given(
    st.integers(1, 5_000), st.lists(st.sampled_from([2, 3, 4, 7]), max_size=3, unique=True),
    st.integers(0, 9),
)  # fmt: skip
def test_who_changes_nothing_changes_nothing(
    samples: int, decimations: list[int], seed: int
) -> None:
    noisy = torch.randn(2, 1, samples, generator=torch.Generator().manual_seed(seed))
    heard = hear(lambda wave: wave, noisy, decimations)
    torch.testing.assert_close(heard, noisy, rtol=0, atol=1e-5)


def test_each_band_is_the_mean_of_those_who_hear_it() -> None:
    """Of three hearings only that at the full rate lets anything through."""
    count = 8_192
    time = torch.arange(count) / count
    for cycles, share in ((800, 1 / 3), (1_500, 1 / 2), (3_000, 1.0)):
        tone = torch.sin(2 * torch.pi * cycles * time)[None, None]
        heard = hear(lambda wave: wave * (wave.shape[-1] >= count), tone, [2, 4])
        torch.testing.assert_close(heard, share * tone, rtol=0, atol=1e-3)


def test_it_is_what_the_denoiser_does() -> None:
    card = find_model("compact")
    network = build_network(card.architecture, card.arguments)
    load_weights(network, card.weights_path)
    rng = np.random.default_rng(3)
    noisy = 0.1 * synthesize_noise("pink", 16_000, 5.0, rng)
    for start in (16_000, 40_000):
        call = synthesize_call("whistle", 16_000, rng)[:20_000]
        noisy[start : start + len(call)] += 0.3 * call
    with torch.no_grad():
        heard = hear(network.eval(), torch.from_numpy(noisy)[None, None], card.decimations)
    theirs = Denoiser("compact").denoise(noisy, 16_000)
    assert si_sdr(heard.numpy()[0, 0], theirs) > 25  # filters and the level differ a little


def test_a_run_learns_and_its_norms_keep_what_they_know(
    settings: Make, material: Callable[[TrainingSettings], Material], tmp_path: Path
) -> None:
    first = RunState(settings(architecture="masknet"))
    begin = tmp_path / "first.safetensors"
    first.save_weights(begin)
    chosen = settings(
        architecture="masknet", begin_from=str(begin), decimations=[2, 4], schedule={"steps": 3}
    )
    train(chosen, material(chosen), tmp_path / "run")
    ended = RunState(chosen)
    ended.load(tmp_path / "run")
    before, after = first.network.state_dict(), ended.network.state_dict()
    for name, values in after.items():
        kept = "running" in name or name.endswith("num_batches_tracked")
        assert torch.equal(values, before[name]) == kept, name


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"decimations": [2, 4]}, "give begin_from"),
        ({"decimations": [1], "begin_from": "x"}, "2 or more"),
    ],
)
def test_what_cannot_be_heard_is_refused(
    changes: dict[str, object], words: str, settings: Make
) -> None:
    with pytest.raises(Exception, match=words):
        settings(architecture="masknet", **changes)


def test_without_fractions_nothing_is_added() -> None:
    asked: list[int] = []

    def once(wave: Tensor) -> Tensor:
        asked.append(wave.shape[-1])
        return wave

    hear(once, torch.zeros(1, 1, 101), ())
    assert asked == [101]
