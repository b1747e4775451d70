"""Train the first Demucs on high-SNR clips: the simplest honest loop, on a laptop's processor.

    python recipes/first/train.py --corpus CORPUS --run RUN --minutes 90

Resumes from RUN/state.pt when it is there. The learning rate follows the share of `--minutes`
that has been used, so that the run ends with a finished schedule whatever the machine's speed.
"""

from __future__ import annotations

import argparse
import copy
import csv
import math
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from mixtures import Mixer, MixtureSettings, load_clips
from safetensors.torch import save_file
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from biodenoising.models.demucs import Demucs, DemucsSettings

RESOLUTIONS = (512, 2048)
MOVING_AVERAGE = 0.999
LONGEST_STEP_S = 5.0  # a paused process does not use up its schedule
WARM_UP_STEPS = 300
SAVE_EVERY_STEPS = 250
CHECK_EVERY_STEPS = 1000


class Mixtures(IterableDataset):  # type: ignore[type-arg]
    """Endless mixtures; a resumed run goes on at the index where it stood."""

    def __init__(self, mixer: Mixer, first: int) -> None:
        self.mixer, self.first = mixer, first

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        index = self.first
        while True:
            yield self.mixer(index)
            index += 1


def snr_loss(estimate: Tensor, target: Tensor, noisy: Tensor) -> Tensor:
    """Return the negative SNR in dB, saturating at 30 dB; for silent targets the output's level."""
    error = (estimate - target).square().sum(-1)
    power = target.square().sum(-1)
    silent = power < 1e-8
    power = torch.where(silent, noisy.square().sum(-1), power)
    decibels = 10 * torch.log10(error / power + 1e-3)
    return torch.where(silent, 0.3 * decibels, decibels).mean()


def spectral_loss(estimate: Tensor, target: Tensor) -> Tensor:
    """Return the distance of magnitude and complex spectra compressed to the power 0.3."""
    total = estimate.new_zeros(())
    for size in RESOLUTIONS:
        window = torch.hann_window(size)
        both = torch.stft(
            torch.cat([estimate, target]), size, size // 4, window=window,
            normalized=True, return_complex=True,
        )  # fmt: skip
        magnitude = (both.real.square() + both.imag.square() + 1e-8).sqrt()
        compressed = magnitude.pow(0.3)
        phase = both / magnitude
        mag_e, mag_t = compressed.chunk(2)
        e, t = (compressed * phase).chunk(2)
        total = total + (mag_e - mag_t).square().mean() + 0.5 * (e - t).abs().square().mean()
    return total / len(RESOLUTIONS)


@torch.no_grad()
def validate(model: Demucs, pairs: list[tuple[np.ndarray, np.ndarray]]) -> tuple[float, float]:
    """Return the median SI-SDR improvement in dB and the share of mixtures made worse."""
    gains = []
    for noisy, target in pairs:
        estimate = model(torch.from_numpy(noisy)[None, None])[0, 0].numpy()
        gains.append(si_sdr(estimate, target) - si_sdr(noisy, target))
    return float(np.median(gains)), float(np.mean(np.array(gains) < 0))


def si_sdr(estimate: np.ndarray, target: np.ndarray) -> float:
    """Return the scale-invariant signal-to-distortion ratio in dB."""
    e, t = estimate.astype(np.float64), target.astype(np.float64)
    projected = t * (e @ t) / (t @ t)
    return float(10 * np.log10((projected @ projected) / np.sum((e - projected) ** 2)))


def learning_rate(peak: float, step: int, progress: float) -> float:
    """Warm up linearly, then follow a cosine to a fiftieth of the peak."""
    cosine = 0.51 + 0.49 * math.cos(math.pi * min(progress, 1.0))
    return peak * min(1.0, step / WARM_UP_STEPS) * cosine


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=90)
    parser.add_argument("--hidden", type=int, default=24)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--samples", type=int, default=32_000, help="length of a mixture")
    parser.add_argument("--rate", type=float, default=8e-4)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    args.run.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(args.seed)

    settings = MixtureSettings(samples=args.samples)
    mixers = {}
    for held_back in (False, True):
        clips = [load_clips(args.corpus, k, settings, held_back=held_back) for k in ("vocal", "noise")]
        mixers[held_back] = Mixer(*clips, settings, args.seed)
        print(f"held back {held_back}: {len(clips[0])} targets, {len(clips[1])} noises", flush=True)
    plain = MixtureSettings(
        samples=64_000, snr_db=(-5, 10), octaves=0, synthesized_calls=0, synthesized_noise=0,
        second_caller=0, second_noise=0, noise_only=0, clean_only=0, band_limited=0,
    )  # fmt: skip
    held = Mixer(mixers[True].calls, mixers[True].noises, plain, 0)
    own = Mixer(mixers[False].calls, mixers[False].noises, plain, 0)
    checks = {"held back": [held(i) for i in range(100)], "own": [own(i) for i in range(60)]}

    model = Demucs(DemucsSettings(hidden=args.hidden))
    average = copy.deepcopy(model).eval()
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.rate, weight_decay=1e-4)
    step, used_s = 0, 0.0
    state_path = args.run / "state.pt"
    if state_path.exists():
        state = torch.load(state_path, weights_only=True)
        model.load_state_dict(state["model"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        step, used_s = state["step"], state["used_s"]
    loader = iter(
        DataLoader(Mixtures(mixers[False], step * args.batch), args.batch, num_workers=1, prefetch_factor=8)
    )
    length = model.valid_length(settings.samples)
    log = csv.writer(open(args.run / "log.csv", "a", newline="", encoding="utf-8", buffering=1))
    begun = time.monotonic()
    recent: list[tuple[float, float]] = []
    while (progress := used_s / (60 * args.minutes)) < 1:
        noisy, target = next(loader)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(args.rate, step, progress)
        padded = torch.nn.functional.pad(noisy, (0, length - noisy.shape[-1]))[:, None]
        with torch.autocast("cpu", torch.bfloat16):
            estimate = model.core(padded)
        estimate = estimate.float()[:, 0, : noisy.shape[-1]]
        snr, spectral = snr_loss(estimate, target, noisy), spectral_loss(estimate, target)
        loss = 0.1 * snr + 3.0 * spectral
        optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 3.0)
        if not torch.isfinite(norm):
            print(f"step {step}: gradient not finite, batch skipped", flush=True)
            step += 1
            continue
        optimizer.step()
        step += 1
        keep = min(MOVING_AVERAGE, step / (step + 10))
        with torch.no_grad():
            for slow, fast in zip(average.parameters(), model.parameters(), strict=True):
                slow.lerp_(fast, 1 - keep)
        now = time.monotonic()
        used_s, begun = used_s + min(now - begun, LONGEST_STEP_S), now
        recent.append((snr.item(), spectral.item()))
        if step % 50 == 0:
            means = np.mean(recent, axis=0).round(4).tolist()
            log.writerow([step, round(used_s), *means])
            print(f"step {step} {used_s:.0f} s snr {means[0]} spectral {means[1]}", flush=True)
            recent.clear()
        if step % SAVE_EVERY_STEPS == 0 or used_s >= 60 * args.minutes:
            state = {"model": model.state_dict(), "average": average.state_dict(),
                     "optimizer": optimizer.state_dict(), "step": step, "used_s": used_s}  # fmt: skip
            torch.save(state, state_path.with_suffix(".tmp"))
            state_path.with_suffix(".tmp").replace(state_path)
            save_file(average.state_dict(), args.run / "average.safetensors")
        if step % CHECK_EVERY_STEPS == 0:
            for name, pairs in checks.items():
                median, worse = validate(average, pairs)
                print(f"step {step} {name}: {median:.2f} dB, {worse:.0%} worse", flush=True)
    for name, pairs in checks.items():
        median, worse = validate(average, pairs)
        print(f"end, {step} steps, {name}: {median:.2f} dB, {worse:.0%} worse", flush=True)


if __name__ == "__main__":
    main()
