"""One file from an address to the disk: resumed where it broke off, checked, whole or not there.

What has arrived lies in a hidden file beside the target, next to a note on which version of the
original it is of. It goes on with a Range request that the server only honours for that version
(If-Range); it is checked (length, checksum) before it gets its name.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

import pooch
import requests

from biodenoising.corpus.sources.client import BLOCK_BYTES, Client, check_address, shown
from biodenoising.errors import CorpusError, DiskFullError
from biodenoising.storage import free_bytes, printable, sha256_of, whole_file, writing

LARGEST_FILE_BYTES = 200 << 30
PARTIAL = re.compile(r"\.[0-9a-f]{24}\.download(\.json)?")
RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")
TOTAL = re.compile(r"bytes \*/(\d+)")


@dataclass(frozen=True)
class Wanted:
    """A file to fetch: `checksum` is "md5:..." or "sha256:..." or "", `size` in bytes or None."""

    url: str
    target: Path
    checksum: str = ""
    size: int | None = None


def download(client: Client, wanted: Wanted) -> str:
    """Fetch a file and return its SHA-256; a target that is there and right is not fetched again.

    Raises:
        CorpusError: the address, the answer, the length or the checksum is not as it should be.
        DiskFullError: there is no room for it.
    """
    check_address(wanted.url)
    if wanted.target.is_file() and is_right(wanted.target, wanted):
        return sha256_of(wanted.target)
    with writing(wanted.target):
        wanted.target.parent.mkdir(parents=True, exist_ok=True)
    partial = _Partial(wanted)
    resumed = _fetch(client, partial)
    if not is_right(partial.path, wanted):
        size = partial.size
        partial.discard()
        # The fault may lie in the piece of an earlier run; without it, it lies at the source.
        if resumed:
            _fetch(client, partial)
        if not resumed or not is_right(partial.path, wanted):
            partial.discard()
            raise CorpusError(
                f"{shown(wanted.url)}: the {size} bytes that came are not those that were promised "
                f"({_promise(wanted)}); give the same command again, then ask the source"
            )
    with whole_file(wanted.target) as temporary:
        os.replace(partial.path, temporary)
    partial.discard()
    return sha256_of(wanted.target)


def is_right(path: Path, wanted: Wanted) -> bool:
    """Tell whether a file has the size and checksum that are wanted, as far as they are known."""
    if wanted.size is not None and path.stat().st_size != wanted.size:
        return False
    return not wanted.checksum or checksum_of(path, wanted.checksum) == wanted.checksum.lower()


def checksum_of(path: Path, like: str) -> str:
    """Return a file's checksum in the form of `like`, "md5:..." or "sha256:...".

    Raises CorpusError for an algorithm that is not known.
    """
    algorithm = like.partition(":")[0].lower()
    if algorithm not in ("md5", "sha256", "sha512", "sha1"):
        raise CorpusError(f"the checksum {like[:80]!r} is of a kind that cannot be checked")
    return f"{algorithm}:{pooch.file_hash(os.fspath(path), alg=algorithm)}"


def remove_partials(folder: Path) -> int:
    """Delete what broken-off downloads left below a folder; return how many files."""
    found = [path for path in folder.rglob(".*") if PARTIAL.fullmatch(path.name)]
    for path in found:
        path.unlink(missing_ok=True)
    return len(found)


class _Partial:
    """The part of a file that has arrived, and the version of the original it belongs to."""

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted
        # By address: a target that is now wanted from elsewhere starts anew.
        digest = hashlib.sha256(f"{wanted.url}\n{wanted.target.name}".encode()).hexdigest()[:24]
        self.path = wanted.target.with_name(f".{digest}.download")
        self.note = wanted.target.with_name(f".{digest}.download.json")

    @property
    def size(self) -> int:
        """Bytes that have arrived."""
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def version(self) -> str:
        """What the server called the version that these bytes are of, or ""."""
        try:
            version = json.loads(self.note.read_text("utf-8"))["version"]
        except (OSError, ValueError, KeyError, TypeError):
            return ""
        return version if isinstance(version, str) else ""

    def begin(self, version: str) -> None:
        """Forget what has arrived and note the version that comes now."""
        self.discard()
        with whole_file(self.note) as temporary:
            temporary.write_text(json.dumps({"url": shown(self.wanted.url), "version": version}))

    def discard(self) -> None:
        """Delete everything."""
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)


def _fetch(client: Client, partial: _Partial) -> bool:
    """Bring the partial file to its end; tell whether a piece of an earlier run is in it."""
    had = most = partial.size
    failures = 0
    while True:
        try:
            if _receive(client, partial):
                return had > 0
            raise requests.exceptions.ChunkedEncodingError("the body is shorter than announced")
        except (requests.RequestException, ConnectionError, TimeoutError) as error:
            # As long as every attempt gets further than all before, it is worth another.
            if partial.size > most:
                failures, most = 0, partial.size
            client.wait_after_failure(partial.wanted.url, failures, error)
            failures += 1


def _receive(client: Client, partial: _Partial) -> bool:
    """Take one answer's body; tell whether the file is complete with it."""
    wanted = partial.wanted
    if not (partial.version or wanted.checksum):
        # Nothing could tell the pieces of two versions apart.
        partial.discard()
    start = partial.size
    headers = {}
    if start:
        headers["Range"] = f"bytes={start}-"
        if partial.version:
            headers["If-Range"] = partial.version
    with client.open(wanted.url, headers=headers, accept=frozenset({206, 416})) as response:
        if response.status_code == 416:
            total = TOTAL.fullmatch(response.headers.get("Content-Range", ""))
            if total and int(total[1]) == start:
                return True
            partial.discard()
            return False
        total_bytes = _expected_bytes(response, start)
        if response.status_code == 206 and not _continues(response, start):
            partial.discard()
            return False
        start = 0 if response.status_code == 200 else start
        _check_room(wanted, total_bytes, start)
        if response.status_code == 200:
            partial.begin(_version(response))
        _append(client, partial, response)
    expected = wanted.size if total_bytes is None else total_bytes
    return expected is None or partial.size >= expected


def _append(client: Client, partial: _Partial, response: requests.Response) -> None:
    wanted = partial.wanted
    arrived = partial.size
    limit = LARGEST_FILE_BYTES if wanted.size is None else wanted.size
    with writing(wanted.target):
        file = _opened(partial.path)
    # Only the writing is the disk's fault: the errors of requests are OSErrors as well.
    with file:
        for block in response.iter_content(BLOCK_BYTES):
            arrived += len(block)
            if arrived > limit:
                partial.discard()
                raise CorpusError(
                    f"{shown(wanted.url)}: more than the {limit} bytes that were promised come; "
                    "ask the source"
                )
            with writing(wanted.target):
                _write(file, block)
            client.arrived(len(block))


def _opened(path: Path) -> FileIO:
    return open(path, "ab", buffering=0)


def _write(file: FileIO, block: bytes) -> None:
    """Write a block whole."""
    view = memoryview(block)
    while view:
        view = view[file.write(view) :]


def _version(response: requests.Response) -> str:
    """Return what If-Range may name: a strong ETag, else the date of the last change."""
    tag = response.headers.get("ETag", "")
    if _is_packed(response):
        return ""
    if tag and not tag.startswith("W/"):
        return tag
    return response.headers.get("Last-Modified", "")


def _is_packed(response: requests.Response) -> bool:
    """Tell whether a body is compressed on the way although that was not asked for."""
    return response.headers.get("Content-Encoding", "identity").lower() != "identity"


def _continues(response: requests.Response, start: int) -> bool:
    match = RANGE.fullmatch(response.headers.get("Content-Range", ""))
    return match is not None and int(match[1]) == start


def _expected_bytes(response: requests.Response, start: int) -> int | None:
    """Return the whole file's size as the answer states it, or None."""
    match = RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if response.status_code == 206 and match and match[2] != "*":
        return int(match[2])
    length = response.headers.get("Content-Length", "")
    if not length.isdecimal() or _is_packed(response):
        return None
    return int(length) + (start if response.status_code == 206 else 0)


def _check_room(wanted: Wanted, total: int | None, start: int) -> None:
    """Refuse before the first byte what would not fit or is not what was promised."""
    if total is None:
        return
    if wanted.size is not None and total != wanted.size:
        raise CorpusError(
            f"{shown(wanted.url)}: has {total} bytes, {wanted.size} were promised; ask the source"
        )
    if total > LARGEST_FILE_BYTES:
        raise CorpusError(f"{shown(wanted.url)}: has {total / 1e9:.0f} GB, more than is fetched")
    free = free_bytes(wanted.target)
    if total - start > free:
        raise DiskFullError(
            f"{printable(wanted.target)}: needs {(total - start) / 1e6:.1f} MB and "
            f"{free / 1e6:.1f} MB are free; make room, then give the same command again"
        )


def _promise(wanted: Wanted) -> str:
    size = "" if wanted.size is None else f"{wanted.size} bytes"
    return ", ".join(text for text in (size, wanted.checksum[:80]) if text)
