"""What keeps a run from writing into INPUT, and from reading what it has written.

Folders are compared by where they really are. While a tree is still being listed, a link met later
could lead to where an output went before: there, links inside OUTPUT are not followed.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from biodenoising.batch.listing import Refusal, Task
from biodenoising.errors import BatchError
from biodenoising.storage import printable


@dataclass(frozen=True)
class Border:
    """The line between INPUT and the folders written to, for a tree whose end is not known yet."""

    source: Path
    roots: tuple[Path, ...]

    def refuse_nested_roots(self) -> None:
        """Raise BatchError where an output and a residual could meet under one name."""
        places = [Path(os.path.realpath(root)) for root in self.roots]
        for inner, outer in ((a, b) for a in places for b in places if b in a.parents):
            if (self.source / inner.relative_to(outer)).exists():
                raise BatchError(
                    f"{printable(inner)} lies where outputs go as well; choose another residual "
                    "folder"
                )

    def guard(self, listing: Iterable[Task | Refusal]) -> Iterator[Task | Refusal]:
        """Yield what is listed, refusing the tasks whose folders are not where they seem."""
        real_roots = [os.path.realpath(root) for root in self.roots]
        folder, problem = None, ""
        for item in listing:
            if isinstance(item, Task):
                if item.name.parent != folder:
                    folder = item.name.parent
                    problem = self._problem(folder, real_roots)
                if problem:
                    item = Refusal(item.input, problem)
            yield item

    def _problem(self, folder: Path, real_roots: list[str]) -> str:
        real = os.path.realpath(self.source / folder)
        if any(_is_within(real, root) for root in real_roots):
            return f"{printable(self.source / folder)}: leads into OUTPUT by a link; exclude it"
        for root, real_root in zip(self.roots, real_roots, strict=True):
            if os.path.realpath(root / folder) != os.path.normpath(os.path.join(real_root, folder)):
                return (
                    f"{printable(root / folder)}: is reached by a link, which is not followed in "
                    "a tree as large as this; remove it"
                )
        return ""


def _is_within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def refuse_overlap(source: Path, target: Path, word: str) -> None:
    """Raise BatchError if INPUT and a folder written to lie within each other."""
    inner, outer = target.resolve(), source.resolve()
    if inner == outer:
        raise BatchError(f"INPUT and {word} are the same folder; choose another")
    if outer in inner.parents:
        raise BatchError(f"{word} lies inside INPUT ({printable(source)}); choose another place")
    if inner in outer.parents:
        raise BatchError(f"INPUT lies inside {word} ({printable(target)}); choose another place")
    if target.exists() and not target.is_dir():
        raise BatchError(f"{printable(target)}: is a file; {word} must be a folder for a folder")


def refuse_links(source: Path, output: Path, tasks: Sequence[Task]) -> None:
    """Raise BatchError where links below INPUT or OUTPUT would mix what is read and written."""
    inputs = {folder: folder.resolve() for folder in {task.input.parent for task in tasks}}
    targets = [target for task in tasks for target in task.targets]
    outputs = {folder: folder.resolve() for folder in {target.parent for target in targets}}
    inner, outer = output.resolve(), source.resolve()
    places_read = set(inputs.values())
    for folder, real in outputs.items():
        if real in places_read or outer in real.parents:
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
