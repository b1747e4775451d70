"""Sounds of observations on iNaturalist: https://api.inaturalist.org/v1/docs/

Each sound has its own licence, and without one all rights are reserved: such sounds are never
offered. Pages go by the observation's number, as the service asks for long listings.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from biodenoising.corpus.manifest import Row
from biodenoising.corpus.sources.base import (
    Offer,
    field_of,
    licensed,
    mapping_of,
    measured,
    safe_name,
    unfit_reason,
)
from biodenoising.corpus.sources.client import Client
from biodenoising.corpus.sources.download import Wanted, download
from biodenoising.errors import CorpusError, OptionError

ADDRESS = "https://api.inaturalist.org/v1/observations"
PAGE = "https://www.inaturalist.org/observations"
PER_PAGE = 200
LICENCES = (
    "cc0", "cc-by", "cc-by-sa", "cc-by-nc", "cc-by-nc-sa", "cc-by-nd", "cc-by-nc-nd",
)  # fmt: skip
FREE = ("cc0", "cc-by", "cc-by-sa", "cc-by-nc", "cc-by-nc-sa")
GRADES = ("research", "needs_id", "casual")
GROUPS = {
    "Aves": "bird",
    "Amphibia": "frog",
    "Insecta": "insect",
    "Mammalia": "mammal",
    "Reptilia": "reptile",
    "Actinopterygii": "fish",
}
ENDINGS = {
    "audio/mpeg": ".mp3", "audio/mp3": ".mp3", "audio/wav": ".wav", "audio/x-wav": ".wav",
    "audio/vnd.wave": ".wav", "audio/flac": ".flac", "audio/ogg": ".ogg", "audio/mp4": ".m4a",
    "audio/x-m4a": ".m4a", "audio/m4a": ".m4a",
}  # fmt: skip


@dataclass(frozen=True)
class INaturalist:
    """The sounds of observations of a taxon (scientific name), of research grade unless told.

    `licences` are the service's codes; adaptations must be allowed, so those with `nd` are not
    among the default ones. `place` is a place's number. `group` overrides what the taxon says:
    the service does not tell bats, whales or seals from other mammals.
    """

    taxon: str
    licences: tuple[str, ...] = FREE
    grade: str = "research"
    place: int | None = None
    group: str = ""
    address: str = ADDRESS
    per_page: int = PER_PAGE
    client: Client = field(default_factory=Client)
    name: str = "inaturalist"

    def __post_init__(self) -> None:
        if not self.taxon.strip():
            raise OptionError("the taxon is empty; give a scientific name, such as Hyla arborea")
        for code in self.licences:
            if code not in LICENCES:
                raise OptionError(f"the licence {code!r} is none of {', '.join(LICENCES)}")
        if self.grade not in GRADES:
            raise OptionError(f"the grade {self.grade!r} is none of {', '.join(GRADES)}")

    def search(self) -> Iterator[Offer]:
        """Yield the sounds of all observations, the oldest observation first."""
        parameters: dict[str, str | int] = {
            "taxon_name": self.taxon,
            "sounds": "true",
            "sound_license": ",".join(self.licences),
            "quality_grade": self.grade,
            "order_by": "id",
            "order": "asc",
            "per_page": self.per_page,
        }
        if self.place is not None:
            parameters["place_id"] = self.place
        last = 0
        while True:
            answer = self.client.get_json(self.address, {**parameters, "id_above": last})
            observations = field_of(answer, self.address, "results")
            if not isinstance(observations, list):
                raise CorpusError(f"{self.address}: the answer's results are no list")
            if not observations:
                return
            for observation in observations:
                yield from self._offers(observation)
            above = max(_number(observation, self.address) for observation in observations)
            if above <= last:
                raise CorpusError(f"{self.address}: the same page comes again; stop here")
            last = above

    def download(self, offer: Offer, folder: Path) -> list[Row]:
        """Fetch one sound."""
        target = folder / offer.row.path
        digest = download(self.client, Wanted(offer.row.url, target, offer.checksum, offer.size))
        return [measured(offer.row, target, sha256=digest)]

    def _offers(self, observation: Any) -> Iterator[Offer]:
        number = _number(observation, self.address)
        taxon = mapping_of(observation.get("taxon"))
        for sound in map(mapping_of, observation.get("sounds") or []):
            url, code = sound.get("file_url"), sound.get("license_code")
            # An observation is found by any of its sounds; the others have licences of their own.
            if not url or sound.get("hidden") or code not in self.licences:
                continue
            identity = _number(sound, self.address)
            ending = Path(safe_name(PurePosixPath(urlsplit(str(url)).path).name)).suffix.lower()
            if not ending:
                ending = ENDINGS.get(str(sound.get("file_content_type")), ".bin")
            row = Row(
                path=f"{self.name}/{number}_{identity}{ending}",
                kind="vocal",
                stage="recording",
                group=self.group or GROUPS.get(str(taxon.get("iconic_taxon_name")), "other"),
                taxon=str(taxon.get("name") or ""),
                common=str(taxon.get("preferred_common_name") or ""),
                medium="air",
                url=str(url),
                source=self.name,
                # Sounds of one observation are of one place and hour: they stay together.
                recording=f"iNat{number}",
                quality=str(observation.get("quality_grade") or ""),
                attribution=f"{sound.get('attribution') or 'unknown'}, {PAGE}/{number}",
            )
            yield Offer(licensed(row, code), unfit=unfit_reason(row.path))


def _number(record: Any, where: str) -> int:
    value = field_of(record, where, "id")
    if not isinstance(value, int):
        raise CorpusError(f"{where}: an id is {str(value)[:40]!r}, no number")
    return value
