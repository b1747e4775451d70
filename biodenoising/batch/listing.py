"""The recordings below a folder, one after the other, however many there are.

Files come in the order of their paths. Only one folder's names are held at a time, as bytes: two
outputs can only meet within one folder, so that is also where they are found out.
"""

from __future__ import annotations

import heapq
import os
import re
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from hashlib import blake2b
from itertools import islice
from pathlib import Path

import numpy as np

from biodenoising.audio import EXTENSIONS
from biodenoising.storage import printable

FORMAT_SUFFIXES = {"WAV": (".wav", ".rf64", ".bw64"), "FLAC": (".flac",)}
RUN_NAMES = 4096


@dataclass(frozen=True)
class Task:
    """One file to denoise; `name` is its output's path relative to OUTPUT."""

    name: Path
    input: Path
    output: Path
    residual: Path | None

    @property
    def targets(self) -> tuple[Path, ...]:
        """The files it writes."""
        return (self.output,) if self.residual is None else (self.output, self.residual)


@dataclass(frozen=True)
class Refusal:
    """A file or folder that is left out, and why; with `stops` a run does not even begin."""

    path: Path
    message: str
    stops: bool = False


@dataclass(frozen=True)
class Scope:
    """Which files are listed, and the folders that their outputs go to: OUTPUT, residuals."""

    source: Path
    roots: tuple[Path, ...]
    container: str | None = None
    include: Sequence[str] = ()
    exclude: Sequence[str] = ()

    def wants(self, relative: Path) -> bool:
        """Whether the patterns let a file through."""
        return (not self.include or _matches(relative, self.include)) and not _matches(
            relative, self.exclude
        )

    def task(self, relative: Path) -> Task:
        """Return what is to be done with one file."""
        name = output_name(relative, self.container)
        output, *residual = (root / name for root in self.roots)
        return Task(name, self.source / relative, output, residual[0] if residual else None)


def list_tasks(scope: Scope) -> Iterator[Task | Refusal]:
    """Yield what is below the scope's folder, linked folders once per branch.

    Refused are folders that cannot be listed and files whose outputs would have the same name.
    """
    return _below(scope, Path(), os.path.realpath(scope.source), frozenset())


def output_name(relative: Path, container: str | None) -> Path:
    """Return an output's name: the input's, its suffix changed where the container changes."""
    return relative if container is None else relative.with_name(_renamed(relative.name, container))


def _renamed(name: str, container: str) -> str:
    stem, suffix = os.path.splitext(name)
    if suffix.lower() in FORMAT_SUFFIXES[container]:
        return name
    wanted = FORMAT_SUFFIXES[container][0]
    return stem + (wanted.upper() if suffix.isupper() else wanted)


def _below(
    scope: Scope, relative: Path, real: str, above: frozenset[str]
) -> Iterator[Task | Refusal]:
    if real in above:
        return
    folder = scope.source / relative
    try:
        with os.scandir(folder) as entries:
            names = SortedNames(_relevant(scope, relative, entries))
    except OSError as error:
        reason = error.strerror or str(error)
        message = f"{printable(folder)}: cannot be listed ({reason}); mend its permissions"
        yield Refusal(folder, message)
        return
    met = _met_twice(scope, names)
    for name in names:
        path = relative / os.fsdecode(name)
        if name.endswith(b"/"):
            inner = os.fspath(scope.source / path)
            linked = os.path.islink(inner)
            inner = os.path.realpath(inner) if linked else os.path.join(real, path.name)
            yield from _below(scope, path, inner, above | {real})
        elif met and (output := output_name(path, scope.container)).name in met:
            yield _collision(scope, relative, output, met[output.name], path)
        else:
            yield scope.task(path)


def _relevant(scope: Scope, relative: Path, entries: Iterable[os.DirEntry[str]]) -> Iterator[bytes]:
    """Yield the names of audio files that are wanted, and of folders with a slash at their end."""
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if _is_folder(entry):
            yield os.fsencode(entry.name) + b"/"
        elif os.path.splitext(entry.name)[1].lower() in EXTENSIONS and scope.wants(
            relative / entry.name
        ):
            yield os.fsencode(entry.name)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


class SortedNames:
    """The names of one folder in order, held as little more than their bytes."""

    def __init__(self, names: Iterable[bytes]) -> None:
        left = iter(names)
        self._runs: list[bytes] = []
        while run := sorted(islice(left, RUN_NAMES)):
            self._runs.append(b"\0".join(run))

    def __iter__(self) -> Iterator[bytes]:
        if len(self._runs) == 1:
            return iter(self._runs[0].split(b"\0"))
        return heapq.merge(*(_each(run) for run in self._runs))


def _each(run: bytes) -> Iterator[bytes]:
    return (match[0] for match in re.finditer(rb"[^\0]+", run))


def _met_twice(scope: Scope, names: SortedNames) -> dict[str, list[str]]:
    """Return the outputs of one folder that several files would become, with these files."""
    container = scope.container
    if container is None:
        return {}

    def outputs() -> Iterator[tuple[str, str]]:
        for name in names:
            if not name.endswith(b"/"):
                file = os.fsdecode(name)
                yield file, _renamed(file, container)

    # A number for each name is enough to tell almost all of them apart.
    numbers = array("Q", (name_hash(os.fsencode(output)) for _, output in outputs()))
    values, counts = np.unique(np.frombuffer(numbers, np.uint64), return_counts=True)
    suspects = set(values[counts > 1].tolist())
    met: dict[str, list[str]] = {}
    for file, output in outputs() if suspects else ():
        if name_hash(os.fsencode(output)) in suspects:
            met.setdefault(output, []).append(file)
    return {output: files for output, files in met.items() if len(files) > 1}


def _collision(scope: Scope, relative: Path, output: Path, files: list[str], path: Path) -> Refusal:
    one, other = (printable(relative / file) for file in files[:2])
    message = (
        f"{one} and {other} would both become {printable(output)}; leave --format away or exclude "
        "one of them"
    )
    return Refusal(scope.source / path, message, stops=True)


def name_hash(name: bytes) -> int:
    """Return a number of 64 bits for a name, the same everywhere."""
    return int.from_bytes(blake2b(name, digest_size=8).digest(), "big")


def _matches(relative: Path, patterns: Sequence[str]) -> bool:
    return any(
        fnmatch(str(relative), pattern) or fnmatch(relative.name, pattern) for pattern in patterns
    )
