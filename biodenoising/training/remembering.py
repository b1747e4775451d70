"""What a model is not to forget while it learns: other sounds, and what it made of them before.

Source: Li and Hoiem 2016, "Learning without forgetting". As long as a network does what it did, no
gradient comes from such a mixture, where a true target would go on pulling at every weight; so a
step goes into what has to be learned (measured in recipes/adaptation).
"""

from __future__ import annotations

import numpy as np
import torch

from biodenoising.corpus.mixtures import Mixture
from biodenoising.training.data import MakeMixture
from biodenoising.training.hearings import Hear

# How far from what it did a network may be, as a share of the power, before it matters: 20 dB.
REMEMBERED_FLOOR = 0.01
EVERY = 3


class Remembered:
    """Mixtures of which the target is what a network in evaluation makes of them."""

    def __init__(self, mixer: MakeMixture, network: Hear) -> None:
        self.mixer, self.network = mixer, network

    @torch.inference_mode()
    def __call__(self, index: int) -> Mixture:
        """Return mixture number `index`."""
        noisy = self.mixer(index).noisy
        estimate = self.network(torch.from_numpy(noisy)[None, None])[0, 0]
        return Mixture(noisy, estimate.numpy(), np.float32(REMEMBERED_FLOOR))


class Alternating:
    """Mixtures of which every third is one to be remembered."""

    def __init__(self, own: MakeMixture, remembered: MakeMixture) -> None:
        self.own, self.remembered = own, remembered

    def __call__(self, index: int) -> Mixture:
        """Return mixture number `index`."""
        return self.own(index) if index % EVERY else self.remembered(index)
