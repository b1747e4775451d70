"""The one loop of all stages: items in, rows out, safe to kill anywhere.

What is finished stands in the stage's journal (biodenoising.corpus.journal); a later run does
what is missing there.
"""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, process_time
from typing import Any

from tqdm import tqdm

from biodenoising.corpus.journal import JOURNALS, OF_ONE_ITEM, Item, Journal, Made
from biodenoising.corpus.manifest import Row
from biodenoising.errors import BiodenoisingError, DiskFullError
from biodenoising.storage import printable, whole_file

IN_FLIGHT_PER_JOB = 2


@dataclass
class Outcome:
    """What came of a stage: rows of the items in their order, and what went wrong.

    `made` and `there` count items; `seconds` is processor time, of earlier runs too; `stopped`
    says why the stage ended before its last item.
    """

    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    made: int = 0
    there: int = 0
    seconds: float = 0.0
    wall_s: float = 0.0
    stopped: str = ""


@dataclass(frozen=True)
class _Attempt:
    made: Made | None
    failure: str = ""
    full: bool = False


Worker = Callable[[Item, Path, Any], Made]


def run_items(
    run: Path, stage: str, items: Sequence[Item], worker: Worker, settings: Any, jobs: int
) -> Outcome:
    """Do what is left to do of a stage, in `jobs` processes, and return all that it came to.

    `worker` is a function of a module, called with an item, the run's folder and `settings`. An
    item that fails is told and counted, the others go on, and the next run tries it again; a full
    disk ends the stage.
    """
    begun = monotonic()
    outcome = Outcome()
    journal = Journal(run, stage)
    todo = [item for item in items if not journal.has(item)]
    outcome.there = len(items) - len(todo)
    with tqdm(
        total=len(items), initial=outcome.there, desc=stage, unit="", mininterval=1,
        file=sys.stderr, disable=None,
    ) as bar:  # fmt: skip
        attempts = _attempts(todo, worker, run, settings, jobs)
        try:
            for item, attempt in attempts:
                bar.update()
                if attempt.made is None:
                    outcome.failed.append(attempt.failure)
                    bar.write(f"failed   {attempt.failure}", file=sys.stderr)
                    if attempt.full:
                        outcome.stopped = attempt.failure
                        break
                    continue
                journal.add(item, attempt.made)
                outcome.made += 1
                for note in attempt.made.notes:
                    bar.write(f"note     {note}", file=sys.stderr)
        except DiskFullError as error:
            outcome.stopped = str(error)
            outcome.failed.append(str(error))
        finally:
            attempts.close()
    for item in items:
        made = journal.made_of(item)
        if made is not None:
            outcome.rows += made.rows
            outcome.notes += made.notes
            outcome.seconds += made.seconds
    outcome.wall_s = monotonic() - begun
    return outcome


def write_outcome(run: Path, stage: str, outcome: Outcome, **more: Any) -> None:
    """Keep what the summary needs of a stage, beside its journal."""
    record = {
        "failed": outcome.failed, "notes": outcome.notes, "seconds": outcome.seconds,
        "wall_s": outcome.wall_s, "made": outcome.made, "there": outcome.there, **more,
    }  # fmt: skip
    with whole_file(run / JOURNALS / f"{stage}.json") as temporary:
        temporary.write_text(json.dumps(record, indent=1), encoding="utf-8")


def read_outcome(run: Path, stage: str) -> dict[str, Any]:
    """Return what `write_outcome` kept, nothing where the stage was not run."""
    try:
        record = json.loads((run / JOURNALS / f"{stage}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


# --- in one process or several -------------------------------------------------------------------


def _attempts(
    todo: Sequence[Item], worker: Worker, run: Path, settings: Any, jobs: int
) -> Generator[tuple[Item, _Attempt], None, None]:
    """Yield what came of every item as it ends. Closing the iterator ends the processes."""
    if jobs == 1:
        for item in todo:
            yield item, _attempt(item, worker, run, settings)
        return
    broken: list[Item] = []
    yield from _pool(list(todo), worker, run, settings, jobs, broken)
    # A process that dies fails all that are in flight: each is tried again by itself.
    for item in list(broken):
        again: list[Item] = []
        yield from _pool([item], worker, run, settings, 1, again)
        if again:
            reason = "the process that worked on it died, twice (out of memory?); leave it out"
            yield item, _Attempt(None, f"{printable(item.name)}: {reason}")


def _pool(
    todo: list[Item], worker: Worker, run: Path, settings: Any, jobs: int, broken: list[Item]
) -> Generator[tuple[Item, _Attempt], None, None]:
    waiting = todo[::-1]
    while waiting:
        context = multiprocessing.get_context("spawn")
        executor = ProcessPoolExecutor(jobs, context, initializer=_start_worker)
        running: dict[Future[_Attempt], Item] = {}
        try:
            while waiting or running:
                while waiting and len(running) < jobs * IN_FLIGHT_PER_JOB:
                    item = waiting[-1]
                    running[executor.submit(_attempt, item, worker, run, settings)] = item
                    waiting.pop()
                ended, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in sorted(ended, key=lambda f: f.exception() is not None):
                    attempt = future.result()
                    yield running.pop(future), attempt
        except BrokenProcessPool:
            broken.extend(running.values())
        finally:
            executor.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():
                process.terminate()
                process.join()


def _start_worker() -> None:
    # Ctrl-C reaches the whole process group; only the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this process as soon as its parent is gone, killed for example."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)


def _attempt(item: Item, worker: Worker, run: Path, settings: Any) -> _Attempt:
    begun = process_time()
    try:
        made = worker(item, run, settings)
    except DiskFullError as error:
        return _Attempt(None, str(error), full=True)
    except OF_ONE_ITEM as error:
        reason = str(error)
        if not isinstance(error, BiodenoisingError):
            words = " ".join(reason.split()) or "no reason given"
            reason = f"{printable(item.name)}: {type(error).__name__}: {words}"
        return _Attempt(None, reason)
    return _Attempt(dataclasses.replace(made, seconds=process_time() - begun))
