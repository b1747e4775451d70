"""results.json: everything RESULTS.md is made of, every mixture's row included.

Rows are stored as two tables per set, mixtures and what each system made of them, columns once.
"""

from __future__ import annotations

import json
import os
import platform
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from benchmark import PROTOCOL
from benchmark.mixtures import Plan
from benchmark.rows import Row, rounded
from benchmark.systems import System
from benchmark.systems.base import package_version
from biodenoising import BiodenoisingError

VERSIONED = ("biodenoising", "numpy", "scipy", "soxr", "soundfile", "onnxruntime", "torch")
PLANNED = tuple(name for name in Plan.__dataclass_fields__ if name != "set")
"""What is the same for all systems, stored once a mixture."""


@dataclass
class Results:
    """What one run found. `sets` holds a description or the reason why a set was not run."""

    meta: dict[str, Any]
    sets: dict[str, dict[str, Any]] = field(default_factory=dict)
    systems: list[dict[str, Any]] = field(default_factory=list)
    rows: dict[str, list[Row]] = field(default_factory=dict)

    @property
    def kinds(self) -> dict[str, str]:
        """What each system is: model, peer, oracle, reference, external."""
        return {system["name"]: system["kind"] for system in self.systems}


def write_results(results: Results, path: Path) -> None:
    """Write the file whole or not at all."""
    tables = {}
    for name, rows in results.rows.items():
        mixtures = {row["mixture"]: [row[key] for key in PLANNED] for row in rows}
        columns = sorted({key for row in rows for key in row} - {*PLANNED, "set"} | {"mixture"})
        number = {mixture: index for index, mixture in enumerate(mixtures)}
        values = [
            [rounded(row | {"mixture": number[row["mixture"]]}).get(key) for key in columns]
            for row in rows
        ]
        tables[name] = {"mixtures": list(mixtures.values()), "columns": columns, "values": values}
    document = {
        "meta": results.meta,
        "sets": results.sets,
        "systems": [rounded(system) for system in results.systems],
        "rows": tables,
    }
    text = _one_row_a_line(document)
    partial = path.with_suffix(".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def read_results(path: Path) -> Results:
    """Return what `write_results` wrote; a file that is no such document raises."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        rows = {name: _rows(name, table) for name, table in document["rows"].items()}
        return Results(document["meta"], document["sets"], document["systems"], rows)
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise BiodenoisingError(f"{path} is no file of benchmark results: {error}") from error


def describe_run(command: str) -> dict[str, Any]:
    """Return the command, the day, the versions and the machine."""
    return {
        "command": command,
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
        "protocol": PROTOCOL,
        "python": platform.python_version(),
        "versions": {name: package_version(name) for name in VERSIONED},
        "machine": f"{_processor()}, {os.cpu_count()} cores, {platform.system()}",
    }


def describe_system(system: System, cost: dict[str, Any] | None) -> dict[str, Any]:
    """Return a system's entry of the file."""
    return {
        "name": system.name,
        "kind": system.kind,
        "version": system.version,
        "parameters": system.parameters,
        "missing": system.missing,
        **(cost or {}),
    }


def _rows(name: str, table: dict[str, Any]) -> list[Row]:
    rows = []
    for values in table["values"]:
        row = dict(zip(table["columns"], values, strict=True))
        plan = dict(zip(PLANNED, table["mixtures"][row["mixture"]], strict=True))
        rows.append(row | plan | {"set": name})
    return rows


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


def _one_row_a_line(document: dict[str, Any]) -> str:
    """Return JSON with one mixture's row a line, so that diffs and editors can cope with it."""
    tables = document.pop("rows")
    head = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False)
    parts = []
    for name, table in tables.items():
        lines = ",\n".join(_line(values) for values in table["values"])
        mixtures = ",\n".join(_line(values) for values in table["mixtures"])
        parts.append(
            f'{_line(name)}: {{"mixtures": [\n{mixtures}\n], '
            f'"columns": {_line(table["columns"])}, "values": [\n{lines}\n]}}'
        )
    body = ",\n".join(parts)
    return f'{head[: head.rindex("}")].rstrip()},\n "rows": {{\n{body}\n}}\n}}\n'


def _line(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
