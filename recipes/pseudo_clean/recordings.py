"""Stage 1: the recordings of all sources, linked where they are local and fetched where not.

Writes `recordings.jsonl` in the run's folder; below `recordings/` lies, for each source, a link to
its folder or what was fetched from it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from biodenoising.corpus.journal import Item, Made, key_of
from biodenoising.corpus.licences import licence_name, tier_of
from biodenoising.corpus.manifest import MANIFEST_NAME, Row, read_manifest, write_manifest
from biodenoising.corpus.sources.base import Source, measured, safe_name
from biodenoising.corpus.sources.folder import Folder
from biodenoising.errors import BiodenoisingError, OptionError
from biodenoising.storage import printable
from recipes.pseudo_clean.items import Outcome, run_items, write_outcome
from recipes.pseudo_clean.settings import Settings, SourceSettings

STAGE = "recordings"
LIST = "recordings.jsonl"
FOLDER = "recordings"


def run_stage(run: Path, settings: Settings) -> Outcome:
    """Bring the recordings of all sources together; return the rows, unusable ones with reasons."""
    rows: list[Row] = []
    outcome = Outcome()
    for number, source in enumerate(settings.sources, start=1):
        name = safe_name(source.name or f"{number}_{source.kind}")
        try:
            rows += _rows_of(source, name, run, settings, outcome)
        except BiodenoisingError as error:
            tell(f"failed   {name}: {error}")
            outcome.failed.append(f"{name}: {error}")
    outcome.rows = _refused(rows, settings)
    write_manifest(run / LIST, outcome.rows)
    write_outcome(run, STAGE, outcome)
    return outcome


def usable_recordings(run: Path, settings: Settings) -> list[Row]:
    """Return the recordings to work on: those not refused, `limit` of them where there is one.

    Which ones a limit takes is drawn by hash, so that a larger limit adds to a smaller one's.
    """
    rows = [row for row in read_manifest(run / LIST) if not row.rejected]
    if settings.limit:
        rows.sort(key=lambda row: hashlib.sha256(os.fsencode(row.path)).digest())
        rows = sorted(rows[: settings.limit], key=lambda row: row.path)
    return rows


def tell(line: str) -> None:
    """Print one line to stderr without disturbing a bar."""
    tqdm.write(printable(line), file=sys.stderr)


def _rows_of(
    source: SourceSettings, name: str, run: Path, settings: Settings, outcome: Outcome
) -> list[Row]:
    """Return a source's rows with paths from the run's folder."""
    place = run / FOLDER / name
    if source.kind == "corpus":
        rows = _corpus_rows(source, Path(source.path))
        _link(place, Path(source.path))
    elif source.kind == "folder":
        return _folder_rows(source, name, run, settings, outcome)
    else:
        rows = _fetched_rows(source, place, settings, outcome)
    return [_below(row, name) for row in rows]


def _corpus_rows(source: SourceSettings, root: Path) -> list[Row]:
    rows = []
    for row in read_manifest(root / MANIFEST_NAME):
        # The benchmark is left out whatever the sets are, none included.
        if row.set == "benchmark" or (source.sets and row.set not in source.sets):
            continue
        if row.kind not in source.kinds or not row.path:
            continue
        there = (root / row.path).is_file()
        rows.append(row if there else dataclasses.replace(row, rejected="the file is not there"))
    return rows


def _folder_rows(
    source: SourceSettings, name: str, run: Path, settings: Settings, outcome: Outcome
) -> list[Row]:
    folder = Folder(Path(source.path), source.licence, _like(source))
    folder.refuse_inside(run)
    _link(run / FOLDER / name, folder.root)
    items = []
    for offer in folder.search():
        if offer.unfit:
            tell(f"failed   {offer.unfit}")
            outcome.failed.append(offer.unfit)
            continue
        status = (folder.root / offer.row.path).stat()
        key = key_of(offer.row, status.st_size, status.st_mtime_ns)
        row = _below(offer.row, name)
        items.append(Item(row.path, key, row))
    found = run_items(run, f"{STAGE} of {name}", items, _measure, None, settings.jobs)
    outcome.failed += found.failed
    outcome.seconds += found.seconds
    return found.rows


def _measure(item: Item, run: Path, _: Any) -> Made:
    return Made((measured(item.row, run / item.row.path),))


def _fetched_rows(
    source: SourceSettings, place: Path, settings: Settings, outcome: Outcome
) -> list[Row]:
    from biodenoising.corpus.sources.fetch import fetch

    for remote in _remote(source):
        summary = fetch(
            remote, place, tiers=settings.tiers, limit=source.limit or None,
            observe=lambda what, offer, why: tell(f"failed   {why}") if what == "failed" else None,
        )  # fmt: skip
        outcome.failed += summary.failed
        if summary.stopped:
            tell(f"failed   {summary.stopped}")
            outcome.failed.append(summary.stopped)
        tell(f"{remote.name}: {summary}")
    manifest = place / MANIFEST_NAME
    return read_manifest(manifest) if manifest.exists() else []


def _remote(source: SourceSettings) -> Sequence[Source]:
    """Return the sources to fetch from. Raises OptionError, CorpusError."""
    from biodenoising.corpus.sources.catalogue import find_data_set, sources_of
    from biodenoising.corpus.sources.client import Client
    from biodenoising.corpus.sources.inaturalist import INaturalist
    from biodenoising.corpus.sources.url_manifest import UrlManifest
    from biodenoising.corpus.sources.xeno_canto import XenoCanto
    from biodenoising.corpus.sources.zenodo import Zenodo

    client, like = Client(), _like(source)
    address: dict[str, Any] = {"address": source.address} if source.address else {}
    chosen: dict[str, Any] = {"licences": source.licences} if source.licences else {}
    if source.kind == "url_manifest":
        sets = tuple(name for name in source.sets if name)
        return [UrlManifest(Path(source.path), sets, source.kinds, client)]
    if source.kind == "xeno_canto":
        quality = source.quality or None
        return [XenoCanto(source.query, quality, client=client, **chosen, **address)]
    if source.kind == "zenodo":
        return [Zenodo(source.record, source.include, like, client=client, **address)]
    if source.kind == "inaturalist":
        return [INaturalist(source.taxon, client=client, group=source.group, **chosen, **address)]
    return sources_of(find_data_set(source.data_set), client)


def _like(source: SourceSettings) -> Row:
    return Row(
        path="", kind=source.content, group=source.group, medium=source.medium, taxon=source.taxon
    )


def _link(place: Path, root: Path) -> None:
    """Make `place` a link to a source's folder, anew where it led elsewhere."""
    if not root.is_dir():
        raise OptionError(f"{printable(root)}: is no folder; give one with recordings")
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.is_symlink():
        place.unlink()
    try:
        place.symlink_to(root.resolve(), target_is_directory=True)
    except OSError as error:
        raise OptionError(
            f"{printable(place)}: cannot be linked to {printable(root)} ({error.strerror}); choose "
            "another run folder"
        ) from error


def _below(row: Row, name: str) -> Row:
    annotation = f"{FOLDER}/{name}/{row.annotation}" if row.annotation else ""
    path = f"{FOLDER}/{name}/{row.path}" if row.path else ""
    return dataclasses.replace(row, path=path, annotation=annotation)


def _refused(rows: list[Row], settings: Settings) -> list[Row]:
    """Return all rows, those that cannot be used with the reason, none with a path twice."""
    return list(_judged({row.path: row for row in rows if row.path}.values(), settings))


def _judged(rows: Any, settings: Settings) -> Iterator[Row]:
    first: dict[str, str] = {}
    for row in rows:
        licence = licence_name(row.licence)
        tier = row.tier or tier_of(licence)
        digest = row.sha256 or hashlib.sha256(os.fsencode(row.path)).hexdigest()
        row = dataclasses.replace(
            row,
            licence=row.licence or licence,
            tier=tier,
            source=row.source or row.path.split("/")[1],
            recording=row.recording or digest[:16],
        )
        reason = row.rejected
        if not reason and tier not in settings.tiers:
            reason = f"licence tier {tier}"
        if not reason and first.setdefault(digest, row.path) != row.path:
            reason = "the same file as another one"
        yield dataclasses.replace(row, rejected=reason)
