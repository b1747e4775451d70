"""Xeno-canto, API version 3: https://xeno-canto.org/explore/api

A free key is needed (xeno-canto.org/account); it is taken from the environment variable
XENO_CANTO_KEY and goes nowhere but to the service. Its recordists keep their rights: every row
carries the recordist, the page and the licence.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from biodenoising.corpus.licences import licence_name
from biodenoising.corpus.manifest import Row
from biodenoising.corpus.sources.base import (
    Offer,
    field_of,
    licensed,
    measured,
    safe_name,
    unfit_reason,
)
from biodenoising.corpus.sources.client import Client
from biodenoising.corpus.sources.download import Wanted, download
from biodenoising.errors import CorpusError, OptionError

KEY_VARIABLE = "XENO_CANTO_KEY"
ADDRESS = "https://xeno-canto.org/api/3/recordings"
PAGE = "https://xeno-canto.org"
QUALITIES = "ABCDE"
GROUPS = {
    "birds": "bird",
    "grasshoppers": "insect",
    "bats": "bat",
    "frogs": "frog",
    "land mammals": "mammal",
    "soundscape": "none",
}
PER_PAGE = 500


@dataclass(frozen=True)
class XenoCanto:
    """The recordings that a query finds.

    `query` is in the service's own language (`gen:larus type:song`; tags are required).
    `quality` is the worst grade taken, A to E; ungraded ones are taken only without it.
    `licences` are beginnings of names (`CC-BY-NC-SA`), `length_s` is (least, most), `country` as
    the service writes it. Filters hold on top of the query.
    """

    query: str
    quality: str | None = None
    licences: tuple[str, ...] = ()
    length_s: tuple[float, float] | None = None
    country: str | None = None
    key: str | None = None
    address: str = ADDRESS
    per_page: int = PER_PAGE
    client: Client = field(default_factory=Client)
    name: str = "xeno-canto"

    def __post_init__(self) -> None:
        if not self.query.strip():
            raise OptionError("the query is empty; write for example gen:larus type:song")
        if self.quality is not None and self.quality not in list(QUALITIES):
            raise OptionError(f"the quality {self.quality!r} is none of {', '.join(QUALITIES)}")

    def search(self) -> Iterator[Offer]:
        """Yield the recordings of all pages. Raises CorpusError for a missing or refused key."""
        key = self.key or os.environ.get(KEY_VARIABLE, "")
        if not key:
            raise CorpusError(
                f"Xeno-canto needs a key: get yours at {PAGE}/account and set {KEY_VARIABLE}"
            )
        page, pages = 1, 1
        while page <= pages:
            answer = self.client.get_json(
                self.address,
                {"query": self._tags(), "key": key, "page": page, "per_page": self.per_page},
            )
            records = field_of(answer, self.address, "recordings")
            pages = _whole(field_of(answer, self.address, "numPages"), self.address)
            if not isinstance(records, list):
                raise CorpusError(f"{self.address}: the answer's recordings are no list")
            for record in records:
                offer = self._offer(record)
                if offer is not None:
                    yield offer
            page += 1

    def download(self, offer: Offer, folder: Path) -> list[Row]:
        """Fetch one recording."""
        target = folder / offer.row.path
        digest = download(self.client, Wanted(offer.row.url, target, offer.checksum, offer.size))
        return [measured(offer.row, target, sha256=digest)]

    def _tags(self) -> str:
        """Return the query with those filters that the service knows as tags."""
        tags = [self.query.strip()]
        if self.country is not None:
            tags.append(f'cnt:"{self.country}"')
        if self.length_s is not None:
            tags.append(f"len:{self.length_s[0]:g}-{self.length_s[1]:g}")
        if self.quality == "A":
            tags.append("q:A")
        elif self.quality is not None and self.quality != "E":
            tags.append(f'q:">{QUALITIES[QUALITIES.index(self.quality) + 1]}"')
        return " ".join(tags)

    def _offer(self, record: Any) -> Offer | None:
        """Return a recording as an offer, None where a filter or the service holds it back."""
        number = str(field_of(record, self.address, "id"))
        url = str(record.get("file") or "")
        # Recordings of species under threat are listed without their file.
        if not url or not self._wanted(record):
            return None
        named = str(record.get("file-name") or f"XC{number}.mp3")
        genus, species = str(record.get("gen") or ""), str(record.get("sp") or "")
        group = GROUPS.get(str(record.get("grp") or "birds").lower(), "other")
        kind = "soundscape" if genus.lower() == "sonus" else "vocal"
        ending = Path(safe_name(named)).suffix.lower() or ".mp3"
        row = Row(
            path=f"{self.name}/XC{safe_name(number)}{ending}",
            kind=kind,
            stage="recording",
            group=group if kind == "vocal" else "none",
            taxon=f"{genus} {species}".strip() if kind == "vocal" else "",
            common=str(record.get("en") or "") if kind == "vocal" else "",
            medium="air",
            duration_s=_seconds(record.get("length")),
            url=f"https:{url}" if url.startswith("//") else url,
            source=self.name,
            recording=f"XC{number}",
            quality=str(record.get("q") or ""),
            attribution=f"{record.get('rec') or 'unknown'}, XC{number}, {PAGE}/{number}",
            notes=f"{record.get('cnt') or ''}; {record.get('type') or ''}".strip("; "),
        )
        return Offer(licensed(row, str(record.get("lic") or "")), unfit=unfit_reason(row.path))

    def _wanted(self, record: Any) -> bool:
        grade = str(record.get("q") or "")
        if self.quality is not None and (grade not in list(QUALITIES) or grade > self.quality):
            return False
        licence = licence_name(str(record.get("lic") or ""))
        if self.licences and not any(_begins(licence, wanted) for wanted in self.licences):
            return False
        country = str(record.get("cnt") or "")
        if self.country is not None and country.casefold() != self.country.casefold():
            return False
        if self.length_s is None:
            return True
        return self.length_s[0] <= _seconds(record.get("length")) <= self.length_s[1]


def _begins(licence: str, wanted: str) -> bool:
    """Tell whether a licence is the wanted one in any version.

    >>> _begins("CC-BY-NC-4.0", "cc-by-nc"), _begins("CC-BY-NC-4.0", "CC-BY")
    (True, False)
    """
    plain = wanted.strip().upper()
    rest = licence.upper().removeprefix(plain)
    return licence.upper().startswith(plain) and (not rest or rest.lstrip("-")[:1].isdigit())


def _seconds(length: Any) -> float:
    """Return "1:02" or "1:00:02" in seconds, 0 where it is no time.

    >>> _seconds("1:02"), _seconds("1:00:02"), _seconds(None)
    (62.0, 3602.0, 0.0)
    """
    seconds = 0.0
    for part in str(length or "").split(":"):
        try:
            seconds = 60 * seconds + float(part)
        except ValueError:
            return 0.0
    return seconds if 0 <= seconds < 1e7 else 0.0


def _whole(value: Any, where: str) -> int:
    try:
        return int(value)
    except (TypeError, ValueError) as error:
        raise CorpusError(
            f"{where}: the answer's number of pages is {str(value)[:40]!r}"
        ) from error
