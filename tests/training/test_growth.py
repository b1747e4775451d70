"""A larger mask network begun with a smaller one's weights does what the smaller one does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from biodenoising.errors import TrainingError
from biodenoising.models.masknet import MaskNet
from biodenoising.training.settings import TrainingSettings
from biodenoising.training.state import RunState

Make = Callable[..., TrainingSettings]
SMALL = {
    "short": 64, "long": 128, "hop": 32, "channels": [4, 8], "across": 4, "along": 8, "blocks": 1,
}  # fmt: skip


def small_weights(settings: Make, path: Path, **network: object) -> MaskNet:
    state = RunState(settings(architecture="masknet", network=SMALL | network))
    save_file({k: v.half() for k, v in state.network.state_dict().items() if v.dim()}, path)
    state.network.load_state_dict(
        {k: v.half().float() if v.dim() else v for k, v in state.network.state_dict().items()}
    )
    return state.network.eval()


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(
    "larger", [{}, {"blocks": 3}, {"along": 12}, {"across": 7}, {"blocks": 2, "along": 20}]
)
def test_it_does_what_the_smaller_one_does_and_learns(
    settings: Make, tmp_path: Path, larger: dict[str, int], causal: bool
) -> None:
    path = tmp_path / "small.safetensors"
    small = small_weights(settings, path, causal=causal)
    network = RunState(
        settings(
            architecture="masknet", begin_from=str(path),
            network=SMALL | {"causal": causal} | larger,
        )
    ).network.eval()  # fmt: skip
    noisy = torch.randn(2, 1, 1000, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(network(noisy), small(noisy), rtol=0, atol=1e-6)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    for _ in range(2):  # what is silent at first gets its first gradient when it no longer is
        optimizer.zero_grad()
        network(noisy).square().mean().backward()
        optimizer.step()
    still = [name for name, x in network.named_parameters() if not x.grad.any()]
    assert not still


@pytest.mark.parametrize("other", [{"channels": [4, 12]}, {"blocks": 0}])
def test_what_cannot_be_grown_is_refused(
    settings: Make, tmp_path: Path, other: dict[str, object]
) -> None:
    path = tmp_path / "small.safetensors"
    small_weights(settings, path)
    with pytest.raises(TrainingError, match="not weights of this network"):
        RunState(settings(architecture="masknet", begin_from=str(path), network=SMALL | other))
