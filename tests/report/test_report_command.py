"""`biodenoise IN OUT --report`: one page, whatever happened to the files."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest

NASTY = "<img src=x onerror=alert(1)>.wav"
NAME = "biodenoise-report.html"
# How high the lowest is of what a thumb has to hit.
LOWEST = """Math.min(...[...document.querySelectorAll('a, button, input, summary')]
  .map((element) => element.getBoundingClientRect().height).filter((height) => height > 0))"""


def parts(page: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the page's table and its cards."""
    found = re.findall(
        r'<script type="application/json" id="([^"]+)">(.*?)</script>', page.read_text("utf-8")
    )
    read = {name: json.loads(text) for name, text in found}
    return read.pop("table"), list(read.values())


def test_the_page_lists_every_file_and_shows_it(tree, biodenoise) -> None:
    tree.add("a/one.wav", 40_000)
    tree.add("two.flac", 40_000, channels=2)
    result = biodenoise(tree.input, tree.output, "--report")
    assert result.exit_code == 0, result.output
    assert f"report   {tree.output / NAME}" in result.stdout
    table, cards = parts(tree.output / NAME)
    assert [row[0] for row in table["rows"]] == ["a/one.wav", "two.flac"]
    assert {row[1] for row in table["rows"]} == {"done"}
    assert len(cards) == 2
    for card in cards:
        assert [base64.b64decode(p)[:4] for p in card["pictures"]] == [b"\x89PNG"] * 3
        assert len(card["sounds"]) == 3
    assert cards[1]["channel"] in (1, 2)
    assert tree.leftovers() == []


def test_a_resumed_run_and_failures_are_in_it(tree, biodenoise) -> None:
    tree.add("one.wav", 40_000)
    assert biodenoise(tree.input, tree.output).exit_code == 0
    (tree.input / "broken.wav").write_bytes(b"RIFF")
    tree.add("two.wav", 40_000)
    result = biodenoise(tree.input, tree.output, "--report", tree.root / "page.html")
    assert result.exit_code == 1
    table, cards = parts(tree.root / "page.html")
    assert [(row[0], row[1]) for row in table["rows"]] == [
        ("broken.wav", "failed"), ("one.wav", "skipped"), ("two.wav", "done"),
    ]  # fmt: skip
    assert table["rows"][0][3]
    assert "broken.wav" not in table["rows"][0][3]
    assert len(cards) == 2
    before = tree.outputs()
    again = biodenoise(tree.input, tree.output, f"--report={tree.root / 'page.html'}")
    assert again.exit_code == 1
    assert [row[1] for row in parts(tree.root / "page.html")[0]["rows"]] == [
        "failed", "skipped", "skipped",
    ]  # fmt: skip
    assert tree.outputs() == before


def test_the_option_stands_anywhere_and_workers_look(tree, biodenoise) -> None:
    tree.add("one.wav", 40_000)
    tree.add("two.wav", 40_000)
    tree.add("three.wav", 40_000)
    result = biodenoise(
        "--report", tree.input, tree.output, "--report-files", "1", "--jobs", "2", "--quiet"
    )
    assert (result.exit_code, result.stdout) == (0, ""), result.output
    table, cards = parts(tree.output / NAME)
    assert all(row[4] == 2.5 for row in table["rows"])
    assert len(cards) == len(table["cards"]) == 1


def test_names_never_become_markup(tree, biodenoise) -> None:
    tree.add(NASTY, 20_000)
    tree.add("</script><script>alert(2)</script>.wav".replace("/", "\u2215"), 20_000)
    (tree.input / "bad <b>&.wav").write_bytes(b"no audio")
    os.rename(tree.add("other.wav", 20_000), os.fsencode(tree.input) + b"/caf\xe9.wav")
    biodenoise(tree.input, tree.output, "--report")
    text = (tree.output / NAME).read_text("utf-8")
    assert "<img src=x" not in text
    assert "<script>alert" not in text
    assert "<b>" not in text
    assert NASTY in {row[0] for row in parts(tree.output / NAME)[0]["rows"]}
    assert not re.search(r'(src|href)="?https?:', text)


def test_what_it_refuses_before_anything_is_written(tree, biodenoise) -> None:
    tree.add("one.wav")
    foreign = tree.root / "mine.html"
    foreign.write_text("<p>mine</p>")
    before = tree.everything()
    for given, why in [
        (tree.input / "page.html", "inside INPUT"),
        (tree.root / "page.txt", "end in .html"),
        (foreign, "no report"),
    ]:
        result = biodenoise(tree.input, tree.output, f"--report={given}")
        assert result.exit_code == 2
        assert why in result.stderr
        assert len(result.stderr.splitlines()) == 1
        assert tree.everything() == before
    assert biodenoise(tree.input, tree.output, f"--report={foreign}", "--overwrite").exit_code == 0
    assert parts(foreign)


def test_a_page_that_cannot_be_written_is_one_line(tree, biodenoise) -> None:
    tree.add("one.wav")
    blocked = tree.root / "file"
    blocked.write_text("x")
    result = biodenoise(tree.input, tree.output, f"--report={blocked / 'page.html'}")
    assert result.exit_code == 1
    assert (tree.output / "one.wav").exists()
    assert "page.html" in result.stderr.splitlines()[-1]


def test_one_file_and_an_output_that_vanished(tree, biodenoise, monkeypatch) -> None:
    source = tree.add("one.wav", 40_000)
    out = tree.root / "quiet.wav"
    assert biodenoise(source, out, "--report").exit_code == 0
    table, _ = parts(tree.root / NAME)
    assert [row[0] for row in table["rows"]] == ["quiet.wav"]

    import biodenoising.report.page as page

    whole = page.card_of

    def card_of(task: Any, facts: Any) -> dict[str, Any]:
        task.output.unlink()
        return whole(task, facts)

    monkeypatch.setattr(page, "card_of", card_of)
    assert biodenoise(source, out, "--report").exit_code == 0
    _, cards = parts(tree.root / NAME)
    assert "cannot be opened" in cards[0]["error"]


@pytest.mark.slow
def test_the_page_in_a_browser(tree, biodenoise, browser) -> None:
    tree.add(NASTY, 60_000)
    time_s = np.arange(300_000)[:, None] / 250_000
    bat = 0.3 * np.sin(2 * np.pi * 40_000 * time_s) * (time_s % 0.2 > 0.19)
    bat += 0.001 * np.random.default_rng(0).normal(size=bat.shape)
    tree.add("night/bat.wav", rate=250_000, samples=bat.astype(np.float32))
    for number in range(3):
        tree.add(f"dawn/{number}.wav", 50_000 + 1000 * number)
    (tree.input / "broken.wav").write_bytes(b"RIFF")
    biodenoise(tree.input, tree.output, "--report")
    moved = tree.root / "elsewhere.html"
    shutil.copy(tree.output / NAME, moved)
    for width, height in ((1280, 900), (390, 844)):
        look_around(browser, moved, width, height)


@pytest.mark.slow
def test_a_file_without_pictures_is_opened_from_the_table(tree, biodenoise, browser) -> None:
    tree.add(NASTY, 60_000)
    tree.add("night/50 %.wav", 672)
    biodenoise(tree.input, tree.output, "--report", "--report-files", "0")
    page = browser.new_page()
    page.goto((tree.output / NAME).as_uri())
    links = page.locator("tbody a").evaluate_all("found => found.map(link => link.href)")
    assert "0.042 s" in page.locator("tbody tr").last.inner_text()
    wanted = [(tree.output / name).as_uri() for name in (NASTY, "night/50 %.wav")]
    assert [unquote(link) for link in links] == [unquote(link) for link in wanted]
    page.close()


def wait_until(page: Any, true: str) -> None:
    """Wait for an expression to hold; the page's own policy forbids playwright's way."""
    for _ in range(600):
        if page.evaluate(true):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"never true: {true}")


def look_around(browser: Any, path: Path, width: int, height: int) -> None:
    page = browser.new_page(viewport={"width": width, "height": height})
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: (said.append("dialog"), dialog.dismiss()))
    page.on("request", lambda request: said.append(request.url) if "http" in request.url else None)
    page.goto(path.as_uri())
    assert page.locator("tbody tr").count() == 6
    assert page.locator("tbody tr", has_text=NASTY).count() == 1
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.locator("#next").is_hidden()
    # Sorting, by keyboard.
    page.locator("th button", has_text="Length").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    assert page.locator("th[aria-sort=descending]").inner_text().startswith("Length")
    assert NASTY in page.locator("tbody tr").first.inner_text()
    # Filtering, by flag and by name.
    page.locator(".chip", has_text="Failed").click()
    assert page.locator("tbody tr").count() == 1
    assert page.locator("#look-note").inner_text() == "This page has no pictures of these files."
    page.locator(".chip", has_text="Failed").click()
    page.keyboard.press("/")
    page.keyboard.type("night/b")
    assert page.locator("tbody tr").count() == 1
    card = page.locator(".card:not([hidden])")
    assert card.count() == 1
    # Looking and listening: the bat is slowed down, and a key changes what is heard.
    card.scroll_into_view_if_needed()
    wait_until(page, "document.querySelectorAll('.card:not([hidden]) img').length === 3")
    assert page.evaluate(
        "[...document.querySelectorAll('.card:not([hidden]) img')].every(i => i.naturalWidth > 500)"
    )
    assert card.locator(".speeds button[aria-pressed=true]").inner_text() == "10 × slower"
    if width < 720:
        assert page.evaluate(LOWEST) >= 40
        # No name lies on the picture that it names.
        assert page.evaluate(
            "[...document.querySelectorAll('.card:not([hidden]) .panel')].every(panel =>"
            " panel.querySelector('button').getBoundingClientRect().bottom"
            " <= panel.querySelector('img').getBoundingClientRect().top)"
        )
    card.locator(".panel button").first.click()
    wait_until(
        page, "parseFloat(document.querySelector('.panel.playing .head-line')?.style.left) > 0.5"
    )
    page.keyboard.press("3")
    assert card.locator(".panel").nth(2).get_attribute("class") == "panel playing"
    page.keyboard.press("3")
    page.locator("body").press(" ")
    wait_until(page, "!document.querySelector('.panel.playing')")
    assert said == []
    page.close()
