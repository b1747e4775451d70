"""The command `biodenoise-data`: which data sets there are, bring them here, look after them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from biodenoising.cli import fetching
from biodenoising.cli.bars import errors_told
from biodenoising.errors import OptionError

if TYPE_CHECKING:
    from biodenoising.corpus.manifest import Row
    from biodenoising.corpus.sources.base import Source
    from biodenoising.corpus.sources.client import Client

TIERS = ("open", "copyleft", "noncommercial", "unclear")
KINDS = ("vocal", "noise", "soundscape")

Command = TypeVar("Command", bound=Callable[..., Any])


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 96})
def data() -> None:
    """Find recordings, bring them here with their licences, and check what is here."""


@data.command("list")
@click.option("--kind", type=click.Choice(KINDS), help="Only data sets of this kind.")
def list_(kind: str | None) -> None:
    """List the known data sets: hours, medium, access, licence."""
    from biodenoising.corpus.sources.catalogue import read_catalogue

    for one in read_catalogue().values():
        if kind is None or one.kind == kind:
            hours = "-" if one.hours is None else f"{one.hours:g} h"
            medium = one.medium or "-"
            what = f"{one.name:27} {one.kind:10} {hours:>8}  {medium:5}"
            click.echo(f"{what}  {one.access:10}  {one.licence}")


@data.command()
@click.argument("name")
def show(name: str) -> None:
    """Print all that is known of one data set."""
    from dataclasses import asdict

    from biodenoising.corpus.sources.catalogue import find_data_set

    with errors_told("biodenoise-data"):
        found = find_data_set(name)
        for key, value in {**asdict(found), "url": found.page}.items():
            if value not in ("", None, ()):
                text = ", ".join(map(str, value)) if isinstance(value, tuple) else value
                click.echo(f"{key:9} {text}")


def _choices(command: Command) -> Command:
    """Add the options that choose among the recordings that were found."""
    for option in (
        click.option("--limit", type=click.IntRange(min=1), metavar="N", help="At most N files."),
        click.option(
            "--tier",
            "tiers",
            type=click.Choice(TIERS),
            multiple=True,
            help="Only licences like this (repeatable).  [default: all]",
        ),
    ):
        command = option(command)
    return command


def _get_option(command: Command) -> Command:
    return click.option(
        "--get",
        "output",
        type=click.Path(path_type=Path),
        metavar="OUTPUT",
        help="Fetch what is found into this folder; without it, it is only listed.",
    )(command)


def _labels(command: Command) -> Command:
    """Add the options that say what is heard in all the recordings."""
    for option in (
        click.option("--taxon", default="", help="Scientific name of the animal in all of them."),
        click.option(
            "--group", default="", metavar="GROUP", help="bird, frog, insect, bat, whale ..."
        ),
        click.option(
            "--medium", type=click.Choice(["air", "water"]), default="air", show_default=True,
            help="Where they were recorded.",
        ),
        click.option(
            "--kind", type=click.Choice(KINDS), default="vocal", show_default=True,
            help="What they are.",
        ),
    ):  # fmt: skip
        command = option(command)
    return command


@data.command()
@click.argument("name")
@click.argument("output", type=click.Path(path_type=Path))
@_choices
@click.option("--set", "sets", multiple=True, help="Only this set of a manifest (repeatable).")
def get(
    name: str, output: Path, limit: int | None, tiers: tuple[str, ...], sets: tuple[str, ...]
) -> None:
    """Fetch a data set into OUTPUT.

    NAME is a name of `biodenoise-data list`, or the path of a manifest (.jsonl) whose rows name
    addresses. A run that was interrupted goes on when the same command is given again.
    """
    with errors_told("biodenoise-data"):
        client = _client()
        if name.endswith(".jsonl"):
            from biodenoising.corpus.sources.url_manifest import UrlManifest

            sources: list[Source] = [UrlManifest(Path(name), sets=sets, client=client)]
        else:
            from biodenoising.corpus.sources.catalogue import find_data_set, sources_of

            if sets:
                raise OptionError("--set chooses from a manifest; a data set of the list has none")
            sources = sources_of(find_data_set(name), client)
        fetching.fetch_all(sources, output, limit, tiers, client)


@data.group()
def search() -> None:
    """Search a service, and list or fetch what it has."""


@search.command("xeno-canto")
@click.argument("query", nargs=-1, required=True)
@click.option("--quality", type=click.Choice(list("ABCDE")), help="This grade or better.")
@click.option(
    "--licence", "licences", multiple=True, metavar="NAME",
    help="Only this licence, such as CC-BY-SA, in any version (repeatable).",
)  # fmt: skip
@click.option(
    "--length", "length_s", type=(float, float), metavar="LEAST MOST", help="Seconds, from and to."
)
@click.option("--country", help="As the service writes it, such as Brazil.")
@_choices
@_get_option
def xeno_canto(
    query: tuple[str, ...],
    output: Path | None,
    limit: int | None,
    tiers: tuple[str, ...],
    **filters: Any,
) -> None:
    """Search Xeno-canto.

    QUERY is in the service's own language, such as: gen:hyla type:song. A key is needed, in the
    environment variable XENO_CANTO_KEY; yours is shown at xeno-canto.org/account.
    """
    with errors_told("biodenoise-data"):
        client = _client()
        from biodenoising.corpus.sources.xeno_canto import XenoCanto

        source = XenoCanto(" ".join(query), client=client, **filters)
        fetching.list_or_fetch(source, output, limit, tiers, client)


@search.command()
@click.argument("taxon", nargs=-1, required=True)
@click.option("--licence", "licences", multiple=True, help="Its codes, such as cc-by (repeatable).")
@click.option("--place", type=int, metavar="ID", help="Only from this place, by its number.")
@click.option("--group", default="", help="What animals of this taxon are, such as bat.")
@_choices
@_get_option
def inaturalist(
    taxon: tuple[str, ...],
    licences: tuple[str, ...],
    place: int | None,
    group: str,
    output: Path | None,
    limit: int | None,
    tiers: tuple[str, ...],
) -> None:
    """Search iNaturalist for sounds of TAXON, a scientific name."""
    with errors_told("biodenoise-data"):
        client = _client()
        from biodenoising.corpus.sources.inaturalist import FREE, INaturalist

        source = INaturalist(
            " ".join(taxon), licences or FREE, place=place, group=group, client=client
        )
        fetching.list_or_fetch(source, output, limit, tiers, client)


@search.command()
@click.argument("record", type=click.IntRange(min=1))
@click.option("--include", multiple=True, metavar="GLOB", help="Only such files (repeatable).")
@_labels
@_choices
@_get_option
def zenodo(
    record: int,
    include: tuple[str, ...],
    output: Path | None,
    limit: int | None,
    tiers: tuple[str, ...],
    **labels: Any,
) -> None:
    """List or fetch the files of a Zenodo record, given by its number."""
    with errors_told("biodenoise-data"):
        client = _client()
        from biodenoising.corpus.manifest import Row
        from biodenoising.corpus.sources.zenodo import Zenodo

        source = Zenodo(record, include, Row(path="", **labels), client=client)
        fetching.list_or_fetch(source, output, limit, tiers, client)


@data.command()
@click.argument("input", type=click.Path(path_type=Path))
@click.argument("output", type=click.Path(path_type=Path))
@click.option("--licence", default="", help="The licence of all of them, such as CC-BY-4.0.")
@_labels
@_choices
def folder(
    input: Path,
    output: Path,
    licence: str,
    limit: int | None,
    tiers: tuple[str, ...],
    **labels: Any,
) -> None:
    """Take the recordings below INPUT, with annotation files beside them, into OUTPUT.

    INPUT is not changed. Where OUTPUT is INPUT, nothing is copied and only the manifest is added.
    """
    with errors_told("biodenoise-data"):
        from biodenoising.corpus.manifest import Row
        from biodenoising.corpus.sources.folder import Folder

        source = Folder(input, licence, Row(path="", **labels))
        source.refuse_inside(output)
        fetching.fetch_all([source], output, limit, tiers)


@data.command()
@click.argument("manifest", type=click.Path(path_type=Path))
@click.option("--files", is_flag=True, help="Also compare the files with their hashes.")
def check(manifest: Path, files: bool) -> None:
    """Check every line of a manifest; say which lines are wrong and why."""
    from biodenoising.corpus.manifest import check_manifest
    from biodenoising.storage import printable

    wrong = good = 0
    with errors_told("biodenoise-data"):
        for number, row in check_manifest(manifest):
            problem = row if isinstance(row, str) else _wrong_file(row, manifest) if files else ""
            if problem:
                wrong += 1
                click.echo(f"{printable(manifest)}, line {number}: {problem}", err=True)
            else:
                good += 1
    click.echo(f"{good} rows are right, {wrong} are wrong")
    sys.exit(fetching.EXIT_FAILURES if wrong else 0)


@data.command()
@click.argument("folder", type=click.Path(path_type=Path))
def duplicates(folder: Path) -> None:
    """Find recordings below FOLDER that hold the same samples under several names."""
    from tqdm import tqdm

    from biodenoising.audio import EXTENSIONS
    from biodenoising.corpus.duplicates import find_duplicates
    from biodenoising.storage import printable

    with errors_told("biodenoise-data"):
        if not folder.is_dir():
            raise OptionError(f"{printable(folder)}: is no folder")
        paths = [
            path for path in sorted(folder.rglob("*"))
            if path.suffix.lower() in EXTENSIONS and path.is_file()
        ]  # fmt: skip
        with tqdm(total=len(paths), unit="file", disable=not sys.stderr.isatty()) as bar:
            found = find_duplicates(paths, progress=lambda path: bar.update())
        for group in found.groups:
            click.echo("  ".join(printable(path.relative_to(folder)) for path in group))
        for _, reason in found.unreadable:
            click.echo(f"failed   {reason}", err=True)
        click.echo(
            f"{len(paths)} files, {len(found.groups)} groups of duplicates, "
            f"{len(found.unreadable)} unreadable",
            err=True,
        )
    sys.exit(fetching.EXIT_FAILURES if found.groups or found.unreadable else 0)


def _wrong_file(row: Row, manifest: Path) -> str:
    """Return what is wrong with a row's file, or ""."""
    from biodenoising.storage import sha256_of

    path = manifest.parent / row.path
    if not row.path:
        return ""
    if not path.is_file():
        return f"{row.path!r} is not there; fetch it again"
    if row.sha256 and sha256_of(path) != row.sha256:
        return f"{row.path!r} is not the file of the row, its SHA-256 differs; fetch it again"
    return ""


def _client() -> Client:
    """Return what the services are asked with. Raises OptionError without the extra `recipe`."""
    missing = [name for name in ("requests", "pooch") if find_spec(name) is None]
    if missing:
        raise OptionError(
            f"{' and '.join(missing)} is not installed; the extra `recipe` brings it: "
            "pip install 'biodenoising[recipe]'"
        )
    from biodenoising.corpus.sources.client import Client

    return Client()


def main() -> None:
    """Entry point of the console script."""
    data(prog_name="biodenoise-data")
