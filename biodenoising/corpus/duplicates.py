"""The same audio under two names, found by its decoded samples and not by the file's bytes.

A WAV and a FLAC of the same samples are duplicates, whatever their tags and announced rates (a
recording slowed down by its header is the same recording). A lossy copy of a file is another one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from biodenoising.audio import open_reader
from biodenoising.errors import AudioReadError

BLOCK_FRAMES = 1 << 16


@dataclass(frozen=True)
class Duplicates:
    """Groups of paths that hold the same samples, and the paths that could not be decoded."""

    groups: tuple[tuple[Path, ...], ...]
    unreadable: tuple[tuple[Path, str], ...]


def find_duplicates(
    paths: Iterable[Path], *, progress: Callable[[Path], None] | None = None
) -> Duplicates:
    """Return which files hold the same samples; groups and paths are in the given order.

    `progress` is called with every path before it is decoded. Files without a sample are alike in
    nothing and stand in no group.
    """
    groups: dict[str, list[Path]] = {}
    unreadable = []
    for path in paths:
        if progress is not None:
            progress(path)
        try:
            digest = audio_digest(path)
        except AudioReadError as error:
            unreadable.append((path, str(error)))
            continue
        if digest:
            groups.setdefault(digest, []).append(path)
    found = tuple(tuple(group) for group in groups.values() if len(group) > 1)
    return Duplicates(found, tuple(unreadable))


def audio_digest(path: Path) -> str:
    """Return a SHA-256 of a file's channel count and samples, "" for a file without samples.

    Two files get the same digest when their samples are equal as float32. Raises AudioReadError.
    """
    digest = hashlib.sha256()
    with open_reader(path) as reader:
        frames = 0
        digest.update(reader.info.channels.to_bytes(4, "little"))
        while (block := reader.read(BLOCK_FRAMES)).shape[1]:
            frames += block.shape[1]
            # Adding zero makes -0.0, which only float files know, into 0.0.
            digest.update(np.ascontiguousarray(block.T + np.float32(0), "<f4").tobytes())
    return digest.hexdigest() if frames else ""
