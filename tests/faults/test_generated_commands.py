"""Every command with every option: a plain answer and nothing written, whatever is given.

The options come from the commands themselves, so that one added later is tried as well.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module

import click
import pytest
from click.testing import CliRunner

HOMES = {
    "biodenoise": ("denoise", "biodenoise"), "biodenoise-adapt": ("adapt", "adapt"),
    "biodenoise-app": ("app", "app"), "biodenoise-data": ("data", "data"),
    "biodenoise-models": ("models", "models"), "biodenoise-train": ("train", "train"),
}  # fmt: skip


def command_of(name: str) -> click.Command:
    """Return the click command behind a console script."""
    module = import_module(f"biodenoising.cli.{HOMES[name][0]}")
    found = [value for value in vars(module).values() if isinstance(value, click.Command)]
    groups = [value for value in found if isinstance(value, click.Group)]
    return (groups or [value for value in found if value.params])[0]


def commands() -> Iterator[tuple[str, click.Command, list[str]]]:
    """Yield every command and sub-command with the words that lead to it."""
    for name in HOMES:
        top = command_of(name)
        yield name, top, []
        if isinstance(top, click.Group):
            for word, below in top.commands.items():
                yield name, below, [word]


ALL = {" ".join([name, *words]): (name, command, words) for name, command, words in commands()}
OPTIONS = {
    f"{title} {option.opts[-1]}": (title, option)
    for title, (_, command, _) in ALL.items()
    for option in command.params
    if isinstance(option, click.Option) and option.opts[-1] not in ("--version", "--help")
}
TYPED = (click.INT.__class__, click.FLOAT.__class__, click.Choice)
NONSENSE = ["many", "nan", "1e999", "-1", "", "\u0661\u0662", "1" * 5_000, "a\nb", "%s{0}$(x)"]


@pytest.mark.parametrize("width", [20, 80, 300])
@pytest.mark.parametrize("title", ALL)
def test_help_of_every_command_at_any_width(title: str, width: int) -> None:
    name, command, words = ALL[title]
    result = CliRunner().invoke(command_of(name), [*words, "--help"], terminal_width=width)
    assert result.exit_code == 0
    assert "Usage: " in result.stdout
    text = "".join(result.stdout.split())
    for option in command.params:
        if isinstance(option, click.Option) and not option.hidden:
            assert option.opts[-1] in text


@pytest.mark.parametrize("title", ALL)
def test_an_option_that_does_not_exist(title: str) -> None:
    name, _, words = ALL[title]
    result = CliRunner().invoke(command_of(name), [*words, "--no-such-option"])
    assert result.exit_code == 2
    assert "--no-such-option" in result.stderr


@pytest.mark.parametrize("title", [title for title in OPTIONS if not OPTIONS[title][1].is_flag])
def test_an_option_without_its_value(title: str) -> None:
    home, option = OPTIONS[title]
    if title == "biodenoise --report":
        pytest.skip("its value may be left out")
    name, _, words = ALL[home]
    result = CliRunner().invoke(command_of(name), [*words, option.opts[-1]])
    assert result.exit_code == 2
    assert "Traceback" not in result.output


def answer(tree, words: list[str]):
    """Run `biodenoise` on one recording without writing; no error but a wanted exit may come."""
    from biodenoising.cli.denoise import biodenoise

    before = tree.everything()
    given = [str(tree.input), str(tree.output), "--dry-run", *words]
    result = CliRunner().invoke(biodenoise, given)
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert result.exit_code in (0, 2)
    assert tree.everything() == before
    return result


OWN = [title for title in OPTIONS if title.startswith("biodenoise --")]


@pytest.mark.parametrize("value", NONSENSE, ids=range(len(NONSENSE)))
@pytest.mark.parametrize("title", [title for title in OWN if not OPTIONS[title][1].is_flag])
def test_nonsense_for_an_option(tree, title: str, value: str) -> None:
    tree.add("a.wav")
    option = OPTIONS[title][1]
    result = answer(tree, [option.opts[-1], value])
    if isinstance(option.type, TYPED) and value in ("many", ""):
        assert result.exit_code == 2
    if result.exit_code == 2:
        assert result.stderr
        assert len(result.stderr.splitlines()) <= 5


@pytest.mark.parametrize("title", [title for title in OWN if OPTIONS[title][1].is_flag])
def test_a_flag_twice(tree, title: str) -> None:
    tree.add("a.wav")
    answer(tree, [OPTIONS[title][1].opts[-1]] * 2)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--mix", "0.5", "--mix", "1"], 0),  # the last one counts
        (["--mix", "1", "--mix", "7"], 2), (["--jobs", "1", "--jobs", "2"], 0),
        (["--include", "a*", "--include", "b*"], 0),
        (["--band", "1-2", "--time-expansion", "2"], 2),
        (["--live"], 2), (["--raw", "48000,1,s16le"], 2), (["--quiet", "--dry-run"], 0),
        (["--shard", "1/2", "--shard", "2/2"], 0), (["--cluster", "nowhere"], 0),
        (["--format", "wav", "--format", "flac"], 0), (["--format", "FLAC"], 2),
    ],
)  # fmt: skip
def test_options_repeated_and_in_conflict(tree, words: list[str], code: int) -> None:
    tree.add("a.wav")
    assert answer(tree, words).exit_code == code


@pytest.mark.parametrize("value", ["", "a\nb", "1" * 5_000, "/" * 5_000, "x" * 256 + ".html", "~"])
@pytest.mark.parametrize("place", ["INPUT", "OUTPUT", "--report", "--log-json", "--residual"])
def test_paths_that_cannot_be(tree, place: str, value: str) -> None:
    from biodenoising.cli.denoise import biodenoise

    tree.add("a.wav")
    before = tree.everything()
    words = [str(tree.input), str(tree.output), "--dry-run"]
    if place.startswith("--"):
        words.append(f"{place}={value}")
    else:
        words[["INPUT", "OUTPUT"].index(place)] = value
    result = CliRunner().invoke(biodenoise, words)
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert result.exit_code in (0, 2)
    assert result.exit_code == 0 or len(result.stderr.splitlines()) in (1, 4)  # with the usage
    assert tree.everything() == before


# --- terminals and pipes of every kind -----------------------------------------------------------

START = "from biodenoising.cli.denoise import main; main()"
SURROUNDINGS: dict[str, dict[str, str]] = {
    "no colour": {"NO_COLOR": "1"}, "dumb": {"TERM": "dumb"}, "narrow": {"COLUMNS": "20"},
    "plain C": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "ascii": {"PYTHONIOENCODING": "ascii"}, "no terminal type": {"TERM": ""},
    "forced colour": {"FORCE_COLOR": "1"}, "broken columns": {"COLUMNS": "-5", "LINES": "x"},
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("around", SURROUNDINGS)
def test_a_run_in_other_surroundings(tree, command, around: str) -> None:
    """Recordings with names that such a terminal cannot show."""
    tree.add("fr\u00f6sche \U0001f438.wav")
    tree.add("bad.wav").write_bytes(b"no audio")
    result = command.run(tree.input, tree.output, env={**os.environ, **SURROUNDINGS[around]})
    assert result.returncode == 1, result.stderr
    (line,) = result.stderr.splitlines()
    assert "bad.wav" in line
    assert "\x1b" not in result.stdout + result.stderr
    assert list(tree.outputs()) == ["fr\u00f6sche \U0001f438.wav"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-", ">/dev/full", "</dev/null"]
)
@pytest.mark.parametrize("words", ["--version", "--help", "RUN"])
def test_closed_and_full_streams(tree, command, closed: str, words: str) -> None:
    tree.add("a.wav")
    given = command.words(tree.input, tree.output)
    if words != "RUN":
        given = [sys.executable, "-c", START, words]
    result = subprocess.run(
        ["sh", "-c", f'"$@" {closed}', "sh", *given], capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip
    assert "Traceback" not in result.stderr
    assert result.returncode in (0, 1, 120, 141), result.stderr
    if words == "RUN":
        assert list(tree.outputs()) == ["a.wav"]
        assert tree.leftovers() == []
