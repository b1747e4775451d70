"""A file of a repository, whatever it is: a recording, annotations, or an archive of both.

Zip archives are unpacked with care; of their members the audio and the annotations are kept, and
the archive is deleted. Other archives are refused before they are fetched.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path, PurePosixPath

from biodenoising.audio import EXTENSIONS
from biodenoising.corpus.manifest import Row
from biodenoising.corpus.sources.archives import ArchiveLimits, unpack
from biodenoising.corpus.sources.base import Offer, measured
from biodenoising.corpus.sources.client import Client
from biodenoising.corpus.sources.download import Wanted, download
from biodenoising.errors import AudioReadError, CorpusError

ANNOTATIONS = frozenset({".csv", ".tsv", ".txt", ".svl", ".json", ".xml", ".textgrid"})
PACKED = frozenset({".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar"})
SPLIT = re.compile(r"\.z\d\d$", re.IGNORECASE)


def is_useful(name: str) -> bool:
    """Tell whether a repository's file may hold audio or annotations, by its name."""
    ending = PurePosixPath(name).suffix.lower()
    return ending in EXTENSIONS | ANNOTATIONS | PACKED or SPLIT.search(name) is not None


def fetch_file(client: Client, offer: Offer, folder: Path, limits: ArchiveLimits) -> list[Row]:
    """Fetch a file and return a row for every recording in it, none for annotations.

    Members of an archive that cannot be decoded have their reason in `rejected`.
    Raises what `download`, `unpack` and `measured` raise.
    """
    target = folder / offer.row.path
    ending = target.suffix.lower()
    if SPLIT.search(target.name) or (ending in PACKED and ending != ".zip"):
        raise CorpusError(
            f"{offer.row.url}: only whole zip archives are unpacked; fetch and unpack it by hand, "
            "then take the folder with `biodenoise-data folder`"
        )
    digest = download(client, Wanted(offer.row.url, target, offer.checksum, offer.size))
    if ending != ".zip":
        return [measured(offer.row, target, sha256=digest)] if ending in EXTENSIONS else []
    place = PurePosixPath(offer.row.path).with_suffix("")
    rows = []
    for name, path in unpack(target, folder / place, wanted=_is_kept, limits=limits):
        if path.suffix.lower() not in EXTENSIONS:
            continue
        row = dataclasses.replace(
            offer.row,
            path=f"{place}/{name}",
            recording=f"{offer.row.recording}/{name}",
            url_sha256=digest,
            member=name,
        )
        try:
            rows.append(measured(row, path))
        except AudioReadError as error:
            rows.append(dataclasses.replace(row, rejected=str(error)))
    # Gone only when its members are there: a run that breaks off before finds it again.
    target.unlink(missing_ok=True)
    return rows


def _is_kept(name: str) -> bool:
    path = PurePosixPath(name)
    # "__MACOSX/._x.wav" has a sound's name and holds none.
    hidden = any(part.startswith((".", "__MACOSX")) for part in path.parts)
    return not hidden and path.suffix.lower() in EXTENSIONS | ANNOTATIONS
