"""Which recordings there are, and how they are heard: in stretches of about a minute.

The order of the stretches is drawn by hash, so that whatever the order of the files all of them are
heard alike, however soon the time is used up.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from biodenoising.audio import open_reader
from biodenoising.corpus.annotations import Annotation, read_annotations
from biodenoising.corpus.clips import ClipSettings, choose_rows
from biodenoising.corpus.manifest import TIERS
from biodenoising.corpus.pieces import Samples
from biodenoising.corpus.sources.folder import Folder, annotation_of
from biodenoising.errors import AudioReadError, OptionError
from biodenoising.storage import printable

STRETCH_S, LEAST_STRETCH_S = 60.0, 2.0
SKIPPED_FRAMES = 1 << 18
# What is heard of a corpus, so that the rest is not forgotten; clips of either kind lie in memory.
REHEARSED = ClipSettings(tiers=TIERS, refused_licences=())
MOST_REHEARSED = 600


@dataclass(frozen=True)
class Recording:
    """A file by its header; `name` is what tells it from the others."""

    path: Path
    name: str
    annotation: Path | None
    sample_rate: float
    duration_s: float
    channels: int


@dataclass(frozen=True)
class Survey:
    """The recordings that were found, and one line for each that cannot be read."""

    recordings: tuple[Recording, ...]
    unreadable: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """Their duration together."""
        return sum(recording.duration_s for recording in self.recordings)


@dataclass(frozen=True)
class Stretch:
    """A part of a recording, in seconds."""

    recording: Recording
    start_s: float
    duration_s: float


def survey(sources: Sequence[Path]) -> Survey:
    """Return the recordings in files and below folders, by their headers.

    Hidden files and links are passed over. Raises OptionError where a source is not there.
    """
    found: list[Recording] = []
    unreadable: list[str] = []
    for path, name, annotation in _files(sources, unreadable):
        try:
            with open_reader(path) as reader:
                info = reader.info
        except AudioReadError as error:
            unreadable.append(str(error))
            continue
        seconds = info.frames / info.sample_rate
        found.append(
            Recording(path, name, annotation, info.sample_rate, seconds, info.channels)
        )  # fmt: skip
    return Survey(tuple(found), tuple(unreadable))


def _files(
    sources: Sequence[Path], unreadable: list[str]
) -> Iterator[tuple[Path, str, Path | None]]:
    """Yield every file with the name that tells it from the others, and its annotations."""
    several = len(sources) > 1
    for number, source in enumerate(sources):
        if not source.exists():
            raise OptionError(f"{printable(source)}: is not there; give recordings or a folder")
        before = f"{number}/" if several else ""
        if source.is_file():
            yield source, before + source.name, annotation_of(source, os.listdir(source.parent))
            continue
        for offer in Folder(source).search():
            row = offer.row
            if offer.unfit:
                unreadable.append(offer.unfit)
                continue
            marks = source / row.annotation if row.annotation else None
            yield source / row.path, before + row.path, marks


def rehearsed_samples(corpora: Sequence[Path]) -> float:
    """Return how many samples of corpora a training holds in memory. Raises TrainingError."""
    return sum(
        (row.get("duration_s") or 0.0) * (row.get("sample_rate") or 0.0)
        for noise in (False, True)
        for _, row in choose_rows(
            corpora, REHEARSED, noise=noise, held_back=False, most=MOST_REHEARSED
        )
    )


def stretches(found: Survey) -> list[Stretch]:
    """Return all stretches of all recordings in an order drawn by hash."""
    made = []
    for recording in found.recordings:
        if recording.duration_s < LEAST_STRETCH_S:
            continue
        count = math.ceil(recording.duration_s / STRETCH_S)
        length_s = recording.duration_s / count
        made += [Stretch(recording, number * length_s, length_s) for number in range(count)]
    return sorted(made, key=lambda s: draw(f"{s.recording.name}@{s.start_s:.3f}"))


def draw(name: str) -> bytes:
    """Return what a name is ordered by where an order is drawn."""
    return hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()


def read_stretch(stretch: Stretch) -> Samples:
    """Return a stretch's samples, (channels, samples); values that are no numbers become 0.

    Raises AudioReadError.
    """
    rate = stretch.recording.sample_rate
    skipped, wanted = round(stretch.start_s * rate), round(stretch.duration_s * rate)
    with open_reader(stretch.recording.path) as reader:
        while skipped > 0 and (block := reader.read(min(skipped, SKIPPED_FRAMES))).shape[1]:
            skipped -= block.shape[1]
        audio = reader.read(wanted)
    audio[~(abs(audio) < math.inf)] = 0
    return audio


def events_of(stretch: Stretch) -> list[Annotation] | None:
    """Return the marks within a stretch, in seconds from its start; None where nobody marked."""
    recording = stretch.recording
    if recording.annotation is None:
        return None
    end_s = stretch.start_s + stretch.duration_s
    return [
        dataclasses.replace(
            event,
            start_s=max(event.start_s - stretch.start_s, 0.0),
            end_s=min(event.end_s - stretch.start_s, stretch.duration_s),
        )
        for event in read_annotations(recording.annotation, recording=recording.path.name)
        if event.start_s < end_s and event.end_s > stretch.start_s
    ]
