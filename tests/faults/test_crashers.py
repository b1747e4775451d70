"""Everything that a fuzzer ever broke, and a few seconds of plain mutations of honest inputs."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from fuzz import CRASHERS, mutated, seeds
from fuzz_targets import TARGETS, run_one

FOUND = sorted(path for path in CRASHERS.rglob("*") if path.is_file())


@pytest.mark.parametrize("path", FOUND, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_what_broke_once_does_not_again(path: Path) -> None:
    run_one(path.parent.name, path.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
def test_mutations_break_nothing(name: str) -> None:
    rng, pool = random.Random(11), seeds(name)
    for data in [*pool, *(mutated(rng, pool) for _ in range(25))]:
        run_one(name, data)


def test_a_failure_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TARGETS, "card", lambda data: data.decode("ascii"))
    with pytest.raises(UnicodeDecodeError):
        run_one("card", b"\xff")
