"""Train the first Demucs on high-SNR clips: the simplest honest loop, on a laptop's processor.

    python recipes/first/train.py --corpus CORPUS --run RUN --minutes 90

Resumes from RUN/state.pt when it is there. The learning rate follows the share of `--minutes`
that has been used, so that the run ends with a finished schedule whatever the machine's speed.
"""

from __future__ import annotations

import argparse
import copy
import csv
import json
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

from biodenoising.metrics import si_sdr
from biodenoising.models.demucs import Demucs
from biodenoising.models.masknet import MaskNet
from biodenoising.models.networks import build_network

RESOLUTIONS = (512, 2048)
SNR_WEIGHT, SPECTRAL_WEIGHT = 0.1, 3.0
LARGEST_GRADIENT = 3.0
MOVING_AVERAGE = 0.999
LONGEST_STEP_S = 5.0  # a paused process does not use up its schedule
WARM_UP_STEPS = 300
SAVE_EVERY_STEPS = 250
LOG_EVERY_STEPS = 50
CHECK_EVERY_STEPS = 1500

Pair = tuple[np.ndarray, np.ndarray, np.float32]  # noisy, target and the target's noise
Network = Demucs | MaskNet


class Mixtures(IterableDataset):  # type: ignore[type-arg]
    """Endless mixtures; a resumed run goes on at the index where it stood."""

    def __init__(self, mixer: Mixer, first: int) -> None:
        self.mixer, self.first = mixer, first

    def __iter__(self) -> Iterator[Pair]:
        index = self.first
        while True:
            yield self.mixer(index)
            index += 1


def snr_loss(estimate: Tensor, target: Tensor, noisy: Tensor, floor: Tensor) -> Tensor:
    """Return the negative SNR in dB; for silent targets the output's level.

    It saturates at the noise known to be in the target, `floor`, a share of power: nothing is
    gained by learning that.
    """
    error = (estimate - target).square().sum(-1)
    power = target.square().sum(-1)
    silent = power < 1e-8
    power = torch.where(silent, noisy.square().sum(-1), power)
    decibels = 10 * torch.log10(error / power + floor)
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
def validate(model: Network, pairs: list[Pair]) -> tuple[float, float]:
    """Return the median SI-SDR improvement in dB and the share of mixtures made worse."""
    gains = []
    for noisy, target, _ in pairs:
        estimate = model(torch.from_numpy(noisy)[None, None])[0, 0].numpy()
        gains.append(si_sdr(estimate, target) - si_sdr(noisy, target))
    return float(np.median(gains)), float(np.mean(np.array(gains) < 0))


def learning_rate(peak: float, step: int, progress: float) -> float:
    """Warm up linearly, then follow a cosine to a fiftieth of the peak."""
    cosine = 0.51 + 0.49 * math.cos(math.pi * min(progress, 1.0))
    return peak * min(1.0, step / WARM_UP_STEPS) * cosine


class Run:
    """A network in training, its moving average and where it stands; resumes from its folder."""

    def __init__(self, folder: Path, network: Network, rate: float) -> None:
        self.folder, self.rate = folder, rate
        self.model = network
        self.average = copy.deepcopy(self.model).eval()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=rate, weight_decay=1e-4)
        self.step, self.used_s = 0, 0.0
        if (folder / "state.pt").exists():
            state = torch.load(folder / "state.pt", weights_only=True)
            self.model.load_state_dict(state["model"])
            self.average.load_state_dict(state["average"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.step, self.used_s = state["step"], state["used_s"]

    def save(self) -> None:
        """Write everything that resuming needs, and the averaged weights by themselves."""
        state = {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "used_s": self.used_s,
        }
        temporary = self.folder / "state.tmp"
        torch.save(state, temporary)
        temporary.replace(self.folder / "state.pt")
        save_file(self.average.state_dict(), self.folder / "average.safetensors")

    def learn(
        self, noisy: Tensor, target: Tensor, floor: Tensor, progress: float
    ) -> tuple[float, float]:
        """Take one step; return the SNR and the spectral term of the loss."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.rate, self.step, progress)
        samples = noisy.shape[-1]
        padding = self.model.valid_length(samples) - samples
        with torch.autocast("cpu", torch.bfloat16):
            estimate = self.model.core(torch.nn.functional.pad(noisy, (0, padding))[:, None])
        estimate = estimate.float()[:, 0, :samples]
        snr = snr_loss(estimate, target, noisy, floor)
        spectral = spectral_loss(estimate, target)
        self.optimizer.zero_grad()
        (SNR_WEIGHT * snr + SPECTRAL_WEIGHT * spectral).backward()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), LARGEST_GRADIENT)
        self.step += 1
        if not torch.isfinite(norm):
            print(f"step {self.step}: gradient not finite, batch skipped", flush=True)
            return snr.item(), spectral.item()
        self.optimizer.step()
        keep = min(MOVING_AVERAGE, self.step / (self.step + 10))
        with torch.no_grad():
            fresh = self.model.state_dict()
            for name, slow in self.average.state_dict().items():
                if slow.is_floating_point():
                    slow.lerp_(fresh[name], 1 - keep)
                else:
                    slow.copy_(fresh[name])
        return snr.item(), spectral.item()

    def report(self, checks: dict[str, list[Pair]]) -> None:
        """Print what the averaged weights do to the fixed mixtures."""
        for name, pairs in checks.items():
            median, worse = validate(self.average, pairs)
            print(f"step {self.step} {name}: {median:.2f} dB, {worse:.0%} worse", flush=True)


def prepare(corpus: Path, samples: int, seed: int) -> tuple[Mixer, dict[str, list[Pair]]]:
    """Return the training mixtures, and fixed ones of held-back and of its own recordings."""
    settings = MixtureSettings(samples=samples)
    plain = MixtureSettings(
        samples=64_000, snr_db=(-5, 10), octaves=0, synthesized_calls=0, synthesized_noise=0,
        second_caller=0, second_noise=0, loud_event=0, noise_only=0, clean_only=0, band_limited=0,
    )  # fmt: skip
    clips = {
        side: [load_clips(corpus, kind, settings, held_back=side) for kind in ("vocal", "noise")]
        for side in (False, True)
    }
    for side, (calls, noises) in clips.items():
        print(f"held back {side}: {len(calls)} targets, {len(noises)} noises", flush=True)
    held, own = (Mixer(*clips[side], plain, 0) for side in (True, False))
    checks = {"held back": [held(i) for i in range(100)], "own": [own(i) for i in range(60)]}
    return Mixer(*clips[False], settings, seed), checks


def main() -> None:
    """Read the command line and train until the minutes are used."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=90)
    parser.add_argument("--architecture", default="masknet")
    parser.add_argument("--arguments", type=json.loads, default={}, help="the network's, as JSON")
    parser.add_argument("--batch", type=int, default=12)
    parser.add_argument("--samples", type=int, default=32_768, help="length of a mixture")
    parser.add_argument("--rate", type=float, default=1.5e-3)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    args.run.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(args.seed)
    mixer, checks = prepare(args.corpus, args.samples, args.seed)
    run = Run(args.run, build_network(args.architecture, args.arguments), args.rate)
    mixtures = Mixtures(mixer, run.step * args.batch)
    loader = iter(DataLoader(mixtures, args.batch, num_workers=1, prefetch_factor=8))
    recent: list[tuple[float, float]] = []
    begun = time.monotonic()
    while (progress := run.used_s / (60 * args.minutes)) < 1:
        recent.append(run.learn(*next(loader), progress))
        now = time.monotonic()
        run.used_s, begun = run.used_s + min(now - begun, LONGEST_STEP_S), now
        if run.step % LOG_EVERY_STEPS == 0:
            row = [run.step, round(run.used_s), *np.mean(recent, axis=0).round(4).tolist()]
            with open(args.run / "log.csv", "a", newline="", encoding="utf-8") as log:
                csv.writer(log).writerow(row)
            print("step {} {} s snr {} spectral {}".format(*row), flush=True)
            recent.clear()
        if run.step % SAVE_EVERY_STEPS == 0:
            run.save()
        if run.step % CHECK_EVERY_STEPS == 0:
            run.report(checks)
    run.save()
    run.report(checks)


if __name__ == "__main__":
    main()
