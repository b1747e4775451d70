"""The loop: batches in, averaged weights out; it can be killed at any moment and go on.

Lightning's Fabric finds the device and the precision; the loop is plain. The random numbers of
step n follow from the seed and n, and so does its batch, so a run that was killed and resumed ends
with the very weights of one that was not (on the same machine and with a schedule in steps).
"""

from __future__ import annotations

import csv
import io
import math
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from biodenoising.errors import TrainingError
from biodenoising.storage import append_line, close_torn_line, printable, whole_file
from biodenoising.training.checks import Check, improvement
from biodenoising.training.curves import draw_curves
from biodenoising.training.data import Batch, Material, batches_from
from biodenoising.training.hearings import hear, keep_statistics
from biodenoising.training.losses import loss_terms, weighted_sum
from biodenoising.training.precision import fast_precision
from biodenoising.training.remix import remix
from biodenoising.training.schedule import first_beta, rate_share
from biodenoising.training.settings import MachineSettings, TrainingSettings
from biodenoising.training.state import BEST, CHECKPOINT, RunState

if TYPE_CHECKING:
    from lightning.fabric import Fabric

LONGEST_STEP_S = 60.0  # a paused process does not use up its minutes
MOST_SKIPPED = 20  # batches in a row without a finite gradient
LOG, CHECKS = "log.csv", "checks.csv"
OUT_OF_MEMORY = ("out of memory", "not enough memory", "can't allocate memory")


@dataclass(frozen=True)
class Progress:
    """Where a run stands: the last terms of its loss, and the share of it that is over."""

    step: int
    share: float
    used_s: float
    rate: float
    terms: dict[str, float]


@dataclass(frozen=True)
class Summary:
    """How a run ended: `finished`, `stopped early` or `interrupted`.

    `skipped` batches had no finite gradient; for `waited` of its time this sitting waited for
    mixtures.
    """

    ending: str
    step: int
    used_s: float
    checks: tuple[Check, ...]
    skipped: int
    waited: float


Observer = Callable[[Progress | Check | str], None]
"""Is told every step, every check and, as text, whatever a person should know."""


def train(
    settings: TrainingSettings,
    material: Material,
    folder: Path,
    *,
    observer: Observer = lambda event: None,
    stop: Callable[[], bool] = lambda: False,
) -> Summary:
    """Train until the schedule is over, going on from the folder's checkpoint if there is one.

    `stop` is asked after every step; when it says so, the run is saved and ends. Raises
    TrainingError for a loss that is not finite (the last checkpoint stays), for want of memory and
    for a checkpoint of another network.
    """
    run = RunState(settings)
    fabric = start_fabric(settings.machine, run.network, settings.mixtures.samples)
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / CHECKPOINT).exists():
        changed = run.load(folder)
        observer(f"going on at step {run.step}")
        if changed:
            observer(f"other settings than before: {', '.join(changed)}")
    run.machine = _machine(fabric)
    for name in (LOG, CHECKS):
        _forget_after(folder / name, run.step)
    with _naming_memory(settings):
        return _Loop(fabric, run, material, folder, observer).until_over(stop)


def start_fabric(machine: MachineSettings, network: nn.Module, samples: int) -> Fabric:
    """Return Lightning's Fabric on the chosen device. Raises TrainingError where it is missing."""
    from lightning.fabric import Fabric  # takes seconds, and is not needed to refuse settings

    there = {
        "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True,
    }  # fmt: skip
    device = machine.device
    if device == "auto":
        device = next(name for name in ("cuda", "mps", "cpu") if there[name])
    if not there[device]:
        raise TrainingError(f"there is no {device} device here; set machine.device to auto")
    precision = machine.precision
    if precision == "auto":
        precision = fast_precision(network, samples, device)
    return Fabric(accelerator=device, devices=1, precision=precision)


class _Loop:
    """Steps of one run, with everything they need."""

    def __init__(
        self, fabric: Fabric, run: RunState, material: Material, folder: Path, observer: Observer
    ) -> None:
        self.fabric, self.run, self.material = fabric, run, material
        self.folder, self.observer, self.settings = folder, observer, run.settings
        self.model, self.optimizer = fabric.setup(run.network, run.optimizer)
        run.average.to(fabric.device)
        self.recent: list[list[float]] = []
        self.skipped = self.skipped_in_a_row = 0
        self.latest: tuple[Check, ...] = ()

    def until_over(self, stop: Callable[[], bool]) -> Summary:
        """Take steps until the schedule, the patience or a person ends the run."""
        run, machine = self.run, self.settings.machine
        batches = batches_from(self.material, self.settings, run.step)
        ending = "finished"
        waited_s = sitting_s = 0.0
        while (share := self._share()) < 1 and not self._out_of_patience():
            begun = time.monotonic()
            batch = next(batches)
            arrived = time.monotonic()
            self._step(batch, share)
            over = time.monotonic()
            run.used_s += min(over - begun, LONGEST_STEP_S)
            waited_s, sitting_s = waited_s + arrived - begun, sitting_s + over - begun
            if run.step % machine.log_every_steps == 0:
                self._log()
            if run.step % self.settings.checks.every_steps == 0:
                self._check()
                draw_curves(self.folder)
            if run.step % machine.save_every_steps == 0:
                run.save(self.folder)
            if stop():
                ending = "interrupted"
                break
        if ending != "interrupted" and self._out_of_patience():
            ending = "stopped early"
            run.take_best(self.folder)
        elif ending == "finished" and not (self.latest and run.checked_step == run.step):
            self._check()
        run.save(self.folder)
        draw_curves(self.folder)
        waited = waited_s / max(sitting_s, 1e-9)
        return Summary(ending, run.step, run.used_s, self.latest, self.skipped, waited)

    def _out_of_patience(self) -> bool:
        patience = self.settings.checks.patience
        return 0 < patience <= self.run.checks_since_best

    def _share(self) -> float:
        schedule = self.settings.schedule
        if schedule.steps is not None:
            return self.run.step / schedule.steps
        return self.run.used_s / (60 * (schedule.minutes or 1))

    def _step(self, batch: Batch, share: float) -> None:
        """Learn from one batch; one whose gradient is not finite is passed over."""
        run, settings = self.run, self.settings
        seed_step(settings.seed, run.step)
        rate = self._set_rate(share)
        noisy, target, floor = self._with_remixed(batch)
        self.model.train()
        if settings.decimations:
            keep_statistics(self.model)
        estimate = hear(self.model, noisy[:, None], settings.decimations)[:, 0].float()
        terms = loss_terms(estimate, target, noisy, floor, settings.loss)
        loss = weighted_sum(terms, settings.loss)
        values = {"loss": loss, **terms}
        shown = {name: float(value.detach()) for name, value in values.items()}
        if not math.isfinite(shown["loss"]):
            self._give_up("the loss is not finite")
        self.optimizer.zero_grad()
        self.fabric.backward(loss)
        norm = float(self._clip())
        if math.isfinite(norm):
            self.optimizer.step()
            self.skipped_in_a_row = 0
        else:
            self._skip()
        run.step += 1
        run.follow()
        self.recent.append([rate, norm, *shown.values()])
        self.names = list(shown)
        self.observer(Progress(run.step, self._share(), run.used_s, rate, shown))

    def _with_remixed(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Return noisy, target and floor with what is remixed from this batch's segments."""
        noisy, target, floor, segments = (
            part.to(self.fabric.device, non_blocking=True) for part in batch
        )
        settings = self.settings.remix
        if not len(segments) or self.run.step < settings.from_step:
            return noisy, target, floor
        remixed, calls = remix(self.run.average, segments)
        floors = floor.new_full((len(segments),), settings.noise_floor)
        return (
            torch.cat([noisy, remixed]),
            torch.cat([target, calls]),
            torch.cat([floor, floors]),
        )

    def _set_rate(self, share: float) -> float:
        schedule, optimizer = self.settings.schedule, self.settings.optimizer
        rate = optimizer.rate * rate_share(schedule, self.run.step, share)
        beta = first_beta(schedule, self.run.step, share)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
            if beta is not None:
                group["betas"] = (beta, group["betas"][1])
        return rate

    def _clip(self) -> Tensor:
        largest = self.settings.optimizer.largest_gradient or math.inf
        return torch.nn.utils.clip_grad_norm_(self.run.network.parameters(), largest)

    def _skip(self) -> None:
        self.skipped += 1
        self.skipped_in_a_row += 1
        self.observer(f"step {self.run.step}: the gradient is not finite, batch passed over")
        if self.skipped_in_a_row >= MOST_SKIPPED:
            self._give_up(f"no finite gradient in {MOST_SKIPPED} batches")

    def _give_up(self, reason: str) -> None:
        run, s = self.run, self.settings
        first = run.step * s.batch
        last = (
            f"the last checkpoint in {printable(self.folder)} is kept"
            if (self.folder / CHECKPOINT).exists()
            else "there is no checkpoint yet"
        )
        raise TrainingError(
            f"{reason} in batch {run.step} (mixtures {first} to {first + s.batch - 1} of seed "
            f"{s.seed}); {last}; lower optimizer.rate or look at these mixtures"
        )

    def _log(self) -> None:
        """Append the means since the last row to the log."""
        header = ["step", "seconds", "rate", "gradient", *self.names]
        means = [f"{mean:.6g}" for mean in np.mean(self.recent, axis=0)]
        _append_row(self.folder / LOG, header, [self.run.step, round(self.run.used_s), *means])
        self.recent.clear()

    def _check(self) -> None:
        """Denoise the fixed mixtures with the averaged weights and keep those of the best check."""
        run = self.run
        _forget_after(self.folder / CHECKS, run.step - 1)  # a finished run may be looked at again
        average = partial(hear, run.average, decimations=self.settings.decimations)
        self.latest = tuple(
            Check(name, run.step, *improvement(average, mixtures, self.fabric.device))
            for name, mixtures in self.material.checks.items()
        )
        header = ["step", "seconds", "name", "median_db", "worse"]
        for check in self.latest:
            row = [
                run.step, round(run.used_s), check.name, f"{check.median_db:.3f}",
                f"{check.worse:.4f}",
            ]  # fmt: skip
            _append_row(self.folder / CHECKS, header, row)
            self.observer(check)
        if run.checked_step == run.step:
            return
        run.checked_step = run.step
        held_back = self.latest[0].median_db
        if held_back > run.best_db + self.settings.checks.least_gain_db:
            run.best_db, run.checks_since_best = held_back, 0
            run.save_weights(self.folder / BEST)
        else:
            run.checks_since_best += 1


def seed_step(seed: int, step: int) -> None:
    """Seed torch for one step, so that dropout does not depend on what came before."""
    torch.manual_seed(int(np.random.SeedSequence((seed, step)).generate_state(1)[0]))


@contextmanager
def _naming_memory(settings: TrainingSettings) -> Iterator[None]:
    """Turn the many ways of running out of memory into one that says what to lower."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        text = str(error).lower()
        if not isinstance(error, MemoryError) and not any(w in text for w in OUT_OF_MEMORY):
            raise
        raise TrainingError(
            f"out of memory with batch {settings.batch} of mixtures.samples "
            f"{settings.mixtures.samples}; lower batch (first) or mixtures.samples and resume"
        ) from error


def _append_row(path: Path, header: Sequence[object], row: Sequence[object]) -> None:
    for line in ([] if path.exists() else [header]) + [row]:
        text = io.StringIO()
        csv.writer(text, lineterminator="").writerow(line)
        append_line(path, text.getvalue())


def _forget_after(path: Path, step: int) -> None:
    """Drop the rows that a killed run wrote after its last checkpoint."""
    if not path.exists():
        return
    close_torn_line(path)
    with open(path, newline="", encoding="utf-8") as lines:
        rows = list(csv.reader(lines))
    kept = [row for row in rows[1:] if row and row[0].isdigit() and int(row[0]) <= step]
    kept = [row for row in kept if len(row) == len(rows[0])]
    with whole_file(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([*rows[:1], *kept])


def _machine(fabric: Fabric) -> str:
    if fabric.device.type == "cuda":
        where = torch.cuda.get_device_name(fabric.device)
    else:
        where = f"{fabric.device.type}, {platform.machine()}, {torch.get_num_threads()} threads"
    return f"{where}, {fabric.strategy.precision.precision}"
