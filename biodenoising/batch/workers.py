"""Run jobs in this process or in several, a bounded number at a time.

A worker process that dies takes only its own file with it: files in flight at that moment are
tried again one by one, each in a fresh process, and the one that kills it again is the culprit.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from queue import Empty
from typing import TYPE_CHECKING

from biodenoising.batch.files import Progress
from biodenoising.batch.journal import read_manifest
from biodenoising.batch.work import Job, Outcome, Recipe, failure, work
from biodenoising.errors import BatchError
from biodenoising.inference.denoiser import Denoiser
from biodenoising.inference.runtimes import ON_PROCESSOR, processors
from biodenoising.processes import WORKERS
from biodenoising.signals import interrupts_held
from biodenoising.storage import printable

if TYPE_CHECKING:
    from multiprocessing.queues import Queue

    ProgressQueue = Queue[float]

IN_FLIGHT_PER_WORKER = 2
POLL_S = 0.2


def run_jobs(
    jobs: Iterable[Job],
    recipe: Recipe,
    denoiser: Denoiser,
    workers: int,
    progress: Progress,
    *,
    here: bool | None = None,
) -> Generator[Outcome, None, None]:
    """Yield the outcome of every job as it ends. Closing the iterator stops the work.

    `here` has this process do the work with `denoiser`, as by default where one worker suffices;
    worker processes load the recipe's model themselves.
    """
    if workers == 1 if here is None else here:
        for job in jobs:
            yield work(job, denoiser, recipe, progress)
        return
    survivors: list[Job] = []
    yield from _run_pool(iter(jobs), recipe, workers, progress, survivors)
    while survivors:
        suspect = survivors.pop()
        # Its worker may have died just after finishing it.
        task = suspect.task
        rows = read_manifest(suspect.root)
        done = rows.known(task.name.as_posix(), suspect.settings, task.output)
        suspect = dataclasses.replace(suspect, done=done)
        broken: list[Job] = []
        yield from _run_pool(iter([suspect]), recipe, 1, progress, broken)
        for job in broken:
            yield failure(
                job,
                f"{printable(job.task.input)}: the process that worked on it died, twice "
                "(out of memory?); try --jobs 1 or leave the file out",
            )


def _run_pool(
    jobs: Iterator[Job], recipe: Recipe, workers: int, progress: Progress, broken: list[Job]
) -> Generator[Outcome, None, None]:
    """Run jobs in a pool; where it breaks, start another and put what it held in `broken`."""
    exhausted = False
    while not exhausted:
        threads = max(1, processors() // workers)
        with starting():
            passed: ProgressQueue = WORKERS.Queue()
            executor = ProcessPoolExecutor(
                workers, WORKERS, initializer=_start_worker, initargs=(recipe, threads, passed)
            )
        running: dict[Future[Outcome], Job] = {}
        try:
            while True:
                while not exhausted and len(running) < workers * IN_FLIGHT_PER_WORKER:
                    job = next(jobs, None)
                    if job is None:
                        exhausted = True
                    else:
                        with being_born(), starting():
                            try:
                                running[executor.submit(_work_here, job)] = job
                            except BrokenProcessPool:
                                broken.append(job)  # a worker died before anybody had this one
                                raise
                if not running:
                    break
                ended, _ = wait(running, POLL_S, FIRST_COMPLETED)
                _drain(passed, progress)
                # What is whole first: the failure of one worker fails all that are in flight.
                for future in sorted(ended, key=lambda f: f.exception() is not None):
                    outcome = future.result()
                    del running[future]
                    yield outcome
        except BrokenProcessPool:
            broken.extend(running.values())
        finally:
            stop_pool(executor)
            _drain(passed, progress)


def stop_pool(executor: ProcessPoolExecutor) -> None:
    """End a pool at once; unfinished outputs stay temporary and are removed by the caller."""
    # Before Python 3.14 there is no public way to end only this pool's workers.
    for process in list((executor._processes or {}).values()):
        process.terminate()
    # Waits for the pool's thread: if it still ran when the interpreter ends, that would write to
    # a pipe which the thread closes at the same time, and print a traceback.
    executor.shutdown(wait=True, cancel_futures=True)


@contextmanager
def starting() -> Iterator[None]:
    """Turn the system's refusal to start a worker into BatchError."""
    try:
        yield
    except OSError as error:
        raise BatchError(
            f"worker processes cannot be started ({error.strerror}); raise the system's limits, or "
            "use --jobs 1"
        ) from error


@contextmanager
def being_born() -> Iterator[None]:
    """Hold Ctrl-C and SIGTERM back while a worker is born, and heed them then.

    Broken off in between, the worker would find no orders and print a traceback of its own. Ctrl-C
    reaches the worker as well, which inherits the mask until it ignores the signal itself; this
    process has other threads that get a signal in spite of the mask.
    """
    masked = hasattr(signal, "pthread_sigmask")
    with interrupts_held():
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}) if masked else None
        try:
            yield
        finally:
            if mask is not None:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _drain(passed: ProgressQueue, progress: Progress) -> None:
    while True:
        try:
            progress(passed.get_nowait())
        except (Empty, OSError):
            return


# --- in the worker processes ---------------------------------------------------------------------

_worker: tuple[Denoiser, Recipe, ProgressQueue]


def _start_worker(recipe: Recipe, threads: int, passed: ProgressQueue) -> None:
    global _worker
    only_parent_is_interrupted()
    _worker = (Denoiser(recipe.model, device=recipe.device, threads=threads), recipe, passed)
    limit_memory(recipe)


def only_parent_is_interrupted() -> None:
    """Have this process end with its parent, and not by Ctrl-C."""
    # Ctrl-C reaches the whole process group; only the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def limit_memory(recipe: Recipe) -> None:
    """Let this process take so much memory beyond what it has, its model included, as is asked.

    An allocation beyond it fails, where otherwise the system would kill a process of its choice.
    On Linux only; an accelerator's driver reserves addresses without end.
    """
    if not recipe.max_memory_gb or sys.platform != "linux" or recipe.device not in ON_PROCESSOR:
        return
    import resource

    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[0])
    most = pages * resource.getpagesize() + int(recipe.max_memory_gb * 1e9)
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    if hard == resource.RLIM_INFINITY or most < hard:
        resource.setrlimit(resource.RLIMIT_AS, (most, hard))


def _end_with_parent() -> None:
    """End this process as soon as its parent is gone, killed for example."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)


def _work_here(job: Job) -> Outcome:
    denoiser, recipe, passed = _worker
    return work(job, denoiser, recipe, passed.put)
