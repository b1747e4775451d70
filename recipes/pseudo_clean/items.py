"""The one loop of all stages: items in, rows out, safe to kill anywhere.

Every finished item is one line of the stage's journal, written after its files are whole. The line
holds a key made of all that could change the result: what the item was made from, the settings
and the teachers' versions. A later run takes an item as finished where the key is the same and
the files are there, and makes it again otherwise.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, process_time
from typing import Any

from tqdm import tqdm

from biodenoising.corpus.manifest import Row, parse_row, row_record
from biodenoising.errors import BiodenoisingError, CorpusError, DiskFullError
from biodenoising.storage import append_line, close_torn_line, printable, whole_file

IN_FLIGHT_PER_JOB = 2
JOURNALS = ".journal"
# What foreign libraries raise on a recording that they cannot cope with concerns that one only.
OF_ONE_ITEM = (
    BiodenoisingError, OSError, MemoryError, ValueError, RuntimeError, ArithmeticError, LookupError,
)  # fmt: skip


@dataclass(frozen=True)
class Item:
    """Something to do: `name` tells it from the others, `key` changes with what it is made of."""

    name: str
    key: str
    row: Row


@dataclass(frozen=True)
class Made:
    """What came of an item: rows, lines worth telling, how long it took."""

    rows: tuple[Row, ...] = ()
    notes: tuple[str, ...] = ()
    seconds: float = 0.0


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


def key_of(*parts: Any) -> str:
    """Return a hash of plain values and dataclasses that is the same in every process."""
    text = json.dumps([_plain(part) for part in parts], sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


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
    journal = _Journal(run, stage)
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


class _Journal:
    """The finished items of a stage, in memory and in a file of lines."""

    def __init__(self, run: Path, stage: str) -> None:
        self._run = run
        self._path = run / JOURNALS / f"{stage}.jsonl"
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._done: dict[str, tuple[str, Made]] = dict(self._lines())

    def has(self, item: Item) -> bool:
        """Tell whether an item is finished and all its files are there."""
        made = self.made_of(item)
        return made is not None and all(
            (self._run / row.path).is_file() for row in made.rows if row.path and not row.rejected
        )

    def made_of(self, item: Item) -> Made | None:
        """Return what came of an item with the same key, None where nothing did yet."""
        key, made = self._done.get(item.name, ("", Made()))
        return made if key == item.key else None

    def add(self, item: Item, made: Made) -> None:
        """Note a finished item down, then delete what was made of it under another key."""
        record = {
            "item": item.name, "key": item.key, "rows": [row_record(row) for row in made.rows],
            "notes": made.notes, "seconds": round(made.seconds, 3),
        }  # fmt: skip
        append_line(self._path, json.dumps(record))
        old = self._done.get(item.name, ("", Made()))[1]
        self._done[item.name] = (item.key, made)
        kept = {row.path for row in made.rows} | {item.row.path}
        for row in old.rows:
            if row.path and row.path not in kept and row.stage != "recording":
                (self._run / row.path).unlink(missing_ok=True)

    def _lines(self) -> Iterator[tuple[str, tuple[str, Made]]]:
        if not self._path.exists():
            return
        close_torn_line(self._path)
        with open(self._path, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                try:
                    record = json.loads(line)
                    rows = tuple(parse_row(json.dumps(row)) for row in record["rows"])
                    made = Made(rows, tuple(record["notes"]), float(record["seconds"]))
                    yield str(record["item"]), (str(record["key"]), made)
                except (ValueError, TypeError, KeyError, RecursionError, CorpusError):
                    continue  # torn by a crash or a full disk: the item is done again


def _plain(part: Any) -> Any:
    if isinstance(part, Row):
        return row_record(part)
    return dataclasses.asdict(part) if dataclasses.is_dataclass(part) else part  # type: ignore[arg-type]


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
