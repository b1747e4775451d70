"""Names and trees as strangers and other systems make them: all come out under their own names."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest
import soundfile

from biodenoising import BatchError, denoise_tree
from biodenoising.batch.journal import MANIFEST_NAME, read_manifest
from biodenoising.batch.plan import plan_run

FOLDERS = [
    b"plain", b"with space", b" leading", b"trailing ", b"dot.", b"two..dots", b"quote'", b'quote"',
    b"percent%20", b"{braces}", b"[brackets]", b"star*", b"question?", b"back\\slash", b"tab\t",
    b"line\nbreak", b"carriage\r", b"bell\x07", b"\x1b[31mred", b"-dash", b"--help", b"~", b"$HOME",
    b"`id`", b"$(id)", b"a;b", b"a&b", b"a|b", b"#hash", b"@at", b"=1+1", b"C:", b"CON", b"nul.wav",
    b"\xff\xfe", b"caf\xe9", b"\xed\xa0\x80", "\u202egnp".encode(), "\U0001f438".encode(),
    "\u0645\u0631\u062d\u0628\u0627".encode(), "\u9e1f".encode(), "zero\u200bwidth".encode(),
    unicodedata.normalize("NFC", "fr\u00f6sche").encode(),
    unicodedata.normalize("NFD", "fr\u00f6sche").encode(), b"Case", b"case", b"CASE",
    b"x.wav", b"biodenoise.jsonl.wav", b"y.part", b"n" * 255,
]  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> tuple[Path, Path, object]:
    """One run over a file in each folder and a file of each name."""
    root = tmp_path_factory.mktemp("names")
    soundfile.write(root / "sound.wav", [0.1, -0.2] * 500, 16_000)
    content = (root / "sound.wav").read_bytes()
    for number, name in enumerate(FOLDERS):
        folder = root / "in" / "folders" / os.fsdecode(name)
        folder.mkdir(parents=True)
        (folder / "a.wav").write_bytes(content)
        file = root / "in" / "files" / f"{number}" / os.fsdecode(name[:251] + b".wav")
        file.parent.mkdir(parents=True)
        file.write_bytes(content)
    return root / "in", root / "out", denoise_tree(root / "in", root / "out", model=tiny_model)


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_and_a_file_of_any_name(run, name: bytes) -> None:
    source, output, _ = run
    number = FOLDERS.index(name)
    places = [
        Path("folders") / os.fsdecode(name) / "a.wav",
        Path("files") / f"{number}" / os.fsdecode(name[:251] + b".wav"),
    ]
    done = read_manifest(output)
    for place in places:
        assert (output / place).is_file()
        assert (output / place).stat().st_size == (source / place).stat().st_size
        assert str(place) in done


def test_all_of_them_are_skipped_the_next_time(run, tiny_model) -> None:
    source, output, first = run
    assert first.ok
    names = sorted(os.fsencode(p.relative_to(source)) for p in source.rglob("*.wav") if p.is_file())
    made = sorted(os.fsencode(p.relative_to(output)) for p in output.rglob("*.wav") if p.is_file())
    assert made == names
    again = denoise_tree(source, output, model=tiny_model)
    assert (again.count("skipped"), again.count("done")) == (2 * len(FOLDERS), 0)


def test_twins_of_other_case_or_spelling_are_each_their_own(tree, biodenoise) -> None:
    """On a disk that tells them apart, and by contents that differ."""
    twins = ["A.wav", "a.wav", "a.WAV", "A.WAV", "fr\u00f6sche.wav", "fro\u0308sche.wav"]
    for seed, name in enumerate(twins):
        tree.add(name, 1_000, seed=seed)
    if len(list(tree.input.iterdir())) < len(twins):
        pytest.skip("this disk takes them for one name")
    assert biodenoise(tree.input, tree.output, "--mix", "0").exit_code == 0
    for name in twins:
        assert (tree.output / name).read_bytes() == (tree.input / name).read_bytes()


def test_hidden_files_and_what_is_no_audio_stay_behind(tree, biodenoise) -> None:
    tree.add("a.wav")
    for name in (".hidden.wav", ".hidden/b.wav", "._a.wav"):
        tree.add(name)
    for name in ("notes.txt", "Thumbs.db", "a.wav.bak", "a.wav.part", "CONFIG.TXT"):
        (tree.input / name).write_text("no audio")
    result = biodenoise(tree.input, tree.output)
    assert result.exit_code == 0
    assert list(tree.outputs()) == ["a.wav"]


@pytest.mark.parametrize("length", [1_000, 3_900, 4_200])
def test_paths_of_thousands_of_bytes(tmp_path: Path, tiny_model, monkeypatch, length: int) -> None:
    """A tree that can be made only step by step; no path of the system reaches beyond 4096."""
    monkeypatch.chdir(tmp_path)
    source = tmp_path / "in"
    source.mkdir()
    (source / "good.wav").write_bytes(b"")
    soundfile.write(source / "good.wav", [0.1] * 500, 16_000)
    content = (source / "good.wav").read_bytes()
    place = os.open(source, os.O_RDONLY)
    for _ in range(length // 200):
        os.mkdir("n" * 199, dir_fd=place)
        below = os.open("n" * 199, os.O_RDONLY, dir_fd=place)
        os.close(place)
        place = below
    handle = os.open("deep.wav", os.O_CREAT | os.O_WRONLY, 0o644, dir_fd=place)
    os.write(handle, content)
    os.close(handle)
    os.close(place)
    refusal = ""
    try:
        summary = denoise_tree(source, tmp_path / "out", model=tiny_model, jobs=1)
    except BatchError as error:
        refusal = str(error)
    if refusal:
        assert length > 3_000
        assert refusal.isprintable()
        return
    assert (tmp_path / "out" / "good.wav").is_file()
    assert summary.count("done") + summary.count("failed") >= 2
    assert summary.ok == (summary.count("done") == 2)
    assert all(o.message.isprintable() for o in summary.outcomes)
    assert length > 3_000 or summary.ok


@pytest.mark.slow
def test_a_hundred_thousand_files_in_a_folder(tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    for number in range(100_000):
        os.close(os.open(source / f"{number:06}.wav", os.O_CREAT | os.O_WRONLY))
    plan = plan_run(source, tmp_path / "out")
    names = [item.name.name for item in plan]
    assert names == [f"{number:06}.wav" for number in range(100_000)]


@pytest.mark.slow
def test_a_manifest_of_a_million_rows(tmp_path: Path) -> None:
    row = (
        '{{"file": "{0:07}.wav", "status": "done", "settings": "s", "input_sha256": "{0}", '
        '"output_sha256": "{0}", "residual_sha256": null}}\n'
    )
    with open(tmp_path / MANIFEST_NAME, "w") as manifest:
        manifest.writelines(row.format(number) for number in range(1_000_000))
    done = read_manifest(tmp_path)
    for number in (0, 1, 499_999, 999_999):
        assert done[f"{number:07}.wav"].input_sha256 == str(number)
    assert "1000000.wav" not in done
