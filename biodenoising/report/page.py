"""Write the report of a run: one HTML file that needs neither network nor server.

All figures travel as JSON, every name as text: nothing from a file or its name becomes markup, and
a policy in the page lets no other script run. Pictures and sounds are taken up when they come into
view, so that the page opens at once however many files it is about.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from html import escape
from importlib.metadata import version
from importlib.resources import files as resources
from itertools import islice
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

from biodenoising.batch.listing import Task
from biodenoising.batch.plan import Plan
from biodenoising.batch.runner import TreeSummary
from biodenoising.batch.work import Recipe
from biodenoising.errors import AudioReadError, BatchError
from biodenoising.inference.choosing import as_word
from biodenoising.inference.runtimes import processors
from biodenoising.report.facts import Facts
from biodenoising.report.flags import FLAGS, HARMLESS, Entry, flags_of, most_telling
from biodenoising.report.pictures import STEPS, colours
from biodenoising.report.stretch import card_of
from biodenoising.storage import printable, whole_file

REPORT_NAME = "biodenoise-report.html"
MARK = "<!doctype html><!-- biodenoise report -->"
DEFAULT_FILES = 20
DECIMALS = 3


@dataclass(frozen=True)
class Card:
    """A file to be drawn: the index of its entry, and where it lies."""

    index: int
    task: Task
    facts: Facts


def check_report(path: Path, source: Path, *, overwrite: bool) -> None:
    """Raise BatchError where a report must not be written: into INPUT, or over another's file."""
    if path.suffix.lower() not in (".html", ".htm"):
        raise BatchError(f"--report {printable(path)}: let the name end in .html")
    if source.is_dir() and source.resolve() in path.resolve().parents:
        raise BatchError("--report lies inside INPUT, which is never written to")
    try:
        folder, there = path.is_dir(), path.exists()
    except OSError as error:  # a name that is too long
        raise BatchError(f"--report {printable(path)}: cannot be ({error.strerror})") from error
    if folder:
        raise BatchError(f"--report {printable(path)}: is a folder; give a file name")
    if there and not overwrite and not _is_report(path):
        raise BatchError(
            f"--report {printable(path)}: is there already and no report; --overwrite replaces it"
        )


def _is_report(path: Path) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(len(MARK)) == MARK.encode()
    except OSError:
        return False


def write_report(
    path: Path, plan: Plan, recipe: Recipe, summary: TreeSummary, *, files: int = DEFAULT_FILES
) -> None:
    """Write the page of a run whose recipe had `examine` look at each file.

    `files` is how many of them are shown with pictures and sounds. Raises AudioWriteError.
    """
    tasks = {printable(task.name.as_posix()): task for task in plan.tasks}
    entries = entries_of(summary, tasks)
    flags = flags_of(entries)
    cards = [
        Card(index, tasks[entries[index].name], facts)
        for index in most_telling(entries, flags, files)
        if (facts := entries[index].facts) is not None and entries[index].name in tasks
    ]
    table = {
        "flags": [[key, word, key in HARMLESS] for key, word in FLAGS.items()],
        "rows": [_row(entry, marked) for entry, marked in zip(entries, flags, strict=True)],
        "cards": [card.index for card in cards],
        "base": _base(plan.roots[0], path) if plan.roots else None,
        "run": _run(plan, recipe, summary),
        "colours": colours(STEPS).hex(),
    }
    with whole_file(path) as temporary, open(temporary, "w", encoding="utf-8") as page:
        write_page(page, table, _drawn(cards))


def entries_of(summary: TreeSummary, tasks: Mapping[str, Task]) -> list[Entry]:
    """Return a run's files in the order of their names; messages do not repeat whose they are."""
    found = []
    for outcome in sorted(summary.outcomes, key=lambda o: os.fsencode(o.name)):
        facts = outcome.seen if isinstance(outcome.seen, Facts) else None
        message = outcome.message or (outcome.seen if isinstance(outcome.seen, str) else "")
        # One that is still being written has no output either; its line says why.
        status = "failed" if outcome.status == "changing" else outcome.status
        name = printable(outcome.name.as_posix())
        if name in tasks:
            message = message.removeprefix(f"{printable(tasks[name].input)}: ")
        found.append(Entry(name, status, facts, message))
    return found


def write_page(page: IO[str], table: dict[str, Any], cards: Iterator[dict[str, Any]]) -> None:
    """Write the page of a table of files and their cards, one after the other."""
    style, script, body = (
        resources(__package__).joinpath(f"page.{kind}").read_text("utf-8")
        for kind in ("css", "js", "html")
    )
    policy = (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src '{_digest(script)}'; "
        "img-src data:; media-src blob:"
    )
    page.write(
        f'{MARK}\n<html lang="en">\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(policy)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>Denoised: {escape(str(table['run']['title']))}</title>\n"
        f"<style>\n{style}</style>\n{body}"
    )
    page.write(_data("table", table))
    for number, card in enumerate(cards):
        page.write(_data(f"card-{number}", card))
    page.write(f"<script>{script}</script>\n</html>\n")


def _data(name: str, content: dict[str, Any]) -> str:
    # With < escaped nothing in the text can end the element that holds it.
    text = json.dumps(content, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return f'<script type="application/json" id="{name}">{text}</script>\n'


def _digest(script: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _drawn(cards: Sequence[Card]) -> Iterator[dict[str, Any]]:
    """Draw cards on all processors, a few at a time."""

    def draw(card: Card) -> dict[str, Any]:
        try:
            return card_of(card.task, card.facts)
        except AudioReadError as error:
            return {"error": str(error)}

    workers = processors()
    left = iter(cards)
    with ThreadPoolExecutor(workers) as executor:
        while batch := list(islice(left, 2 * workers)):
            yield from executor.map(draw, batch)


def _row(entry: Entry, flags: tuple[str, ...]) -> list[Any]:
    facts = entry.facts
    if facts is None:
        return [entry.name, entry.status, list(flags), entry.message]
    notes = "; ".join([*facts.notes, *([entry.message] if entry.message else [])])
    return [
        entry.name,
        entry.status,
        list(flags),
        notes,
        round(facts.duration_s, DECIMALS),
        facts.sample_rate,
        facts.channels,
        facts.calls,
        facts.calls_db,
        facts.lost,
        facts.background_db,
        facts.input_db,
        facts.output_db,
    ]


def _run(plan: Plan, recipe: Recipe, summary: TreeSummary) -> dict[str, Any]:
    """Return what is said of the whole run."""
    settings, expansion = recipe.settings, recipe.settings.time_expansion
    said = {
        "mix": f"mix {settings.mix:g}" if settings.mix < 1 else "",
        "limit": _said("at most {:g} dB", settings.max_attenuation_db),
        "expansion": f"time expansion {as_word(expansion)}" if expansion is not None else "",
        "band": f"band {settings.band[0]:g}-{settings.band[1]:g} Hz" if settings.band else "",
    }
    root = plan.roots[0] if plan.roots else Path()
    return {
        "title": printable(root.resolve().name or root),
        "model": printable(recipe.model),
        "options": [text for text in said.values() if text],
        "version": version("biodenoising"),
        "time": datetime.now().astimezone().strftime("%Y-%m-%d %H:%M"),
        "elapsed": round(summary.elapsed_s, 1),
        "stopped": summary.stopped,
        "left": summary.not_tried,
        "unlisted": summary.counts.total() - len(summary.outcomes),
    }


def _said(form: str, value: float | None) -> str:
    return "" if value is None else form.format(value)


def _base(root: Path, page: Path) -> str | None:
    """Return the outputs' folder as a link from the page, or none where no path leads there."""
    try:
        relative = os.path.relpath(root.resolve(), page.resolve().parent)
    except ValueError:  # another drive
        return None
    return "" if relative == "." else quote(os.fsencode(Path(relative).as_posix())) + "/"
