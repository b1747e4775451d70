"""How the command's words are read: bands, places, and a report's path that may be left away."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click


class Band(click.ParamType):  # type: ignore[type-arg]  # click below 8.4 takes none
    """A band of frequencies given as LOW-HIGH in Hz, with k for a thousand."""

    name = "LOW-HIGH"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, float]:
        """Return (low, high) in Hz."""
        match = re.fullmatch(r"([\d.]+)(k?)-([\d.]+)(k?)", str(value).strip().lower())
        try:
            if match is None:
                raise ValueError
            low, low_k, high, high_k = match.groups()
            return (
                float(low) * (1000 if low_k else 1),
                float(high) * (1000 if high_k else 1),
            )
        except ValueError:
            self.fail(f"{value!r} is no band; write for example 500-8000 or 20k-90k", param, ctx)


class Expansion(click.ParamType):  # type: ignore[type-arg]  # click below 8.4 takes none
    """A time expansion: a number above 0, or the word auto."""

    name = "K|auto"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float | str:
        """Return the number, or the word as it is."""
        try:
            expansion = value if value == "auto" else float(value)
        except ValueError:
            self.fail(f"{value!r} is no time expansion; give a number or auto", param, ctx)
        if expansion != "auto" and not 0 < expansion < float("inf"):
            self.fail(f"{value} is not in the range x>0", param, ctx)
        return expansion


class ReportCommand(click.Command):
    """Lets `--report` stand alone before INPUT: only what ends in .html is its PATH."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Join `--report` with its PATH, or with nothing."""
        joined: list[str] = []
        for word in args:
            if joined and joined[-1] == "--report" and word.lower().endswith((".html", ".htm")):
                joined[-1] = f"--report={word}"
            else:
                joined.append(word)
        return super().parse_args(ctx, ["--report=" if w == "--report" else w for w in joined])


class Place(click.ParamType):  # type: ignore[type-arg]  # click below 8.4 takes none
    """A path, or an address such as s3://bucket/folder."""

    name = "PLACE"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Path | str:
        """Return an address as it is."""
        return str(value) if "://" in str(value) else Path(value)
