"""Run jobs on an executor that somebody else made: a pool, or a cluster's.

Anything with `submit` that returns `concurrent.futures` futures will do. One task is one file, and
only a few more than there are workers are handed over, so that a million files never wait in a
scheduler. A worker needs to see INPUT and OUTPUT under the same paths. It notes what it made in a
manifest of its own: appending to one file from several machines is not safe on every file system.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
import re
import socket
import threading
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    wait,
)
from functools import lru_cache
from typing import Any, TypeVar

import biodenoising
from biodenoising.batch.crew import Crew
from biodenoising.batch.files import Progress
from biodenoising.batch.journal import read_manifest
from biodenoising.batch.work import Job, Outcome, Recipe, failure, work
from biodenoising.batch.workers import IN_FLIGHT_PER_WORKER, being_born, starting
from biodenoising.errors import ModelError
from biodenoising.inference.denoiser import Denoiser
from biodenoising.storage import printable

POLL_S = 0.2
THREADS_VARIABLE = "BIODENOISE_THREADS"
CANCELLED = (CancelledError, asyncio.CancelledError)  # Dask uses the other one

AnyJob = TypeVar("AnyJob", bound=Job)


def run_on(
    executor: Executor,
    jobs: Iterable[AnyJob],
    recipe: Recipe,
    workers: int,
    progress: Progress,
    do: Callable[[AnyJob, Recipe, str], Outcome],
) -> Generator[Outcome, None, None]:
    """Yield the outcome of every job as it ends; `workers` of 0 asks the executor for theirs.

    Closing the iterator withdraws what has not begun; what has begun ends on its own.
    """
    left = iter(jobs)
    running: dict[Future[Outcome], AnyJob] = {}
    exhausted = False
    crew = Crew(executor, workers)
    version = biodenoising.__version__
    try:
        while True:
            crew.count()
            while not exhausted and len(running) < crew.width * IN_FLIGHT_PER_WORKER:
                job = next(left, None)
                if job is None:
                    exhausted = True
                else:
                    running[_submit(executor, do, job, recipe, version)] = job
            if not running:
                return
            if crew.given_up:
                job = next(iter(running.values()))
                yield Outcome(job.task.name, "failed", crew.given_up, fatal=True)
                return
            ended, _ = wait(running, POLL_S, FIRST_COMPLETED)
            for future in ended:
                outcome = _outcome(future, running.pop(future))
                if outcome.result is not None:
                    progress(outcome.result.duration_s)
                yield outcome
    finally:
        for future in running:
            future.cancel()


def _submit(executor: Executor, do: Any, *arguments: Any) -> Future[Outcome]:
    """Hand a job over; to a pool that broke a moment ago as well, whose future then says so."""
    try:
        with being_born(), starting():
            return executor.submit(do, *arguments)
    except BrokenExecutor as error:
        broken: Future[Outcome] = Future()
        broken.set_exception(error)
        return broken


def anywhere(job: Job) -> Job:
    """Return the job as another process needs it, wherever that was started."""
    task = job.task
    missing = not all(target.exists() for target in task.targets)
    absolute = dataclasses.replace(
        task,
        input=task.input.absolute(),
        output=task.output.absolute(),
        residual=None if task.residual is None else task.residual.absolute(),
    )
    return dataclasses.replace(job, task=absolute, root=job.root.absolute(), missing=missing)


def _outcome(future: Future[Outcome], job: Job) -> Outcome:
    """Return how a job ended, also where its worker could not say."""
    try:
        error = future.exception()
    except CANCELLED as cancelled:
        error = cancelled
    if error is None:
        return future.result()
    name = printable(job.task.input)
    if isinstance(error, (*CANCELLED, BrokenExecutor)):
        message = f"{name}: the workers are gone; start them and give the same command again"
        return Outcome(job.task.name, "failed", message, fatal=True)
    reason = " ".join(str(error).split()) or type(error).__name__
    if type(error).__name__ == "KilledWorker":
        reason = "the workers that worked on it died (out of memory?)"
    message = f"{name}: {reason}; leave the file out, or see to the workers"
    return Outcome(job.task.name, "failed", message)


# --- in the workers ------------------------------------------------------------------------------

_loading = threading.Lock()


def work_there(job: Job, recipe: Recipe, version: str) -> Outcome:
    """Do one job in whatever process this is."""
    job = dataclasses.replace(job, manifest=_manifest())
    problem = mismatch(recipe, job.settings, version, residual=job.task.residual is not None)
    if problem:
        return failure(job, f"{printable(job.task.input)}: {problem}")
    if job.missing and any(target.exists() for target in job.task.targets):
        # A worker that was lost had done it already: it is this run's own.
        rows = read_manifest(job.root, main=False)
        done = rows.known(job.task.name.as_posix(), job.settings, job.task.output)
        job = dataclasses.replace(job, done=done or job.done)
    return work(job, loaded(recipe), recipe, _unheard)


@lru_cache(maxsize=16)
def mismatch(recipe: Recipe, settings: str, version: str, *, residual: bool) -> str:
    """Return why this process would make other outputs than the one that asks, or nothing."""
    here = f"the worker on {socket.gethostname()}"
    if biodenoising.__version__ != version:
        return (
            f"{here} has biodenoising {biodenoising.__version__}, not {version}; "
            "install the same everywhere"
        )
    try:
        if recipe.fingerprint(residual=residual) != settings:
            return f"{here} has other weights of {recipe.model}; install the same everywhere"
        loaded(recipe)
    except ModelError as error:
        return f"{here} cannot use the model ({error})"
    return ""


def loaded(recipe: Recipe) -> Denoiser:
    """Return the denoiser of this process."""
    with _loading:  # not once per thread
        return _loaded(recipe.model, recipe.device)


@lru_cache(maxsize=1)
def _loaded(model: str, device: str) -> Denoiser:
    # Workers are counted by processors, each takes one; where they are not, this says how many.
    threads = os.environ.get(THREADS_VARIABLE, "")
    return Denoiser(model, device=device, threads=int(threads) if threads.isdecimal() else 1)


def _manifest() -> str:
    host = re.sub(r"[^\w.-]", "-", socket.gethostname())
    return f"biodenoise.worker-{host}-{os.getpid()}.jsonl"


def _unheard(seconds: float) -> None:
    """Tell nobody: a file's seconds are counted when it has ended."""
