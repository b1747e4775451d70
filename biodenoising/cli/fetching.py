"""What searching and fetching look like at a terminal: lines, a bar, failures, one summary."""

from __future__ import annotations

import signal
import sys
from itertools import islice
from pathlib import Path
from time import monotonic
from types import FrameType
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from biodenoising.corpus.sources.base import Offer, Source
    from biodenoising.corpus.sources.client import Client

EXIT_FAILURES = 1
SHOWN = 20
LOG_EVERY_S = 60.0  # without a terminal, a line a minute


def list_or_fetch(
    source: Source,
    output: Path | None,
    limit: int | None,
    tiers: tuple[str, ...],
    client: Client | None = None,
) -> None:
    """Fetch what a source offers into `output`, or without one print what it offers."""
    if output is not None:
        fetch_all([source], output, limit, tiers, client)
        return
    wanted = (o for o in source.search() if not o.unfit and (not tiers or o.row.tier in tiers))
    count = 0
    for offer in islice(wanted, limit or SHOWN):
        count += 1
        click.echo(_offer_line(offer))
    more = "" if limit or count < SHOWN else "; --limit N shows more"
    click.echo(f"{count} shown{more}; --get OUTPUT fetches", err=True)


def _offer_line(offer: Offer) -> str:
    from biodenoising.storage import printable

    row = offer.row
    length = f"{row.duration_s:.0f} s" if row.duration_s else ""
    size = "" if offer.size is None else f"{offer.size / 1e6:.1f} MB"
    name = row.path.partition("/")[2]
    what = row.taxon or row.kind
    line = f"{name:32} {what:28} {length or size:>10}  {row.licence:18} {row.attribution}"
    return printable(line)


def fetch_all(
    sources: list[Source],
    output: Path,
    limit: int | None,
    tiers: tuple[str, ...],
    client: Client | None = None,
) -> None:
    """Fetch from all sources, show how it goes, and exit with what became of it.

    `client` is the one they all ask with, for counting what arrives.
    """
    from tqdm import tqdm

    from biodenoising.corpus.manifest import TIERS as ALL
    from biodenoising.corpus.sources.fetch import fetch
    from biodenoising.storage import printable

    signal.signal(signal.SIGTERM, _interrupt)
    ok = True
    files, size, logged = 0, 0, monotonic()
    with tqdm(
        unit="B", unit_scale=True, disable=not sys.stderr.isatty(), dynamic_ncols=True
    ) as bar:

        def arrived(more: int) -> None:
            nonlocal size, logged
            size += more
            bar.update(more)
            if bar.disable and monotonic() - logged > LOG_EVERY_S:
                logged = monotonic()
                click.echo(f"{files} files, {size / 1e6:.0f} MB", err=True)

        def observe(what: str, offer: Offer, reason: str) -> None:
            nonlocal files
            files += 1
            if what == "failed":
                bar.write(f"failed   {reason}", file=sys.stderr)
            bar.set_description_str(f"{files} files, {printable(offer.row.path)[-40:]}")

        if client is not None:
            client.arrived = arrived
        for source in sources:
            summary = fetch(source, output, tiers=tiers or ALL, limit=limit, observe=observe)
            bar.write(f"{source.name}: {summary}", file=sys.stderr)
            ok = ok and summary.ok
    if not ok:
        click.echo("biodenoise-data: the same command fetches the rest", err=True)
        sys.exit(EXIT_FAILURES)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
