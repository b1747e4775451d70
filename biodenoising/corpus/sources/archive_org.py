"""Items of the Internet Archive by their name: https://archive.org/developers/metadata.html

Every original file has an MD5 and a size, and both are checked; what the archive derived from the
originals (other formats, pictures) is left out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from biodenoising.corpus.manifest import Row
from biodenoising.corpus.sources.archives import ArchiveLimits
from biodenoising.corpus.sources.base import Offer, field_of, licensed, mapping_of, safe_name
from biodenoising.corpus.sources.client import Client
from biodenoising.corpus.sources.files import fetch_file, is_useful
from biodenoising.errors import CorpusError, OptionError

ADDRESS = "https://archive.org"


@dataclass(frozen=True)
class ArchiveOrg:
    """The original files of one item. `like` is what is known of all its recordings."""

    item: str
    like: Row = field(default_factory=lambda: Row(path="", kind="vocal"))
    address: str = ADDRESS
    limits: ArchiveLimits = field(default_factory=ArchiveLimits)
    client: Client = field(default_factory=Client)
    name: str = "archive.org"

    def __post_init__(self) -> None:
        if self.item != safe_name(self.item):
            raise OptionError(f"{self.item!r} is no name of an item of the Internet Archive")

    def search(self) -> Iterator[Offer]:
        """Yield the item's files. Raises CorpusError where there is no such item."""
        where = f"{self.address}/metadata/{self.item}"
        answer = self.client.get_json(where)
        # An item that does not exist is answered with an empty object, not with 404.
        if not answer:
            raise CorpusError(f"{where}: there is no such item; check its name")
        files = field_of(answer, where, "files")
        metadata = mapping_of(answer.get("metadata"))
        credit = (metadata.get("creator"), metadata.get("title"), f"{ADDRESS}/details/{self.item}")
        row = dataclasses.replace(
            licensed(self.like, str(metadata.get("licenseurl") or "")),
            stage="recording",
            source=self.name,
            attribution=", ".join(str(text) for text in credit if text),
        )
        for entry in map(mapping_of, files if isinstance(files, list) else []):
            name = str(field_of(entry, where, "name"))
            if entry.get("source") == "original" and is_useful(name):
                yield self._offer(row, name, entry)

    def download(self, offer: Offer, folder: Path) -> list[Row]:
        """Fetch one file; of a zip archive, return a row for every recording in it."""
        return fetch_file(self.client, offer, folder, self.limits)

    def _offer(self, row: Row, name: str, entry: dict[str, Any]) -> Offer:
        places = "/".join(safe_name(part) for part in name.split("/"))
        named = dataclasses.replace(
            row,
            path=f"{self.name}/{self.item}/{places}",
            url=f"{self.address}/download/{self.item}/{quote(name)}",
            recording=f"{self.item}/{name}",
        )
        size = str(entry.get("size") or "")
        checksum = f"md5:{entry['md5']}" if entry.get("md5") else ""
        return Offer(named, checksum, int(size) if size.isdecimal() else None)
