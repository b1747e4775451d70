"""The loss as a sum of named terms, each a plain function of waveforms of shape (batch, samples).

Estimates are compared in float32 whatever precision the network computed in.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from biodenoising.training.settings import LossSettings

SILENT_POWER = 1e-8
SMALLEST = 1e-8
LEAST_MAGNITUDE = 1e-7  # a power; below it a logarithm says nothing


def loss_terms(
    estimate: Tensor, target: Tensor, noisy: Tensor, floor: Tensor, settings: LossSettings
) -> dict[str, Tensor]:
    """Return every term that has a weight, unweighted.

    Shape: estimate, target and noisy (batch, samples); floor (batch,), the noise known to be in
    each target, as a share of its power.
    """
    s = settings
    terms: dict[str, Tensor] = {}
    if s.l1:
        terms["l1"] = (estimate - target).abs().mean()
    if s.snr:
        terms["snr"] = negative_snr(estimate, target, noisy, floor, s.silent_weight)
    if s.si_sdr:
        terms["si_sdr"] = negative_si_sdr(estimate, target, noisy, floor, s.silent_weight)
    if s.spectra:
        terms["spectra"] = compressed_spectra(estimate, target, s.spectra_sizes, s.spectra_power)
    if s.convergence or s.log_magnitude:
        shapes = list(zip(s.magnitude_sizes, s.magnitude_hops, s.magnitude_windows, strict=True))
        convergence, log_magnitude = magnitudes(estimate, target, shapes, s.magnitudes_from)
        if s.convergence:
            terms["convergence"] = convergence
        if s.log_magnitude:
            terms["log_magnitude"] = log_magnitude
    return terms


def weighted_sum(terms: dict[str, Tensor], settings: LossSettings) -> Tensor:
    """Return the loss: each term times its weight."""
    weights = settings.weights
    return torch.stack([weights[name] * term for name, term in terms.items()]).sum()


def negative_snr(
    estimate: Tensor, target: Tensor, noisy: Tensor, floor: Tensor, silent_weight: float
) -> Tensor:
    """Return the negative signal-to-noise ratio in dB, the mean over the batch.

    It saturates at the noise known to be in a target: nothing is gained by learning that. For a
    silent target it is the output's power relative to the input's, times `silent_weight`.
    """
    error = (estimate - target).square().sum(-1)
    power = target.square().sum(-1)
    return _decibels(error, power, power, noisy, floor, silent_weight)


def negative_si_sdr(
    estimate: Tensor, target: Tensor, noisy: Tensor, floor: Tensor, silent_weight: float
) -> Tensor:
    """Return the negative SI-SDR in dB (Le Roux et al. 2019), floored and silent as the SNR.

    The target is scaled to its projection on the estimate; the level is left to other terms.
    """
    power = target.square().sum(-1)
    scale = (estimate * target).sum(-1) / power.clamp_min(SILENT_POWER)
    heard = scale[:, None] * target
    error = (estimate - heard).square().sum(-1)
    return _decibels(error, heard.square().sum(-1), power, noisy, floor, silent_weight)


def _decibels(
    error: Tensor, heard: Tensor, power: Tensor, noisy: Tensor, floor: Tensor, silent_weight: float
) -> Tensor:
    silent = power < SILENT_POWER
    reference = torch.where(silent, noisy.square().sum(-1), heard) + SILENT_POWER
    decibels = 10 * torch.log10(error / reference + floor)
    return torch.where(silent, silent_weight * decibels, decibels).mean()


def compressed_spectra(
    estimate: Tensor, target: Tensor, sizes: Sequence[int], power: float
) -> Tensor:
    """Return the squared distance of compressed spectra, the mean over transforms.

    Magnitudes are raised to `power`; their distance and half that of the complex spectra with
    such magnitudes are added (Ephrat et al. 2018; Braun and Tashev 2021).
    """
    total = estimate.new_zeros(())
    for size in sizes:
        window = torch.hann_window(size, device=estimate.device)
        both = torch.stft(
            torch.cat([estimate, target]), size, size // 4, window=window,
            normalized=True, return_complex=True,
        )  # fmt: skip
        magnitude = (both.real.square() + both.imag.square() + SMALLEST).sqrt()
        compressed = magnitude.pow(power)
        ours, theirs = compressed.chunk(2)
        ours_complex, theirs_complex = (compressed * (both / magnitude)).chunk(2)
        distance = (ours_complex - theirs_complex).abs().square().mean()
        total = total + (ours - theirs).square().mean() + 0.5 * distance
    return total / len(sizes)


def magnitudes(
    estimate: Tensor, target: Tensor, shapes: Sequence[tuple[int, int, int]], lowest: float
) -> tuple[Tensor, Tensor]:
    """Return spectral convergence and the log magnitudes' distance, means over resolutions.

    `shapes` are (FFT size, hop, window) in samples; bins below the share `lowest` of half the
    rate are left out. Source: Yamamoto, Song and Kim 2020, as used by Demucs and CleanUNet.
    """
    convergence = log_distance = estimate.new_zeros(())
    for size, hop, width in shapes:
        window = torch.hann_window(width, device=estimate.device)
        both = torch.stft(
            torch.cat([estimate, target]), size, hop, width, window, return_complex=True
        )
        both = both[:, round(lowest * (size // 2)) :]
        power = both.real.square() + both.imag.square()
        ours, theirs = power.clamp_min(LEAST_MAGNITUDE).sqrt().chunk(2)
        convergence = convergence + (theirs - ours).norm() / theirs.norm()
        log_distance = log_distance + (theirs.log() - ours.log()).abs().mean()
    return convergence / len(shapes), log_distance / len(shapes)
