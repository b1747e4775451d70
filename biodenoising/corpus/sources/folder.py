"""A folder of recordings on this machine, with annotation files beside them or without.

Nothing in the folder is changed. Recordings are copied with their annotations, or only listed
where the folder to fetch into is the folder itself.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from biodenoising.audio import EXTENSIONS
from biodenoising.corpus.manifest import Row
from biodenoising.corpus.sources.base import Offer, licensed, measured
from biodenoising.errors import AudioReadError, CorpusError, OptionError
from biodenoising.storage import printable, whole_file

COPY_BYTES = 1 << 20
# Raven's tables, Audacity's labels, Sonic Visualiser's layers, tables of crowsetta's formats.
ANNOTATION = re.compile(
    r"(\.Table\.\d+)?(\.selections|\.annotations|\.labels)?\.(txt|csv|tsv|svl|TextGrid|xml|json)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Folder:
    """The recordings below a folder. `licence` is what the owner says of all of them.

    `like` is what is known of all of them: kind, group, medium, taxon.
    """

    root: Path
    licence: str = ""
    like: Row = field(default_factory=lambda: Row(path="", kind="vocal"))
    name: str = "folder"

    def __post_init__(self) -> None:
        if not self.root.is_dir():
            raise OptionError(f"{printable(self.root)}: is no folder; give one with recordings")

    def refuse_inside(self, folder: Path) -> None:
        """Raise OptionError for an output folder inside the recordings' own: it would grow."""
        root = self.root.resolve()
        if root in folder.resolve().parents:
            raise OptionError(
                f"{printable(folder)}: lies inside {printable(self.root)}; choose another OUTPUT"
            )

    def search(self) -> Iterator[Offer]:
        """Yield the recordings by name; hidden files and folders and links are passed over."""
        row = dataclasses.replace(
            licensed(self.like, self.licence), stage="recording", source=self.name
        )
        for folder, folders, files in os.walk(self.root):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for file in sorted(files):
                path = Path(folder, file)
                if file.startswith(".") or path.suffix.lower() not in EXTENSIONS:
                    continue
                if path.is_symlink() or not path.is_file():
                    continue
                relative = path.relative_to(self.root).as_posix()
                beside = annotation_of(path, files)
                try:
                    found = dataclasses.replace(
                        row,
                        path=relative,
                        annotation=beside.relative_to(self.root).as_posix() if beside else "",
                    )
                except CorpusError as error:
                    # A name that no manifest may hold, such as one with a backslash.
                    yield Offer(dataclasses.replace(row, notes=relative), unfit=str(error))
                    continue
                yield Offer(found, size=path.stat().st_size)

    def download(self, offer: Offer, folder: Path) -> list[Row]:
        """Copy one recording and its annotations."""
        self.refuse_inside(folder)
        # Looked at before it is copied: what is no recording is not worth the room.
        row = measured(offer.row, self.root / offer.row.path)
        for name in (offer.row.path, offer.row.annotation):
            if name and (folder / name).resolve() != (self.root / name).resolve():
                _copy(self.root / name, folder / name)
        return [row]


def annotation_of(recording: Path, names: list[str]) -> Path | None:
    """Return the annotation file among `names` of the recording's folder, None without one.

    >>> annotation_of(Path("a/x.wav"), ["x.wav", "y.txt", "x.Table.1.selections.txt"])
    PosixPath('a/x.Table.1.selections.txt')
    """
    for stem in (recording.name, recording.stem):
        for name in sorted(names):
            if name.startswith(stem) and ANNOTATION.fullmatch(name[len(stem) :]):
                return recording.parent / name
    return None


def _copy(source: Path, target: Path) -> None:
    with whole_file(target) as temporary, open(temporary, "wb") as written:
        try:
            with open(source, "rb") as read:
                while block := read.read(COPY_BYTES):
                    written.write(block)
        except FileNotFoundError as error:
            raise AudioReadError(f"{printable(source)}: is gone; give the command again") from error
