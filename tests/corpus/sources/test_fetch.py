"""The loop over offers: goes on after failures, resumes after any end, never counts twice."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections import Counter, namedtuple
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from loopback import Answer, Service, md5, sound

from biodenoising import storage
from biodenoising.corpus.manifest import MANIFEST_NAME, Row, read_manifest
from biodenoising.corpus.sources.archives import ArchiveLimits
from biodenoising.corpus.sources.base import Offer
from biodenoising.corpus.sources.client import Client
from biodenoising.corpus.sources.fetch import JOURNAL_NAME, LOCK_NAME, fetch
from biodenoising.corpus.sources.files import fetch_file
from biodenoising.corpus.sources.folder import Folder
from biodenoising.errors import BatchError, CorpusError


@dataclass
class Shelf:
    """A source whose files lie on the service."""

    service: Service
    client: Client
    offers: list[Offer] = field(default_factory=list)
    broken_after: int | None = None
    name: str = "shelf"

    def add(
        self, name: str, data: bytes | None = None, *, tier: str = "open", **served: Any
    ) -> None:
        data = sound(seed=len(self.offers)) if data is None else data
        url = self.service.file(f"/{name}", data, **served)
        row = Row(path=f"shelf/{name}", kind="vocal", stage="recording", url=url, tier=tier,
                  source=self.name, recording=name, licence="CC0-1.0")  # fmt: skip
        self.offers.append(Offer(row, md5(data), len(data)))

    def search(self) -> Iterator[Offer]:
        for number, offer in enumerate(self.offers):
            if number == self.broken_after:
                raise CorpusError("page 2 cannot be had")
            yield offer

    def download(self, offer: Offer, folder: Path) -> list[Row]:
        return fetch_file(self.client, offer, folder, ArchiveLimits())


@pytest.fixture
def shelf(service, client) -> Shelf:
    made = Shelf(service, client)
    for name in ("a.wav", "b.wav", "c.wav"):
        made.add(name)
    return made


def listed(folder: Path) -> list[str]:
    return [row.path for row in read_manifest(folder / MANIFEST_NAME)]


def test_all_is_fetched_and_nothing_twice(shelf, service, tmp_path) -> None:
    seen = []
    summary = fetch(shelf, tmp_path, observe=lambda what, offer, why: seen.append(what))
    assert (summary.fetched, summary.recordings, summary.ok) == (3, 3, True)
    assert summary.seconds == pytest.approx(0.3)
    assert "3 fetched with 3 recordings" in str(summary)
    assert listed(tmp_path) == ["shelf/a.wav", "shelf/b.wav", "shelf/c.wav"]
    assert len(service.asked) == 3
    again = fetch(shelf, tmp_path, observe=lambda what, offer, why: seen.append(what))
    assert (again.fetched, again.there, again.ok) == (0, 3, True)
    assert seen == ["fetched"] * 3 + ["there"] * 3
    assert len(service.asked) == 3
    assert len(listed(tmp_path)) == 3


def test_a_failed_file_does_not_end_the_run_and_is_fetched_the_next_time(
    shelf, service, tmp_path
) -> None:
    whole = sound(seed=1)
    service.script("/b.wav", Answer(404), Answer(404), Answer(200, whole))
    summary = fetch(shelf, tmp_path)
    assert (summary.fetched, len(summary.failed), summary.ok) == (2, 1, False)
    assert "404" in summary.failed[0]
    fetch(shelf, tmp_path)
    last = fetch(shelf, tmp_path)
    assert (last.fetched, last.there, last.ok) == (1, 2, True)
    assert sorted(listed(tmp_path)) == ["shelf/a.wav", "shelf/b.wav", "shelf/c.wav"]


def test_what_is_no_recording_is_a_failure_and_not_kept(shelf, tmp_path) -> None:
    shelf.add("bad.wav", b"<html>not a sound</html>")
    shelf.add("good.wav")
    summary = fetch(shelf, tmp_path)
    assert (summary.fetched, len(summary.failed)) == (4, 1)
    assert not (tmp_path / "shelf/bad.wav").exists()
    assert "shelf/bad.wav" not in listed(tmp_path)


def test_a_search_that_fails_later_keeps_what_came_before(shelf, tmp_path) -> None:
    shelf.broken_after = 2
    summary = fetch(shelf, tmp_path)
    assert (summary.fetched, summary.stopped, summary.ok) == (2, "page 2 cannot be had", False)
    assert "ended early: page 2" in str(summary)
    shelf.broken_after = None
    assert fetch(shelf, tmp_path).there == 2


def test_tiers_formats_and_limits_choose(shelf, service, tmp_path) -> None:
    shelf.add("nc.wav", tier="noncommercial")
    shelf.offers.append(replace(shelf.offers[0], unfit=".m4a cannot be decoded here"))
    reasons = []
    summary = fetch(
        shelf, tmp_path, tiers=("open",), observe=lambda what, offer, why: reasons.append(why)
    )
    assert (summary.fetched, summary.unfit, summary.ok) == (3, 2, True)
    assert "its licence (CC0-1.0) is noncommercial" in reasons
    assert fetch(shelf, tmp_path / "one", limit=1).fetched == 1
    assert fetch(shelf, tmp_path / "one", limit=2).fetched == 1


def test_a_run_killed_at_any_download_is_finished_by_the_next(shelf, service, tmp_path) -> None:
    for turn in range(4):
        folder = tmp_path / str(turn)

        def killed(size: int, left: list[int] = [turn]) -> None:  # noqa: B006
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt

        dying = replace(shelf, client=replace(shelf.client, arrived=killed))
        if turn < 3:
            with pytest.raises(KeyboardInterrupt):
                fetch(dying, folder)
        assert fetch(shelf, folder).ok
        assert Counter(listed(folder)) == Counter(["shelf/a.wav", "shelf/b.wav", "shelf/c.wav"])
        hidden = {path.name for path in folder.rglob(".*")}
        assert hidden == {JOURNAL_NAME, LOCK_NAME}


def test_a_run_killed_at_any_write_is_finished_by_the_next(shelf, tmp_path, monkeypatch) -> None:
    """Stop at the n-th flush to the disk, for every n there is, and look at what the next makes."""
    del shelf.offers[2]
    flush = os.fsync
    calls = 0
    for stop in range(100):
        folder = tmp_path / str(stop)
        calls = 0

        def dies(handle: int, stop: int = stop) -> None:
            nonlocal calls
            calls += 1
            if calls > stop:
                raise KeyboardInterrupt
            flush(handle)

        monkeypatch.setattr(storage.os, "fsync", dies)
        try:
            fetch(shelf, folder)
            whole = True
        except KeyboardInterrupt:
            whole = False
        monkeypatch.setattr(storage.os, "fsync", flush)
        assert fetch(shelf, folder).ok
        assert Counter(listed(folder)) == Counter(["shelf/a.wav", "shelf/b.wav"])
        for number, name in enumerate(("a.wav", "b.wav")):
            assert (folder / "shelf" / name).read_bytes() == sound(seed=number)
        if whole:
            assert stop > 10
            return
    pytest.fail("there are more writes than were tried")


def test_torn_lines_of_a_crash_are_no_hindrance(shelf, tmp_path) -> None:
    fetch(shelf, tmp_path, limit=2)
    with open(tmp_path / MANIFEST_NAME, "a") as file:
        file.write('{"path": "shelf/c.w')
    with open(tmp_path / JOURNAL_NAME, "a") as file:
        file.write('{"offer": "sh')
    summary = fetch(shelf, tmp_path)
    assert (summary.fetched, summary.there, summary.ok) == (1, 2, True)
    assert len(listed(tmp_path)) == 3


def test_a_file_that_went_away_is_fetched_again(shelf, tmp_path) -> None:
    fetch(shelf, tmp_path)
    (tmp_path / "shelf/b.wav").unlink()
    summary = fetch(shelf, tmp_path)
    assert (summary.fetched, summary.there) == (1, 2)
    assert len(listed(tmp_path)) == 3


def test_a_file_that_changed_at_the_source_gets_its_new_row(shelf, tmp_path) -> None:
    fetch(shelf, tmp_path)
    del shelf.offers[1]
    shelf.add("b.wav", sound(0.5))
    assert fetch(shelf, tmp_path).fetched == 1
    rows = {row.path: row for row in read_manifest(tmp_path / MANIFEST_NAME)}
    assert rows["shelf/b.wav"].duration_s == 0.5
    assert len(rows) == 3


def test_archives_are_unpacked_once(shelf, service, tmp_path) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("one.wav", sound(seed=8))
        archive.writestr("bad.wav", b"no sound")
        archive.writestr("one.txt", b"0\t1\tcall")
    shelf.add("z.zip", file.getvalue())
    summary = fetch(shelf, tmp_path)
    assert (summary.fetched, summary.recordings, summary.unreadable) == (4, 4, 1)
    assert "1 recordings cannot be decoded" in str(summary)
    count = len(service.asked)
    again = fetch(shelf, tmp_path)
    assert (again.there, again.fetched, len(service.asked)) == (4, 0, count)


def test_a_full_disk_ends_the_run_with_a_summary(shelf, tmp_path, monkeypatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(storage.shutil, "disk_usage", lambda path: usage(1, 1, 1000))
    summary = fetch(shelf, tmp_path)
    assert (summary.fetched, summary.ok) == (0, False)
    assert "make room" in summary.stopped


def test_pieces_of_files_that_are_offered_no_more_are_tidied_away(shelf, tmp_path) -> None:
    piece = tmp_path / f".{'0' * 24}.download"
    piece.write_bytes(b"x")
    fetch(shelf, tmp_path, limit=1)
    assert piece.exists()
    fetch(shelf, tmp_path)
    assert not piece.exists()


def test_two_runs_do_not_write_into_one_folder(shelf, tmp_path) -> None:
    with FileLock(tmp_path / LOCK_NAME), pytest.raises(CorpusError, match="another run"):
        fetch(shelf, tmp_path)


def test_a_damaged_manifest_is_said_before_anything_is_fetched(shelf, service, tmp_path) -> None:
    (tmp_path / MANIFEST_NAME).write_text('{"path": 1}\n')
    with pytest.raises(CorpusError, match="line 1"):
        fetch(shelf, tmp_path)
    assert service.asked == []


def test_a_folder_that_is_a_file(shelf, tmp_path) -> None:
    (tmp_path / "x").write_bytes(b"")
    with pytest.raises(BatchError):
        fetch(shelf, tmp_path / "x")


def test_a_local_folder_goes_through_the_same_loop(tmp_path) -> None:
    root = tmp_path / "in"
    root.mkdir()
    (root / "x.wav").write_bytes(sound())
    (root / "bad.wav").write_bytes(b"no sound")
    summary = fetch(Folder(root), tmp_path / "out")
    assert (summary.fetched, len(summary.failed)) == (1, 1)
    assert (root / "bad.wav").exists()
    in_place = fetch(Folder(root), root)
    assert (in_place.fetched, len(in_place.failed)) == (1, 1)
    assert (root / "bad.wav").read_bytes() == b"no sound"
    assert listed(root) == ["x.wav"]
    lines = (root / JOURNAL_NAME).read_text().splitlines()
    assert [json.loads(line)["paths"] for line in lines] == [["x.wav"]]
