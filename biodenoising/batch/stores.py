"""Folders in an object store or on another host, through fsspec: list, fetch, put, remember.

A file appears under its name whole or not at all: stores do so by themselves, elsewhere it is put
under a temporary name and renamed. Sizes are compared after each transfer; checksums on the way are
the store's client's (for S3, botocore's CRC32). Credentials are looked for by that client where it
always looks, and never seen here. https://filesystem-spec.readthedocs.io
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from biodenoising.errors import BatchError
from biodenoising.storage import printable, whole_file

EXTRAS = {"s3": "s3", "gs": "gcs", "gcs": "gcs", "sftp": "sftp", "ssh": "sftp"}
SSH = ("sftp", "ssh")
WHOLE_BY_THEMSELVES = ("s3", "s3a", "gs", "gcs", "az", "abfs")
NOTES = ".biodenoise"
CHANGED_BY = ("ETag", "etag", "md5Hash", "mtime", "LastModified", "last_modified", "updated")
PAUSES_S = (1.0, 2.0, 4.0, 8.0)
# Errors of the clients that are no OSError, where the client is loaded.
FOREIGN = (
    ("botocore.exceptions", "BotoCoreError"), ("botocore.exceptions", "ClientError"),
    ("aiohttp", "ClientError"), ("gcsfs.retry", "HttpError"), ("paramiko", "SSHException"),
    ("gcsfs.retry", "ChecksumError"), ("google.auth.exceptions", "GoogleAuthError"),
    ("builtins", "EOFError"),  # paramiko's, for a connection that was cut
)  # fmt: skip
# To ask again would be of no use.
HOPELESS = (
    "NoCredentialsError", "AuthenticationException", "BadHostKeyException",
    "DefaultCredentialsError",
)  # fmt: skip
LOGGERS = ("gcsfs", "google", "paramiko")  # what they say would stand beside our line
CONNECT_S = 30.0

T = TypeVar("T")


class StoreError(Exception):
    """A store refuses or does not answer; where nothing else will work either, `lasting`."""

    def __init__(self, message: str, *, lasting: bool = False) -> None:
        super().__init__(message)
        self.lasting = lasting


@dataclass(frozen=True)
class Entry:
    """A file or folder in a store: `identity` changes when its content does."""

    name: str
    is_folder: bool
    size: int
    identity: str
    is_link: bool = False


def is_remote(place: object) -> bool:
    """Whether a place is an address such as s3://bucket/folder."""
    return isinstance(place, str) and "://" in place


def place_of(place: str | os.PathLike[str]) -> str | Path:
    """Return an address as it is, anything else as a path."""
    return place if isinstance(place, str) and is_remote(place) else Path(place)


@dataclass(frozen=True)
class Store:
    """A folder by its address, or on this machine by its path; made anew in every process."""

    address: str

    def __post_init__(self) -> None:
        parts = urlsplit(self.address)
        if is_remote(self.address) and parts.password is not None:
            raise BatchError(
                f"{parts.scheme}://{parts.hostname}: leave the password out of the address; keys "
                "and agents are used"
            )

    @property
    def protocol(self) -> str:
        """The part of the address before ://, or `file`."""
        return urlsplit(self.address).scheme if is_remote(self.address) else "file"

    def at(self, name: str) -> str:
        """Return the address of a file below the folder."""
        return f"{self.address.rstrip('/')}/{name}" if name else self.address.rstrip("/")

    def entries(self, folder: str) -> list[Entry]:
        """Return what lies in a folder below, in order. Raises StoreError."""
        place = self._path(folder)

        def listed() -> list[dict[str, Any]]:
            return list(self._fs.ls(place, detail=True, refresh=True))

        base = place.strip("/")
        found = []
        for info in self._try(listed, self.at(folder)):
            name = str(info["name"]).strip("/")
            if name != base:  # some stores list the folder itself
                found.append(_entry(name.rsplit("/", 1)[-1], info))
        return sorted(found, key=lambda e: e.name + "/" * e.is_folder)

    def entry(self, name: str) -> Entry | None:
        """Return one file, None where there is none. Raises StoreError."""
        try:
            info = self._try(lambda: self._fs.info(self._path(name), refresh=True), self.at(name))
        except FileNotFoundError:
            return None
        return _entry(name, info)

    def fetch(self, entry: Entry, name: str, target: Path) -> None:
        """Copy a file to this machine and compare the size. Raises StoreError."""

        def copied() -> None:
            self._fs.get_file(self._path(name), str(target))
            if target.stat().st_size != entry.size:
                raise OSError(f"{target.stat().st_size} of {entry.size} bytes arrived")

        self._try(copied, self.at(name))

    def put(self, source: Path, name: str) -> Entry:
        """Copy a file of this machine to `name`, whole or not at all. Raises StoreError."""
        size = source.stat().st_size

        def copied() -> Entry:
            if self.protocol == "file":
                with whole_file(Path(self.at(name))) as temporary:
                    shutil.copyfile(source, temporary)
            elif self.protocol in WHOLE_BY_THEMSELVES:
                self._fs.put_file(str(source), self._path(name))
            else:
                self._put_and_rename(source, name)
            entry = _entry(name, self._fs.info(self._path(name), refresh=True))
            if entry.size != size:
                raise OSError(f"{entry.size} of {size} bytes arrived")
            return entry

        return self._try(copied, self.at(name))

    def note(self, name: str) -> dict[str, Any] | None:
        """Return what was noted about an output, None where nothing or nonsense was."""
        path = self._path(f"{NOTES}/{name}.json")
        try:
            found = json.loads(self._try(lambda: self._fs.cat_file(path), self.at(name)))
        except (FileNotFoundError, ValueError, RecursionError):
            return None
        return found if isinstance(found, dict) else None

    def write_note(self, name: str, note: dict[str, Any], folder: Path) -> None:
        """Keep a note about an output; `folder` is one of this machine. Raises StoreError."""
        path = folder / "note.json"
        path.write_text(json.dumps(note), encoding="utf-8")
        self.put(path, f"{NOTES}/{name}.json")

    @property
    def _fs(self) -> Any:
        return _file_system(self.protocol, urlsplit(self.address).netloc)

    def _path(self, name: str) -> str:
        return str(_kind(self.protocol)._strip_protocol(self.at(name)))

    def _put_and_rename(self, source: Path, name: str) -> None:
        path = self._path(name)
        folder, _, last = path.rpartition("/")
        temporary = f"{folder}/.{secrets.token_hex(4)}.{last}.part"
        self._fs.makedirs(folder, exist_ok=True)
        try:
            self._fs.put_file(str(source), temporary)
            self._fs.mv(temporary, path)
        except OSError:
            if self._fs.exists(temporary):
                self._fs.rm_file(temporary)
            raise

    def _try(self, action: Callable[[], T], address: str) -> T:
        """Do something that a busy store may refuse at first; say what is wrong if it stays so."""
        for pause in (*PAUSES_S, None):
            try:
                return action()
            except FileNotFoundError:
                raise
            except _failures() as error:
                if _is_denial(error):
                    clock = "time" in str(error) and "too large" in str(error)  # S3's words
                    raise StoreError(
                        f"{printable(address)}: the store denies this ({_reason(error)}); "
                        + ("set this machine's clock" if clock else "see to your account's rights"),
                        lasting=True,
                    ) from error
                if pause is None or type(error).__name__ in HOPELESS:
                    raise StoreError(
                        f"{printable(address)}: the store does not do this ({_reason(error)}); "
                        "see to the connection and the account, then give the same command again"
                    ) from error
                if self.protocol in SSH:  # its connection may be cut
                    _file_system.cache_clear()
                time.sleep(pause)
        raise AssertionError("the last attempt returns or raises")


@contextmanager
def refused(address: str) -> Iterator[None]:
    """Turn a store's refusal into the reason why a run cannot start."""
    try:
        yield
    except StoreError as error:
        raise BatchError(str(error)) from error
    except FileNotFoundError as error:
        raise BatchError(f"{printable(address)}: there is no such folder or bucket") from error


def _kind(protocol: str) -> Any:
    extra = EXTRAS.get(protocol)
    advice = f"; install it: pip install 'biodenoising[{extra}]'" if extra else ""
    try:
        import fsspec

        if protocol in SSH:
            from biodenoising.batch.sftp import KnownHostSystem

            return KnownHostSystem
        return fsspec.get_filesystem_class(protocol)
    except ImportError as error:
        raise BatchError(f"{protocol}:// needs a package that is missing{advice}") from error
    except ValueError as error:
        raise BatchError(f"{protocol}:// is no kind of store that is known") from error


@lru_cache(maxsize=8)
def _file_system(protocol: str, host: str) -> Any:
    for name in LOGGERS:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    options = (
        {"timeout": CONNECT_S, **_login(host)} if protocol in SSH else {"use_listings_cache": False}
    )
    return _kind(protocol)(skip_instance_cache=True, **options)


def _login(host: str) -> dict[str, Any]:
    parts = urlsplit(f"//{host}")
    named = {"host": parts.hostname, "username": parts.username, "port": parts.port}
    return {key: value for key, value in named.items() if value is not None}


def _failures() -> tuple[type[Exception], ...]:
    loaded = ((sys.modules.get(module), name) for module, name in FOREIGN)
    found = (getattr(module, name, None) for module, name in loaded)
    return (OSError, ValueError, *(error for error in found if error is not None))


def _is_denial(error: BaseException) -> bool:
    # gcsfs tells by the words alone.
    return isinstance(error, PermissionError) or str(error).startswith("Forbidden")


def _entry(name: str, info: dict[str, Any]) -> Entry:
    size = int(info.get("size") or 0)
    mark = next((info[key] for key in CHANGED_BY if info.get(key)), "")
    identity = f"{size}:{str(mark).strip(chr(34))}"
    return Entry(name, info["type"] == "directory", size, identity, info.get("linked", False))


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
