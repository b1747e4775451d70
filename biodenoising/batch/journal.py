"""The manifest of an output folder: one JSON line per file made or failed, only ever appended.

Runs that share a folder, and workers of a cluster, write manifests of their own beside the main
one; all of them are read, and a run that has the folder to itself folds them
into one.

A line `done` is flushed to the disk after its output is complete under a temporary name and
before it gets its own: a run killed in between leaves a line without a file, which is seen by
comparing contents, and never a file without a line.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from filelock import FileLock, Timeout

from biodenoising.batch.listing import name_hash
from biodenoising.errors import BatchError
from biodenoising.storage import append_line, close_torn_line, printable, sha256_of, writing

MANIFEST_NAME = "biodenoise.jsonl"
OTHER_MANIFESTS = re.compile(r"biodenoise\.(\d+-of-\d+|worker-.+)\.jsonl")
LOCK_NAME = ".biodenoise.lock"
NAME_FIRST = re.compile(rb'\{"file": ("[^"\\\x80-\xff]*")')
FOLD_BYTES = 1 << 20
SIDES: tuple[Literal["left", "right"], ...] = ("left", "right")


@dataclass(frozen=True)
class Done:
    """What is known of an output made earlier: enough to tell whether to make it again."""

    settings: str
    input_sha256: str
    output_sha256: str
    residual_sha256: str | None


class Manifest(Mapping[str, Done]):
    """What earlier runs finished in an output folder, by the outputs' relative paths.

    Held are two numbers for each line, a hash of the name and the line's place; the line itself is
    read again when it is asked for. What is appended later is not seen.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = tuple(paths)
        hashes, files, places = array("Q"), array("I"), array("Q")
        for number, path in enumerate(self._paths):
            for place, line in _lines(path):
                token = _name_token(line)
                if token:
                    hashes.append(name_hash(token))
                    files.append(number)
                    places.append(place)
        numbers = np.frombuffer(hashes, np.uint64)
        order = np.argsort(numbers, kind="stable")
        self._hashes = numbers[order]
        self._files = np.frombuffer(files, np.uint32)[order]
        self._places = np.frombuffer(places, np.uint64)[order]

    def rows(self, name: str) -> list[Done]:
        """Return what is said of one output, the oldest row of each manifest first."""
        wanted = np.uint64(name_hash(json.dumps(name).encode()))
        first, end = (int(np.searchsorted(self._hashes, wanted, side)) for side in SIDES)
        found = (self._at(index) for index in range(first, end))
        return [done for known, done in filter(None, found) if known == name]

    def known(self, name: str, settings: str, output: Path) -> Done | None:
        """Return the row that tells about the output as it is now, or the last one.

        Where several manifests speak of one file, clocks are not asked: contents are compared.
        """
        rows = list(dict.fromkeys(self.rows(name)))
        fitting = [done for done in rows if done.settings == settings] or rows
        if len(fitting) > 1 and output.is_file():
            content = sha256_of(output)
            fitting = [done for done in fitting if done.output_sha256 == content] or fitting
        return fitting[-1] if fitting else None

    def __getitem__(self, name: str) -> Done:
        rows = self.rows(name)
        if not rows:
            raise KeyError(name)
        return rows[-1]

    def __iter__(self) -> Iterator[str]:
        start = 0
        while start < len(self._hashes):
            end = int(np.searchsorted(self._hashes, self._hashes[start], "right"))
            found = (self._at(index) for index in range(start, end))
            yield from dict.fromkeys(name for name, _ in filter(None, found))
            start = end

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _at(self, index: int) -> tuple[str, Done] | None:
        with open(self._paths[self._files[index]], "rb") as file:
            file.seek(int(self._places[index]))
            return _finished(file.readline())


def read_manifest(folder: Path, *, main: bool = True) -> Manifest:
    """Return what earlier runs finished in an output folder, or shards and workers of this one.

    Lines that make no sense (torn by a crash, edited) are passed over: their files are simply
    not known as done. Raises BatchError where a manifest cannot be read.
    """
    if not main:
        return Manifest(_other_manifests(folder))
    path = folder / MANIFEST_NAME
    if path.exists():
        close_torn_line(path)
    return Manifest(manifest_paths(folder))


def manifest_paths(folder: Path) -> list[Path]:
    """Return the manifests of an output folder, the main one first."""
    main = folder / MANIFEST_NAME
    return [*([main] if main.exists() else []), *_other_manifests(folder)]


def _other_manifests(folder: Path) -> list[Path]:
    found = folder.glob("biodenoise.*.jsonl")
    return sorted(path for path in found if OTHER_MANIFESTS.fullmatch(path.name))


def fold_manifests(folder: Path) -> None:
    """Append the manifests of shards and workers to the main one and remove them.

    Only for who has the folder alone. Killed in between, a row may be there twice.
    """
    main = folder / MANIFEST_NAME
    for path in _other_manifests(folder):
        with writing(main):
            if main.exists():
                close_torn_line(main)
            with open(path, "rb") as lines, open(main, "ab") as whole:
                while block := lines.read(FOLD_BYTES):
                    whole.write(block)
                whole.flush()
                os.fsync(whole.fileno())
            path.unlink()


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield each line of a manifest with its place."""
    place = 0
    try:
        with open(path, "rb") as lines:
            for line in lines:
                yield place, line
                place += len(line)
    except OSError as error:
        raise BatchError(f"{printable(path)}: cannot be read ({error.strerror})") from error


def _name_token(line: bytes) -> bytes | None:
    """Return the file of a line as JSON, without reading the rest where it is one of ours."""
    match = NAME_FIRST.match(line)
    if match:
        return match[1]
    found = _finished(line)
    return None if found is None else json.dumps(found[0]).encode()


def _finished(line: bytes) -> tuple[str, Done] | None:
    try:
        row = json.loads(line.decode("utf-8", "replace"))
        if row["status"] != "done" or not isinstance(row["file"], str):
            return None
        keys = ("settings", "input_sha256", "output_sha256", "residual_sha256")
        said = [row[key] for key in keys]
        if not all(isinstance(value, str) for value in said[: 3 if said[3] is None else 4]):
            return None
        return row["file"], Done(*said)
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def add_row(folder: Path, row: dict[str, Any], manifest: str = MANIFEST_NAME) -> None:
    """Append one row to a manifest of an output folder; several processes may do so at a time."""
    append_line(folder / manifest, json.dumps(row))


def settings_fingerprint(settings: dict[str, Any]) -> str:
    """Return a short hash of everything that changes an output's samples or form."""
    text = json.dumps(settings, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@contextmanager
def lock_folder(folder: Path, name: str = LOCK_NAME, wait_s: float = 0) -> Iterator[None]:
    """Hold the lock of an output folder. Raises BatchError where another run holds it."""
    lock = FileLock(folder / name)
    try:
        lock.acquire(timeout=wait_s)
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
    try:
        yield
    finally:
        lock.release()
