"""Write docs/cli.md from the commands' own help, and README's figures from the benchmark's.

    python docs/generate.py           # write
    python docs/generate.py --check   # fail where a page is stale
"""

from __future__ import annotations

import sys
from pathlib import Path

import click
from click.testing import CliRunner

from biodenoising.cli.denoise import biodenoise
from biodenoising.cli.models import models

DOCS = Path(__file__).resolve().parent
WIDTH = 96


def cli_page() -> str:
    """Return the page of all commands."""
    parts = ["# Command line\n\nMade from the commands' own help by `make docs`.\n"]
    commands: list[tuple[str, click.Command, list[str]]] = [
        ("biodenoise", biodenoise, []),
        ("biodenoise-models", models, []),
        *((f"biodenoise-models {name}", models, [name]) for name in models.commands),
    ]
    for name, command, words in commands:
        shown = CliRunner().invoke(
            command, [*words, "--help"], prog_name=name.split()[0], terminal_width=WIDTH
        )
        parts.append(f"## {name}\n\n```\n{shown.output.rstrip()}\n```\n")
    return "\n".join(parts)


def main(arguments: list[str]) -> int:
    """Write the pages, or with --check compare them; return the exit code."""
    pages = {DOCS / "cli.md": cli_page()}
    stale = [p for p, text in pages.items() if not p.exists() or p.read_text("utf-8") != text]
    if "--check" in arguments:
        for page in stale:
            print(f"{page.name} is stale: run make docs", file=sys.stderr)
        return 1 if stale else 0
    for page in stale:
        page.write_text(pages[page], encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
