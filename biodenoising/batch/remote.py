"""A run whose INPUT or OUTPUT is in a store: each file is fetched, denoised here, and put there.

A worker holds one recording and what becomes of it in a temporary folder, no more. A note beside
each output, `OUTPUT/.biodenoise/NAME.json`, says what it was made from, first without and then with
what the store calls the output's content; by the notes a run that broke off goes on. Two runs at a
time do no harm, only the same work: there are no locks in a store. Shards share it.
"""

from __future__ import annotations

import itertools
import json
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from biodenoising.audio import EXTENSIONS
from biodenoising.batch.executors import loaded, work_there
from biodenoising.batch.listing import Refusal, Scope, Task, output_name
from biodenoising.batch.shards import Shard
from biodenoising.batch.stores import Entry, Store, StoreError, is_remote, refused
from biodenoising.batch.work import Job, Outcome, Recipe
from biodenoising.batch.workers import limit_memory, only_parent_is_interrupted, starting, stop_pool
from biodenoising.errors import BatchError, BiodenoisingError
from biodenoising.processes import WORKERS
from biodenoising.storage import printable


@dataclass(frozen=True)
class RemotePlan:
    """What a run between stores works on; `targets` are OUTPUT and the residual folder."""

    source: Store
    targets: tuple[Store, ...]
    scope: Scope
    shard: Shard | None
    stage: str | None = None  # where recordings are held, if not in the system's folder for that
    folds: bool = False  # a target takes a.wav and A.wav for the same

    @property
    def is_empty(self) -> bool:
        """Whether there is surely nothing to do: not known before it is listed."""
        return False


@dataclass(frozen=True)
class RemoteJob(Job):
    """A recording in a store; the task's paths are set where it has been fetched to."""

    plan: RemotePlan | None = None
    entry: Entry | None = None
    relative: str = ""


def plan_remote(
    source: str | Path,
    output: str | Path,
    *,
    container: str | None = None,
    residual: str | Path | None = None,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    shard: Shard | None = None,
) -> RemotePlan:
    """Look at both ends of a run. Raises BatchError where it must not start."""
    places = [source, output, *([residual] if residual else [])]
    stores = [Store(str(p if is_remote(p) else Path(p).absolute())) for p in places]
    for one, other in itertools.combinations(stores, 2):
        _refuse_overlap(one, other)
    scope = Scope(Path(), tuple(Path() for _ in stores[1:]), container, include, exclude)
    with refused(stores[0].address):
        stores[0].entries("")
    return RemotePlan(stores[0], tuple(stores[1:]), scope, shard)


def _refuse_overlap(one: Store, other: Store) -> None:
    inner, outer = (store.address.rstrip("/") + "/" for store in (one, other))
    if inner.startswith(outer) or outer.startswith(inner):
        raise BatchError(
            f"{printable(one.address)} and {printable(other.address)} are the same or lie within "
            "each other; choose another place"
        )


def list_remote(plan: RemotePlan, folder: str = "") -> Iterator[tuple[str, Entry] | Refusal]:
    """Yield the recordings below a folder with their path, one folder of names at a time."""
    try:
        entries = [e for e in plan.source.entries(folder) if not e.name.startswith(".") and e.name]
    except (StoreError, FileNotFoundError) as error:
        yield Refusal(Path(folder), f"{printable(plan.source.at(folder))}: not listed ({error})")
        return
    prefix = f"{folder}/" if folder else ""
    wanted = [
        e for e in entries
        if not e.is_folder
        and PurePosixPath(e.name).suffix.lower() in EXTENSIONS
        and plan.scope.wants(Path(prefix + e.name))
    ]  # fmt: skip
    names = {e.name: output_name(Path(e.name), plan.scope.container).name for e in wanted}
    names |= {e.name: e.name for e in entries if e.is_folder}
    key = str.casefold if plan.folds else str
    meeting = Counter(map(key, names.values()))
    for entry in entries:
        path = prefix + entry.name
        if entry.name in names and meeting[key(names[entry.name])] > 1:
            message = (
                f"{printable(plan.source.at(path))}: another one would become the same in OUTPUT; "
                "exclude it, or rename one of them"
            )
            yield Refusal(Path(path), message)
        elif entry.is_folder and entry.is_link:  # it may lead to where it lies itself
            message = f"{printable(plan.source.at(path))}: a link to a folder is not followed"
            yield Refusal(Path(path), message)
        elif entry.is_folder:
            yield from list_remote(plan, path)
        elif entry.name in names and (
            plan.shard is None or plan.shard.holds(Path(prefix + names[entry.name]))
        ):
            yield path, entry


def remote_jobs(plan: RemotePlan, recipe: Recipe) -> Iterator[RemoteJob | Refusal]:
    """Yield what there is to do."""
    settings = recipe.fingerprint(residual=len(plan.targets) > 1)
    for item in list_remote(plan):
        if isinstance(item, Refusal):
            yield item
            continue
        relative, entry = item
        task = plan.scope.task(Path(relative))
        yield RemoteJob(task, Path(), settings, None, plan=plan, entry=entry, relative=relative)


def open_targets(plan: RemotePlan) -> RemotePlan:
    """See that every target can be written to, and how it takes names. Raises BatchError."""
    folds = False
    with tempfile.TemporaryDirectory(prefix="biodenoise-") as folder:
        for target in plan.targets:
            with refused(target.address):
                target.write_note("started", {}, Path(folder))
                folds = folds or target.note("STARTED") is not None
    return replace(plan, folds=folds)


@contextmanager
def staging(plan: RemotePlan) -> Iterator[RemotePlan]:
    """Give the plan a folder for what is fetched, gone at the end whatever becomes of workers."""
    with tempfile.TemporaryDirectory(prefix="biodenoise-") as folder:
        yield replace(plan, stage=folder)


@contextmanager
def pool(workers: int, recipe: Recipe) -> Iterator[Executor]:
    """Give an executor of new processes, ended at once at the end."""
    with starting():
        made = ProcessPoolExecutor(workers, WORKERS, initializer=_begin, initargs=(recipe,))
    try:
        yield made
    finally:
        stop_pool(made)


# --- in the workers ------------------------------------------------------------------------------


def _begin(recipe: Recipe) -> None:
    only_parent_is_interrupted()
    loaded(recipe)
    limit_memory(recipe)


def work_staged(job: RemoteJob, recipe: Recipe, version: str) -> Outcome:
    """Fetch a recording, denoise it, and put what came of it in its place."""
    plan, entry = job.plan, job.entry
    assert plan is not None
    assert entry is not None
    address = plan.source.at(job.relative)
    with tempfile.TemporaryDirectory(prefix="biodenoise-", dir=plan.stage) as name:
        stage = Path(name)
        try:
            known = _known(job, plan, entry)
            if known == "same":
                return Outcome(job.task.name, "skipped")
            if known == "other" and not recipe.overwrite:
                return _failed(
                    job,
                    f"{printable(plan.targets[0].at(job.task.name.as_posix()))}: is there already, "
                    "made with other options, from another input or by another program; "
                    "--overwrite replaces it",
                )
            here = _staged(job, stage)
            try:
                plan.source.fetch(entry, job.relative, here.task.input)
            except StoreError as error:
                # It was listed: what is denied is this recording, not all of them.
                return _failed(job, str(error))
            outcome = work_there(here, recipe, version)
            if outcome.status == "failed":
                message = outcome.message
                for path in (here.task.input, *here.task.targets):
                    message = message.replace(printable(path), printable(address))
                return replace(outcome, name=job.task.name, message=message)
            _put(job, here, plan, entry)
            return replace(outcome, name=job.task.name)
        except StoreError as error:
            return _failed(job, str(error), fatal=error.lasting)
        except (BiodenoisingError, OSError) as error:
            return _failed(job, f"{printable(address)}: {error}")


def _failed(job: RemoteJob, message: str, *, fatal: bool = False) -> Outcome:
    return Outcome(job.task.name, "failed", message, fatal=fatal)


def _known(job: RemoteJob, plan: RemotePlan, entry: Entry) -> str:
    """Return whether the outputs are there: `same` as this run's, `other`, or nothing of them."""
    name = job.task.name.as_posix()
    there = [target.entry(name) for target in plan.targets]
    if not any(there):
        return ""
    note = plan.targets[0].note(name) or {}
    same_work = note.get("settings") == job.settings and note.get("input") == entry.identity
    made = note.get("outputs")
    if same_work and made == []:  # broken off while this very work was put there
        return ""
    if not same_work or not isinstance(made, list) or len(made) != len(there):
        return "other"
    if any(e is not None and e.identity != m for e, m in zip(there, made, strict=True)):
        return "other"
    return "same" if all(there) else ""


def _staged(job: RemoteJob, stage: Path) -> Job:
    """Return the job with its paths in a temporary folder, where names cannot meet."""
    folders = [stage / "in", *(stage / str(n) for n, _ in enumerate(job.task.targets))]
    for folder in folders:
        folder.mkdir()
    input = folders[0] / PurePosixPath(job.relative).name
    output, *residual = (folder / job.task.name.name for folder in folders[1:])
    task = Task(Path(job.task.name.name), input, output, residual[0] if residual else None)
    return Job(task, stage, job.settings, None)


def _put(job: RemoteJob, here: Job, plan: RemotePlan, entry: Entry) -> None:
    """Note what is coming, put the outputs into their stores, and note that they are there."""
    row: dict[str, Any] = {}
    for manifest in here.root.glob("biodenoise*.jsonl"):
        row = json.loads(manifest.read_text("utf-8").splitlines()[-1])
    name = job.task.name.as_posix()
    note = {**row, "file": name, "from": plan.source.at(job.relative), "input": entry.identity}
    plan.targets[0].write_note(name, {**note, "outputs": []}, here.root)
    made = [
        target.put(path, name) for target, path in zip(plan.targets, here.task.targets, strict=True)
    ]
    note["outputs"] = [output.identity for output in made]
    plan.targets[0].write_note(name, note, here.root)
