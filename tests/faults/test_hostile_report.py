"""The report of any run: names and messages stay text, nothing is fetched, nothing left out unsaid.

The page is taken apart into its elements; a real browser looks at one in tests/report. No table
with names is written for spreadsheets, so that formulas in names have nowhere to go: the manifest
and `--log-json` are JSON lines.
"""

from __future__ import annotations

import json
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from biodenoising.batch.files import FileOptions
from biodenoising.batch.plan import Plan
from biodenoising.batch.runner import MOST_KEPT, TreeSummary
from biodenoising.batch.work import Outcome, Recipe
from biodenoising.inference.denoiser import DenoiseSettings
from biodenoising.report.facts import Facts
from biodenoising.report.page import write_report

RECIPE = Recipe("compact", "auto", DenoiseSettings(), FileOptions(None))
FACTS = Facts(
    duration_s=60.0, sample_rate=48_000, channels=1, input_db=-30.0, output_db=-35.0, calls=4,
    calls_db=-0.5, lost=0, background_db=-12.0, flat=0, start_s=0.0, shown=(), notes=(),
)  # fmt: skip
NAMES = [
    "<script>alert(1)</script>.wav", "</script><script>alert(1)</script>", "<!--<script>.wav",
    "]]>.wav", '"onload="alert(1)".wav', "' onload='alert(1).wav", "<svg/onload=alert(1)>.wav",
    "javascript:alert(1).wav", "&lt;b&gt;&amp;.wav", "{{7*7}} ${7*7} #{7*7}.wav", "=cmd|'!A0.wav",
    "@SUM(1).wav", "+1.wav", "-1.wav", "a\u2028b\u2029c.wav", "\u202egnp.wav", "\x00\x1b[31m.wav",
    "line\nbreak\r.wav", "caf\udce9.wav", "\U0001f438.wav", "a" * 255, "../../up.wav",
    "//host/x.wav", "%3Cscript%3E.wav", "\\u003cscript\\u003e.wav", "<base href=//evil>.wav",
    "</style><b>.wav",
]  # fmt: skip


class Reader(HTMLParser):
    """Takes a page apart: its elements with their attributes, and the JSON it carries."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.data: dict[str, Any] = {}
        self._inside: str | None = None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = dict(attrs).get("id") if tag == "script" else None

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.data[self._inside] = json.loads(data)
            self._inside = None


def page_of(folder: Path, *outcomes: Outcome, root: Path | None = None, **others: Any) -> Reader:
    """Write the report of a made-up run; return it taken apart."""
    summary = TreeSummary(**others)
    for outcome in outcomes:
        summary.add(outcome)
    path = folder / "report.html"
    write_report(path, Plan((), (root or folder / "out",)), RECIPE, summary)
    return Reader(path.read_text("utf-8"))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    """A page without any hostile text, for comparison."""
    folder = tmp_path_factory.mktemp("plain")
    return page_of(folder, Outcome(Path("a.wav"), "done", seen=FACTS))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("place", ["name", "message", "note", "folder", "stopped"])
def test_text_never_becomes_markup(plain: Reader, tmp_path: Path, name: str, place: str) -> None:
    outcome = Outcome(Path("a.wav"), "done", seen=FACTS)
    others: dict[str, Any] = {}
    if place == "name":
        outcome = Outcome(Path(name), "done", seen=FACTS)
    elif place == "message":
        outcome = Outcome(Path("a.wav"), "failed", message=name)
    elif place == "note":
        noted = Facts(**{**vars(FACTS), "notes": (name,)})
        outcome = Outcome(Path("a.wav"), "done", seen=noted)
    elif place == "folder":
        others["root"] = tmp_path / name.replace("\0", "").replace("/", "_")[:200]
    else:
        others["stopped"] = name
    page = page_of(tmp_path, outcome, **others)
    assert page.elements == plain.elements
    (row,) = page.data["table"]["rows"]
    text = {"name": row[0], "message": row[3], "note": row[3]}.get(place)
    if place == "stopped":
        text = page.data["table"]["run"]["stopped"]
    if text is not None and name.isprintable():
        assert text == (str(Path(name)) if place == "name" else name)


def test_the_page_fetches_nothing_and_lets_no_other_script_run(plain: Reader) -> None:
    policy = next(a["content"] for tag, a in plain.elements if "http-equiv" in a)
    assert policy is not None
    assert "default-src 'none'" in policy
    assert "script-src 'sha256-" in policy
    assert "unsafe-eval" not in policy
    for tag, attributes in plain.elements:
        assert tag not in ("link", "iframe", "object", "embed", "base", "form")
        assert not {key for key in attributes if key.startswith("on")}
        for key in ("src", "href", "action", "data"):
            assert not (attributes.get(key) or "").startswith(("http", "//", "file"))


def test_a_run_without_files(tmp_path: Path) -> None:
    page = page_of(tmp_path)
    assert page.data["table"]["rows"] == page.data["table"]["cards"] == []


def test_a_run_of_failures_only(tmp_path: Path) -> None:
    outcomes = [Outcome(Path(f"{n}.wav"), "failed", message="no audio") for n in range(50)]
    page = page_of(tmp_path, *outcomes)
    assert len(page.data["table"]["rows"]) == 50
    assert {row[1] for row in page.data["table"]["rows"]} == {"failed"}


def test_a_hundred_thousand_files(tmp_path: Path) -> None:
    """Those that are not on the page are counted on it."""
    done = (Outcome(Path(f"{n:06}.wav"), "done", seen=FACTS) for n in range(99_000))
    failed = (Outcome(Path(f"x{n}.wav"), "failed", message="no audio") for n in range(1_000))
    page = page_of(tmp_path, *done, *failed)
    table = page.data["table"]
    assert len(table["rows"]) == MOST_KEPT + 1_000
    assert table["run"]["unlisted"] == 99_000 - MOST_KEPT
    assert (tmp_path / "report.html").stat().st_size < 3_000_000


def test_a_report_needs_no_matplotlib(tree, tiny_model) -> None:
    tree.add("a.wav", 20_000)
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['matplotlib', 'matplotlib.pyplot']));"
        "from biodenoising.cli.denoise import main; main()"
    )
    words = [str(tree.input), str(tree.output), "--model", str(tiny_model), "--report"]
    result = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip
    assert (result.returncode, result.stderr) == (0, "")
    page = Reader((tree.output / "biodenoise-report.html").read_text("utf-8"))
    assert len(page.data["card-0"]["pictures"]) == 3
