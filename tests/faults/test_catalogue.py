"""That the catalogue and its page name what is there: areas, promises, planted faults."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from planted import FAULTS, ROOT, Planted

from tests.faults.__main__ import AREAS, BY_NAME, TESTS

PAGE = (TESTS.parent / "docs" / "reliability.md").read_text("utf-8")
MODULES = {path.stem: path for path in TESTS.rglob("test_*.py")}
FUNCTIONS = {
    name
    for path in MODULES.values()
    for name in re.findall(r"^def (test_\w+)", path.read_text("utf-8"), re.MULTILINE)
}
PROMISES = re.findall(r"^\| (P\d) \|.*\|(.*)\|$", PAGE, re.MULTILINE)


def test_every_module_of_an_area_is_there_and_in_one_area_only() -> None:
    listed = [name for _, names in AREAS.values() for name in names]
    assert len(listed) == len(set(listed))
    for name in listed:
        assert (TESTS / name).is_file(), name


def test_every_module_of_faults_and_properties_is_in_an_area() -> None:
    listed = {name for _, names in AREAS.values() for name in names}
    for folder in ("faults", "properties"):
        for path in (TESTS / folder).glob("test_*.py"):
            assert f"{folder}/{path.name}" in listed


def test_tests_that_stand_elsewhere_are_there() -> None:
    assert set(BY_NAME) <= FUNCTIONS
    assert set(BY_NAME.values()) <= set(AREAS)


def test_there_are_nine_promises() -> None:
    assert [name for name, _ in PROMISES] == [f"P{number}" for number in range(1, 10)]


@pytest.mark.parametrize(("promise", "how"), PROMISES)
def test_a_promise_names_its_tests(promise: str, how: str) -> None:
    assert set(re.findall(r"`(test_\w+)`", how)) & set(MODULES), promise


@pytest.mark.parametrize("word", sorted(set(re.findall(r"`(test_\w+(?:::\w+)?)`", PAGE))))
def test_what_the_page_names_is_there(word: str) -> None:
    module, _, function = word.partition("::")
    assert module in MODULES
    assert not function or f"def {function}(" in MODULES[module].read_text("utf-8")


def test_the_page_lists_every_planted_fault() -> None:
    for fault in FAULTS:
        assert f"| {fault.name} |" in PAGE


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_can_still_be_planted(fault: Planted) -> None:
    assert fault.old in (ROOT / "biodenoising" / fault.file).read_text("utf-8")
    path, _, function = fault.tests.partition("::")
    assert f"def {function.partition('[')[0]}" in (TESTS / path).read_text("utf-8")


def test_every_area_has_its_line_on_the_page() -> None:
    for letter, (title, _) in AREAS.items():
        assert re.search(rf"^\| {letter} {re.escape(title)} \|", PAGE, re.MULTILINE), letter


def test_modules_have_names_of_their_own() -> None:
    assert len(MODULES) == len(list(Path(TESTS).rglob("test_*.py")))
