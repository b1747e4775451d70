"""One file: resumed, checked, whole or not there, whatever the server does."""

from __future__ import annotations

import gzip
import time
from collections import namedtuple
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path

import numpy as np
import pytest
from loopback import Answer, as_json, md5, sha256

from biodenoising import storage
from biodenoising.corpus.sources.client import Client, Manners, asked_to_wait_s, check_address
from biodenoising.corpus.sources.download import Wanted, download, remove_partials
from biodenoising.errors import AudioWriteError, CorpusError, DiskFullError

DATA = np.random.default_rng(5).bytes(1_500_000)
THIRD = len(DATA) // 3


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_a_file_comes_whole_and_is_not_fetched_twice(service, client, tmp_path) -> None:
    wanted = Wanted(service.file("/a", DATA), tmp_path / "deep" / "a.bin", md5(DATA), len(DATA))
    assert download(client, wanted) == sha256(DATA)
    assert wanted.target.read_bytes() == DATA
    assert download(client, wanted) == sha256(DATA)
    assert len(service.asked) == 1
    assert names(tmp_path) == ["a.bin"]


def test_a_broken_connection_goes_on_by_range(service, client, tmp_path) -> None:
    url = service.file("/a", DATA, cuts=(THIRD, THIRD))
    download(client, Wanted(url, tmp_path / "a.bin"))
    assert (tmp_path / "a.bin").read_bytes() == DATA
    starts = [asked.headers.get("range") for asked in service.asked]
    assert starts[0] is None
    assert len(starts) == 3
    assert all(0 < int(start[6:-1]) <= 2 * THIRD for start in starts[1:])
    assert {asked.headers["if-range"] for asked in service.asked[1:]} == {'"one"'}


def interrupted(service, client, target: Path, *, tag: str = '"one"') -> None:
    """Leave a third of the file behind, as a run that was killed does."""
    url = service.file("/a", DATA, cuts=(THIRD,), tag=tag)

    def killed(_: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download(replace(client, sleep=killed), Wanted(url, target))
    assert not target.exists()
    assert len(names(target.parent)) == 2
    service.asked.clear()


def test_an_interrupted_download_is_resumed_by_the_next_run(service, client, tmp_path) -> None:
    interrupted(service, client, tmp_path / "a.bin")
    came = []
    client.arrived = came.append
    download(client, Wanted(service.file("/a", DATA), tmp_path / "a.bin", md5(DATA)))
    assert (tmp_path / "a.bin").read_bytes() == DATA
    assert service.asked[0].headers["range"].startswith("bytes=")
    assert sum(came) < len(DATA)
    assert names(tmp_path) == ["a.bin"]


def test_another_version_of_the_file_is_not_glued_to_the_old_piece(
    service, client, tmp_path
) -> None:
    interrupted(service, client, tmp_path / "a.bin")
    other = DATA[::-1]
    download(client, Wanted(service.file("/a", other, tag='"two"'), tmp_path / "a.bin"))
    assert (tmp_path / "a.bin").read_bytes() == other


def test_a_server_that_ignores_ranges_sends_all_again(service, client, tmp_path) -> None:
    url = service.file("/a", DATA, cuts=(THIRD,), ranges=False)
    download(client, Wanted(url, tmp_path / "a.bin"))
    assert (tmp_path / "a.bin").read_bytes() == DATA


def test_without_version_and_checksum_nothing_is_glued(service, client, tmp_path) -> None:
    url = service.file("/a", DATA, cuts=(THIRD,), tag="")
    download(client, Wanted(url, tmp_path / "a.bin"))
    assert (tmp_path / "a.bin").read_bytes() == DATA
    assert "range" not in service.asked[1].headers


def test_a_checksum_vouches_for_pieces_without_version(service, client, tmp_path) -> None:
    url = service.file("/a", DATA, cuts=(THIRD,), tag="")
    download(client, Wanted(url, tmp_path / "a.bin", md5(DATA)))
    assert service.asked[1].headers["range"].startswith("bytes=")


def test_a_damaged_old_piece_is_thrown_away_and_all_fetched_again(
    service, client, tmp_path
) -> None:
    interrupted(service, client, tmp_path / "a.bin")
    (piece,) = [path for path in tmp_path.iterdir() if path.suffix == ".download"]
    piece.write_bytes(b"x" * piece.stat().st_size)
    download(client, Wanted(service.file("/a", DATA), tmp_path / "a.bin", md5(DATA)))
    assert (tmp_path / "a.bin").read_bytes() == DATA


def test_a_complete_old_piece_needs_no_more_bytes(service, client, tmp_path) -> None:
    interrupted(service, client, tmp_path / "a.bin")
    (piece,) = [path for path in tmp_path.iterdir() if path.suffix == ".download"]
    piece.write_bytes(DATA)
    download(client, Wanted(service.file("/a", DATA), tmp_path / "a.bin", md5(DATA)))
    assert (tmp_path / "a.bin").read_bytes() == DATA
    assert len(service.asked) == 1


def test_a_wrong_range_is_not_believed(service, client, tmp_path) -> None:
    interrupted(service, client, tmp_path / "a.bin")
    lie = Answer(206, DATA, {"Content-Range": f"bytes 0-{len(DATA) - 1}/{len(DATA)}"})
    whole = Answer(200, DATA)
    download(client, Wanted(service.script("/a", lie, whole), tmp_path / "a.bin"))
    assert (tmp_path / "a.bin").read_bytes() == DATA


def test_a_body_that_always_ends_early_fails_and_leaves_no_file(
    service, client, waits, tmp_path
) -> None:
    url = service.script("/a", Answer(200, DATA, {}, THIRD))
    with pytest.raises(CorpusError, match="ended its answer too early") as error:
        download(client, Wanted(url, tmp_path / "a.bin"))
    assert len(str(error.value).splitlines()) == 1
    assert not (tmp_path / "a.bin").exists()
    assert len(service.asked) <= 5


@pytest.mark.parametrize("checksum", [f"md5:{'0' * 32}", f"sha256:{'0' * 64}"])
def test_a_wrong_hash_is_refused_and_nothing_left(service, client, tmp_path, checksum) -> None:
    url = service.file("/a", DATA)
    with pytest.raises(CorpusError, match="not those that were promised"):
        download(client, Wanted(url, tmp_path / "a.bin", checksum))
    assert names(tmp_path) == []


def test_a_file_that_is_there_and_wrong_is_replaced(service, client, tmp_path) -> None:
    (tmp_path / "a.bin").write_bytes(b"damaged")
    download(client, Wanted(service.file("/a", DATA), tmp_path / "a.bin", md5(DATA)))
    assert (tmp_path / "a.bin").read_bytes() == DATA


def test_a_wrong_length_is_refused_before_the_first_byte(service, client, tmp_path) -> None:
    with pytest.raises(CorpusError, match="were promised"):
        download(client, Wanted(service.file("/a", DATA), tmp_path / "a.bin", "", 10))
    assert names(tmp_path) == []


def test_an_endless_body_ends_at_the_promised_length(service, client, tmp_path) -> None:
    url = service.script("/a", Answer(200, DATA, announced=False))
    with pytest.raises(CorpusError, match="more than the 1000 bytes"):
        download(client, Wanted(url, tmp_path / "a.bin", "", 1000))
    assert names(tmp_path) == []


def test_a_body_of_unannounced_length_is_taken(service, client, tmp_path) -> None:
    url = service.script("/a", Answer(200, DATA, announced=False))
    download(client, Wanted(url, tmp_path / "a.bin", md5(DATA)))
    assert (tmp_path / "a.bin").read_bytes() == DATA


def test_a_body_that_is_compressed_on_the_way_is_taken_and_never_glued(
    service, client, tmp_path
) -> None:
    packed = gzip.compress(DATA)
    headers = {"Content-Encoding": "gzip", "ETag": '"one"'}
    url = service.script("/a", Answer(200, packed, headers, THIRD), Answer(200, packed, headers))
    download(client, Wanted(url, tmp_path / "a.bin", "", len(DATA)))
    assert (tmp_path / "a.bin").read_bytes() == DATA
    assert all("range" not in asked.headers for asked in service.asked)


def test_an_unknown_kind_of_checksum_is_refused(service, client, tmp_path) -> None:
    with pytest.raises(CorpusError, match="of a kind that cannot be checked"):
        download(client, Wanted(service.file("/a", DATA), tmp_path / "a.bin", "crc:12"))


@pytest.mark.parametrize(
    ("status", "words"),
    [(404, "no such thing"), (403, "not open"), (401, "key"), (410, "taken away"), (418, "418")],
)
def test_final_refusals_are_not_repeated(service, client, waits, tmp_path, status, words) -> None:
    url = service.script("/a", as_json({"message": "PID does\nnot exist."}, status))
    with pytest.raises(CorpusError, match=words) as error:
        download(client, Wanted(url, tmp_path / "a.bin"))
    assert "PID does not exist." in str(error.value)
    assert len(str(error.value).splitlines()) == 1
    assert len(service.asked) == 1
    assert waits.seconds == []


def test_a_busy_service_is_asked_again_with_growing_pauses(
    service, client, waits, tmp_path
) -> None:
    url = service.file("/a", DATA, before=(Answer(503), Answer(500)))
    download(client, Wanted(url, tmp_path / "a.bin"))
    assert waits.seconds == [1.0, 2.0]


def test_a_busy_service_is_given_up_in_the_end(service, client, waits, tmp_path) -> None:
    with pytest.raises(CorpusError, match="answered 503 3 times"):
        download(client, Wanted(service.script("/a", Answer(503)), tmp_path / "a.bin"))
    assert waits.seconds == [1.0, 2.0]


def test_retry_after_is_kept(service, client, waits, tmp_path) -> None:
    url = service.file("/a", DATA, before=(Answer(429, headers={"Retry-After": "17"}),))
    download(client, Wanted(url, tmp_path / "a.bin"))
    assert waits.seconds == [17.0]


def test_a_very_long_retry_after_ends_the_attempt(service, client, waits, tmp_path) -> None:
    url = service.script("/a", Answer(429, headers={"Retry-After": "7200"}))
    with pytest.raises(CorpusError, match="asks to wait 7200 s"):
        download(client, Wanted(url, tmp_path / "a.bin"))
    assert waits.seconds == []


def test_when_a_service_says_how_long_to_wait() -> None:
    assert asked_to_wait_s({}) is None
    assert asked_to_wait_s({"Retry-After": "soon"}) is None
    at = asked_to_wait_s({"Retry-After": formatdate(time.time() + 60, usegmt=True)})
    assert at is not None
    assert 50 < at < 61
    assert asked_to_wait_s({"Retry-After": formatdate(0, usegmt=True)}) == 0
    reset = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(int(time.time()) + 30)}
    assert 25 < (asked_to_wait_s(reset) or 0) < 31
    assert asked_to_wait_s({**reset, "X-RateLimit-Remaining": "5"}) is None


def test_two_requests_keep_their_distance(service, waits) -> None:
    client = Client(Manners(interval_s=1.5), sleep=waits.sleep, clock=waits.clock)
    url = service.script("/a", as_json({}))
    for _ in range(3):
        client.get_json(url)
    assert waits.seconds == [1.5, 1.5]


def test_nobody_there(client, tmp_path, waits) -> None:
    with pytest.raises(CorpusError, match="cannot be reached"):
        download(client, Wanted("http://127.0.0.1:1/a", tmp_path / "a.bin"))
    assert waits.seconds == [1.0, 2.0]


def test_a_service_that_never_answers(service, waits) -> None:
    client = Client(Manners(retries=0, read_s=0.2), sleep=waits.sleep)

    def slow(asked: object) -> Answer:
        time.sleep(1)
        return Answer()

    with pytest.raises(CorpusError, match="does not answer in time"):
        client.get_json(service.script("/a", slow))


def test_an_answer_that_is_no_json(service, client) -> None:
    with pytest.raises(CorpusError, match="did not answer with JSON"):
        client.get_json(service.script("/a", Answer(200, b"<html>")))


def test_a_cut_answer_is_asked_for_again(service, client) -> None:
    cut = replace(as_json({"a": 1}), sent=3)
    assert client.get_json(service.script("/a", cut, as_json({"a": 1}))) == {"a": 1}


def test_the_query_is_in_no_message(service, client, tmp_path) -> None:
    url = service.script("/a", Answer(503))
    with pytest.raises(CorpusError) as error:
        client.get_json(url, {"key": "SECRET"})
    assert "SECRET" not in str(error.value)
    with pytest.raises(CorpusError) as error:
        client.get_json("http://user:SECRET@127.0.0.1:1/a", {"key": "SECRET"})
    assert "SECRET" not in str(error.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/a",
        "file:///etc/passwd",
        "ftp://example.org/a",
        "",
        "https://",
        "http://[",
    ],
)
def test_only_https_is_fetched(client, tmp_path, url) -> None:
    with pytest.raises(CorpusError):
        download(client, Wanted(url, tmp_path / "a.bin"))
    check_address("https://example.org/a")


def test_redirects_are_followed_but_not_for_ever(service, client, tmp_path) -> None:
    url = service.script("/a", Answer(302, headers={"Location": "/b"}))
    service.file("/b", DATA, cuts=(THIRD,))
    download(client, Wanted(url, tmp_path / "a.bin"))
    assert (tmp_path / "a.bin").read_bytes() == DATA
    loop = service.script("/c", Answer(302, headers={"Location": "/c"}))
    with pytest.raises(CorpusError, match="without end"):
        download(client, Wanted(loop, tmp_path / "c.bin"))


@pytest.mark.parametrize("where", ["http://192.0.2.1/a", "file:///etc/passwd", "//[", ""])
def test_a_redirect_away_from_https_is_not_followed(service, client, tmp_path, where) -> None:
    url = service.script("/a", Answer(302, headers={"Location": where}))
    with pytest.raises(CorpusError) as error:
        download(client, Wanted(url, tmp_path / "a.bin"))
    assert len(str(error.value).splitlines()) == 1
    assert names(tmp_path) == []


def test_no_room_is_said_before_the_first_byte(service, client, monkeypatch, tmp_path) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(storage.shutil, "disk_usage", lambda path: usage(1, 1, 1000))
    with pytest.raises(DiskFullError, match=r"needs 1\.5 MB and 0\.0 MB are free"):
        download(client, Wanted(service.file("/a", DATA), tmp_path / "a.bin"))
    assert not (tmp_path / "a.bin").exists()


def test_a_folder_that_cannot_be_made(service, client, tmp_path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(AudioWriteError):
        download(client, Wanted(service.file("/a", DATA), tmp_path / "file" / "a.bin"))


def test_pieces_can_be_tidied_away(service, client, tmp_path) -> None:
    (tmp_path / "keep.download").write_bytes(b"")
    interrupted(service, client, tmp_path / "deep" / "a.bin")
    assert remove_partials(tmp_path) == 2
    assert names(tmp_path) == ["keep.download"]
