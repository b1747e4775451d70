"""Mixtures of calls with noise, made on the fly from clips in memory.

Mixture number `index` of a seed is always the same one, on every machine and in any process: a
training that goes on later or elsewhere hears what it would have heard.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from biodenoising.corpus.augment import (
    Rng,
    Samples,
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
from biodenoising.corpus.clips import LEAST_FLOOR, Clip
from biodenoising.corpus.sounds import NOISE_RATES_HZ
from biodenoising.corpus.synthesis import CALLS, NOISES, synthesize_call, synthesize_noise
from biodenoising.corpus.transients import synthesize_transients
from biodenoising.errors import TrainingError

MOST_NOISES = 4
UNLABELLED = 1  # keeps these draws apart from the mixtures'
EVENT_IN_CALL = 0.4  # of the loud events are the animal's
CLEAN_SNR_DB = (30.0, 60.0)
TRANSIENTS_DB = (-5.0, 25.0)  # from hardly heard to all there is

Chance = float


@dataclass(frozen=True)
class MixtureSettings:
    """What the mixtures are made of; a Chance is the share of mixtures it happens to.

    `call_octaves` and `noise_octaves` bound the playback rates, drawn as powers of two. With the
    level `rms` the noisy input has rms 1 times a draw of `level_db`; with `peak` the target's
    peak is a draw of `target_peak`, and the noise is added to that.
    """

    samples: int = 32_768
    snr_db: tuple[float, float] = (-8.0, 18.0)
    call_octaves: float = 1.2
    noise_octaves: float = 1.2
    loud_cuts: bool = True
    synthesized_calls: Chance = 0.2
    synthesized_noise: Chance = 0.25
    second_caller: Chance = 0.1
    further_noise: Chance = 0.3
    transients: Chance = 0.0
    loud_events: Chance = 0.08
    noise_only: Chance = 0.04
    clean_only: Chance = 0.04
    band_limits: Chance = 0.35
    distance: Chance = 0.15
    reverberation: Chance = 0.15
    reversal: Chance = 0.0
    warp: Chance = 0.0
    colour: Chance = 0.0
    quiet_around: Chance = 0.0
    soft_clipping: Chance = 0.05
    mp3: Chance = 0.05
    level: Literal["rms", "peak"] = "rms"
    level_db: tuple[float, float] = (0.0, 0.0)
    target_peak: tuple[float, float] = (0.5, 1.0)

    def __post_init__(self) -> None:
        if self.samples < 64:
            raise ValueError("samples must be at least 64")
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.type == "Chance" and not 0 <= value <= 1:
                raise ValueError(f"{field.name} must be between 0 and 1")
            if field.type == "tuple[float, float]" and value[0] > value[1]:
                raise ValueError(f"{field.name} must be written as lowest, highest")
        if self.noise_only + self.clean_only > 1:
            raise ValueError("noise_only and clean_only must not exceed 1 together")

    def plain(self, samples: int, snr_db: tuple[float, float]) -> MixtureSettings:
        """Return settings for fixed checks: one call in one noise, as they were recorded.

        What is only synthesized stays so, for there is nothing else to check on.
        """
        return MixtureSettings(
            samples=samples, snr_db=snr_db, call_octaves=0, noise_octaves=0,
            synthesized_calls=float(self.synthesized_calls == 1),
            synthesized_noise=float(self.synthesized_noise == 1),
            second_caller=0, further_noise=0, transients=0, loud_events=0, noise_only=0,
            clean_only=0, band_limits=0, distance=0, reverberation=0, reversal=0, warp=0, colour=0,
            quiet_around=0, soft_clipping=0, mp3=0,
        )  # fmt: skip


class Mixture(NamedTuple):
    """An input and what is to be heard in it, each of shape (samples,).

    `noise_floor` is the power of the noise known to be in the target, as a share of it.
    """

    noisy: Samples
    target: Samples
    noise_floor: np.float32


class Mixer:
    """Makes mixture number `index` of a seed from clips of calls and of noise.

    Raises TrainingError where the settings need clips and there are none.
    """

    def __init__(
        self, calls: Sequence[Clip], noises: Sequence[Clip], settings: MixtureSettings, seed: int
    ) -> None:
        if not calls and settings.synthesized_calls < 1:
            raise TrainingError("no targets left: loosen corpus or set synthesized_calls to 1")
        if not noises and settings.synthesized_noise < 1:
            raise TrainingError("no noises left: loosen corpus or set synthesized_noise to 1")
        self.calls, self.noises = calls, noises
        self.settings, self.seed = settings, seed
        self._call_odds, self._noise_odds = _odds(calls), _odds(noises)

    def __call__(self, index: int) -> Mixture:
        """Return mixture number `index`."""
        rng = np.random.default_rng((self.seed, index))
        s = self.settings
        target, floor = self._calls(rng)
        noise = self._noises(rng)
        if rng.random() < s.band_limits:
            target, noise = limit_band(target, noise, rng)
        target = target / np.float32(rms(target))
        draw, snr_db = rng.random(), rng.uniform(*s.snr_db)
        gain = rng.uniform(*s.target_peak) / max(float(np.abs(target).max()), 1e-9)
        if draw < s.noise_only:
            target, floor = np.zeros_like(target), LEAST_FLOOR
        elif draw < s.noise_only + s.clean_only:
            snr_db = rng.uniform(*CLEAN_SNR_DB)
        noise = noise / rms(noise) * 10 ** (-snr_db / 20)
        if s.quiet_around and rng.random() < s.quiet_around:
            target, noise = quieten_around(target, noise, rng)
        if rng.random() < s.loud_events:
            event = loud_event(s.samples, rng) * rms(noise)
            if rng.random() < EVENT_IN_CALL:
                target = target + event
            else:
                noise = noise + event
        noisy = self._record(target + noise, rng)
        if s.level == "rms":
            gain = 10 ** (rng.uniform(*s.level_db) / 20) / rms(noisy)
        return Mixture(
            (noisy * gain).astype(np.float32),
            (target * gain).astype(np.float32),
            np.float32(floor),
        )

    def _calls(self, rng: Rng) -> tuple[Samples, float]:
        """Return one caller or two, at rms about 1, and the noise in them."""
        target, floor = self._call(rng)
        if rng.random() < self.settings.second_caller:
            other, other_floor = self._call(rng)
            target = target + other * np.float32(10 ** (rng.uniform(-12, 3) / 20))
            floor += other_floor
        return target, floor

    def _call(self, rng: Rng) -> tuple[Samples, float]:
        s = self.settings
        floor = LEAST_FLOOR
        if rng.random() < s.synthesized_calls:
            kind = list(CALLS)[rng.integers(len(CALLS))]
            audio = synthesize_call(kind, CALLS[kind].sample_rate, rng)
        else:
            clip = self.calls[rng.choice(len(self.calls), p=self._call_odds)]
            audio, floor = clip.audio, clip.noise_floor
        if rng.random() < s.reversal:
            audio = audio[::-1]
        speed = 2 ** rng.uniform(-s.call_octaves, s.call_octaves)
        audio = fit_length(audio, s.samples, speed, rng, call=True, loud=s.loud_cuts)
        # Asked only where wanted: settings that knew neither draw what they drew.
        if s.warp and rng.random() < s.warp:
            audio = warp_time(audio, rng)
        if s.colour and rng.random() < s.colour:
            audio = colour(audio, rng)
        if rng.random() < s.distance:
            audio = carry_far(audio, rng)
        if rng.random() < s.reverberation:
            audio = reverberate(audio, rng)
        return audio, floor

    def _noises(self, rng: Rng) -> Samples:
        noise = self._noise(rng)
        for _ in range(MOST_NOISES - 1):
            if rng.random() >= self.settings.further_noise:
                break
            noise = noise + self._noise(rng) * np.float32(10 ** (rng.uniform(-10, 6) / 20))
        if self.settings.transients and rng.random() < self.settings.transients:
            level = rms(noise) * np.float32(10 ** (rng.uniform(*TRANSIENTS_DB) / 20))
            noise = noise + level * synthesize_transients(self.settings.samples, rng)
        return noise

    def _noise(self, rng: Rng) -> Samples:
        s = self.settings
        if rng.random() < s.synthesized_noise:
            kind = list(NOISES)[rng.integers(len(NOISES))]
            rate = rng.choice(NOISE_RATES_HZ)
            # Half a sample more, lest rounding leaves one out.
            audio = synthesize_noise(kind, rate, (s.samples + 0.5) / rate, rng)
            return audio / np.float32(rms(audio))
        audio = self.noises[rng.choice(len(self.noises), p=self._noise_odds)].audio
        speed = 2 ** rng.uniform(-s.noise_octaves, s.noise_octaves)
        audio = fit_length(audio, s.samples, speed, rng, call=False)
        return colour(audio, rng) if s.colour and rng.random() < s.colour else audio

    def _record(self, noisy: Samples, rng: Rng) -> Samples:
        """Return the input as a bad recorder would have kept it; the target is not touched."""
        if rng.random() < self.settings.soft_clipping:
            noisy = clip_softly(noisy, rng)
        if rng.random() < self.settings.mp3:
            noisy = through_mp3(noisy, rng)
        return noisy


class Listener:
    """Cuts segment number `index` of a seed from recordings of calls in noise, at rms 1."""

    def __init__(self, recordings: Sequence[Clip], settings: MixtureSettings, seed: int) -> None:
        if not recordings:
            raise TrainingError(
                "no unlabelled recordings to remix: loosen corpus or set remix.share 0"
            )
        self.recordings, self.settings, self.seed = recordings, settings, seed
        self._odds = _odds(recordings)

    def __call__(self, index: int) -> Samples:
        """Return segment number `index`, shape (samples,)."""
        rng = np.random.default_rng((self.seed, index, UNLABELLED))
        s = self.settings
        audio = self.recordings[rng.choice(len(self.recordings), p=self._odds)].audio
        speed = 2 ** rng.uniform(-s.call_octaves, s.call_octaves)
        # Cut where it is loud as calls are, but repeated as noise is: there is no silence in it.
        wanted = int(s.samples * speed) + 1
        audio = np.resize(audio, max(wanted, len(audio)))
        return fit_length(audio, s.samples, speed, rng, call=True, loud=s.loud_cuts)


def _odds(clips: Sequence[Clip]) -> NDArray[np.float64]:
    weights = np.array([clip.weight for clip in clips])
    return weights / weights.sum() if len(clips) else weights
