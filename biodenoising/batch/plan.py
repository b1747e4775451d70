"""What a run over a folder will do, decided before anything is written.

The tree is mirrored: INPUT/a/b.wav becomes OUTPUT/a/b.wav. Linked files and folders are followed,
loops are not; hidden files and files that are no audio are left alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from biodenoising.audio import EXTENSIONS
from biodenoising.errors import BatchError
from biodenoising.storage import printable

FORMAT_SUFFIXES = {"WAV": (".wav", ".rf64", ".bw64"), "FLAC": (".flac",)}
FAMILIES = {
    "WAV": (".wav", ".wave", ".rf64", ".bw64"),
    "FLAC": (".flac",),
    "AIFF": (".aif", ".aiff", ".aifc"),
    "OGG": (".ogg", ".oga", ".opus"),
    "MP3": (".mp3",),
}


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
class Plan:
    """The tasks of a run, and the folders that could not be listed: (path, reason).

    `roots` are the folders it writes to: OUTPUT, then the residual folder if there is one.
    """

    tasks: tuple[Task, ...]
    roots: tuple[Path, ...]
    unlisted: tuple[tuple[Path, str], ...] = ()
    single: bool = False  # one file, not a tree


def plan_run(
    source: Path,
    output: Path,
    *,
    container: str | None = None,
    residual: Path | None = None,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
) -> Plan:
    """List the files of a run in a fixed order. Raises BatchError where it must not start.

    `include` and `exclude` are patterns for the path relative to `source` or the file name.
    """
    try:
        return _plan(source, output, container, residual, include, exclude)
    except (OSError, RuntimeError) as error:  # pathlib's error for a link to itself
        reason = error.strerror if isinstance(error, OSError) else str(error)
        names = " or ".join(printable(p) for p in (source, output, residual) if p is not None)
        raise BatchError(f"{names}: cannot be looked at ({reason}); choose another") from error


def _plan(
    source: Path,
    output: Path,
    container: str | None,
    residual: Path | None,
    include: Sequence[str],
    exclude: Sequence[str],
) -> Plan:
    if not source.exists():
        raise BatchError(f"{printable(source)}: there is no such file or folder")
    if source.is_file():
        task = _single_task(source, output, container, residual)
        roots = (task.output.parent, *([residual] if residual else []))
        return Plan((task,), roots, single=True)
    if not source.is_dir():
        raise BatchError(f"{printable(source)}: is neither a file nor a folder of recordings")
    for target, word in ((output, "OUTPUT"), (residual, "the residual folder")):
        if target is not None:
            _refuse_overlap(source, target, word)
    if residual is not None and residual.resolve() == output.resolve():
        raise BatchError("OUTPUT and the residual folder are the same; choose another")
    tasks = []
    unlisted: list[tuple[Path, str]] = []
    taken: dict[Path, Path] = {}
    for relative in sorted(walk_audio(source, unlisted), key=os.fsencode):
        if not _wanted(relative, include, exclude):
            continue
        name = output_name(relative, container)
        if name in taken:
            raise BatchError(
                f"{printable(taken[name])} and {printable(relative)} would both become "
                f"{printable(name)}; leave --format away or exclude one of them"
            )
        taken[name] = relative
        tasks.append(
            Task(name, source / relative, output / name, residual / name if residual else None)
        )
    _refuse_links(source, output, tasks)
    roots = (output, *([residual] if residual else []))
    return Plan(tuple(tasks), roots, tuple(unlisted))


def walk_audio(folder: Path, unlisted: list[tuple[Path, str]]) -> Iterator[Path]:
    """Yield the audio files below `folder`, relative to it; linked folders once per branch.

    Folders that cannot be listed are added to `unlisted` with the reason.
    """

    def walk(relative: Path, above: frozenset[str]) -> Iterator[Path]:
        real = os.path.realpath(folder / relative)
        if real in above:
            return
        try:
            entries = list(os.scandir(folder / relative))
        except OSError as error:
            unlisted.append((folder / relative, error.strerror or str(error)))
            return
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if _is_folder(entry):
                yield from walk(relative / entry.name, above | {real})
            elif Path(entry.name).suffix.lower() in EXTENSIONS:
                yield relative / entry.name

    return walk(Path(), frozenset())


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def output_name(relative: Path, container: str | None) -> Path:
    """Return an output's name: the input's, its suffix changed where the container changes."""
    suffix = relative.suffix
    if container is None or suffix.lower() in FORMAT_SUFFIXES[container]:
        return relative
    wanted = FORMAT_SUFFIXES[container][0]
    return relative.with_suffix(wanted.upper() if suffix.isupper() else wanted)


def _single_task(source: Path, output: Path, container: str | None, residual: Path | None) -> Task:
    """Plan one file into a folder, or into a file if OUTPUT has an audio suffix."""
    name = output_name(Path(source.name), container)
    if output.suffix.lower() in EXTENSIONS and not output.is_dir():
        if _family(output) != _family(name):
            wanted = _family(output)
            remedy = f", or add --format {wanted.lower()}" if wanted in FORMAT_SUFFIXES else ""
            raise BatchError(
                f"{printable(output)}: would hold {_family(name)}; let the name end in "
                f"{name.suffix}{remedy}"
            )
        folder, name = output.parent, Path(output.name)
    else:
        folder = output
    removed = residual / name if residual else None
    for target in filter(None, (folder / name, removed)):
        if target.exists() and target.samefile(source):
            raise BatchError(f"{printable(target)}: OUTPUT would replace INPUT; choose another")
    if removed is not None and removed.resolve() == (folder / name).resolve():
        raise BatchError("OUTPUT and the residual folder are the same; choose another")
    return Task(name, source, folder / name, removed)


def _refuse_overlap(source: Path, target: Path, word: str) -> None:
    inner, outer = target.resolve(), source.resolve()
    if inner == outer:
        raise BatchError(f"INPUT and {word} are the same folder; choose another")
    if outer in inner.parents:
        raise BatchError(f"{word} lies inside INPUT ({printable(source)}); choose another place")
    if inner in outer.parents:
        raise BatchError(f"INPUT lies inside {word} ({printable(target)}); choose another place")
    if target.exists() and not target.is_dir():
        raise BatchError(f"{printable(target)}: is a file; {word} must be a folder for a folder")


def _refuse_links(source: Path, output: Path, tasks: Sequence[Task]) -> None:
    """Raise BatchError where links below INPUT or OUTPUT would mix what is read and written."""
    inputs = {folder: folder.resolve() for folder in {task.input.parent for task in tasks}}
    targets = [target for task in tasks for target in task.targets]
    outputs = {folder: folder.resolve() for folder in {target.parent for target in targets}}
    inner, outer = output.resolve(), source.resolve()
    for folder, real in outputs.items():
        if real in inputs.values() or outer in real.parents:
            raise BatchError(f"{printable(folder)}: is a link into INPUT; remove it")
    for folder, real in inputs.items():
        if inner in (real, *real.parents):
            raise BatchError(f"{printable(folder)}: leads into OUTPUT by a link; exclude it")
    places = [outputs[target.parent] / target.name for target in targets]
    if len(set(places)) < len(places):
        twice = next(place for place in places if places.count(place) > 1)
        raise BatchError(
            f"{printable(twice)} would be written twice, for two inputs or as an output and a "
            "residual; choose another residual folder"
        )


def _family(name: Path) -> str:
    """Return the format that a file's suffix stands for."""
    suffix = name.suffix.lower()
    return next((family for family, suffixes in FAMILIES.items() if suffix in suffixes), suffix)


def _wanted(relative: Path, include: Sequence[str], exclude: Sequence[str]) -> bool:
    def matches(patterns: Sequence[str]) -> bool:
        return any(
            fnmatch(str(relative), pattern) or fnmatch(relative.name, pattern)
            for pattern in patterns
        )

    return (not include or matches(include)) and not matches(exclude)
