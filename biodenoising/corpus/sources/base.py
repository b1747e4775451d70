"""What every source of recordings offers: a search, and a download of what was found."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from biodenoising.audio import EXTENSIONS, open_reader
from biodenoising.corpus.licences import licence_name, tier_of
from biodenoising.corpus.manifest import Row
from biodenoising.errors import CorpusError
from biodenoising.storage import sha256_of

LONGEST_NAME = 120


@dataclass(frozen=True)
class Offer:
    """A file that a source has: what is known of it before it is fetched.

    `row.path` is where it will lie; `checksum` is "md5:..." or "sha256:..." as the source states
    it, or ""; `size` in bytes, or None; `unfit` says why it is not worth fetching, or "".
    """

    row: Row
    checksum: str = ""
    size: int | None = None
    unfit: str = ""

    @property
    def key(self) -> str:
        """What tells this file from all others, also in a later run."""
        size = "" if self.size is None else self.size
        return f"{self.row.source} {self.row.url} {self.row.path} {self.checksum or size}".strip()


class Source(Protocol):
    """A place that has recordings. `name` stands in the rows and in front of their paths."""

    @property
    def name(self) -> str:
        """Short name of the source."""

    def search(self) -> Iterator[Offer]:
        """Yield what there is, a page at a time. Raises CorpusError where the search fails."""

    def download(self, offer: Offer, folder: Path) -> list[Row]:
        """Bring an offered file into `folder`; return a row for each recording it held.

        What is there whole already is not fetched again. Raises CorpusError where the file cannot
        be had as it was promised, AudioReadError where it is no recording, DiskFullError.
        """


def safe_name(text: str) -> str:
    """Return text as the name of one file or folder on any system, in ASCII without blanks.

    >>> safe_name("../XC1 Große Eule?.mp3"), safe_name("..")
    ('XC1_Gro_e_Eule_.mp3', 'unnamed')
    """
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", text).lstrip("._-").rstrip("._ ")
    if len(name) > LONGEST_NAME:
        ending = PurePosixPath(name).suffix[:10]
        digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:10]
        name = f"{name[: LONGEST_NAME - len(ending) - 11]}_{digest}{ending}"
    return name or "unnamed"


def measured(row: Row, path: Path, *, sha256: str = "") -> Row:
    """Return the row of a fetched file with what the file itself says: rate, length, hash.

    `sha256` saves reading the file again where it is known. Raises AudioReadError.
    """
    with open_reader(path) as reader:
        info = reader.info
    expansion = row.time_expansion
    digest = sha256 or sha256_of(path)
    return dataclasses.replace(
        row,
        sample_rate=round(info.sample_rate * expansion),
        duration_s=round(info.frames / (info.sample_rate * expansion), 4),
        sha256=digest,
        url_sha256=row.url_sha256 or digest,
        original_format=row.original_format or info.container.lower(),
        recording=row.recording or digest[:16],
    )


def licensed(row: Row, statement: str | None) -> Row:
    """Return the row with the licence that a source states, in its short name, and its tier."""
    licence = licence_name(statement or "")
    return dataclasses.replace(row, licence=licence, tier=tier_of(licence))


def unfit_reason(path: str) -> str:
    """Return why a file of that name cannot be used, or "".

    >>> unfit_reason("a/b.mp3"), unfit_reason("a/b.m4a")
    ('', '.m4a cannot be decoded here')
    """
    ending = PurePosixPath(path).suffix.lower()
    return (
        ""
        if ending in EXTENSIONS
        else f"{ending or 'a file without ending'} cannot be decoded here"
    )


def mapping_of(value: Any) -> dict[str, Any]:
    """Return a value that should be a JSON object, an empty one where it is none."""
    return value if isinstance(value, dict) else {}


def field_of(record: Any, where: str, *keys: str | int) -> Any:
    """Return what lies at the keys of an answer. Raises CorpusError where it has no such place."""
    value = record
    for key in keys:
        try:
            value = value[key]
        except (KeyError, IndexError, TypeError) as error:
            place = ".".join(str(key) for key in keys)
            raise CorpusError(
                f"{where}: the answer has no {place}; the service may have changed, see its pages"
            ) from error
    return value
