"""The sets of mixtures, each a list of plans and a way to make their samples.

=======================  ==========================================================================
field                    real clips and noise of the corpus, native rate, two SNRs a clip
field-first              the corpus's first round only: what older figures were measured on
ultrasonic               the clips of at least 50 kHz, at all four SNRs
biodenoising-validation  the paper's own mixtures (Zenodo 13736465), from a local copy
synthetic                calls and noises made by the package; for machines without recordings
own                      a folder of clean clips and a folder of noise
controls                 clean in, noise only in, and quiet input, from field (else synthetic)
detection                scenes of several calls at known times, apart and overlapping
speech                   espeak-ng speech, for the speech measures only
=======================  ==========================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import soundfile

from benchmark.clips import Clip, Samples, highpassed, load_clip, read_audio, read_manifest
from benchmark.draws import digest, shuffled, unit
from benchmark.mixtures import (
    SNRS_DB,
    ULTRASONIC_HZ,
    Mixture,
    Plan,
    fitted_noise,
    loudest_part,
    mix,
)
from biodenoising import BiodenoisingError
from biodenoising.corpus.synthesis import CALLS, NOISES, synthesize_call, synthesize_noise

MANIFEST = Path(__file__).parent / "manifests" / "field.jsonl"
AUDIO_ENDINGS = frozenset({".wav", ".flac", ".ogg", ".mp3", ".aif", ".aiff"})
SYNTHETIC_S = 2.0


class Unreachable(BiodenoisingError):
    """A set's audio is not on this machine; the message says what would bring it."""


@dataclass(frozen=True)
class Settings:
    """Where audio is found and how much of it is mixed; plain data, sent to worker processes."""

    corpus: Path | None = None
    cache: Path = Path("benchmark/cache")
    fetch: bool = False
    validation: Path | None = None
    own_clean: Path | None = None
    own_noise: Path | None = None
    per_clip: int = 2
    seed: int = 0


class MixtureSet(Protocol):
    """What the runner needs of a set."""

    @property
    def description(self) -> str:
        """One line for the table of sets."""

    def plans(self) -> list[Plan]:
        """Return every mixture of the set, in a fixed order."""

    def load(self, plan: Plan) -> Mixture:
        """Make the mixture's samples; the same plan gives the same samples."""


@dataclass(frozen=True)
class ClipSet:
    """Mixtures of real clips with real noise."""

    name: str
    description: str
    calls: Sequence[Clip]
    noises: Sequence[Clip]
    read: Callable[[Clip], Samples]
    per_clip: int
    seed: int
    long_names: bool = False

    def plans(self) -> list[Plan]:
        """Pair every call with `per_clip` noises of its medium, each at another SNR."""
        made = []
        for call in self.calls:
            snrs = shuffled(SNRS_DB, "snr", call.path, self.seed)
            noises = shuffled(_suitable(call, self.noises), "noise", call.path, self.seed)
            if not noises:
                raise BiodenoisingError(f"{call.path}: the set has no noise in {call.medium}")
            for turn in range(self.per_clip):
                made.append(self._plan(call, noises[turn % len(noises)], snrs[turn % len(snrs)]))
        return made

    def _plan(self, call: Clip, noise: Clip, snr_db: float) -> Plan:
        names = [clip.path if self.long_names else clip.name for clip in (call, noise)]
        name = f"{'+'.join(names)}@{snr_db:+g}dB#{self.seed}"
        return Plan(
            set=self.name,
            mixture=name,
            clip=call.path,
            noise=noise.path,
            snr_db=snr_db,
            group=call.group,
            taxon=call.taxon,
            noise_type=noise.noise_type,
            sample_rate=call.sample_rate,
            seed=self.seed,
        )

    def load(self, plan: Plan) -> Mixture:
        """Read, high-pass the call where its manifest says so, fit the noise, mix."""
        call = _named(self.calls, plan.clip)
        noise = _named(self.noises, plan.noise)
        reference = highpassed(self.read(call), call.sample_rate, call.highpass_hz)
        reference = loudest_part(reference, call.sample_rate)
        bed = fitted_noise(
            self.read(noise), noise.sample_rate, call.sample_rate, len(reference), plan.mixture
        )
        return mix(reference, bed, call.sample_rate, plan.snr_db)


def _suitable(call: Clip, noises: Sequence[Clip]) -> list[Clip]:
    """Return noise of the call's medium; ultrasonic calls may also get ultrasonic noise."""
    ultrasonic = call.sample_rate >= ULTRASONIC_HZ
    return [
        noise
        for noise in noises
        if (noise.medium == call.medium) or (ultrasonic and noise.sample_rate >= ULTRASONIC_HZ)
    ]


def _named(clips: Sequence[Clip], path: str) -> Clip:
    for clip in clips:
        if clip.path == path:
            return clip
    raise BiodenoisingError(f"{path} is not in the set's manifest")


def field_set(settings: Settings, name: str = "field") -> ClipSet:
    """Return the corpus's benchmark clips as `field`, `field-first` or `ultrasonic`."""
    if settings.corpus is None and not settings.fetch:
        raise Unreachable(
            "needs recordings: --corpus DIR (or BIODENOISING_CORPUS) for a local copy, "
            "--fetch to download them by URL"
        )
    if settings.corpus is not None and not settings.corpus.is_dir():
        raise Unreachable(f"the corpus folder {settings.corpus} does not exist")
    cache = settings.cache / "originals" if settings.fetch else None
    clips = read_manifest(MANIFEST)
    if name == "field-first":
        clips = [clip for clip in clips if clip.added == 1]
    calls = [clip for clip in clips if clip.kind == "vocal"]
    if name == "ultrasonic":
        calls = [clip for clip in calls if clip.sample_rate >= ULTRASONIC_HZ]
    return ClipSet(
        name=name,
        description=f"{len(calls)} real clips mixed with real noise at native rate",
        calls=calls,
        noises=[clip for clip in clips if clip.kind == "noise"],
        read=lambda clip: load_clip(clip, mirror=settings.corpus, cache=cache),
        per_clip=len(SNRS_DB) if name == "ultrasonic" else settings.per_clip,
        seed=settings.seed,
    )


def own_set(settings: Settings) -> ClipSet:
    """Return a user's two folders as a set; every channel but the loudest is left out."""
    clean, noise = settings.own_clean, settings.own_noise
    if clean is None or noise is None:
        raise Unreachable("needs --clean DIR and --noise DIR")
    folders = {"vocal": clean, "noise": noise}
    return ClipSet(
        name="own",
        description=f"clips of {clean} with noise of {noise}",
        calls=_folder_clips(clean, "vocal"),
        noises=_folder_clips(noise, "noise"),
        read=lambda clip: _loudest_channel(folders[clip.kind] / clip.path),
        per_clip=settings.per_clip,
        seed=settings.seed,
        long_names=True,
    )


def _folder_clips(folder: Path, kind: str) -> list[Clip]:
    if not folder.is_dir():
        raise Unreachable(f"the folder {folder} does not exist")
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in AUDIO_ENDINGS)
    if not files:
        raise Unreachable(f"the folder {folder} holds no audio files")
    clips = []
    for file in files:
        info = soundfile.info(file)
        inner = file.relative_to(folder)
        label = "own" if len(inner.parts) == 1 else inner.parts[0]
        clips.append(
            Clip(
                path=inner.as_posix(),
                kind=kind,
                group=label,
                taxon="",
                noise_type=label,
                medium="air",
                sample_rate=int(info.samplerate),
                duration_s=info.frames / info.samplerate,
            )
        )
    return clips


def _loudest_channel(file: Path) -> Samples:
    audio, _ = read_audio(file)
    channel = audio[:, int(np.argmax(audio.std(axis=0)))]
    return np.asarray(channel - channel.mean())


@dataclass(frozen=True)
class SyntheticSet:
    """Parametric calls in parametric noise, each kind of call `turns` times at each SNR."""

    seed: int
    turns: int = 2
    description: str = "synthesized calls and noises; never the headline"

    def plans(self) -> list[Plan]:
        """Give every kind of call its noises in turn."""
        made = []
        for kind, call in sorted(CALLS.items()):
            noises = shuffled(sorted(NOISES), "noise", kind, self.seed)
            for turn in range(self.turns * len(SNRS_DB)):
                noise, snr_db = noises[turn % len(noises)], SNRS_DB[turn % len(SNRS_DB)]
                made.append(
                    Plan(
                        set="synthetic",
                        mixture=f"{kind}-{turn}+{noise}@{snr_db:+g}dB#{self.seed}",
                        clip=f"{kind}-{turn}",
                        noise=noise,
                        snr_db=snr_db,
                        group=call.group,
                        taxon=kind,
                        noise_type=noise,
                        sample_rate=call.sample_rate,
                        seed=self.seed,
                    )
                )
        return made

    def load(self, plan: Plan) -> Mixture:
        """Synthesize the call somewhere in two seconds (bats: half a second) of noise."""
        rate = plan.sample_rate
        call = synthesize_call(
            plan.taxon, rate, np.random.default_rng(digest("call", plan.clip, plan.seed))
        ).astype(np.float64)
        total_s = SYNTHETIC_S if rate < ULTRASONIC_HZ else SYNTHETIC_S / 4
        call = loudest_part(call, rate, total_s)
        length = max(int(total_s * rate), len(call))
        start = int(unit("place", plan.mixture) * (length - len(call) + 1))
        reference = np.pad(call, (start, length - len(call) - start))
        bed = synthesize_noise(
            plan.noise_type,
            rate,
            length / rate,
            np.random.default_rng(digest("noise", plan.mixture)),
        ).astype(np.float64)
        return mix(reference, np.resize(bed, length), rate, plan.snr_db)
