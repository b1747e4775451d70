"""The data sets that the paper drew on, and what else is public: where, how much, which licence.

`catalogue.jsonl` beside this module holds one line a set. Hours are those the paper used, or the
record's own where `note` says so. Licences are as far as known: the record's page decides.
"""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from biodenoising.corpus.manifest import Row
from biodenoising.errors import CorpusError

if TYPE_CHECKING:
    from biodenoising.corpus.sources.base import Source
    from biodenoising.corpus.sources.client import Client

CATALOGUE = Path(__file__).with_name("catalogue.jsonl")


@dataclass(frozen=True)
class DataSet:
    """One data set: `source` is zenodo, archive.org, xeno-canto, inaturalist or hand.

    `hours` is None where it is not known; `access` is open, key, account, bucket, by hand,
    on request or private; `records` are Zenodo's numbers.
    """

    name: str
    title: str
    kind: str
    source: str
    records: tuple[int, ...] = ()
    hours: float | None = None
    medium: str = ""
    group: str = ""
    taxa: str = ""
    licence: str = ""
    access: str = "open"
    url: str = ""
    note: str = ""

    @property
    def fetchable(self) -> bool:
        """Whether `get` can bring it here without anybody's help."""
        return self.access == "open" and self.source in ("zenodo", "archive.org")

    @property
    def page(self) -> str:
        """Where a person reads more."""
        if self.url or not self.records:
            return self.url
        return f"https://zenodo.org/records/{self.records[0]}"


def read_catalogue(path: Path = CATALOGUE) -> dict[str, DataSet]:
    """Return the data sets by name, in the catalogue's order."""
    sets = {}
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            record = json.loads(line)
            record["records"] = tuple(record.get("records", ()))
            data_set = DataSet(**record)
            sets[data_set.name] = data_set
    return sets


def find_data_set(name: str) -> DataSet:
    """Return a data set by its name. Raises CorpusError naming the nearest one."""
    sets = read_catalogue()
    if name not in sets:
        near = difflib.get_close_matches(name, sets, n=1, cutoff=0.0)
        raise CorpusError(
            f"there is no data set {name!r}, the nearest is {near[0]!r}; see `biodenoise-data list`"
        )
    return sets[name]


def sources_of(data_set: DataSet, client: Client) -> list[Source]:
    """Return the sources that together hold a data set.

    Raises CorpusError for one that has to be had by hand, saying where.
    """
    if not data_set.fetchable:
        where = f", see {data_set.page}" if data_set.page else ""
        note = f" ({data_set.note})" if data_set.note else ""
        raise CorpusError(
            f"{data_set.name}: cannot be fetched by itself, access is {data_set.access}{where}"
            f"{note}; once you have it, take it with `biodenoise-data folder`"
        )
    like = Row(
        path="",
        kind=data_set.kind,
        group=data_set.group,
        medium=data_set.medium,
        # Several species cannot stand in the place of one.
        taxon=data_set.taxa if data_set.taxa[:1].isupper() else "",
    )
    if data_set.source == "zenodo":
        from biodenoising.corpus.sources.zenodo import Zenodo

        return [Zenodo(record, like=like, client=client) for record in data_set.records]
    from biodenoising.corpus.sources.archive_org import ArchiveOrg

    return [ArchiveOrg(PurePosixPath(data_set.url).name, like=like, client=client)]
