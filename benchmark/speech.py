"""Speech of espeak-ng in synthesized noise: the only set on which PESQ and STOI mean something.

It says nothing about animals; it shows that the speech enhancers do here what they were made for.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr

from benchmark.clips import read_audio
from benchmark.draws import digest, pick
from benchmark.mixtures import SNRS_DB, Mixture, Plan, loudest_part, mix
from benchmark.sets import Unreachable
from biodenoising import BiodenoisingError
from biodenoising.corpus.synthesis import NOISES, synthesize_noise

RATE = 16_000
PROGRAM = "espeak-ng"
SENTENCES = (
    "The owl called twice before the rain came over the ridge.",
    "Nine small frogs were counted at the edge of the pond.",
    "Please write down the time, the place and the weather.",
    "A recorder left in the forest hears more than we do.",
    "The boat turned slowly towards the mouth of the bay.",
    "Every morning the same wren sings from the same post.",
)


@dataclass(frozen=True)
class SpeechSet:
    """Six sentences at four SNRs."""

    seed: int
    description: str = "espeak-ng speech in synthesized noise; for PESQ and STOI only"

    def plans(self) -> list[Plan]:
        """Pair every sentence with a noise at each SNR; needs espeak-ng."""
        if shutil.which(PROGRAM) is None:
            raise Unreachable("needs the program espeak-ng (apt-get install espeak-ng)")
        noises = sorted(NOISES)
        return [
            Plan(
                set="speech",
                mixture=f"sentence{number}@{snr_db:+g}dB#{self.seed}",
                clip=f"sentence{number}",
                noise=pick(noises, "speech", number, snr_db, self.seed),
                snr_db=snr_db,
                group="speech",
                taxon="Homo sapiens",
                noise_type=pick(noises, "speech", number, snr_db, self.seed),
                sample_rate=RATE,
                kind="speech",
                seed=self.seed,
            )
            for number in range(len(SENTENCES))
            for snr_db in SNRS_DB
        ]

    def load(self, plan: Plan) -> Mixture:
        """Speak the sentence and mix it."""
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder) / "speech.wav"
            sentence = SENTENCES[int(plan.clip.removeprefix("sentence"))]
            command = [PROGRAM, "-v", "en", "-w", str(target), sentence]
            done = subprocess.run(command, capture_output=True, check=False)
            if done.returncode or not target.is_file():
                raise BiodenoisingError(f"{PROGRAM} ended with {done.returncode}")
            audio, rate = read_audio(target)
        speech = np.asarray(soxr.resample(audio[:, 0], rate, RATE, quality="HQ"))
        speech = loudest_part(speech, RATE)
        generator = np.random.default_rng(digest("noise", plan.mixture))
        bed = synthesize_noise(plan.noise_type, RATE, len(speech) / RATE + 0.01, generator)
        return mix(speech, bed[: len(speech)].astype(np.float64), RATE, plan.snr_db)
