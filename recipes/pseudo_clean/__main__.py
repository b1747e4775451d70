"""Make a training set out of recordings.

    python -m recipes.pseudo_clean CONFIG.yaml [--stage N] [--stop-stage M]

1 recordings: link or fetch · 2 segments: calls and noise · 3, 4 targets: candidates and the choice
among them, one pass · 5 noise without duplicates · 6 manifest, splits and summary. Every stage
takes what the one before left in the run's folder; the same command goes on where one ended.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

from filelock import FileLock, Timeout

from biodenoising.errors import BatchError, BiodenoisingError
from biodenoising.storage import printable, remove_leftovers, require_writable_folder
from recipes.pseudo_clean import cutting, noises, recordings, targets, training_set
from recipes.pseudo_clean.items import Outcome
from recipes.pseudo_clean.settings import Settings, read_settings

EXIT_FAILURES, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130
LAST_STAGE = 6
LOCK_NAME = ".pseudo_clean.lock"

# Numbers, name, what does it; 3 and 4 are one pass.
STAGES: tuple[tuple[tuple[int, ...], str, Callable[[Path, Settings], Outcome]], ...] = (
    ((1,), recordings.STAGE, recordings.run_stage),
    ((2,), cutting.STAGE, cutting.run_stage),
    ((3, 4), targets.STAGE, targets.run_stage),
    ((5,), noises.STAGE, noises.run_stage),
    ((6,), training_set.STAGE, training_set.run_stage),
)


def run_stages(settings: Settings, first: int = 1, last: int = LAST_STAGE) -> bool:
    """Run stages `first` to `last`; tell whether nothing failed.

    Raises:
        BatchError: the run's folder cannot be written to or another run works there.
        BiodenoisingError: a stage cannot start, or the disk is full.
    """
    run = Path(settings.run)
    require_writable_folder(run)
    lock = FileLock(run / LOCK_NAME)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise BatchError(
            f"{printable(run)}: another run works there; wait for it or choose another run folder"
        ) from error
    try:
        remove_leftovers(run)
        fine = True
        for numbers, name, stage in STAGES:
            if numbers[-1] < first or numbers[0] > last:
                continue
            outcome = stage(run, settings)
            print(_line(numbers, name, outcome), file=sys.stderr)
            fine = fine and not outcome.failed
            if outcome.stopped:
                return False
        return fine
    finally:
        lock.release()


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line and run; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m recipes.pseudo_clean",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("config", type=Path, help="a YAML file; see recipes/field/config.yaml")
    numbers = range(1, LAST_STAGE + 1)
    parser.add_argument("--stage", type=int, default=1, choices=numbers, help="begin here")
    parser.add_argument(
        "--stop-stage", type=int, default=LAST_STAGE, choices=numbers, help="end after this one"
    )
    parser.add_argument("--limit", type=int, help="take that many recordings, drawn by hash")
    parser.add_argument("--jobs", type=int, help="processes to work in")
    parser.add_argument("--run", help="the folder of the run")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        settings = read_settings(
            options.config, limit=options.limit, jobs=options.jobs, run=options.run
        )
        fine = run_stages(settings, options.stage, options.stop_stage)
    except BiodenoisingError as error:
        print(f"pseudo_clean: {error}", file=sys.stderr)
        return EXIT_USAGE
    except KeyboardInterrupt:
        print("pseudo_clean: interrupted; the same command goes on from here", file=sys.stderr)
        return EXIT_INTERRUPTED
    summary = Path(settings.run) / "summary.md"
    if options.stop_stage == LAST_STAGE and summary.is_file():
        print(summary.read_text(encoding="utf-8"), end="")
    if not fine:
        print("pseudo_clean: some failed; the same command tries them again", file=sys.stderr)
    return 0 if fine else EXIT_FAILURES


def _line(numbers: tuple[int, ...], name: str, outcome: Outcome) -> str:
    number = " and ".join(map(str, numbers))
    kept = sum(bool(row.path) and not row.rejected for row in outcome.rows)
    refused = len(outcome.rows) - kept
    return (
        f"stage {number}, {name}: {kept} kept, {refused} refused, {len(outcome.failed)} failed, "
        f"{outcome.made} items done now, {outcome.there} before, {outcome.wall_s:.1f} s"
        + (f"; ended early: {outcome.stopped}" if outcome.stopped else "")
    )


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
