"""What a run over a folder will do, decided before anything is written.

The tree is mirrored: INPUT/a/b.wav becomes OUTPUT/a/b.wav. Linked files and folders are followed,
loops are not; hidden files and files that are no audio are left alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from biodenoising.audio import EXTENSIONS
from biodenoising.batch.borders import Border, refuse_links, refuse_overlap
from biodenoising.batch.listing import (
    FORMAT_SUFFIXES,
    Refusal,
    Scope,
    Task,
    list_tasks,
    output_name,
)
from biodenoising.batch.shards import Shard
from biodenoising.errors import BatchError
from biodenoising.storage import printable

FAMILIES = {
    "WAV": (".wav", ".wave", ".rf64", ".bw64"),
    "FLAC": (".flac",),
    "AIFF": (".aif", ".aiff", ".aifc"),
    "OGG": (".ogg", ".oga", ".opus"),
    "MP3": (".mp3",),
}
LOOK_AHEAD = 10_000


@dataclass(frozen=True)
class Plan:
    """The tasks of a run, and what could not be listed.

    `roots` are the folders it writes to: OUTPUT, then the residual folder if there is one. In a
    tree of more than LOOK_AHEAD files `tasks` are the first ones, and `more` gives the rest, once,
    while the run goes on.
    """

    tasks: tuple[Task, ...]
    roots: tuple[Path, ...]
    refused: tuple[Refusal, ...] = ()
    single: bool = False  # one file, not a tree
    shard: Shard | None = None
    more: Iterator[Task | Refusal] | None = field(default=None, compare=False)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do and nothing to say."""
        return not self.tasks and not self.refused and self.more is None

    def __iter__(self) -> Iterator[Task | Refusal]:
        """Go through all of it; what comes after the look-ahead can be had once only."""
        return itertools.chain(self.refused, self.tasks, self.more or ())


def plan_run(
    source: Path,
    output: Path,
    *,
    container: str | None = None,
    residual: Path | None = None,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    shard: Shard | None = None,
) -> Plan:
    """List the files of a run in a fixed order. Raises BatchError where it must not start.

    `include` and `exclude` are patterns for the path relative to `source` or the file name. What
    is wrong within the first LOOK_AHEAD files is found before anything is written; a file further
    on whose output would meet another's is left out with a reason.
    """
    roots = (output, *([residual] if residual else []))
    try:
        if not source.is_dir():
            return _plan_one(source, output, container, residual, shard)
        return _plan_tree(Scope(source, roots, container, include, exclude), shard)
    except (OSError, RuntimeError) as error:  # pathlib's error for a link to itself
        reason = error.strerror if isinstance(error, OSError) else str(error)
        names = " or ".join(printable(p) for p in (source, output, residual) if p is not None)
        raise BatchError(f"{names}: cannot be looked at ({reason}); choose another") from error


def _plan_one(
    source: Path, output: Path, container: str | None, residual: Path | None, shard: Shard | None
) -> Plan:
    if not source.exists():
        raise BatchError(f"{printable(source)}: there is no such file or folder")
    if not source.is_file():
        raise BatchError(f"{printable(source)}: is neither a file nor a folder of recordings")
    task = _single_task(source, output, container, residual)
    roots = (task.output.parent, *([residual] if residual else []))
    mine = shard is None or shard.holds(task.name)
    return Plan((task,) if mine else (), roots, single=True, shard=shard)


def _plan_tree(scope: Scope, shard: Shard | None) -> Plan:
    for target, word in zip(scope.roots, ("OUTPUT", "the residual folder"), strict=False):
        refuse_overlap(scope.source, target, word)
    real_roots = [root.resolve() for root in scope.roots]
    if len(set(real_roots)) < len(real_roots):
        raise BatchError("OUTPUT and the residual folder are the same; choose another")
    listing = list_tasks(scope)
    head = list(itertools.islice(listing, LOOK_AHEAD + 1))
    wrong = next((item for item in head if isinstance(item, Refusal) and item.stops), None)
    if wrong is not None:
        raise BatchError(wrong.message)
    tasks = [item for item in head if isinstance(item, Task)]
    refuse_links(scope.source, scope.roots[0], tasks)
    more = None
    if len(head) > LOOK_AHEAD:
        border = Border(scope.source, tuple(scope.roots))
        border.refuse_nested_roots()
        for item in border.guard(tasks):
            if isinstance(item, Refusal):
                raise BatchError(item.message)
        more = (item for item in border.guard(listing) if _is_in(shard, item))
    refused = tuple(item for item in head if isinstance(item, Refusal))
    mine = tuple(task for task in tasks if _is_in(shard, task))
    return Plan(mine, scope.roots, refused, shard=shard, more=more)


def _is_in(shard: Shard | None, item: Task | Refusal) -> bool:
    return shard is None or isinstance(item, Refusal) or shard.holds(item.name)


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


def _family(name: Path) -> str:
    """Return the format that a file's suffix stands for."""
    suffix = name.suffix.lower()
    return next((family for family, suffixes in FAMILIES.items() if suffix in suffixes), suffix)
