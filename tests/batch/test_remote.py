"""INPUT and OUTPUT in a bucket: whole objects or none, resumed, with throttling and refusals."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from biodenoising import BatchError, denoise_tree
from biodenoising.batch import stores
from biodenoising.batch.listing import Refusal
from biodenoising.batch.remote import list_remote, open_targets, plan_remote
from biodenoising.batch.stores import Store

pytest.importorskip("s3fs")
pytest.importorskip("moto.server")
import boto3
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

SLOW_DOWN = (
    b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
)
SKEWED = (
    b"<Error><Code>RequestTimeTooSkewed</Code><Message>The difference between the request time and "
    b"the current time is too large.</Message></Error>"
)
DENIED = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"


class Bucket:
    """An S3 server on loopback whose answers can be tampered with."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str]] = []
        self.tamper: Callable[[str, str], tuple[str, bytes] | None] = lambda method, path: None
        self._app = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def _answer(self, environ: dict[str, Any], start: Any) -> Any:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        self.requests.append((method, path))
        answer = self.tamper(method, path)
        if answer is None:
            return self._app(environ, start)
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        start(answer[0], [("Content-Type", "application/xml")])
        return [b"" if method == "HEAD" else answer[1]]

    def open(self) -> Any:
        self.client = boto3.client("s3")
        self.client.create_bucket(Bucket="bkt")
        return self

    def keys(self, prefix: str = "") -> dict[str, bytes]:
        found = self.client.list_objects_v2(Bucket="bkt", Prefix=prefix).get("Contents", [])
        return {
            o["Key"].removeprefix(prefix): self.client.get_object(Bucket="bkt", Key=o["Key"])[
                "Body"
            ].read()
            for o in found
        }

    def reset(self) -> None:
        self.tamper = lambda method, path: None
        self.requests.clear()
        urlopen(Request(f"{self.url}/moto-api/reset", method="POST")).close()

    def end(self) -> None:
        self._server.shutdown()


@pytest.fixture(scope="module")
def server() -> Iterator[Bucket]:
    made = Bucket()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AWS_ENDPOINT_URL": made.url, "AWS_ACCESS_KEY_ID": "the-key-id",
            "AWS_SECRET_ACCESS_KEY": "the-secret-key", "AWS_DEFAULT_REGION": "us-east-1",
        }.items():  # fmt: skip
            patch.setenv(name, value)
        stores._file_system.cache_clear()
        yield made
    made.end()


@pytest.fixture
def bucket(server: Bucket) -> Iterator[Bucket]:
    yield server.open()
    server.reset()


@pytest.fixture
def filled(tree, bucket) -> Bucket:
    """A bucket with five recordings below in/, the same as the tree's."""
    for name in ("a.wav", "b/b.flac", "b/c d.wav", "b/A.wav", "B/a.wav"):
        path = tree.add(name)
        bucket.client.upload_file(str(path), "bkt", f"in/{name}")
    bucket.client.put_object(Bucket="bkt", Key="in/notes.txt", Body=b"no audio")
    return bucket


def recordings(found: dict[str, bytes]) -> dict[str, bytes]:
    return {name: data for name, data in found.items() if not name.startswith(".biodenoise/")}


def test_tree_in_tree_out_and_again(tree, filled, biodenoise) -> None:
    assert biodenoise(tree.input, tree.output).exit_code == 0
    result = biodenoise("s3://bkt/in", "s3://bkt/out", "--residual", "s3://bkt/removed")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "5 denoised (1.2 s of audio" in result.stdout
    assert recordings(filled.keys("out/")) == tree.outputs()
    assert sorted(filled.keys("removed/")) == [".biodenoise/started.json", *sorted(tree.outputs())]
    puts = sum(method == "PUT" for method, _ in filled.requests)
    again = biodenoise("s3://bkt/in", "s3://bkt/out", "--residual", "s3://bkt/removed")
    assert "5 skipped" in again.stdout
    assert sum(method == "PUT" for method, _ in filled.requests) == puts + 2  # may we write?
    note = json.loads(filled.keys("out/")[".biodenoise/b/c d.wav.json"])
    assert note["from"] == "s3://bkt/in/b/c d.wav"
    assert note["duration_s"] == 0.25


@pytest.mark.slow
@pytest.mark.parametrize("far", ["input", "output"])
def test_one_end_only(tree, filled, biodenoise, far) -> None:
    assert biodenoise(tree.input, tree.output).exit_code == 0
    here = tree.root / "here"
    places = ["s3://bkt/in", here] if far == "input" else [tree.input, "s3://bkt/out"]
    assert biodenoise(*places).exit_code == 0
    if far == "output":
        assert recordings(filled.keys("out/")) == tree.outputs()
    else:
        assert tree.outputs(here).items() >= tree.outputs().items()
    assert "5 skipped" in biodenoise(*places).stdout


@pytest.mark.slow
def test_changed_input_and_changed_options_are_not_taken_for_done(tree, filled, biodenoise) -> None:
    assert biodenoise("s3://bkt/in", "s3://bkt/out").exit_code == 0
    before = filled.keys("out/")
    other = biodenoise("s3://bkt/in", "s3://bkt/out", "--mix", "0.5", "--include", "a.wav")
    assert other.exit_code == 1
    assert "--overwrite" in other.stderr
    filled.client.upload_file(str(tree.add("a.wav", seed=9)), "bkt", "in/a.wav")
    result = biodenoise("s3://bkt/in", "s3://bkt/out")
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert "s3://bkt/out/a.wav" in line
    assert filled.keys("out/") == before
    assert "1 denoised" in biodenoise("s3://bkt/in", "s3://bkt/out", "--overwrite").stdout
    assert "5 skipped" in biodenoise("s3://bkt/in", "s3://bkt/out").stdout


@pytest.mark.slow
def test_a_run_broken_off_goes_on(tree, filled, tiny_model, biodenoise) -> None:
    def break_off(outcome: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        denoise_tree("s3://bkt/in", "s3://bkt/out", model=tiny_model, jobs=1, observer=break_off)
    assert biodenoise(tree.input, tree.output).exit_code == 0
    made = recordings(filled.keys("out/"))
    assert made
    assert made.items() <= tree.outputs().items()
    result = biodenoise("s3://bkt/in", "s3://bkt/out")
    assert result.exit_code == 0
    assert "0 skipped" not in result.stdout
    assert recordings(filled.keys("out/")) == tree.outputs()


@pytest.mark.slow
def test_an_output_without_a_note_is_made_again_only_when_told(tree, filled, biodenoise) -> None:
    """Broken off between an output and its note: the output is whole, but nobody knows of what."""
    assert biodenoise("s3://bkt/in", "s3://bkt/out", "--include", "a.wav").exit_code == 0
    wanted = filled.keys("out/")["a.wav"]
    filled.client.delete_object(Bucket="bkt", Key="out/.biodenoise/a.wav.json")
    result = biodenoise("s3://bkt/in", "s3://bkt/out", "--include", "a.wav")
    assert result.exit_code == 1
    assert (
        biodenoise("s3://bkt/in", "s3://bkt/out", "--include", "a.wav", "--overwrite").exit_code
        == 0
    )
    assert filled.keys("out/")["a.wav"] == wanted


def test_a_store_that_is_busy_is_asked_again(tree, filled, biodenoise) -> None:
    count = 0

    def busy(method: str, path: str) -> tuple[str, bytes] | None:
        nonlocal count
        count += 1
        return ("503 Slow Down", SLOW_DOWN) if count % 4 == 1 else None

    filled.tamper = busy
    result = biodenoise("s3://bkt/in", "s3://bkt/out")
    filled.tamper = lambda method, path: None
    assert (result.exit_code, result.stderr) == (0, "")
    assert biodenoise(tree.input, tree.output).exit_code == 0
    assert recordings(filled.keys("out/")) == tree.outputs()


def test_writing_denied_is_one_line_before_any_work(tree, filled, biodenoise) -> None:
    filled.tamper = lambda method, path: ("403 Forbidden", DENIED) if method == "PUT" else None
    result = biodenoise("s3://bkt/in", "s3://bkt/out")
    filled.tamper = lambda method, path: None
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert "denies" in line
    assert "secret" not in result.output
    assert "key-id" not in result.output
    assert filled.keys("out/") == {}


def test_a_clock_that_is_off_is_one_line(filled, biodenoise) -> None:
    filled.tamper = lambda method, path: ("403 Forbidden", SKEWED) if method == "PUT" else None
    result = biodenoise("s3://bkt/in", "s3://bkt/out")
    filled.tamper = lambda method, path: None
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert "set this machine's clock" in line
    assert filled.keys("out/") == {}


@pytest.mark.slow
def test_a_recording_that_never_arrives_whole_is_one_failure(tree, filled, biodenoise) -> None:
    def cut(method: str, path: str) -> tuple[str, bytes] | None:
        wanted = method == "GET" and path.endswith("in/b/A.wav")
        return ("200 OK", (tree.input / "b/A.wav").read_bytes()[:3000]) if wanted else None

    filled.tamper = cut
    result = biodenoise("s3://bkt/in", "s3://bkt/out")
    filled.tamper = lambda method, path: None
    assert result.exit_code == 1
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("failed")]
    assert "s3://bkt/in/b/A.wav" in line
    assert "3000 of" in line
    assert "4 denoised" in result.stdout
    assert sorted(recordings(filled.keys("out/"))) == sorted(
        set(tree.outputs(tree.input)) - {"b/A.wav"}
    )
    assert biodenoise("s3://bkt/in", "s3://bkt/out").exit_code == 0


@pytest.mark.slow
def test_a_recording_that_may_not_be_read_is_one_failure(tree, filled, biodenoise) -> None:
    def deny(method: str, path: str) -> tuple[str, bytes] | None:
        wanted = method == "GET" and path.endswith("in/b/A.wav")
        return ("403 Forbidden", DENIED) if wanted else None

    filled.tamper = deny
    result = biodenoise("s3://bkt/in", "s3://bkt/out")
    filled.tamper = lambda method, path: None
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert "s3://bkt/in/b/A.wav" in line
    assert "denies" in line
    assert "4 denoised" in result.stdout


def test_names_of_another_case_that_would_meet_are_left_out(filled, tmp_path) -> None:
    plan = plan_remote("s3://bkt/in", tmp_path)
    listed = list(list_remote(plan))
    assert len(listed) == 5
    assert not any(isinstance(item, Refusal) for item in listed)
    filled.client.put_object(Bucket="bkt", Key="in/A.WAV", Body=b"")
    refused = [item for item in list_remote(replace(plan, folds=True)) if isinstance(item, Refusal)]
    assert [str(item.path) for item in refused] == ["A.WAV", "B", "a.wav", "b"]
    assert all("the same in OUTPUT" in item.message for item in refused)


def test_a_target_is_asked_how_it_takes_names(filled, tmp_path, monkeypatch) -> None:
    plan = plan_remote("s3://bkt/in", tmp_path)
    assert not open_targets(plan).folds
    note = Store.note
    monkeypatch.setattr(Store, "note", lambda self, name: note(self, name.lower()))
    assert open_targets(plan).folds


@pytest.mark.slow
def test_one_recording_that_cannot_be_read_is_one_failure(tree, filled, biodenoise) -> None:
    filled.client.put_object(Bucket="bkt", Key="in/b/bad.wav", Body=b"no audio")
    result = biodenoise("s3://bkt/in", "s3://bkt/out")
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert "s3://bkt/in/b/bad.wav" in line
    assert "5 denoised" in result.stdout


@pytest.mark.slow
def test_files_that_would_meet_are_left_out(tree, filled, biodenoise) -> None:
    filled.client.upload_file(str(tree.input / "b/b.flac"), "bkt", "in/b/b.wav")
    result = biodenoise("s3://bkt/in", "s3://bkt/out", "--format", "flac", "--overwrite")
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 2
    assert "b/b.flac" not in filled.keys("out/")


@pytest.mark.slow
def test_shards_of_a_bucket(filled, biodenoise) -> None:
    counts = [
        len(recordings(filled.keys("out/")))
        for i in (1, 2)
        if biodenoise("s3://bkt/in", "s3://bkt/out", "--shard", f"{i}/2").exit_code == 0
    ]
    assert counts[1] == 5


def test_a_truncated_download_is_seen(tmp_path: Path, filled, monkeypatch) -> None:
    monkeypatch.setattr(stores, "PAUSES_S", ())
    store = Store("s3://bkt/in")
    entry = store.entry("a.wav")
    filled.client.put_object(Bucket="bkt", Key="in/a.wav", Body=b"short")
    with pytest.raises(stores.StoreError, match="5 of"):
        store.fetch(entry, "a.wav", tmp_path / "a.wav")


@pytest.mark.parametrize(
    ("source", "output"),
    [
        ("s3://nothing/in", "s3://bkt/out"),
        ("s3://bkt/in", "s3://bkt/in"),
        ("s3://bkt/in", "s3://bkt/in/out"),
        ("nothing://b/in", "s3://bkt/out"),
        ("sftp://me:password@host/in", "s3://bkt/out"),
    ],
)
def test_what_cannot_start(filled, biodenoise, monkeypatch, source, output) -> None:
    result = biodenoise(source, output)
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert "password@" not in line
    assert filled.keys("out/") == {}


def test_residuals_among_the_outputs_are_refused(filled, biodenoise) -> None:
    for residual in ("s3://bkt/out", "s3://bkt/out/removed", "s3://bkt/in/removed"):
        result = biodenoise("s3://bkt/in", "s3://bkt/out", "--residual", residual)
        assert result.exit_code == 2
        assert "within each other" in result.stderr
    assert filled.keys("out/") == {}


def test_a_missing_package_is_named(monkeypatch) -> None:
    stores._file_system.cache_clear()
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(BatchError, match=r"biodenoising\[gcs\]"):
        Store("gs://b/in").entries("")


def test_other_stores_get_whole_files_by_renaming(tmp_path: Path) -> None:
    """What has no objects: a temporary name first. fsspec's memory stands for SFTP."""
    source = tmp_path / "x.bin"
    source.write_bytes(b"12345")
    store = Store("memory://place/out")
    entry = store.put(source, "a/x.bin")
    assert entry.size == 5
    assert [e.name for e in store.entries("a")] == ["x.bin"]
    fetched = tmp_path / "y.bin"
    store.fetch(store.entries("a")[0], "a/x.bin", fetched)
    assert fetched.read_bytes() == b"12345"
