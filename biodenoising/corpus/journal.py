"""What is finished of a long piece of work: one line an item, safe to kill anywhere.

Every finished item is one line of the stage's journal, written after its files are whole. The line
holds a key made of all that could change the result: what the item was made from, the settings
and the teachers' versions. A later run takes an item as finished where the key is the same and
the files are there, and makes it again otherwise.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from biodenoising.corpus.manifest import Row, parse_row, row_record
from biodenoising.errors import BiodenoisingError, CorpusError
from biodenoising.storage import append_line, close_torn_line

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


def key_of(*parts: Any) -> str:
    """Return a hash of plain values and dataclasses that is the same in every process."""
    text = json.dumps([_plain(part) for part in parts], sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


class Journal:
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
