"""Zip archives: what is safe is unpacked, everything else is refused before it is written."""

from __future__ import annotations

import io
import stat
import struct
import zipfile
from collections import namedtuple
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biodenoising import storage
from biodenoising.corpus.sources.archives import ArchiveLimits, unpack
from biodenoising.errors import BiodenoisingError, CorpusError, DiskFullError

Member = tuple[str | zipfile.ZipInfo, bytes]


def zipped(path: Path, *members: Member, method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return path


def unpacked(archive: Path, folder: Path, **options: object) -> list[str]:
    return [name for name, _ in unpack(archive, folder, **options)]


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_wanted_members_are_written_whole(tmp_path) -> None:
    archive = zipped(tmp_path / "a.zip", ("a/x.wav", b"x" * 9), ("a/", b""), ("b.txt", b"text"))
    out = tmp_path / "out"
    assert unpacked(archive, out) == ["a/x.wav", "b.txt"]
    assert files(out) == {"a/x.wav": b"x" * 9, "b.txt": b"text"}
    other = tmp_path / "other"
    unpacked(archive, other, wanted=lambda name: name.endswith(".wav"))
    assert list(files(other)) == ["a/x.wav"]


def test_members_that_are_there_are_not_written_again(tmp_path) -> None:
    archive = zipped(tmp_path / "a.zip", ("x.wav", b"x" * 9), ("y.wav", b"y" * 9))
    out = tmp_path / "out"
    unpacked(archive, out)
    kept = (out / "x.wav").stat().st_ino
    (out / "y.wav").write_bytes(b"z" * 9)
    unpacked(archive, out)
    assert (out / "x.wav").stat().st_ino == kept
    assert (out / "y.wav").read_bytes() == b"y" * 9


@pytest.mark.parametrize(
    "name",
    [
        "../x.wav", "a/../../x.wav", "/x.wav", "//x.wav", "C:/x.wav", "c:x.wav", "a\\..\\x.wav",
        "..", "a/..", "x" * 300 + ".wav", "/",
    ],
)  # fmt: skip
def test_names_that_lead_out_are_refused_before_anything_is_written(tmp_path, name) -> None:
    archive = zipped(tmp_path / "a.zip", ("good.wav", b"good"), (name, b"bad"))
    before = files(tmp_path)
    with pytest.raises(CorpusError, match="leads out") as error:
        unpacked(archive, tmp_path / "out")
    assert len(str(error.value).splitlines()) == 1
    assert files(tmp_path) == before


def test_a_name_with_a_nul_is_refused(tmp_path) -> None:
    archive = zipped(tmp_path / "a.zip", ("aQ/../x.wav", b"bad"))
    archive.write_bytes(archive.read_bytes().replace(b"aQ/", b"a\0/"))
    with pytest.raises(CorpusError):
        unpacked(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO])
def test_links_and_devices_are_refused(tmp_path, kind) -> None:
    info = zipfile.ZipInfo("link.wav")
    info.external_attr = (kind | 0o777) << 16
    archive = zipped(tmp_path / "a.zip", (info, b"/etc/passwd"))
    with pytest.raises(CorpusError, match="link or device"):
        unpacked(archive, tmp_path / "out")


def test_a_link_that_lies_in_the_folder_is_not_followed(tmp_path) -> None:
    archive = zipped(tmp_path / "a.zip", ("sub/x.wav", b"bad"))
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "sub").symlink_to(outside)
    with pytest.raises(CorpusError, match="would leave"):
        unpacked(archive, tmp_path / "out")
    assert files(outside) == {}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("twin", ["x.wav", "X.wav", "./x.wav"])
def test_one_name_twice_is_refused(tmp_path, twin) -> None:
    archive = zipped(tmp_path / "a.zip", ("x.wav", b"one"), (twin, b"two"))
    with pytest.raises(CorpusError, match="twice"):
        unpacked(archive, tmp_path / "out")


def test_a_bomb_is_refused_by_its_ratio(tmp_path) -> None:
    archive = zipped(tmp_path / "a.zip", ("x.wav", bytes(100 << 20)))
    with pytest.raises(CorpusError, match="bomb"):
        unpacked(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_bomb_is_refused_by_its_size_and_by_its_members(tmp_path) -> None:
    archive = zipped(tmp_path / "a.zip", *((f"{n}.wav", b"x" * 100) for n in range(20)))
    with pytest.raises(CorpusError, match="more than 1999"):
        unpacked(archive, tmp_path / "out", limits=ArchiveLimits(total_bytes=1999))
    with pytest.raises(CorpusError, match="20 members"):
        unpacked(archive, tmp_path / "out", limits=ArchiveLimits(members=19))
    assert not (tmp_path / "out").exists()


def test_silence_packs_well_and_is_no_bomb(tmp_path) -> None:
    archive = zipped(tmp_path / "a.zip", ("x.wav", bytes(1 << 20)))
    assert unpacked(archive, tmp_path / "out") == ["x.wav"]


def test_a_member_that_is_longer_than_it_says_is_refused(tmp_path) -> None:
    archive = zipped(tmp_path / "a.zip", ("x.wav", b"x" * 5000))
    data = archive.read_bytes()
    archive.write_bytes(data.replace(struct.pack("<I", 5000), struct.pack("<I", 50)))
    with pytest.raises(CorpusError, match="cannot be unpacked"):
        unpacked(archive, tmp_path / "out")
    assert files(tmp_path / "out") == {}


def test_overlapping_members_are_refused(tmp_path) -> None:
    """The bomb that names one packed body many times."""
    archive = zipped(tmp_path / "a.zip", ("x.wav", bytes(range(256)) * 40), method=0)
    with zipfile.ZipFile(archive) as members:
        (info,) = members.infolist()
        end = members.start_dir
    entries = b""
    for number in range(50):
        name = f"{number:05d}".encode()
        entries += struct.pack(
            "<4s4B4HL2L5H2L", b"PK\1\2", 20, 3, 20, 0, 0, 0, 0, 0, info.CRC, info.compress_size,
            info.file_size, len(name), 0, 0, 0, 0, 0, 0,
        ) + name  # fmt: skip
    tail = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 50, 50, len(entries), end, 0)
    archive.write_bytes(archive.read_bytes()[:end] + entries + tail)
    with pytest.raises(CorpusError, match="overlap"):
        unpacked(archive, tmp_path / "out")


def test_an_encrypted_member_is_refused(tmp_path) -> None:
    archive = zipped(tmp_path / "a.zip", ("x.wav", b"secret"), method=0)
    data = bytearray(archive.read_bytes())
    data[data.index(b"PK\1\2") + 8] |= 1
    archive.write_bytes(data)
    with pytest.raises(CorpusError, match="encrypted"):
        unpacked(archive, tmp_path / "out")


def test_a_damaged_member_is_not_left_behind(tmp_path) -> None:
    archive = zipped(tmp_path / "a.zip", ("x.wav", b"uvw" * 100), method=0)
    data = archive.read_bytes()
    archive.write_bytes(data.replace(b"uvwuvw", b"uvwXvw", 1))
    with pytest.raises(CorpusError, match="cannot be unpacked"):
        unpacked(archive, tmp_path / "out")
    assert files(tmp_path / "out") == {}
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("data", [b"", b"PK", b"no archive at all", b"PK\3\4" + bytes(40)])
def test_what_is_no_archive_is_refused(tmp_path, data) -> None:
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(CorpusError, match="cannot be unpacked"):
        unpacked(tmp_path / "a.zip", tmp_path / "out")


def test_a_missing_archive(tmp_path) -> None:
    with pytest.raises(CorpusError, match="cannot be read"):
        unpacked(tmp_path / "none.zip", tmp_path / "out")


def test_no_room_is_said_before_anything_is_written(tmp_path, monkeypatch) -> None:
    archive = zipped(tmp_path / "a.zip", ("x.wav", b"x" * 5000))
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(storage.shutil, "disk_usage", lambda path: usage(1, 1, 1000))
    with pytest.raises(DiskFullError, match="unpacked"):
        unpacked(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()


GOOD = io.BytesIO()
with zipfile.ZipFile(GOOD, "w", zipfile.ZIP_DEFLATED) as _archive:
    _archive.writestr("a/x.wav", bytes(range(256)) * 8)
    _archive.writestr("b/y.txt", b"label " * 50)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, len(GOOD.getvalue()) - 1), st.integers(0, 255)), max_size=8)
)
def test_no_damage_makes_it_crash_or_write_outside(tmp_path_factory, changes) -> None:
    root = tmp_path_factory.mktemp("fuzz")
    data = bytearray(GOOD.getvalue())
    for place, value in changes:
        data[place] = value
    (root / "a.zip").write_bytes(data)
    with suppress(BiodenoisingError):
        unpacked(root / "a.zip", root / "out")
    assert {path.name for path in root.iterdir()} <= {"a.zip", "out"}
    assert not list(root.rglob("*.part"))
