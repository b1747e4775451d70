"""Run a plan: one process or several, every file on its own, nothing done twice.

A file that fails is a row, never the end of the run; only a full or read-only disk stops it.
Finished files are recognized by content through the manifest of OUTPUT and skipped.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Literal

from biodenoising.audio.formats import DEFAULT_MAX_CHANNELS, DEFAULT_MAX_HOURS, ReadOptions
from biodenoising.batch.files import FileOptions, Progress, container_of
from biodenoising.batch.journal import lock_folder, read_manifest
from biodenoising.batch.plan import Plan, plan_run
from biodenoising.batch.work import DEFAULT_MAX_MEMORY_GB, Job, Outcome, Recipe
from biodenoising.batch.workers import processors, run_jobs
from biodenoising.errors import BatchError
from biodenoising.inference.denoiser import Denoiser, DenoiseSettings
from biodenoising.models import DEFAULT_MODEL
from biodenoising.storage import printable, remove_leftovers, require_writable_folder

Observer = Callable[[Outcome], None]


@dataclass
class TreeSummary:
    """What became of a run; `outcomes` has one entry per file, in the order they ended."""

    outcomes: list[Outcome] = field(default_factory=list)
    elapsed_s: float = 0.0
    stopped: str = ""  # why the run ended before its last file, if it did
    not_tried: int = 0

    def count(self, status: Literal["done", "skipped", "failed", "changing"]) -> int:
        """How many files ended so."""
        return sum(outcome.status == status for outcome in self.outcomes)

    @property
    def audio_s(self) -> float:
        """Seconds of audio denoised in this run."""
        return sum(o.result.duration_s for o in self.outcomes if o.result is not None)

    @property
    def ok(self) -> bool:
        """Whether every file of the plan has its output."""
        finished = self.count("done") + self.count("skipped")
        return not self.stopped and not self.not_tried and finished == len(self.outcomes)


def denoise_tree(
    input: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    model: str | Path = DEFAULT_MODEL,
    device: str = "auto",
    jobs: int = 0,
    mix: float = 1.0,
    max_attenuation_db: float | None = None,
    time_expansion: float | None = None,
    band: tuple[float, float] | None = None,
    outside: Literal["keep", "mute"] = "keep",
    format: Literal["wav", "flac"] | None = None,
    dither: bool = False,
    residual: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    twav: Literal["expand", "pass", "refuse"] = "pass",
    salvage: bool = False,
    max_channels: int = DEFAULT_MAX_CHANNELS,
    max_hours: float = DEFAULT_MAX_HOURS,
    max_memory_gb: float = DEFAULT_MAX_MEMORY_GB,
    progress: Progress | None = None,
    observer: Observer | None = None,
) -> TreeSummary:
    """Denoise a file or a folder with all its subfolders into `output`, resuming earlier runs.

    `jobs` is the number of processes, 0 for what suits the machine, 1 for this process alone, which
    then nothing protects; `residual` a folder for what was removed; `include` and `exclude` are
    file patterns. `progress` is called with seconds of audio as they pass, `observer` with each
    file's outcome. Other options as for `denoise` and the command line.

    Raises BatchError, ModelError or OptionError before anything is written where the run as a
    whole cannot start. Failures of single files are in the summary.
    """
    recipe = Recipe(
        model=os.fspath(model),
        device=device,
        settings=DenoiseSettings(mix, max_attenuation_db, time_expansion, band, outside),
        options=FileOptions(container_of(format), dither),
        overwrite=overwrite,
        reading=ReadOptions(twav, salvage, max_channels, max_hours),
        max_memory_gb=max_memory_gb,
    )
    plan = plan_run(
        Path(input),
        Path(output),
        container=recipe.options.container,
        residual=None if residual is None else Path(residual),
        include=include,
        exclude=exclude,
    )
    return run_plan(plan, recipe, jobs=jobs, progress=progress, observer=observer)


def run_plan(
    plan: Plan,
    recipe: Recipe,
    *,
    jobs: int = 0,
    progress: Progress | None = None,
    observer: Observer | None = None,
) -> TreeSummary:
    """Run a plan under the lock of its output folder; see denoise_tree."""
    summary = TreeSummary()
    begun = monotonic()

    def ended(outcome: Outcome) -> None:
        summary.outcomes.append(outcome)
        if observer:
            observer(outcome)

    for folder, reason in plan.unlisted:
        message = f"{printable(folder)}: cannot be listed ({reason}); mend its permissions"
        ended(Outcome(folder, "failed", message))
    if plan.tasks:
        workers = _workers(jobs, plan, recipe)
        # A model that does not load, or does not fit, is found before anything is written.
        denoiser = Denoiser(recipe.model, device=recipe.device)
        for root in plan.roots:
            require_writable_folder(root)
        with ExitStack() as stack:
            for root in plan.roots:
                stack.enter_context(lock_folder(root))
                stack.callback(remove_leftovers, root, below=not plan.single)
                remove_leftovers(root, below=not plan.single)
            outcomes = _start(plan, recipe, denoiser, workers, _here(jobs, plan, recipe), progress)
            _watch(stack.enter_context(closing(outcomes)), plan, ended, summary)
    summary.elapsed_s = monotonic() - begun
    return summary


def _start(
    plan: Plan,
    recipe: Recipe,
    denoiser: Denoiser,
    workers: int,
    here: bool,
    progress: Progress | None,
) -> Generator[Outcome, None, None]:
    root = plan.roots[0]
    settings = recipe.fingerprint(residual=len(plan.roots) > 1)
    done = read_manifest(root)
    jobs = (Job(task, root, settings, done.get(str(task.name))) for task in plan.tasks)
    report = progress or (lambda seconds: None)
    return run_jobs(jobs, recipe, denoiser, workers, report, here=here)


def _watch(outcomes: Iterable[Outcome], plan: Plan, ended: Observer, summary: TreeSummary) -> None:
    for count, outcome in enumerate(outcomes, start=1):
        ended(outcome)
        if outcome.fatal:
            summary.stopped = outcome.message
            summary.not_tried = len(plan.tasks) - count
            break


def _workers(jobs: int, plan: Plan, recipe: Recipe) -> int:
    if jobs < 0:
        raise BatchError(f"jobs is {jobs}; give the number of processes, or 0 to leave it open")
    # One accelerator is shared badly by several processes.
    suited = processors() if recipe.device in ("auto", "cpu") else 1
    return min(jobs or suited, len(plan.tasks))


def _here(jobs: int, plan: Plan, recipe: Recipe) -> bool:
    """Tell whether this process does the work: asked to, for one file, or on an accelerator."""
    alone = _workers(jobs, plan, recipe) == 1
    return alone and (jobs == 1 or len(plan.tasks) == 1 or recipe.device not in ("auto", "cpu"))
