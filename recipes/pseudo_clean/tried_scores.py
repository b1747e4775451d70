"""Reference-free scores that were tried and not kept, so that their figures can be had again.

Each takes the noisy segment, shape (samples,), and all candidates, (candidates, samples), and
returns a score for every candidate, higher for better.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float64]
Audio = NDArray[np.float32]

FRAME = 1024
QUIETEST, LOUDEST = 0.2, 0.1


def agreement(noisy: Audio, candidates: Audio) -> Scores:
    """SI-SDR in dB against the mean of all other candidates, over that of the input."""
    gram = (candidates @ candidates.T).astype(np.float64)
    with_noisy = (candidates @ noisy).astype(np.float64)
    own = np.maximum(np.diag(gram), 1e-12)
    shared = gram.sum(axis=1) - own
    others = np.maximum(gram.sum() - 2 * gram.sum(axis=1) + own, 1e-12)
    noisy_shared = with_noisy.sum() - with_noisy
    noisy_power = float(np.sum(np.square(noisy, dtype=np.float64)))
    return _ratio_db(shared**2 / (own * others)) - _ratio_db(
        noisy_shared**2 / (noisy_power * others)
    )


def nearness(noisy: Audio, candidates: Audio) -> Scores:
    """Median correlation with every other candidate."""
    norms = np.maximum(np.linalg.norm(candidates, axis=1), 1e-9)
    return np.asarray(np.median((candidates @ candidates.T) / np.outer(norms, norms), axis=1))


def quiet_frames(noisy: Audio, candidates: Audio) -> Scores:
    """By how many dB the frames that are quietest in most candidates were turned down."""
    energies, noisy_energies = _energies(candidates), _energies(noisy[None])[0]
    order = np.argsort(np.median(energies, axis=0))
    quiet = order[: max(1, round(QUIETEST * len(order)))]
    left = energies[:, quiet].sum(axis=1) / max(float(noisy_energies[quiet].sum()), 1e-12)
    return np.asarray(-10 * np.log10(np.maximum(left, 1e-6)))


def loud_frames(noisy: Audio, candidates: Audio) -> Scores:
    """How many dB are left of the frames that are loudest in most candidates."""
    energies, noisy_energies = _energies(candidates), _energies(noisy[None])[0]
    order = np.argsort(np.median(energies, axis=0))
    loud = order[-max(1, round(LOUDEST * len(order))) :]
    left = energies[:, loud].sum(axis=1) / max(float(noisy_energies[loud].sum()), 1e-12)
    return np.asarray(10 * np.log10(np.maximum(left, 1e-6)))


def residual_envelope(noisy: Audio, candidates: Audio) -> Scores:
    """How little the residual's loudness follows the estimate's: minus their correlation."""
    level = float(np.mean(_energies(noisy[None])))
    kept = np.log(_energies(candidates) / level + 1e-3)
    removed = np.log(_energies(noisy - candidates) / level + 1e-3)
    kept -= kept.mean(axis=1, keepdims=True)
    removed -= removed.mean(axis=1, keepdims=True)
    norms = np.sqrt(np.maximum((kept**2).sum(axis=1) * (removed**2).sum(axis=1), 1e-12))
    return np.asarray(-(kept * removed).sum(axis=1) / norms)


def spectral_kurtosis(noisy: Audio, candidates: Audio) -> Scores:
    """Kurtosis of the summed spectrum, on which the published recipe ranks."""
    spectra = np.abs(np.fft.rfft(candidates, axis=1)) ** 2
    bands = np.add.reduceat(spectra, np.arange(0, spectra.shape[1], 64), axis=1)
    return np.asarray(np.mean(bands**4, axis=1) / np.maximum(np.mean(bands**2, axis=1) ** 2, 1e-30))


AMONG_OTHERS: dict[str, Callable[[Audio, Audio], Scores]] = {
    "agreement with the others": agreement,
    "nearness to the others": nearness,
    "quiet frames turned down": quiet_frames,
    "loud frames kept": loud_frames,
}
BY_ITSELF: dict[str, Callable[[Audio, Audio], Scores]] = {
    "residual follows not": residual_envelope,
    "spectral kurtosis": spectral_kurtosis,
}
TRIED = (*AMONG_OTHERS, *BY_ITSELF)


def _energies(audio: Audio) -> Scores:
    """Return the energy of each whole frame, shape (candidates, frames)."""
    frames = audio[:, : audio.shape[1] // FRAME * FRAME].reshape(len(audio), -1, FRAME)
    return np.einsum("cfs,cfs->cf", frames, frames).astype(np.float64)


def _ratio_db(squared_correlation: Scores) -> Scores:
    share = np.clip(squared_correlation, 1e-4, 1 - 1e-4)
    return np.asarray(10 * np.log10(share / (1 - share)))
