"""What holds for every name, every content and every moment of failure."""

from __future__ import annotations

import errno
import hashlib
import os
import string
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biodenoising.batch.journal import (
    MANIFEST_NAME,
    Done,
    add_row,
    read_manifest,
    settings_fingerprint,
)
from biodenoising.batch.plan import plan_run
from biodenoising.errors import AudioWriteError, BatchError, DiskFullError
from biodenoising.storage import (
    TEMPORARY_NAME,
    append_line,
    printable,
    remove_leftovers,
    sha256_of,
    whole_file,
)

# Any bytes that a Unix file name can hold, as Python hands them over.
file_names = (
    st.binary(min_size=1, max_size=255)
    .filter(lambda name: not set(name) & {0, ord("/")} and name not in (b".", b".."))
    .map(os.fsdecode)
)
plain = st.text(string.ascii_lowercase, min_size=1, max_size=3)
quick = settings(max_examples=25, deadline=None)


def listing(folder: Path) -> set[str]:
    return {os.fspath(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


# --- whole_file ----------------------------------------------------------------------------------


@quick
@given(name=file_names, content=st.binary(max_size=2_000))
def test_a_whole_file_holds_what_was_written(name: str, content: bytes) -> None:
    with tempfile.TemporaryDirectory() as root:
        target = Path(root) / "sub" / name
        with whole_file(target) as temporary:
            assert temporary.parent == target.parent
            assert not target.exists()
            assert TEMPORARY_NAME.fullmatch(temporary.name)
            temporary.write_bytes(content)
        assert target.read_bytes() == content
        assert listing(Path(root)) == {os.path.join("sub", name)}


@quick
@given(
    name=file_names,
    before=st.none() | st.binary(max_size=50),
    error=st.sampled_from(
        [ValueError(), KeyboardInterrupt(), SystemExit(), OSError(errno.EIO, "I/O error"),
         OSError(errno.ENOSPC, "full"), AudioWriteError("x"), DiskFullError("y")]
    ),
)  # fmt: skip
def test_a_failure_leaves_everything_as_it_was(
    name: str, before: bytes | None, error: BaseException
) -> None:
    with tempfile.TemporaryDirectory() as root:
        target = Path(root) / name
        if before is not None:
            target.write_bytes(before)
        with pytest.raises(BaseException) as caught, whole_file(target) as temporary:  # noqa: PT011, PT012
            temporary.write_bytes(b"half")
            raise error
        assert (target.read_bytes() if before is not None else None) == before
        assert listing(Path(root)) == (set() if before is None else {name})
        if isinstance(error, OSError):
            assert isinstance(caught.value, AudioWriteError)
            assert isinstance(caught.value, DiskFullError) == (error.errno == errno.ENOSPC)


@pytest.mark.parametrize("call", ["open", "fsync", "replace"])
def test_no_call_of_the_protocol_may_fail_and_leave_a_final_name(
    tmp_path, monkeypatch, call
) -> None:
    target = tmp_path / "x.wav"
    inner, calls = getattr(os, call), []

    def fail(*arguments, **options):
        calls.append(arguments)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(AudioWriteError, match=r"x\.wav"), whole_file(target) as temporary:
        temporary.write_bytes(b"whole")
    monkeypatch.setattr(os, call, inner)
    assert calls
    assert listing(tmp_path) == set()


def test_contents_reach_the_disk_before_the_name_does(tmp_path, monkeypatch) -> None:
    order = []
    for call in ("fsync", "replace"):
        inner = getattr(os, call)

        def noted(*arguments, call=call, inner=inner):
            order.append(call)
            return inner(*arguments)

        monkeypatch.setattr(os, call, noted)
    with whole_file(tmp_path / "x") as temporary:
        temporary.write_bytes(b"x")
    assert order == ["fsync", "replace", "fsync"]


def test_messages_name_the_file_and_not_its_temporary(tmp_path) -> None:
    with (
        pytest.raises(DiskFullError) as caught,
        whole_file(tmp_path / "x.wav") as temporary,
    ):
        raise DiskFullError(f"{temporary}: no space left")
    assert str(caught.value) == f"{tmp_path / 'x.wav'}: no space left"


def test_a_link_at_the_targets_place_is_replaced_and_not_followed(tmp_path) -> None:
    precious = tmp_path / "precious"
    precious.write_bytes(b"original")
    (tmp_path / "x").symlink_to(precious)
    with whole_file(tmp_path / "x") as temporary:
        temporary.write_bytes(b"new")
    assert precious.read_bytes() == b"original"
    assert not (tmp_path / "x").is_symlink()


def test_leftovers_of_whole_files_are_known_by_name(tmp_path) -> None:
    names = ["x.wav", "n" * 255, "two\nlines", ".hidden"]
    contexts = [whole_file(tmp_path / "a" / name) for name in names]
    for context in contexts:
        context.__enter__()
    kept = [tmp_path / ".part", tmp_path / ".x.part", tmp_path / ".0123456.x.part", tmp_path / "y"]
    for path in kept:
        path.write_bytes(b"")
    assert remove_leftovers(tmp_path, below=False) == 0
    assert remove_leftovers(tmp_path) == len(names)
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == {p.name for p in kept}


# --- messages ------------------------------------------------------------------------------------


@quick
@given(name=file_names)
def test_a_printed_path_is_one_line_of_plain_text(name: str) -> None:
    text = printable(name)
    assert text.isprintable()
    assert text.encode("utf-8")
    if name.isprintable() and name.isascii():
        assert text == name


# --- the manifest --------------------------------------------------------------------------------

rows = st.lists(
    st.tuples(file_names, st.sampled_from(["done", "failed"]), st.text(max_size=10)), max_size=8
)


def write_rows(folder: Path, given_rows: list[tuple[str, str, str]]) -> dict[str, Done]:
    """Append rows and return what they mean: the last `done` of each file counts."""
    known = {}
    for name, status, text in given_rows:
        done = Done(text, text * 2, text * 3, None)
        add_row(
            folder,
            {
                "file": name, "status": status, "settings": done.settings,
                "input_sha256": done.input_sha256, "output_sha256": done.output_sha256,
                "residual_sha256": None,
            },
        )  # fmt: skip
        if status == "done":
            known[name] = done
    return known


@quick
@given(given_rows=rows)
def test_what_was_noted_is_read_back(given_rows) -> None:
    with tempfile.TemporaryDirectory() as root:
        assert read_manifest(Path(root)) == {}
        known = write_rows(Path(root), given_rows)
        assert read_manifest(Path(root)) == known


@quick
@given(before=rows, after=rows, cut=st.floats(0, 1), garbage=st.binary(max_size=60))
def test_a_torn_or_scribbled_manifest_never_invents_or_loses_other_rows(
    before, after, cut, garbage
) -> None:
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root)
        known = write_rows(folder, before)
        path = folder / MANIFEST_NAME
        with open(path, "ab") as file:
            file.write(garbage.replace(b"{", b"("))
        torn = '{"file": "torn", "status": "done", "settings": "s", "input_sha256": "i"'
        with open(path, "ab") as file:
            file.write(torn[: int(cut * len(torn))].encode())
        assert read_manifest(folder) == known
        known |= write_rows(folder, after)
        assert read_manifest(folder) == known


@quick
@given(lines=st.lists(st.text(string.printable.replace("\n", ""), max_size=20), max_size=6))
def test_appended_lines_stand_alone(lines: list[str]) -> None:
    with tempfile.TemporaryDirectory() as root:
        path = Path(root) / "lines"
        path.write_bytes(b"cut sho")
        for line in lines:
            append_line(path, line)
        wanted = "".join(f"{line}\n" for line in ["cut sho", *lines])
        assert path.read_bytes().decode() == (wanted if lines else "cut sho")


def test_lines_of_several_processes_do_not_mix(tmp_path) -> None:
    path = tmp_path / "lines"
    children = []
    for letter in "abcd":
        pid = os.fork()
        if pid == 0:
            for _ in range(50):
                append_line(path, letter * 500)
            os._exit(0)
        children.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 4
    # One that is just being written may look torn to another: an empty line does no harm.
    lines = filter(None, path.read_text().splitlines())
    assert sorted(lines) == sorted(letter * 500 for letter in "abcd" for _ in range(50))


@given(st.dictionaries(plain, st.floats(allow_nan=False) | st.none() | st.booleans()))
def test_a_fingerprint_depends_on_the_values_alone(values) -> None:
    backwards = dict(reversed(values.items()))
    assert settings_fingerprint(values) == settings_fingerprint(backwards)
    assert settings_fingerprint(values) != settings_fingerprint({**values, "more": 1})


# --- the plan ------------------------------------------------------------------------------------

stems = st.sampled_from(["x", "y", "X", "x.y", "-", "ä", "a b"])
folders = st.sampled_from(["", "a", "a/b", "a.wav", "Ä"])
suffixes = st.sampled_from([".wav", ".WAV", ".flac", ".aiff", ".mp3", ".txt", ""])
trees = st.sets(st.tuples(folders, stems, suffixes), max_size=10)


@quick
@given(tree=trees, container=st.sampled_from([None, "WAV", "FLAC"]))
def test_every_input_has_one_output_of_its_own_or_nothing_starts(tree, container) -> None:
    with tempfile.TemporaryDirectory() as root:
        source, output = Path(root) / "in", Path(root) / "out"
        source.mkdir()
        audio = set()
        for folder, stem, suffix in tree:
            path = source / folder / (stem + suffix)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
            if suffix not in (".txt", ""):
                audio.add(path)

        def renamed(path: Path) -> Path:
            name = path.relative_to(source)
            if container is None or name.suffix.lower() == f".{container.lower()}":
                return name
            suffix = f".{container}"
            return name.with_suffix(suffix if name.suffix.isupper() else suffix.lower())

        expected = {renamed(path) for path in audio}
        try:
            plan = plan_run(source, output, container=container)
        except BatchError:
            assert len(expected) < len(audio)
        else:
            assert {task.input for task in plan.tasks} == audio
            assert {task.output.relative_to(output) for task in plan.tasks} == expected
            assert len(plan.tasks) == len(expected)
            assert plan == plan_run(source, output, container=container)
        assert not output.exists()


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1])
def test_hashes_are_sha256(tmp_path, size) -> None:
    content = os.urandom(size)
    (tmp_path / "x").write_bytes(content)
    assert sha256_of(tmp_path / "x") == hashlib.sha256(content).hexdigest()
