"""The main jobs where the system forbids what Windows forbids, as far as Linux can play it.

There a folder cannot be opened, only what may be written to is flushed, a file that anybody has
open is neither renamed, replaced nor removed, and some calls and modules do not exist.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import filelock  # noqa: F401 - it asks for its modules only once
import numpy as np
import pytest
import soundfile

from biodenoising import denoise_file
from biodenoising.audio.salvage import read_at
from biodenoising.storage import append_line, whole_file

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="asks /proc")
MISSING_CALLS = ("pread", "sched_getaffinity", "killpg")
MISSING_MODULES = ("fcntl", "resource", "pwd", "grp", "termios")


def forbidden(number: int, path: object) -> OSError:
    return OSError(number, os.strerror(number), str(path))


def is_open(path: Any) -> bool:
    """Tell whether this process holds a file open."""
    wanted = os.path.realpath(path)
    for number in os.listdir("/proc/self/fd"):
        try:
            if os.readlink(f"/proc/self/fd/{number}") == wanted:
                return True
        except FileNotFoundError:  # listing the folder had it open
            continue
    return False


@pytest.fixture
def like_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forbid what Windows forbids."""
    real = {name: getattr(os, name) for name in ("open", "fsync", "replace", "rename", "unlink")}

    def open_file(path: Any, flags: int, *arguments: Any, **options: Any) -> int:
        if os.path.isdir(path):
            raise forbidden(errno.EACCES, path)
        return int(real["open"](path, flags, *arguments, **options))

    def fsync(handle: int) -> None:
        if fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise forbidden(errno.EBADF, handle)
        real["fsync"](handle)

    def unless_open(name: str) -> Callable[..., None]:
        def call(*paths: Any, **options: Any) -> None:
            held = [path for path in paths if is_open(path)]
            if held:
                raise forbidden(errno.EACCES, held[0])
            real[name](*paths, **options)

        return call

    monkeypatch.setattr(os, "open", open_file)
    monkeypatch.setattr(os, "fsync", fsync)
    for name in ("replace", "rename", "unlink"):
        monkeypatch.setattr(os, name, unless_open(name))
    monkeypatch.setattr(os, "remove", unless_open("unlink"))
    for name in MISSING_CALLS:
        monkeypatch.delattr(os, name)
    for name in MISSING_MODULES:
        monkeypatch.setitem(sys.modules, name, None)


def test_what_is_forbidden_is_forbidden(like_windows: None, tmp_path: Path) -> None:
    path = tmp_path / "a"
    with open(path, "wb"), pytest.raises(PermissionError):
        path.unlink()
    with open(path, "rb"), pytest.raises(PermissionError):
        os.replace(path, tmp_path / "b")
    with open(path, "rb") as file, pytest.raises(OSError, match="Bad file descriptor"):
        os.fsync(file.fileno())
    with pytest.raises(PermissionError):
        os.open(tmp_path, os.O_RDONLY)
    path.rename(tmp_path / "b")


@pytest.mark.usefixtures("like_windows")
def test_files_are_written_whole_and_lines_appended(tmp_path: Path) -> None:
    for content in ("first", "second"):
        with whole_file(tmp_path / "a.txt") as temporary:
            temporary.write_text(content, encoding="utf-8")
        assert (tmp_path / "a.txt").read_text(encoding="utf-8") == content
    append_line(tmp_path / "lines", "one")
    assert [path.name for path in tmp_path.iterdir() if path.name[0] == "."] == []


@pytest.mark.usefixtures("like_windows")
@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.aiff", "a.ogg", "a.mp3"])
def test_a_run_with_residual_and_report_goes_on(tree: Any, biodenoise: Any, name: str) -> None:
    tree.add(name, 20_000)
    tree.add(f"sub/{name}", 9_000)
    (tree.input / "sub" / "broken.wav").write_bytes(b"RIFF")
    words = (tree.input, tree.output, "--residual", tree.residual, "--report")
    for done, options in ((2, ()), (0, ()), (2, ("--mix", "0.5", "--overwrite"))):
        result = biodenoise(*words, *options)
        assert result.exit_code == 1, result.output  # for the broken one
        assert f"{done} denoised" in result.stdout, result.output
        assert f"{2 - done} skipped as done before, 1 failed" in result.stdout
        assert sorted(tree.outputs(tree.residual)) == [name, f"sub/{name}"]
        assert tree.leftovers() == []


@pytest.mark.usefixtures("like_windows")
def test_salvage_reads_without_pread(tree: Any, biodenoise: Any) -> None:
    path = tree.add("a.wav", 20_000)
    result = biodenoise(tree.input, tree.output, "--salvage")
    assert result.exit_code == 0, result.output
    with open(path, "rb") as file:
        assert read_at(file.fileno(), 4, 8) == b"WAVE"


@pytest.mark.usefixtures("like_windows")
def test_one_file_is_replaced(tree: Any, tiny_model: Path) -> None:
    path = tree.add("a.wav", 20_000)
    for _ in range(2):
        denoise_file(path, tree.root / "quiet.wav", model=tiny_model, overwrite=True)
    assert np.isfinite(soundfile.read(tree.root / "quiet.wav")[0]).all()
