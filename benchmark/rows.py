"""Rows on disk: one JSON object a line, so that a run that was stopped goes on where it was.

A row is keyed by (set, mixture, system, version); a line cut short by a crash is left out, and a
later row of the same key replaces the former.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

Row = dict[str, Any]
Key = tuple[str, str, str, str]


def key_of(row: Row) -> Key:
    """Return what makes a row the same measurement."""
    return row["set"], row["mixture"], row["system"], row["version"]


def read_rows(path: Path) -> dict[Key, Row]:
    """Return the rows of a file by key; an absent file has none."""
    rows: dict[Key, Row] = {}
    if not path.is_file():
        return rows
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        rows[key_of(row)] = row
    return rows


def append_rows(path: Path, rows: Iterable[Row]) -> None:
    """Add whole lines at the end of the file and flush them; a torn last line is closed first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torn = path.is_file() and path.read_bytes()[-1:] not in (b"", b"\n")
    with path.open("a", encoding="utf-8") as stream:
        if torn:
            stream.write("\n")
        for row in rows:
            stream.write(json.dumps(rounded(row), ensure_ascii=False, allow_nan=False) + "\n")


def rounded(row: Row) -> Row:
    """Return the row with floats of six significant digits; what is not finite becomes None."""
    return {key: _short(value) for key, value in row.items()}


def _short(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    return float(f"{value:.6g}") if math.isfinite(value) else None
