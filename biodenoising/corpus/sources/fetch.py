"""The loop over what a source offers: goes on after a failed file, resumes, ends with a summary.

The folder gets the files, `manifest.jsonl` with a row for every recording, and a hidden journal
with a line for every offer that is finished: the files come first, then the rows, then the line. A
run that breaks off anywhere finds the rest to do the next time.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout

from biodenoising.corpus.manifest import (
    MANIFEST_NAME,
    TIERS,
    Row,
    append_row,
    mend_manifest,
    read_manifest,
    write_manifest,
)
from biodenoising.corpus.sources.base import Offer, Source
from biodenoising.corpus.sources.download import remove_partials
from biodenoising.errors import (
    AudioReadError,
    AudioWriteError,
    CorpusError,
    DiskFullError,
)
from biodenoising.storage import (
    append_line,
    close_torn_line,
    printable,
    remove_leftovers,
    require_writable_folder,
)

JOURNAL_NAME = ".fetched.jsonl"
LOCK_NAME = ".biodenoise-data.lock"

# Called with what became of an offer ("fetched", "there", "unfit", "failed"), it, and a reason.
Observer = Callable[[str, Offer, str], None]


@dataclass
class FetchSummary:
    """What became of a run: offers counted, recordings, their length, reasons of what failed.

    `there` were fetched by an earlier run, `unfit` are of a tier or format that is not wanted,
    `unreadable` are members of archives that are no recordings. `stopped` says why the run ended
    before the last offer, or is "".
    """

    fetched: int = 0
    there: int = 0
    unfit: int = 0
    recordings: int = 0
    seconds: float = 0.0
    unreadable: int = 0
    failed: list[str] = field(default_factory=list)
    stopped: str = ""

    @property
    def ok(self) -> bool:
        """Whether nothing failed."""
        return not self.failed and not self.stopped

    def __str__(self) -> str:
        parts = [
            f"{self.fetched} fetched with {self.recordings} recordings "
            f"({self.seconds / 3600:.2f} h)",
            f"{self.there} there already",
        ]
        if self.unfit:
            parts.append(f"{self.unfit} not wanted or not usable")
        if self.unreadable:
            parts.append(f"{self.unreadable} recordings cannot be decoded")
        parts.append(f"{len(self.failed)} failed")
        if self.stopped:
            parts.append(f"ended early: {self.stopped}")
        return ", ".join(parts)


def fetch(
    source: Source,
    folder: Path,
    *,
    tiers: tuple[str, ...] = TIERS,
    limit: int | None = None,
    observe: Observer | None = None,
) -> FetchSummary:
    """Fetch what a source offers into a folder and return what became of it.

    Only recordings of the `tiers` are taken, at most `limit` offers. A file that fails is counted
    and the next one tried; a full disk or a search that fails ends the run, with a summary.

    Raises:
        BatchError: the folder cannot be written to.
        CorpusError: another run is writing there, or the manifest there is damaged.
    """
    require_writable_folder(folder)
    summary = FetchSummary()
    tell = observe or _tell_nobody
    with _locked(folder):
        remove_leftovers(folder)
        done = _Done(folder)
        offers = source.search()
        taken = 0
        while limit is None or taken < limit:
            try:
                offer = next(offers, None)
                if offer is None:
                    break
                unfit = offer.unfit or _unwanted(offer.row, tiers)
                if unfit:
                    summary.unfit += 1
                    tell("unfit", offer, unfit)
                    continue
                taken += 1
                if done.has(offer):
                    summary.there += 1
                    tell("there", offer, "")
                    continue
                _take(source, offer, folder, done, summary, tell)
            except (CorpusError, DiskFullError) as error:
                summary.stopped = str(error)
                break
        if summary.ok and limit is None:
            # Pieces of files that the source does not offer any more.
            remove_partials(folder)
    return summary


def _take(
    source: Source,
    offer: Offer,
    folder: Path,
    done: _Done,
    summary: FetchSummary,
    tell: Observer,
) -> None:
    """Fetch one offer and note it down. Raises DiskFullError only."""
    try:
        rows = source.download(offer, folder)
    except DiskFullError:
        raise
    except (CorpusError, AudioReadError, AudioWriteError) as error:
        if isinstance(error, AudioReadError) and source.name != "folder":
            # What is no recording would be taken for one that is there.
            (folder / offer.row.path).unlink(missing_ok=True)
        summary.failed.append(str(error))
        tell("failed", offer, str(error))
        return
    done.add(offer, rows)
    readable = [row for row in rows if not row.rejected]
    summary.fetched += 1
    summary.recordings += len(readable)
    summary.unreadable += len(rows) - len(readable)
    summary.seconds += sum(row.duration_s for row in readable)
    tell("fetched", offer, "")


class _Done:
    """What earlier runs brought into a folder: its manifest and its journal."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._manifest = folder / MANIFEST_NAME
        self._journal = folder / JOURNAL_NAME
        mend_manifest(self._manifest)
        rows = read_manifest(self._manifest) if self._manifest.exists() else []
        self._rows = {row.path: row for row in rows}
        self._offers = dict(_journal_lines(self._journal))

    def has(self, offer: Offer) -> bool:
        """Tell whether an offer was finished and all that came of it still is there."""
        paths = self._offers.get(offer.key)
        return paths is not None and all(
            path in self._rows and (self._folder / path).is_file() for path in paths
        )

    def add(self, offer: Offer, rows: list[Row]) -> None:
        """Note down a finished offer: its rows first, then the line that says it is finished."""
        changed = [row for row in rows if row.path in self._rows and self._rows[row.path] != row]
        new = [row for row in rows if row.path not in self._rows]
        self._rows.update({row.path: row for row in rows})
        if changed:
            write_manifest(self._manifest, self._rows.values())
        else:
            for row in new:
                append_row(self._manifest, row)
        paths = [row.path for row in rows]
        append_line(self._journal, json.dumps({"offer": offer.key, "paths": paths}))
        self._offers[offer.key] = paths


def _journal_lines(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield the finished offers; lines that a crash tore are passed over and so done again."""
    if not path.exists():
        return
    close_torn_line(path)
    with open(path, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            try:
                record = json.loads(line)
                yield str(record["offer"]), [str(name) for name in record["paths"]]
            except (ValueError, TypeError, KeyError, RecursionError):
                continue


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    lock = FileLock(folder / LOCK_NAME)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise CorpusError(
            f"{printable(folder)}: another run is writing there; wait for it or choose another "
            "OUTPUT"
        ) from error
    except OSError as error:
        raise CorpusError(
            f"{printable(folder)}: cannot be locked for this run ({error.strerror}); choose "
            "another OUTPUT"
        ) from error
    try:
        yield
    finally:
        lock.release()


def _unwanted(row: Row, tiers: tuple[str, ...]) -> str:
    if row.tier in tiers:
        return ""
    return f"its licence ({row.licence or 'none stated'}) is {row.tier or 'not known'}"


def _tell_nobody(what: str, offer: Offer, reason: str) -> None:
    """Observe nothing."""
