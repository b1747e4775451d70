"""A manifest whose rows name addresses: originals are fetched, and clips cut out of them again.

The cut is the corpus's rule: decode the original (or its parts, joined), take the channel with the
largest standard deviation, subtract its mean, cut from `start_s` for `duration_s` of the true rate,
subtract the mean, scale by `gain_db`. Long originals are read in blocks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

import numpy as np
import soundfile
from numpy.typing import NDArray

from biodenoising.audio import EXTENSIONS, open_reader
from biodenoising.corpus.manifest import Part, Row, read_manifest
from biodenoising.corpus.sources.base import Offer, measured, safe_name, unfit_reason
from biodenoising.corpus.sources.client import Client
from biodenoising.corpus.sources.download import Wanted, download
from biodenoising.errors import CorpusError
from biodenoising.storage import sha256_of, whole_file, write_error

ORIGINALS = "originals"
BLOCK_FRAMES = 1 << 16
FLAC_HIGHEST_HZ, FLAC_FINE_HZ = 655_350, 65_535
# Decoders differ by a frame or two at the end of lossy files.
MISSING_S = 0.05


@dataclass(frozen=True)
class UrlManifest:
    """The rows of a manifest, of all or of chosen sets (train, benchmark) and kinds.

    A row of stage `recording` is fetched to its path; every other is cut out of its original, which
    is kept below `originals/` for the other clips of it, and written as FLAC (or WAV, where FLAC
    cannot hold the rate).
    """

    path: Path
    sets: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    client: Client = field(default_factory=Client)
    name: str = "manifest"

    def search(self) -> Iterator[Offer]:
        """Yield the rows that name an address. Raises CorpusError for a bad manifest."""
        for row in read_manifest(self.path):
            if self.sets and row.set not in self.sets:
                continue
            if self.kinds and row.kind not in self.kinds:
                continue
            if row.stage == "recording":
                checksum = f"sha256:{row.url_sha256}" if row.url_sha256 else ""
                yield Offer(row, checksum, unfit=_unfit(row))
            else:
                yield Offer(_clip_row(row), unfit=_unfit(row))

    def download(self, offer: Offer, folder: Path) -> list[Row]:
        """Fetch one recording, or the original of one clip, and cut the clip."""
        row = offer.row
        target = folder / row.path
        if row.stage == "recording":
            digest = download(self.client, Wanted(row.url, target, offer.checksum))
            return [measured(row, target, sha256=digest)]
        parts = row.parts or (Part(row.url, row.url_sha256),)
        originals = [self._original(part, folder) for part in parts]
        piece = cut(originals, row)
        container = "FLAC" if target.suffix == ".flac" else "WAV"
        subtype = "PCM_24" if container == "FLAC" else "FLOAT"
        with whole_file(target) as temporary:
            try:
                soundfile.write(
                    temporary, piece, row.sample_rate, format=container, subtype=subtype
                )
            except soundfile.LibsndfileError as error:
                raise write_error(target, error) from error
        return [dataclasses.replace(row, sha256=sha256_of(target))]

    def _original(self, part: Part, folder: Path) -> Path:
        ending = PurePosixPath(safe_name(urlsplit(part.url).path)).suffix.lower()
        name = part.sha256 or safe_name(part.url)
        target = folder / ORIGINALS / name[:2] / f"{name[:40]}{ending}"
        checksum = f"sha256:{part.sha256}" if part.sha256 else ""
        download(self.client, Wanted(part.url, target, checksum))
        return target


def cut(originals: Sequence[Path], row: Row) -> NDArray[np.float64]:
    """Return the clip that a row describes, shape (samples,), from its originals in their order.

    Raises:
        CorpusError: the originals are of different rates or channel counts, or end too early.
        AudioReadError: one of them cannot be decoded.
    """
    channel, mean = _loudest(originals)
    start = round(row.start_s * row.sample_rate)
    wanted = round(row.duration_s * row.sample_rate)
    pieces = []
    place = 0
    for block in _blocks(originals):
        low, high = max(start - place, 0), min(start + wanted - place, block.shape[1])
        if low < high:
            pieces.append(block[channel, low:high].astype(np.float64) - mean)
        place += block.shape[1]
        if place >= start + wanted:
            break
    piece = np.concatenate(pieces) if pieces else np.zeros(0)
    if len(piece) < max(1, wanted - MISSING_S * row.sample_rate):
        raise CorpusError(
            f"{row.path}: the original ends {(wanted - len(piece)) / row.sample_rate:.2f} s before "
            "the clip does; it is not the file of the manifest"
        )
    return np.asarray((piece - piece.mean()) * 10 ** (row.gain_db / 20))


def _loudest(originals: Sequence[Path]) -> tuple[int, float]:
    """Return the channel of the largest standard deviation and its mean, over all originals."""
    count = 0
    total = squares = np.zeros(0)
    for block in _blocks(originals):
        samples = block.astype(np.float64)
        if not count:
            total = squares = np.zeros(len(samples))
        count += samples.shape[1]
        total = total + samples.sum(axis=1)
        squares = squares + (samples**2).sum(axis=1)
    if not count:
        raise CorpusError(f"{originals[0].name}: the original holds no samples")
    means = total / count
    channel = int(np.argmax(squares / count - means**2))
    return channel, float(means[channel])


def _blocks(originals: Sequence[Path]) -> Iterator[NDArray[np.float32]]:
    """Yield blocks (channels, samples) of all originals one after the other."""
    shape: tuple[int, int] | None = None
    for path in originals:
        with open_reader(path) as reader:
            this = (reader.info.sample_rate, reader.info.channels)
            if shape not in (None, this):
                raise CorpusError(f"{path.name}: its rate or channels differ from the other parts'")
            shape = this
            while (block := reader.read(BLOCK_FRAMES)).shape[1]:
                yield block


def _clip_row(row: Row) -> Row:
    rate = row.sample_rate
    fits = rate <= FLAC_FINE_HZ or (rate <= FLAC_HIGHEST_HZ and rate % 10 == 0)
    path = PurePosixPath(row.path).with_suffix(".flac" if fits else ".wav")
    return dataclasses.replace(row, path=str(path), sha256="")


def _unfit(row: Row) -> str:
    """Return why a row's audio cannot be had again, or ""."""
    if not row.url:
        return "has no address"
    if row.member:
        return "is a member of an archive; fetch the whole with `biodenoise-data get`"
    if row.stage == "recording":
        return unfit_reason(row.path)
    if row.original_format and f".{row.original_format}" not in EXTENSIONS:
        return f"was converted from {row.original_format}, which cannot be decoded here"
    if not row.sample_rate or not row.duration_s:
        return "says neither which rate nor how long"
    return ""
