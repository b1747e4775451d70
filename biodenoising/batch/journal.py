"""The manifest of an output folder: one JSON line per file made or failed, only ever appended.

A line `done` is flushed to the disk after its output is complete under a temporary name and
before it gets its own: a run killed in between leaves a line without a file, which is seen by
comparing contents, and never a file without a line.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from biodenoising.errors import BatchError
from biodenoising.storage import append_line, close_torn_line, printable

MANIFEST_NAME = "biodenoise.jsonl"
LOCK_NAME = ".biodenoise.lock"


@dataclass(frozen=True)
class Done:
    """What is known of an output made earlier: enough to tell whether to make it again."""

    settings: str
    input_sha256: str
    output_sha256: str
    residual_sha256: str | None


def read_manifest(folder: Path) -> dict[str, Done]:
    """Return what earlier runs finished in an output folder, by the outputs' relative paths.

    Lines that make no sense (torn by a crash, edited) are passed over: their files are simply
    not known as done. Raises BatchError where the manifest cannot be read.
    """
    path = folder / MANIFEST_NAME
    done: dict[str, Done] = {}
    if not path.exists():
        return done
    close_torn_line(path)
    try:
        with open(path, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                try:
                    row = json.loads(line)
                    if row["status"] == "done":
                        done[row["file"]] = Done(
                            row["settings"],
                            row["input_sha256"],
                            row["output_sha256"],
                            row["residual_sha256"],
                        )
                except (ValueError, TypeError, KeyError, RecursionError):
                    continue
    except OSError as error:
        raise BatchError(f"{printable(path)}: cannot be read ({error.strerror})") from error
    return done


def add_row(folder: Path, row: dict[str, Any]) -> None:
    """Append one row to an output folder's manifest; several processes may do so at a time."""
    append_line(folder / MANIFEST_NAME, json.dumps(row))


def settings_fingerprint(settings: dict[str, Any]) -> str:
    """Return a short hash of everything that changes an output's samples or form."""
    text = json.dumps(settings, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def lock_folder(folder: Path) -> FileLock:
    """Lock an output folder for this run. Raises BatchError where another run holds it."""
    lock = FileLock(folder / LOCK_NAME)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise BatchError(
            f"{printable(folder)}: another run is writing there; wait for it or choose another "
            "OUTPUT"
        ) from error
    except OSError as error:
        raise BatchError(
            f"{printable(folder)}: cannot be locked for this run ({error.strerror}); choose "
            "another OUTPUT"
        ) from error
    return lock
