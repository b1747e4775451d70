"""Sets derived from another: controls for harm, and scenes of several calls at known times."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import soxr

from benchmark.clips import Samples
from benchmark.detection import detect
from benchmark.draws import pick, shuffled, unit
from benchmark.mixtures import Audio, Mixture, Plan, joined, mix
from benchmark.sets import MixtureSet
from biodenoising import BiodenoisingError

CONTROL_MIXTURES = 40
SCENES = 32
SCENE_S = 8.0
CALLS_A_SCENE = 6
CALL_S = 1.0
QUIET = 1e-3
CALL_ENERGY = (0.01, 0.99)
SCENE_RATES = (16_000, 50_000)


@dataclass(frozen=True)
class ControlSet:
    """Some mixtures of a base set three more times: the call alone, the noise alone, all quiet."""

    base: MixtureSet

    @property
    def description(self) -> str:
        """What the controls are made of."""
        return f"clean in, noise only in, input at {QUIET:g} of its level; {self.base.description}"

    def plans(self) -> list[Plan]:
        """Draw the mixtures and name each control after its mixture."""
        chosen = shuffled(self.base.plans(), "controls")[:CONTROL_MIXTURES]
        return [
            replace(plan, set="controls", mixture=f"{kind}:{plan.mixture}", kind=kind)
            for kind in ("clean", "noise", "scaled")
            for plan in chosen
        ]

    def load(self, plan: Plan) -> Mixture:
        """Make the base mixture and leave out the part that the kind says."""
        base = self.base.load(replace(plan, mixture=plan.mixture.split(":", 1)[1]))
        silence: Audio = np.zeros_like(base.noise)
        if plan.kind == "clean":
            return replace(base, noisy=base.clean, noise=silence)
        if plan.kind == "noise":
            return replace(base, noisy=base.noise, clean=silence)
        return joined(
            QUIET * base.clean.astype(np.float64),
            QUIET * base.noise.astype(np.float64),
            base.sample_rate,
        )


@dataclass(frozen=True)
class SceneSet:
    """Scenes of 8 s: six calls of different clips, each at most 1 s, in one noise.

    In half of the scenes the calls stand apart, in the other half every second call begins in the
    middle of the one before. The events are what the detector finds in each clean call alone.
    """

    base: MixtureSet

    @property
    def description(self) -> str:
        """What the scenes are made of."""
        return f"{SCENES} scenes of {CALLS_A_SCENE} calls at known times; {self.base.description}"

    def plans(self) -> list[Plan]:
        """Name a first call and a noise for each scene; the others are drawn from its name."""
        pool = self._pool()
        made = []
        for number in range(SCENES):
            first = shuffled(pool, "scene", number)[0]
            layout = "overlapping" if number % 2 else "apart"
            snr_db = pick((0.0, 10.0), "scene snr", number // 2)
            name = f"scene{number:02d}-{layout}@{snr_db:+g}dB"
            made.append(
                replace(
                    first,
                    set="detection",
                    mixture=name,
                    snr_db=snr_db,
                    kind="scene",
                    taxon=layout,
                )
            )
        return made

    def _pool(self) -> list[Plan]:
        low, high = SCENE_RATES
        pool = [plan for plan in self.base.plans() if low <= plan.sample_rate < high]
        if not pool:
            raise BiodenoisingError(f"no clip between {low} and {high} Hz to make scenes of")
        return pool

    def load(self, plan: Plan) -> Mixture:
        """Lay the calls, note where each begins and ends, add the first mixture's noise."""
        rate = plan.sample_rate
        others = [p for p in shuffled(self._pool(), plan.mixture) if p.clip != plan.clip]
        source = next(p for p in self._pool() if (p.clip, p.noise) == (plan.clip, plan.noise))
        scene = np.zeros(int(SCENE_S * rate))
        events: list[tuple[float, float]] = []
        slot, last = SCENE_S / CALLS_A_SCENE, (0.0, 0.0)
        for turn, chosen in enumerate([source, *others[: CALLS_A_SCENE - 1]]):
            call = self._call(chosen, rate)
            spare = max(slot - len(call) / rate, 0.0)
            onset_s = turn * slot + unit("place", plan.mixture, turn) * spare
            if plan.taxon == "overlapping" and turn % 2:
                onset_s = sum(last) / 2
            start = min(int(onset_s * rate), len(scene) - len(call))
            alone = np.zeros_like(scene)
            alone[start : start + len(call)] = call
            scene += alone
            last = (start / rate, (start + len(call)) / rate)
            events += detect(alone, rate)
        bed = self.base.load(source).noise.astype(np.float64)
        mixture = mix(scene, np.resize(bed, len(scene)), rate, plan.snr_db)
        return replace(mixture, events_s=tuple(sorted(events)))

    def _call(self, plan: Plan, rate: int) -> Samples:
        """Return a clip's loudest second at the scene's rate, cut to 98 % of its energy, peak 1."""
        mixture = self.base.load(plan)
        call = mixture.clean.astype(np.float64)
        if mixture.sample_rate != rate:
            call = np.asarray(soxr.resample(call, mixture.sample_rate, rate, quality="HQ"))
        length = int(CALL_S * rate)
        if len(call) > length:
            energy = np.convolve(call**2, np.ones(rate // 20), "same")
            start = int(np.clip(np.argmax(energy) - length // 2, 0, len(call) - length))
            call = call[start : start + length]
        cumulated = np.cumsum(call**2) / np.sum(call**2)
        first, last = np.searchsorted(cumulated, CALL_ENERGY)
        call = call[first : max(int(last), int(first) + 1)]
        return np.asarray(call / np.abs(call).max())
