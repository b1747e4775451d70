"""Run a plan: one process or several, every file on its own, nothing done twice.

A file that fails is a row, never the end of the run; only a full or read-only disk stops it.
Finished files are recognized by content through the manifest of OUTPUT and skipped.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any, Generic, Literal, TypeVar

from biodenoising.audio.formats import DEFAULT_MAX_CHANNELS, DEFAULT_MAX_HOURS, ReadOptions
from biodenoising.batch.executors import anywhere, run_on, work_there
from biodenoising.batch.files import FileOptions, Progress, container_of
from biodenoising.batch.journal import MANIFEST_NAME, fold_manifests, read_manifest
from biodenoising.batch.listing import Refusal, Task
from biodenoising.batch.plan import Plan, plan_run
from biodenoising.batch.remote import (
    RemoteJob,
    RemotePlan,
    open_targets,
    plan_remote,
    pool,
    remote_jobs,
    staging,
    work_staged,
)
from biodenoising.batch.shards import Shard, lock_run
from biodenoising.batch.stores import is_remote, place_of
from biodenoising.batch.work import DEFAULT_MAX_MEMORY_GB, Job, Outcome, Recipe
from biodenoising.batch.workers import run_jobs
from biodenoising.errors import BatchError
from biodenoising.inference.choosing import TimeExpansion
from biodenoising.inference.denoiser import Denoiser, DenoiseSettings
from biodenoising.inference.runtimes import ON_PROCESSOR, processors
from biodenoising.models import DEFAULT_MODEL
from biodenoising.storage import remove_leftovers, require_writable_folder

Observer = Callable[[Outcome], None]
MOST_KEPT = 10_000

T = TypeVar("T")


@dataclass
class TreeSummary:
    """What became of a run.

    `outcomes` has an entry per file in the order they ended, but for each status only the first
    MOST_KEPT; the counts are of all.
    """

    outcomes: list[Outcome] = field(default_factory=list)
    elapsed_s: float = 0.0
    stopped: str = ""  # why the run ended before its last file, if it did
    not_tried: int = 0
    audio_s: float = 0.0  # seconds of audio denoised in this run
    counts: Counter[str] = field(default_factory=Counter)

    def add(self, outcome: Outcome) -> None:
        """Count how one file ended."""
        self.counts[outcome.status] += 1
        if self.counts[outcome.status] <= MOST_KEPT:
            self.outcomes.append(outcome)
        if outcome.result is not None:
            self.audio_s += outcome.result.duration_s

    def count(self, status: Literal["done", "skipped", "failed", "changing"]) -> int:
        """How many files ended so."""
        return self.counts[status]

    @property
    def ok(self) -> bool:
        """Whether every file of the plan has its output."""
        finished = self.count("done") + self.count("skipped")
        return not self.stopped and not self.not_tried and finished == self.counts.total()


def denoise_tree(
    input: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    model: str | Path = DEFAULT_MODEL,
    device: str = "auto",
    jobs: int = 0,
    mix: float = 1.0,
    max_attenuation_db: float | None = None,
    time_expansion: TimeExpansion = None,
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
    shard: tuple[int, int] | None = None,
    executor: Executor | None = None,
    progress: Progress | None = None,
    observer: Observer | None = None,
) -> TreeSummary:
    """Denoise a file or a folder with all its subfolders into `output`, resuming earlier runs.

    Folders may be addresses such as s3://bucket/folder (see docs/scale.md).

    `jobs` is the number of processes, 0 for what suits the machine, 1 for this process alone, which
    then nothing protects; `residual` a folder for what was removed; `include` and `exclude` are
    file patterns; `shard` is (i, n) for the i-th of n runs that share the work. `executor` does the
    work instead of processes of this run: any that returns `concurrent.futures` futures, such as
    Dask's `client.get_executor()`; its workers must see both folders. `progress` is called with
    seconds of audio as they pass, `observer` with each file's outcome. Other options as for
    `denoise` and the command line.

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
    part = None if shard is None else Shard(*shard)
    how: dict[str, Any] = {
        "jobs": jobs, "executor": executor, "progress": progress, "observer": observer,
    }  # fmt: skip
    which: dict[str, Any] = {
        "container": recipe.options.container, "include": include, "exclude": exclude,
        "shard": part,
    }  # fmt: skip
    places = [place_of(place) for place in (input, output)]
    removed = None if residual is None else place_of(residual)
    if any(is_remote(place) for place in (*places, removed)):
        return run_remote(plan_remote(*places, residual=removed, **which), recipe, **how)
    plan = plan_run(
        *map(Path, places), residual=None if removed is None else Path(removed), **which
    )
    return run_plan(plan, recipe, **how)


def run_plan(
    plan: Plan,
    recipe: Recipe,
    *,
    jobs: int = 0,
    executor: Executor | None = None,
    progress: Progress | None = None,
    observer: Observer | None = None,
) -> TreeSummary:
    """Run a plan under the lock of its output folder; see denoise_tree."""
    with _counting(observer) as (summary, ended), ExitStack() as stack:
        if plan.tasks or plan.more:
            workers = _workers(jobs, recipe)
            if plan.more is None:
                workers = min(workers, len(plan.tasks))
            # A model that does not load, or does not fit, is found before anything is written.
            denoiser = Denoiser(recipe.model, device=recipe.device)
            for root in plan.roots:
                require_writable_folder(root)
            for root in plan.roots:
                stack.enter_context(lock_run(root, plan.shard))
                stack.callback(_tidy, plan, root)
                if plan.shard is None:
                    fold_manifests(root)
                if plan.more is None:  # else the first file would wait for all of OUTPUT
                    _tidy(plan, root)
            tasks = Listed[Task](plan, ended)
            listed = _jobs(tasks, plan, recipe)
            if executor is None:
                outcomes = run_jobs(
                    listed, recipe, denoiser, workers, progress or _unheard,
                    here=workers == 1 and _here(jobs, plan, recipe),
                )  # fmt: skip
            else:
                away = (anywhere(job) for job in listed)
                outcomes = run_on(executor, away, recipe, jobs, progress or _unheard, work_there)
            _watch(stack.enter_context(closing(outcomes)), tasks, ended, summary)
            if executor is not None and plan.shard is None:
                fold_manifests(plan.roots[0])
        else:
            for _ in Listed[Task](plan, ended):
                pass
    return summary


def run_remote(
    plan: RemotePlan,
    recipe: Recipe,
    *,
    jobs: int = 0,
    executor: Executor | None = None,
    progress: Progress | None = None,
    observer: Observer | None = None,
) -> TreeSummary:
    """Run a plan between stores; see denoise_tree."""
    with _counting(observer) as (summary, ended), ExitStack() as stack:
        workers = _workers(jobs, recipe)
        Denoiser(recipe.model, device=recipe.device)  # found wanting before anything is written
        plan = open_targets(plan)
        if executor is None:
            plan = stack.enter_context(staging(plan))
            executor = stack.enter_context(pool(workers, recipe))
        tasks = Listed[RemoteJob](remote_jobs(plan, recipe), ended)
        outcomes = run_on(executor, tasks, recipe, jobs, progress or _unheard, work_staged)
        _watch(stack.enter_context(closing(outcomes)), tasks, ended, summary)
    return summary


@contextmanager
def _counting(observer: Observer | None) -> Iterator[tuple[TreeSummary, Observer]]:
    """Give a summary of a run, and what to call with each outcome; take the run's time."""
    summary = TreeSummary()
    begun = monotonic()

    def ended(outcome: Outcome) -> None:
        summary.add(outcome)
        if observer:
            observer(outcome)

    yield summary, ended
    summary.elapsed_s = monotonic() - begun


class Listed(Generic[T]):
    """Goes through what there is to do and counts it; what is refused on the way is a failure."""

    def __init__(self, items: Iterable[T | Refusal], ended: Observer) -> None:
        self._items, self._ended = iter(items), ended
        self.count = 0

    def __iter__(self) -> Iterator[T]:
        for item in self._items:
            if isinstance(item, Refusal):
                self._ended(Outcome(item.path, "failed", item.message))
            else:
                self.count += 1
                yield item


def _jobs(tasks: Iterable[Task], plan: Plan, recipe: Recipe) -> Iterator[Job]:
    root = plan.roots[0]
    settings = recipe.fingerprint(residual=len(plan.roots) > 1)
    done = read_manifest(root)
    manifest = plan.shard.manifest if plan.shard else MANIFEST_NAME
    for task in tasks:
        known = done.known(task.name.as_posix(), settings, task.output)
        yield Job(task, root, settings, known, manifest)


def _tidy(plan: Plan, root: Path) -> None:
    mine = plan.shard.leftovers(root) if plan.shard else None
    remove_leftovers(root, below=not plan.single, mine=mine)


def _unheard(seconds: float) -> None:
    """Tell nobody of the progress."""


def _watch(
    outcomes: Iterable[Outcome], tasks: Listed[Any], ended: Observer, summary: TreeSummary
) -> None:
    count = 0
    for outcome in outcomes:
        count += 1
        ended(outcome)
        if outcome.fatal:
            summary.stopped = outcome.message
            for _ in tasks:  # the rest is only counted
                pass
            break
    summary.not_tried = tasks.count - count
    if summary.not_tried and not summary.stopped:
        # It should never be so; if it ever is, it must not look like success.
        summary.stopped = "some files got lost on their way; run the same command again"


def _workers(jobs: int, recipe: Recipe) -> int:
    if jobs < 0:
        raise BatchError(f"jobs is {jobs}; give the number of processes, or 0 to leave it open")
    # One accelerator is shared badly by several processes.
    suited = processors() if recipe.device in ON_PROCESSOR else 1
    return jobs or suited


def _here(jobs: int, plan: Plan, recipe: Recipe) -> bool:
    """Tell whether this process does a worker's work: asked to, for one file, or an accelerator."""
    one = plan.more is None and len(plan.tasks) == 1
    return jobs == 1 or one or recipe.device not in ON_PROCESSOR
