"""Records of Zenodo by their number: https://developers.zenodo.org

Every file has an MD5 and a size in the record, and both are checked.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any
from urllib.parse import quote

from biodenoising.corpus.manifest import Row
from biodenoising.corpus.sources.archives import ArchiveLimits
from biodenoising.corpus.sources.base import Offer, field_of, licensed, mapping_of, safe_name
from biodenoising.corpus.sources.client import Client
from biodenoising.corpus.sources.files import fetch_file, is_useful
from biodenoising.errors import CorpusError, OptionError

ADDRESS = "https://zenodo.org/api/records"
PAGE = "https://zenodo.org/records"
CREATORS_SHOWN = 5


@dataclass(frozen=True)
class Zenodo:
    """The files of one record.

    `include` are patterns of file names; without any, all audio, annotations and archives are
    taken. `like` is what is known of all its recordings: kind, group, medium, taxon.
    """

    record: int
    include: tuple[str, ...] = ()
    like: Row = field(default_factory=lambda: Row(path="", kind="vocal"))
    address: str = ADDRESS
    limits: ArchiveLimits = field(default_factory=ArchiveLimits)
    client: Client = field(default_factory=Client)
    name: str = "zenodo"

    def __post_init__(self) -> None:
        if self.record <= 0:
            raise OptionError(f"{self.record} is no number of a Zenodo record")

    def search(self) -> Iterator[Offer]:
        """Yield the record's files. Raises CorpusError where it is not open or has none."""
        where = f"{self.address}/{self.record}"
        answer = self.client.get_json(where)
        metadata = mapping_of(field_of(answer, where, "metadata"))
        files = answer.get("files")
        if not files or not isinstance(files, list):
            raise CorpusError(
                f"{where}: the record shows no files; they may be restricted, see "
                f"{PAGE}/{self.record}"
            )
        licence = metadata.get("license")
        statement = licence.get("id") if isinstance(licence, dict) else licence
        row = dataclasses.replace(
            licensed(self.like, str(statement or "")),
            stage="recording",
            source=self.name,
            attribution=_credit(metadata, f"{PAGE}/{self.record}"),
        )
        for entry in files:
            key = str(field_of(entry, where, "key"))
            if any(fnmatchcase(key, pattern) for pattern in self.include) or (
                not self.include and is_useful(key)
            ):
                yield self._offer(row, key, entry, where)

    def download(self, offer: Offer, folder: Path) -> list[Row]:
        """Fetch one file; of a zip archive, return a row for every recording in it."""
        return fetch_file(self.client, offer, folder, self.limits)

    def _offer(self, row: Row, key: str, entry: dict[str, Any], where: str) -> Offer:
        url = mapping_of(entry.get("links")).get("self") or f"{where}/files/{quote(key)}/content"
        size = entry.get("size")
        named = dataclasses.replace(
            row,
            path=f"{self.name}/{self.record}/{safe_name(key)}",
            url=str(url),
            recording=f"zenodo{self.record}/{key}",
        )
        checksum = str(entry.get("checksum") or "")
        return Offer(named, checksum, size if isinstance(size, int) else None)


def _credit(metadata: dict[str, Any], page: str) -> str:
    """Return who made a record, its title and its page."""
    creators = metadata.get("creators")
    found = map(mapping_of, creators if isinstance(creators, list) else [])
    names = [str(one["name"]) for one in found if one.get("name")]
    shown = "; ".join(names[:CREATORS_SHOWN])
    if len(names) > CREATORS_SHOWN:
        shown += " and others"
    return ", ".join(text for text in (shown, str(metadata.get("title") or ""), page) if text)
