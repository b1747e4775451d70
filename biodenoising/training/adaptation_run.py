"""The stages of one adaptation, each going on with what its work folder holds already."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from biodenoising.corpus.manifest import MANIFEST_NAME, Row
from biodenoising.errors import OptionError, TrainingError
from biodenoising.models.cards import Card, card_record
from biodenoising.models.registry import fingerprint
from biodenoising.storage import printable, sha256_of, whole_file
from biodenoising.training.adaptation_check import (
    SHARES,
    SHARES_ALONE,
    Checks,
    Samples,
    Verdict,
    affordable_calls,
    choose_share,
    judge,
    make_checks,
    nothing_better,
    raw_calls,
    verdict_record,
)
from biodenoising.training.adaptation_events import (
    GATHER_SHARE,
    Adaptation,
    Needs,
    Observer,
    Step,
)
from biodenoising.training.adaptation_material import (
    TRAIN,
    gather,
    gathered,
    usable_plans,
)
from biodenoising.training.adaptation_survey import Survey
from biodenoising.training.checks import Check
from biodenoising.training.fine_tuning import (
    MIXTURES,
    tune,
    tuning_settings,
    write_between,
    write_model,
)
from biodenoising.training.precision import fast_precision
from biodenoising.training.settings import TrainingSettings, what_counts
from biodenoising.training.state import new_network
from biodenoising.training.trainer import Progress, Summary

PLAN, TRAINING, STEPS = "plan.json", "training", "steps"
FORMAT = 2
# What a work was begun with has to be the same when it goes on, and what a person calls it.
BEGUN_WITH = {"base": "base", "recordings": "recordings", "general": "general corpora"}
CHECK_SHARE, LEAST_TRAINING_SHARE = 0.15, 0.3


class Run:
    """One adaptation in its work folder."""

    def __init__(
        self, needs: Needs, found: Survey, out: Path, work: Path, general: Sequence[Path],
        observer: Observer, stop: Callable[[], bool],
    ) -> None:  # fmt: skip
        self.needs, self.found, self.out, self.work = needs, found, out, work
        self.general, self.observer, self.stop = general, observer, stop
        self.base = needs.base

    def until_over(self, base: str | Path) -> Adaptation:
        """Gather, train, check and hand over, going on with what is there."""
        plan = self._plan(base)
        rows = gathered(self.work) or []
        own = [row.kind for row in rows if row.set == TRAIN]
        halves = make_checks(rows, self.work, self.general, plan["calls"])
        settings = tuning_settings(
            self.base, plan["training_minutes"], plan["precision"], rehearsal=bool(self.general)
        )
        summary = self._train(settings)
        verdict, weights = self._compare(base, settings, halves, raw_calls(rows, self.work))
        ended = Adaptation(
            None, verdict, self.needs, own.count("vocal"),
            own.count("noise"), summary.step,
        )  # fmt: skip
        if weights is None:
            return ended
        card = write_model(settings, weights, self._card(rows, ended, settings), self.out.parent)
        assert card.folder is not None
        return dataclasses.replace(ended, model=card.folder / f"{card.name}.json")

    def _plan(self, base: str | Path) -> dict[str, Any]:
        """Return what was decided when this work was begun, deciding what is not yet."""
        path, mine = self.work / PLAN, fingerprint(self.base)
        begun = {
            "format": FORMAT, "base": mine, "recordings": _names_hash(self.found),
            "general": [sha256_of(folder / MANIFEST_NAME) for folder in self.general],
        }  # fmt: skip
        plan: dict[str, Any] = begun | {"minutes": self.needs.minutes}
        if path.exists():
            self.observer("going on with what was begun before")
        # Until gathering is over nothing depends on the plan: what was heard is in the journal.
        if path.exists() and gathered(self.work) is not None:
            plan = _read_plan(path)
            changed = [name for key, name in BEGUN_WITH.items() if plan[key] != begun[key]]
            if changed:
                raise OptionError(
                    f"{printable(self.work)}: was begun with other {' and '.join(changed)}; give "
                    "the same again, or delete this folder to begin anew"
                )
        _keep_plan(path, plan)
        if gathered(self.work) is None or "training_minutes" not in plan:
            used_s = self._gather(base, plan["minutes"])
            # Gathering may have ended early, or run over on a single stretch.
            left = plan["minutes"] * (1 - CHECK_SHARE) - used_s / 60
            plan["training_minutes"] = max(left, plan["minutes"] * LEAST_TRAINING_SHARE)
            _keep_plan(path, plan)
        if "precision" not in plan:
            network = new_network(tuning_settings(self.base, 1.0, "32-true"))
            plan["precision"] = fast_precision(network, MIXTURES.samples)
            budget_s = 60 * plan["minutes"] * CHECK_SHARE
            plan["calls"] = affordable_calls(base, budget_s, len(self._shares()))
            _keep_plan(path, plan)
        return plan

    def _gather(self, base: str | Path, minutes: float) -> float:
        plans, problems = usable_plans(str(base))
        for problem in problems:
            self.observer(f"left out {problem}")
        return gather(
            self.found, plans, str(base), self.work, 60 * minutes * GATHER_SHARE,
            step=lambda share: self._step("gathering", share), tell=self.observer,
        )  # fmt: skip

    def _step(self, stage: str, share: float) -> None:
        self.observer(Step(stage, min(share, 1.0)))
        if self.stop():
            raise KeyboardInterrupt

    def _train(self, settings: TrainingSettings) -> Summary:
        def show(event: Progress | Check | str) -> None:
            if isinstance(event, Progress):
                self.observer(Step("training", min(event.share, 1.0)))
            elif isinstance(event, str):
                self.observer(event)

        summary = tune(
            settings, self.work, self.work / TRAINING, corpora=self.general, observer=show,
            stop=self.stop,
        )  # fmt: skip
        if summary.ending == "interrupted":
            raise KeyboardInterrupt
        return summary

    def _compare(
        self, base: str | Path, settings: TrainingSettings, halves: tuple[Checks, Checks],
        segments: Sequence[Samples],
    ) -> tuple[Verdict, Path | None]:  # fmt: skip
        """Return the verdict, and the weights to hand over where it is good."""
        steps = write_between(
            self.base, settings, self.work / TRAINING, self.work / STEPS, self._shares()
        )
        first, second = (len(half.known) + len(half.general) for half in halves)
        total = first * (len(steps) + 1) + 2 * (second + len(segments))
        done = 0

        def count(more: int) -> None:
            nonlocal done
            done += more
            self._step("checking", done / total)

        share = choose_share(base, steps, halves[0], count)
        if not share:
            return nothing_better(self._shares()), None
        verdict = judge(base, steps[share], share, halves[1], segments, count)
        weights = steps[share].with_suffix(".safetensors")
        return verdict, weights if verdict.better else None

    def _shares(self) -> tuple[float, ...]:
        return SHARES if self.general else SHARES_ALONE

    def _card(self, rows: Sequence[Row], ended: Adaptation, settings: TrainingSettings) -> Card:
        base = self.base
        record = card_record(base)
        return dataclasses.replace(
            base,
            name=self.out.stem,
            description=f"{base.name}, adapted to recordings of its user's.",
            licence=f"{base.licence} (its base model's); the recordings it was adapted to are its "
            "user's, whose terms may ask for more",
            training={
                "recordings": _heard(rows, self.needs),
                "steps": ended.steps,
                "minutes": round(self.needs.minutes, 1),
                "share of the way from the base": ended.verdict.share,
                "settings": what_counts(settings) | {"begin_from": base.name},
                "base": {key: record[key] for key in ("name", "licence", "weights_sha256",
                                                       "training")},
            },
            metrics={"check on held-back recordings": verdict_record(ended.verdict)},
        )  # fmt: skip


def _heard(rows: Sequence[Row], needs: Needs) -> dict[str, Any]:
    """Return what the card says of the recordings: counts and hours, no names."""
    own = [row for row in rows if row.set == TRAIN]
    minutes = {
        kind: round(sum(row.duration_s for row in own if row.kind == kind) / 60, 2)
        for kind in ("vocal", "noise")
    }
    return {
        "found": needs.recordings,
        "hours found": round(needs.hours, 3),
        "rates_hz": list(needs.rates_hz),
        "trained on": len({row.recording for row in own}),
        "held back": len({row.recording for row in rows if row.set != TRAIN}),
        "targets": sum(row.kind == "vocal" for row in own),
        "target minutes": minutes["vocal"],
        "targets by teacher": dict(
            Counter(row.teacher for row in own if row.kind == "vocal").most_common()
        ),
        "noise minutes": minutes["noise"],
    }


def _read_plan(path: Path) -> dict[str, Any]:
    try:
        plan = json.loads(path.read_text(encoding="utf-8"))
        if plan["format"] == FORMAT and plan["minutes"] > 0 and set(BEGUN_WITH) <= set(plan):
            return dict(plan)
    except (OSError, ValueError, TypeError, KeyError):
        pass
    raise TrainingError(
        f"{printable(path)}: not the plan of an adaptation of this version; delete its folder"
    )


def _keep_plan(path: Path, plan: dict[str, Any]) -> None:
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(plan, indent=1) + "\n", encoding="utf-8")


def _names_hash(found: Survey) -> str:
    names = sorted(f"{each.name} {each.duration_s:.3f}" for each in found.recordings)
    return hashlib.sha256("\n".join(names).encode("utf-8", "surrogateescape")).hexdigest()[:16]
