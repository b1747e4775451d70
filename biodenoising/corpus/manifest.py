"""Manifests: one JSON line a piece of audio, with where it came from and what was made of it.

A row describes a recording, a segment of one, a candidate made from a segment, or a chosen target;
`parent` names the row it was made from, so every target leads back to a recording, its licence
and its author. Reading names the line that is wrong; writing is whole or by single lines.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from biodenoising.corpus.rows import (
    KINDS,
    LONGEST_LINE_BYTES,
    MEDIA,
    STAGES,
    TIERS,
    Part,
    Row,
    parse_row,
    row_line,
    row_record,
)
from biodenoising.errors import CorpusError
from biodenoising.storage import append_line, printable, whole_file, writing

MANIFEST_NAME = "manifest.jsonl"

__all__ = [
    "KINDS", "MANIFEST_NAME", "MEDIA", "STAGES", "TIERS", "Part", "Row", "append_row",
    "check_manifest", "lineage", "mend_manifest", "parse_row", "read_manifest", "row_line",
    "row_record", "split_of", "write_manifest",
]  # fmt: skip


def read_manifest(path: Path) -> list[Row]:
    """Return the rows of a manifest, in its order.

    Raises:
        CorpusError: the file cannot be read, a line is no row or names a path that another line
            has. The message holds the file, the line's number and what is wrong with it.
    """
    rows = []
    for number, row in check_manifest(path):
        if isinstance(row, str):
            raise CorpusError(f"{printable(path)}, line {number}: {row}")
        rows.append(row)
    return rows


def check_manifest(path: Path) -> Iterator[tuple[int, Row | str]]:
    """Yield every line's number with its row, or with what is wrong with it.

    Empty lines are passed over. Raises CorpusError where the file cannot be read.
    """
    seen: dict[str, int] = {}
    for number, line in _lines(path):
        try:
            row = parse_row(line)
            if row.path and row.path in seen:
                raise CorpusError(f"line {seen[row.path]} has the path {row.path!r} already")
        except CorpusError as error:
            yield number, str(error)
        else:
            seen[row.path] = number
            yield number, row


def write_manifest(path: Path, rows: Iterable[Row]) -> None:
    """Write a manifest whole. Raises CorpusError where two rows name one path."""
    paths: set[str] = set()
    with whole_file(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        for row in rows:
            if row.path and row.path in paths:
                raise CorpusError(f"{printable(path)}: two rows have the path {row.path!r}")
            paths.add(row.path)
            file.write(row_line(row) + "\n")


def append_row(path: Path, row: Row) -> None:
    """Add one row to a manifest and flush it to the disk."""
    append_line(path, row_line(row))


def mend_manifest(path: Path) -> bool:
    """Take away a last line that a crash cut short; tell whether there was one.

    Call it before adding rows to a manifest that an earlier run left behind.
    """
    if not path.exists():
        return False
    with writing(path), open(path, "rb+") as file:
        size = file.seek(0, 2)
        start = _last_line_start(path, size)
        file.seek(start)
        if start == size or _is_row(file.read()):
            return False
        file.truncate(start)
    return True


def split_of(recording: str, *, validation_tenths: int = 1, test_tenths: int = 0) -> str:
    """Return "training", "validation" or "test" for all that was made from one recording.

    The first byte of the id's SHA-256 modulo 10 decides: the lowest digits are validation, the
    highest test. So it is the same everywhere and for ever, whatever else the manifest holds.

    >>> {split_of(name) for name in ("XC1", "XC2", "XC19")}
    {'training'}
    >>> split_of("XC1", validation_tenths=10)
    'validation'

    Raises:
        CorpusError: the id is empty, or the shares do not fit into ten tenths.
    """
    if not recording:
        raise CorpusError(
            "a row without a recording belongs to no split; name its source recording"
        )
    if min(validation_tenths, test_tenths) < 0 or validation_tenths + test_tenths > 10:
        raise CorpusError(f"{validation_tenths} + {test_tenths} tenths do not fit into ten")
    digit = hashlib.sha256(recording.encode("utf-8", "surrogateescape")).digest()[0] % 10
    if digit < validation_tenths:
        return "validation"
    return "test" if digit >= 10 - test_tenths else "training"


def lineage(row: Row, rows: Mapping[str, Row]) -> list[Row]:
    """Return the row and what it was made from, the recording last, from rows by their path.

    Raises CorpusError where a parent is missing or the chain runs in a circle.
    """
    chain = [row]
    while chain[-1].parent:
        parent = rows.get(chain[-1].parent)
        if parent is None:
            raise CorpusError(f"{chain[-1].path}: its parent {chain[-1].parent!r} is in no row")
        if parent in chain:
            raise CorpusError(f"{row.path}: its line of parents runs in a circle")
        chain.append(parent)
    return chain


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    try:
        with open(path, "rb") as file:
            number = 0
            # A limit on each read keeps a file that is one endless line out of memory.
            while line := file.readline(LONGEST_LINE_BYTES + 2):
                number += 1
                if number == 1:
                    line = line.removeprefix(b"\xef\xbb\xbf")
                whole = line
                while not whole.endswith(b"\n") and (whole := file.readline(LONGEST_LINE_BYTES)):
                    pass
                if line.strip():
                    yield number, line.strip() if len(line) <= LONGEST_LINE_BYTES else line
    except OSError as error:
        raise CorpusError(
            f"{printable(path)}: cannot be read ({error.strerror}); give an existing manifest"
        ) from error


def _last_line_start(path: Path, size: int) -> int:
    """Return where the bytes after the last line break begin."""
    with open(path, "rb") as file:
        end = size
        while end > 0:
            start = max(0, end - 4096)
            file.seek(start)
            at = file.read(end - start).rfind(b"\n")
            if at >= 0:
                return start + at + 1
            end = start
    return 0


def _is_row(line: bytes) -> bool:
    try:
        parse_row(line)
    except CorpusError:
        return False
    return True
