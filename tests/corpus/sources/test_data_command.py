"""The command `biodenoise-data`: lists, fetches, checks; one clear line for what goes wrong."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result
from loopback import Answer, sha256, sound

from biodenoising.cli import data as command
from biodenoising.corpus.manifest import Row, read_manifest, write_manifest


@pytest.fixture
def data() -> Iterator[Callable[..., Result]]:
    """Run the command in this process."""

    def run(*words: str | Path) -> Result:
        result = CliRunner().invoke(command.data, [str(word) for word in words])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    before = signal.getsignal(signal.SIGTERM)
    yield run
    signal.signal(signal.SIGTERM, before)


def refused(result: Result) -> str:
    """See a command refused, and return its one line."""
    assert result.exit_code == 2, result.output
    (line,) = result.stderr.splitlines()
    assert result.stdout == ""
    return line


def test_every_option_has_a_help_text() -> None:
    groups = [command.data, command.search]
    for group in groups:
        for one in group.commands.values():
            assert one.help, one.name
            for parameter in one.params:
                if isinstance(parameter, click.Option):
                    assert parameter.help, f"{one.name} {parameter.name}"


def test_the_list_names_hours_licences_and_access(data) -> None:
    shown = data("list").stdout
    (line,) = [line for line in shown.splitlines() if line.startswith("hainan-gibbon")]
    assert line.split()[1:] == ["vocal", "1.11", "h", "air", "open", "CC-BY-4.0"]
    noises = data("list", "--kind", "noise").stdout
    assert "sanctsound" in noises
    assert "hainan" not in noises
    assert "records   7997739" in data("show", "hainan-gibbon").stdout
    assert "nearest is 'powdermill'" in refused(data("show", "powdermil"))


def test_listing_loads_nothing_heavy() -> None:
    code = (
        "import sys; from biodenoising.cli.data import data; data(['list'], standalone_mode=False);"
        "print([m for m in ('numpy', 'requests', 'pooch', 'soundfile') if m in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.splitlines()[-1] == "[]"


def manifest_of(service, folder: Path, count: int = 3) -> Path:
    """A manifest of recordings that lie on the service."""
    rows = []
    for number in range(count):
        content = sound(seed=number)
        url = service.file(f"/{number}.wav", content)
        rows.append(
            Row(path=f"r/{number}.wav", kind="vocal", stage="recording", url=url, set="train",
                url_sha256=sha256(content), tier="open", licence="CC0-1.0", recording=str(number),
                attribution="Ann Other")
        )  # fmt: skip
    write_manifest(folder / "from.jsonl", rows)
    return folder / "from.jsonl"


def test_a_manifest_is_fetched_checked_and_searched_for_duplicates(service, data, tmp_path) -> None:
    out = tmp_path / "out"
    result = data("get", manifest_of(service, tmp_path), out)
    assert result.exit_code == 0, result.output
    assert "3 fetched with 3 recordings" in result.stderr
    rows = read_manifest(out / "manifest.jsonl")
    assert {row.attribution for row in rows} == {"Ann Other"}
    checked = data("check", out / "manifest.jsonl", "--files")
    assert (checked.exit_code, checked.stdout) == (0, "3 rows are right, 0 are wrong\n")
    assert data("duplicates", out).exit_code == 0
    (out / "r/2.wav").write_bytes((out / "r/0.wav").read_bytes())
    (out / "r/1.wav").unlink()
    twins = data("duplicates", out)
    assert (twins.exit_code, twins.stdout) == (1, "r/0.wav  r/2.wav\n")
    checked = data("check", out / "manifest.jsonl", "--files")
    assert checked.exit_code == 1
    assert "line 2: 'r/1.wav' is not there" in checked.stderr
    assert "line 3: 'r/2.wav' is not the file of the row" in checked.stderr


def test_a_failed_file_is_named_and_the_exit_code_says_so(service, data, tmp_path) -> None:
    manifest = manifest_of(service, tmp_path)
    service.script("/1.wav", Answer(404))
    result = data("get", manifest, tmp_path / "out")
    assert result.exit_code == 1
    assert [line for line in result.stderr.splitlines() if line.startswith("failed")]
    assert "2 fetched" in result.stderr
    service.file("/1.wav", sound(seed=1))
    again = data("get", manifest, tmp_path / "out")
    assert again.exit_code == 0
    assert "1 fetched with 1 recordings (0.00 h), 2 there already, 0 failed" in again.stderr


def test_an_interrupted_command_goes_on_from_there(service, data, tmp_path, monkeypatch) -> None:
    manifest = manifest_of(service, tmp_path)

    def interrupt(asked: object) -> Answer:
        signal.raise_signal(signal.SIGTERM)
        return Answer(404)

    # The signal comes while the second file is asked for, to the thread that waits for it.
    service.script("/1.wav", interrupt)
    result = data("get", manifest, tmp_path / "out")
    assert result.exit_code == 130
    assert result.stderr.splitlines()[-1].endswith("the same command goes on from here")
    service.file("/1.wav", sound(seed=1))
    again = data("get", manifest, tmp_path / "out")
    assert (again.exit_code, "1 there already" in again.stderr) == (0, True)


def test_a_local_folder_is_taken(data, tmp_path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/x.wav").write_bytes(sound())
    words = ["folder", tmp_path / "in", tmp_path / "out", "--licence", "CC0", "--group", "bird"]
    assert data(*words, "--kind", "soundscape").exit_code == 0
    (row,) = read_manifest(tmp_path / "out/manifest.jsonl")
    assert (row.kind, row.group, row.licence, row.tier) == ("soundscape", "bird", "CC0-1.0", "open")


def test_bad_lines_are_all_named(data, tmp_path) -> None:
    (tmp_path / "m.jsonl").write_text('{"path": "x", "kind": "y"}\n{}\n')
    result = data("check", tmp_path / "m.jsonl")
    assert result.exit_code == 1
    assert [line.split(":")[0][-6:] for line in result.stderr.splitlines()] == ["line 1", "line 2"]
    assert result.stdout == "0 rows are right, 2 are wrong\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["get", "gibbon", "out"], "nearest is 'hainan-gibbon'"),
        (["get", "geladas", "out"], "access is private"),
        (["get", "fsd50k", "out"], "join the pieces"),
        (["get", "powdermill", "out", "--set", "train"], "--set chooses from a manifest"),
        (["search", "xeno-canto", "gen:hyla"], "set XENO_CANTO_KEY"),
        (["search", "inaturalist", "Hyla", "--licence", "free"], "'free' is none of"),
        (["folder", "none", "out"], "no folder"),
        (["folder", ".", "out"], "lies inside"),
        (["duplicates", "none"], "no folder"),
        (["check", "none.jsonl"], "cannot be read"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(data, tmp_path, monkeypatch, words, said) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("XENO_CANTO_KEY", raising=False)
    assert said in refused(data(*words))
    assert list(tmp_path.iterdir()) == []


def test_a_manifest_that_is_not_there_ends_the_run(data, tmp_path) -> None:
    result = data("get", tmp_path / "none.jsonl", tmp_path / "out")
    assert result.exit_code == 1
    assert "cannot be read" in result.stderr


def test_a_missing_extra_is_named(data, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(command, "find_spec", lambda name: None)
    for words in (["get", "powdermill", tmp_path], ["search", "zenodo", "1"]):
        line = refused(data(*words))
        assert "the extra `recipe` brings it: pip install 'biodenoising[recipe]'" in line


def test_the_entry_point_is_declared() -> None:
    text = (Path(__file__).parents[3] / "setup.cfg").read_text("utf-8")
    assert "biodenoise-data = biodenoising.cli.data:main" in text
    assert "corpus/sources/catalogue.jsonl" in text


def test_found_recordings_are_listed_with_licence_and_author(
    service, data, monkeypatch, tmp_path
) -> None:
    from biodenoising.corpus.sources import zenodo

    entry = {"key": "x.wav", "size": 12_000_000, "checksum": "md5:0"}
    record = {"metadata": {"license": {"id": "cc-by-4.0"}, "title": "T"}, "files": [entry] * 3}
    service.script("/7", Answer(200, json.dumps(record).encode()))
    # The command has no option for the service's address; only its default is replaced.
    monkeypatch.setattr(
        zenodo.Zenodo, "search", lambda self, search=zenodo.Zenodo.search: search(
            zenodo.Zenodo(self.record, address=service.address, client=self.client)
        )
    )  # fmt: skip
    result = data("search", "zenodo", "7", "--limit", "2")
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) == 2
    for word in ("x.wav", "12.0 MB", "CC-BY-4.0", "https://zenodo.org/records/7"):
        assert word in result.stdout
    assert data("search", "zenodo", "7", "--tier", "copyleft").stdout == ""
