"""The pages say what the program says, and every option is explained."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import click

from biodenoising.cli.denoise import biodenoise

ROOT = Path(__file__).resolve().parent.parent


def test_generated_pages_are_fresh() -> None:
    shown = subprocess.run(
        [sys.executable, ROOT / "docs" / "generate.py", "--check"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert shown.returncode == 0, shown.stderr


def test_every_option_has_a_help_text() -> None:
    for parameter in biodenoise.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.name


def test_the_readme_names_only_options_and_files_that_exist() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    known = {flag for parameter in biodenoise.params for flag in parameter.opts} | {"--help"}
    assert set(re.findall(r"`(?:biodenoise )?(--[a-z-]+)", text)) <= known
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (ROOT / target).exists(), target
