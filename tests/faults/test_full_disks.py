"""Disks that are full, read-only or fail: one clear line, no half file, the rest another time."""

from __future__ import annotations

import errno
import functools
import os
import resource
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


@functools.cache
def may_mount() -> bool:
    """Tell whether this machine lets us mount in a name space of our own."""
    if sys.platform != "linux" or shutil.which("unshare") is None:
        return False
    trial = ["unshare", "-Urm", "sh", "-c", "mount -t tmpfs none /mnt"]
    return subprocess.run(trial, capture_output=True).returncode == 0


def mounted(words: list[str], *commands: str) -> subprocess.CompletedProcess[str]:
    """Run a command after shell commands that mount, in a name space where that is allowed."""
    if not may_mount():
        pytest.skip("unshare -Urm and mount are not permitted here")
    script = " && ".join([*commands, shlex.join(words)])
    return subprocess.run(
        ["unshare", "-Urm", "sh", "-c", script], capture_output=True, text=True, timeout=120
    )


def in_small_space(
    tree, words: list[str], size: str, kept: Path
) -> subprocess.CompletedProcess[str]:
    """Run with a small disk at OUTPUT; what the run leaves there is copied to `kept`."""
    tree.output.mkdir(exist_ok=True)
    kept.mkdir()
    copied = shlex.join(["cp", "-a", f"{tree.output}/.", str(kept)])
    then = f"{shlex.join(words)}; status=$?; {copied}; exit $status"
    mount = shlex.join(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(tree.output)])
    return mounted(["sh", "-c", then], mount)


@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("name", "size"), [("{}.wav", "256k"), pytest.param("{}.flac", "128k", marks=pytest.mark.slow)]
)
def test_a_full_disk_ends_the_run_and_nothing_is_half(
    tree, command, biodenoise, jobs, name, size
) -> None:
    for number in range(8):
        tree.add(name.format(number), 40_000, seed=number)
    assert biodenoise(tree.input, tree.root / "undisturbed").exit_code == 0
    wanted = tree.outputs(tree.root / "undisturbed")
    kept = tree.root / "kept"
    result = in_small_space(tree, command.words(tree.input, tree.output, jobs=jobs), size, kept)
    assert result.returncode == 1, result.stderr
    assert "Traceback" not in result.stderr
    failed, stopped = result.stderr.splitlines()
    assert failed.startswith("failed ")
    assert "pace left" in failed
    assert ".part" not in failed
    assert "not tried" in stopped
    assert 1 <= len(tree.outputs(kept)) < 8
    assert tree.outputs(kept).items() <= wanted.items()
    assert tree.leftovers(kept) == []
    assert biodenoise(tree.input, kept).exit_code == 0
    assert tree.outputs(kept) == wanted


@pytest.mark.slow
def test_a_disk_without_any_space(tree, command) -> None:
    tree.add("a.wav")
    tree.add("b.wav")
    full = f"head -c 65536 /dev/zero > {shlex.quote(str(tree.output))}/ballast"
    tree.output.mkdir()
    result = mounted(
        command.words(tree.input, tree.output),
        f"mount -t tmpfs -o size=64k none {shlex.quote(str(tree.output))}",
        full,
    )
    assert result.returncode in (1, 2), result.stderr
    assert "Traceback" not in result.stderr
    assert "space left" in result.stderr


def test_read_only_output(tree, command) -> None:
    tree.add("a.wav")
    tree.output.mkdir()
    place = shlex.quote(str(tree.output))
    result = mounted(command.words(tree.input, tree.output), f"mount -t tmpfs -o ro none {place}")
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert "Read-only" in line
    assert str(tree.output) in line


@pytest.mark.slow
def test_read_only_input_is_enough(tree, command) -> None:
    tree.add("a.wav")
    place = shlex.quote(str(tree.input))
    result = mounted(
        command.words(tree.input, tree.output),
        f"mount --bind {place} {place}",
        f"mount -o remount,bind,ro {place}",
    )
    assert result.returncode == 0, result.stderr
    assert list(tree.outputs()) == ["a.wav"]


@pytest.mark.slow
def test_a_limit_on_file_size(tree, command, biodenoise) -> None:
    tree.add("small.wav", 4_000)
    tree.add("large.wav", 60_000)
    tree.add("large.aiff", 60_000)

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))

    result = command.run(tree.input, tree.output, preexec_fn=limit)
    assert result.returncode == 1, result.stderr
    assert "Traceback" not in result.stderr
    assert list(tree.outputs()) == ["small.wav"]
    assert tree.leftovers() == []
    assert len(result.stderr.splitlines()) == 2
    assert ".part" not in result.stderr
    again = biodenoise(tree.input, tree.output)
    assert again.exit_code == 0
    assert "2 denoised" in again.stdout


# --- the n-th call fails -------------------------------------------------------------------------


class Failing:
    """A function of `os` that fails from its n-th call on, or at that call only."""

    def __init__(self, call, number: int, error: int, *, for_good: bool) -> None:
        self._call, self._left, self._error, self._for_good = call, number, error, for_good
        self.struck = False

    def __call__(self, *arguments, **options):
        self._left -= 1
        if self._left == 0 or (self._for_good and self._left < 0):
            self.struck = True
            raise OSError(self._error, os.strerror(self._error))
        return self._call(*arguments, **options)


@pytest.mark.parametrize(
    "call",
    ["replace", *(pytest.param(c, marks=pytest.mark.slow) for c in ("fsync", "utime", "open"))],
)
@pytest.mark.parametrize(
    ("error", "for_good"),
    [
        (errno.EIO, False),
        pytest.param(errno.ENOSPC, True, marks=pytest.mark.slow),
        pytest.param(errno.EACCES, False, marks=pytest.mark.slow),
    ],
)
def test_any_call_may_fail(tree, biodenoise, call, error, for_good) -> None:
    tree.add("a.wav", 1_000)
    tree.add("b/b.wav", 1_000)
    residual = tree.root / "v"
    assert biodenoise(tree.input, tree.root / "u", "--residual", residual).exit_code == 0
    wanted = tree.outputs(tree.root / "u") | {
        f"r/{n}": b for n, b in tree.outputs(residual).items()
    }
    for number in range(1, 60):
        folder = tree.root / f"{number}"
        chosen = [tree.input, folder, "--residual", folder / "r"]
        with pytest.MonkeyPatch.context() as patch:
            failing = Failing(getattr(os, call), number, error, for_good=for_good)
            patch.setattr(os, call, failing)
            result = biodenoise(*chosen)
        made = tree.outputs(folder) if folder.exists() else {}
        assert made.items() <= wanted.items(), number
        assert tree.leftovers() == [], number
        if result.exit_code == 0:
            assert made == wanted, number
        else:
            assert result.exit_code in (1, 2)
            assert result.stderr
            assert "unexpectedly" not in result.stderr, number
            assert ".part" not in result.stderr, number
            again = biodenoise(*chosen)
            assert again.exit_code == 0, (number, again.output)
            assert tree.outputs(folder) == wanted, number
        if not failing.struck:
            assert number > 1
            return
    pytest.fail("the call was never left alone")


def test_a_line_cut_short_by_a_full_disk_is_an_error_and_spoils_no_other(tmp_path) -> None:
    from biodenoising.errors import DiskFullError
    from biodenoising.storage import append_line

    path = tmp_path / "lines"
    append_line(path, "first")
    pid = os.fork()
    if pid == 0:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))
        try:
            append_line(path, "second, which is too long")
        except DiskFullError:
            os._exit(0)
        except BaseException:  # noqa: BLE001 - a forked test process must not go on
            os._exit(1)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    append_line(path, "third")
    lines = path.read_text().splitlines()
    assert (lines[0], lines[-1]) == ("first", "third")
