"""Manifests, settings, cards, annotations and journals of hostile or broken text."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from fuzz import seeds
from fuzz_targets import run_one

from biodenoising.corpus.manifest import check_manifest

HAZARDS: dict[str, bytes] = {
    "nothing": b"", "one byte": b"\xff", "BOM only": b"\xef\xbb\xbf", "NULs": bytes(5_000),
    "UTF-16": "name: x\n".encode("utf-16"), "lone surrogate": b'{"name": "\\ud800"}\n',
    "deep list": b"[" * 5_000, "deep map": b'{"a":' * 5_000, "deep YAML": b"- " * 3_000 + b"x",
    "endless line": b"x" * 300_000, "many lines": b"\n" * 100_000, "CR only": b"a: 1\rb: 2\r",
    "not a number": b'{"name": NaN, "start_s": NaN}\n', "infinite": b'{"start_s": 1e999}\n',
    "endless integer": b'{"start_s": ' + b"9" * 100_000 + b"}\n",
    "key twice": b'{"path": "a", "path": "b"}\n', "wrong kinds": b'{"path": [], "kind": {}}\n',
    "tag": b"name: !!python/object/apply:os.system ['touch trap']\n",
    "aliases": b"a: &a [x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a]\nname: [*b,*b,*b,*b]\n",
    "merge": b"a: &a {name: x}\n<<: *a\n", "several documents": b"name: x\n---\nname: y\n",
    "formula": b"=cmd|' /C calc'!A0\t1\t2\n", "escape codes": b"\x1b[2J\x1b]0;x\x07: 1\n",
}  # fmt: skip
READERS = ("manifest", "settings", "card", "annotations", "journal")


@pytest.mark.timeout(60)
@pytest.mark.parametrize("hazard", HAZARDS)
@pytest.mark.parametrize("reader", READERS)
def test_a_hostile_text_is_refused_in_one_line(reader, hazard, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    run_one(reader, HAZARDS[hazard])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("percent", [1, 10, 50, 90, 99])
@pytest.mark.parametrize("reader", READERS)
def test_a_cut_text_is_refused_in_one_line(reader, percent) -> None:
    for whole in seeds(reader)[:3]:
        run_one(reader, whole[: len(whole) * percent // 100])


PATHS = [
    "../x.wav", "a/../../x.wav", "/etc/passwd", "~/x.wav", "file:///etc/passwd", "C:\\x.wav",
    "\\\\server\\x.wav", "a\\..\\x.wav", "x\0.wav", "", ".", "..", "a//b.wav", "./x.wav", "a/./b",
    "x.wav/", "a/..", "\n.wav",
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_a_path_that_leaves_its_folder_is_refused(tmp_path: Path, path: str) -> None:
    manifest = tmp_path / "m.jsonl"
    good = json.loads(seeds("manifest")[0].splitlines()[0])
    manifest.write_text(json.dumps({**good, "path": "fine.wav"}) + "\n")
    assert not isinstance(next(check_manifest(manifest))[1], str)
    manifest.write_text(json.dumps({**good, "path": path}) + "\n")
    ((_, row),) = check_manifest(manifest)
    if isinstance(row, str):
        assert row.isprintable()
        return
    # What is let through stays below its folder.
    place = (tmp_path / row.path).resolve()
    assert tmp_path.resolve() in place.parents or not row.path
