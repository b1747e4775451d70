"""Several runs on one OUTPUT, each with its own part of the list, and none with another's.

A file belongs to a shard by a hash of its name alone: no run has to know the whole list, and a
file added later changes the place of no other. Each shard locks itself, keeps a manifest of its
own (appending to one file is not safe on every network file system) and tidies up its own
temporary files only.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from biodenoising.batch.journal import LOCK_NAME, lock_folder
from biodenoising.batch.listing import name_hash
from biodenoising.errors import BatchError
from biodenoising.storage import printable

GATE_NAME = ".biodenoise.gate"
GATE_WAIT_S = 60.0
SHARD_LOCK = re.compile(r"\.biodenoise\.(\d+)-of-(\d+)\.lock")
TEMPORARY_OF = re.compile(r"\.[0-9a-f]{8}\.(.+)\.part", re.DOTALL)


@dataclass(frozen=True)
class Shard:
    """Part `index` of `count`, counted from 1."""

    index: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.index <= self.count:
            raise BatchError(
                f"shard {self.index}/{self.count} is none; shards of {max(self.count, 1)} are "
                f"1/{max(self.count, 1)} to {max(self.count, 1)}/{max(self.count, 1)}"
            )

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    def holds(self, name: Path) -> bool:
        """Whether the output of this name, relative to OUTPUT, is made by this shard."""
        return name_hash(name.as_posix().encode("utf-8", "surrogateescape")) % self.count == (
            self.index - 1
        )

    @property
    def manifest(self) -> str:
        """The name of its manifest in OUTPUT."""
        return f"biodenoise.{self.index}-of-{self.count}.jsonl"

    def leftovers(self, root: Path) -> Callable[[Path], bool]:
        """Return whether a temporary file below `root` is one of this shard's."""

        def is_mine(temporary: Path) -> bool:
            match = TEMPORARY_OF.fullmatch(temporary.name)
            # One whose own name was too long to keep stays for a run without shards.
            return match is not None and self.holds(temporary.with_name(match[1]).relative_to(root))

        return is_mine


def parse_shard(text: str) -> Shard:
    """Return the shard that I/N names. Raises BatchError for anything else."""
    match = re.fullmatch(r"\s*(\d+)\s*/\s*(\d+)\s*", text)
    if match is None:
        raise BatchError(f"shard is {text!r}; write I/N, such as 1/3 for the first of three")
    return Shard(int(match[1]), int(match[2]))


@contextmanager
def lock_run(root: Path, shard: Shard | None) -> Iterator[None]:
    """Hold what this run needs of an output folder. Raises BatchError where another run has it.

    A run without shards wants the folder for itself; shards of the same count bear each other.
    """
    with ExitStack() as held:
        with lock_folder(root, GATE_NAME, GATE_WAIT_S):
            _refuse_other_shards(root, shard)
            if shard is None:
                held.enter_context(lock_folder(root))
            else:
                _refuse_if_held(root, LOCK_NAME)
                name = f".biodenoise.{shard.index}-of-{shard.count}.lock"
                held.enter_context(lock_folder(root, name))
        yield


def _refuse_if_held(root: Path, name: str) -> None:
    with lock_folder(root, name):
        pass


def _refuse_other_shards(root: Path, shard: Shard | None) -> None:
    for path in root.glob(".biodenoise.*-of-*.lock"):
        match = SHARD_LOCK.fullmatch(path.name)
        if match is None:
            continue
        other = f"shard {match[1]}/{match[2]}"
        if shard is not None and int(match[2]) == shard.count and int(match[1]) != shard.index:
            continue
        try:
            _refuse_if_held(root, path.name)
        except BatchError as error:
            advice = (
                "wait for it or choose another OUTPUT"
                if shard is None or int(match[2]) == shard.count
                else f"shards of {match[2]} and of {shard.count} would overlap; wait for it"
            )
            raise BatchError(
                f"{printable(root)}: another run is writing there ({other}); {advice}"
            ) from error
