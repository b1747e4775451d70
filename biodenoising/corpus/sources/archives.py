"""Zip archives unpacked without trusting them.

The whole list of members is judged before the first is written: names that lead out of the folder,
links, devices, encryption, doubles, too many members, too much data, too good a compression.
"""

from __future__ import annotations

import lzma
import re
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from biodenoising.errors import CorpusError, DiskFullError
from biodenoising.storage import LONGEST_NAME_BYTES, free_bytes, printable, whole_file, writing

BLOCK_BYTES = 1 << 20
ENCRYPTED = 0x1
# A silent recording or a table packs well; below this size that is no bomb.
HARMLESS_BYTES = 64 << 20
BROKEN = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, ValueError)


@dataclass(frozen=True)
class ArchiveLimits:
    """How much an archive may hold: members, bytes of all of them, and times its own size."""

    members: int = 500_000
    total_bytes: int = 500 << 30
    ratio: float = 100.0


def unpack(
    archive: Path,
    folder: Path,
    *,
    wanted: Callable[[str], bool] = lambda name: True,
    limits: ArchiveLimits | None = None,
) -> Iterator[tuple[str, Path]]:
    """Write the wanted members below a folder; yield each one's name and path when it is whole.

    Members that are there already with the right size and CRC are not written again.

    Raises:
        CorpusError: the archive is damaged, split, encrypted, unsafe or above the limits. Nothing
            was written then but members that came before a damaged one.
        DiskFullError: there is no room for all of it.
    """
    limits = limits or ArchiveLimits()
    where = printable(archive)
    try:
        with zipfile.ZipFile(archive) as members:
            plan = _plan(members.infolist(), where, limits, archive.stat().st_size)
            chosen = {name: info for name, info in plan.items() if wanted(name)}
            _check_room(chosen, folder, where)
            for name, info in chosen.items():
                target = _place(folder, name, where)
                if not _is_there(target, info):
                    _write(members, info, target)
                yield name, target
    except BROKEN as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise CorpusError(
            f"{where}: cannot be unpacked ({reason}); if it is one piece of a split archive, join "
            "the pieces first, otherwise delete it and fetch it again"
        ) from error
    except OSError as error:
        raise CorpusError(f"{where}: cannot be read ({error.strerror}); check the disk") from error


def _plan(
    infos: list[zipfile.ZipInfo], where: str, limits: ArchiveLimits, archive_bytes: int
) -> dict[str, zipfile.ZipInfo]:
    """Return the files of an archive by their safe names. Raises CorpusError for a bad list."""
    if len(infos) > limits.members:
        raise CorpusError(f"{where}: has {len(infos)} members, more than {limits.members}")
    plan: dict[str, zipfile.ZipInfo] = {}
    folded: set[str] = set()
    for info in infos:
        name = _safe_name(info, where)
        if info.is_dir():
            continue
        if name.casefold() in folded:
            raise CorpusError(f"{where}: holds {printable(name)!r} twice; it is not safe to unpack")
        folded.add(name.casefold())
        plan[name] = info
    total = sum(info.file_size for info in infos)
    packed = sum(info.compress_size for info in infos)
    if packed > archive_bytes:
        raise CorpusError(f"{where}: its members overlap; it is not safe to unpack")
    if total > limits.total_bytes:
        raise CorpusError(f"{where}: holds {total} bytes, more than {limits.total_bytes}")
    if total > HARMLESS_BYTES and total > limits.ratio * archive_bytes:
        raise CorpusError(
            f"{where}: unpacks to {total / archive_bytes:.0f} times its size; it looks like a bomb"
        )
    return plan


def _safe_name(info: zipfile.ZipInfo, where: str) -> str:
    name = info.filename
    shown = printable(name)[:200]
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind and not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
        raise CorpusError(f"{where}: {shown!r} is a link or device; it is not safe to unpack")
    if info.flag_bits & ENCRYPTED:
        raise CorpusError(f"{where}: {shown!r} is encrypted; unpack it by hand")
    parts = PurePosixPath(name).parts
    if (
        not parts
        or name.startswith("/")
        or ".." in parts
        or "\\" in name
        or "\0" in info.orig_filename
        or re.match(r"[A-Za-z]:", name)
        or max(len(part.encode("utf-8", "replace")) for part in parts) > LONGEST_NAME_BYTES
    ):
        raise CorpusError(f"{where}: the name {shown!r} leads out of the folder or is no name")
    return "/".join(parts)


def _check_room(plan: dict[str, zipfile.ZipInfo], folder: Path, where: str) -> None:
    needed = sum(info.file_size for name, info in plan.items() if not (folder / name).exists())
    free = free_bytes(folder)
    if needed > free:
        raise DiskFullError(
            f"{where}: needs {needed / 1e6:.1f} MB unpacked and {free / 1e6:.1f} MB are free; make "
            "room, then give the same command again"
        )


def _place(folder: Path, name: str, where: str) -> Path:
    """Return a member's path, its folder made, after looking where links on the way lead."""
    target = folder / name
    with writing(target):
        folder.mkdir(parents=True, exist_ok=True)
        root = folder.resolve()
        # Looked at before anything is made: a link on the way must not get folders behind it.
        if not target.parent.resolve().is_relative_to(root) or target.is_symlink():
            raise CorpusError(f"{where}: {printable(name)!r} would leave {printable(folder)}")
        target.parent.mkdir(parents=True, exist_ok=True)
    return target


def _is_there(target: Path, info: zipfile.ZipInfo) -> bool:
    if not target.is_file() or target.stat().st_size != info.file_size:
        return False
    checksum = 0
    with open(target, "rb") as file:
        while block := file.read(BLOCK_BYTES):
            checksum = zlib.crc32(block, checksum)
    return checksum == info.CRC


def _write(members: zipfile.ZipFile, info: zipfile.ZipInfo, target: Path) -> None:
    """Write one member; its CRC is checked by the reading."""
    with members.open(info) as packed, whole_file(target) as temporary:
        with open(temporary, "wb") as file:
            written = 0
            while block := packed.read(BLOCK_BYTES):
                written += len(block)
                if written > info.file_size:
                    raise zipfile.BadZipFile(f"{info.filename!r} is longer than it says")
                file.write(block)
        if written < info.file_size:
            raise zipfile.BadZipFile(f"{info.filename!r} is shorter than it says")
