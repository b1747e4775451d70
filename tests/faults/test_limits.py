"""What the system withholds: handles, memory, time, temporary folders, names on a disk.

Whatever the limit, a run ends in outputs that are whole and in plain lines about the rest, and the
next one without the limit makes the undisturbed tree of it.
"""

from __future__ import annotations

import os
import resource
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from test_full_disks import in_small_space, mounted

GIGABYTE = 1 << 30


@pytest.fixture
def wanted(tree, biodenoise) -> dict[str, bytes]:
    """Fill INPUT; return the undisturbed outputs."""
    for number, name in enumerate(("a.wav", "b.flac", "c.ogg", "d.aiff")):
        tree.add(name, 6_000, seed=number)
    assert biodenoise(tree.input, tree.root / "undisturbed").exit_code == 0
    return tree.outputs(tree.root / "undisturbed")


def check_and_go_on(
    tree, biodenoise, result: subprocess.CompletedProcess[str], wanted: dict[str, bytes],
    place: Path | None = None,
) -> None:  # fmt: skip
    """See that a run under a limit told the truth, and that the next one ends well."""
    output = place or tree.output
    assert "Traceback" not in result.stderr
    assert "unexpectedly" not in result.stderr
    made = tree.outputs(output) if output.exists() else {}
    assert made.items() <= wanted.items()
    if result.returncode == 0:
        assert made == wanted
    elif result.returncode > 0:
        assert result.returncode in (1, 2), result.stderr
        assert result.stderr
        assert tree.leftovers(output) == []
    again = biodenoise(tree.input, output)
    assert again.exit_code == 0, again.output
    assert tree.outputs(output) == wanted
    assert tree.leftovers(output) == []


LIMITS = {
    "8 handles": (resource.RLIMIT_NOFILE, 8), "16 handles": (resource.RLIMIT_NOFILE, 16),
    "24 handles": (resource.RLIMIT_NOFILE, 24), "32 handles": (resource.RLIMIT_NOFILE, 32),
    "half a GB": (resource.RLIMIT_AS, GIGABYTE // 2), "1 GB": (resource.RLIMIT_AS, GIGABYTE),
    "1 s": (resource.RLIMIT_CPU, 1), "10 kB files": (resource.RLIMIT_FSIZE, 10_000),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("limit", LIMITS)
def test_a_limit_of_the_system(tree, command, biodenoise, wanted, limit, jobs) -> None:
    which, most = LIMITS[limit]

    def restrict() -> None:
        resource.setrlimit(which, (most, most))

    result = command.run(tree.input, tree.output, jobs=jobs, preexec_fn=restrict)
    if which == resource.RLIMIT_CPU:
        assert result.returncode in (0, 1, -signal.SIGXCPU, -signal.SIGKILL)
    check_and_go_on(tree, biodenoise, result, wanted)


def test_workers_that_cannot_be_started_are_one_line(tree, command, biodenoise, wanted) -> None:
    def restrict() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (16, 16))

    result = command.run(tree.input, tree.output, jobs=2, preexec_fn=restrict)
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert "worker processes cannot be started" in line
    assert "--jobs 1" in line
    check_and_go_on(tree, biodenoise, result, wanted)


PLACES = {
    "no TMPDIR": {"TMPDIR": "/nonexistent"}, "TMPDIR is a file": {"TMPDIR": "/dev/null"},
    "no HOME": {"HOME": "/nonexistent"}, "HOME is a file": {"HOME": "/dev/null"},
    "empty HOME": {"HOME": ""}, "no cache": {"XDG_CACHE_HOME": "/proc"},
    "plain C": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("place", PLACES)
def test_a_place_that_is_not_there(tree, command, biodenoise, wanted, place, jobs) -> None:
    result = command.run(tree.input, tree.output, jobs=jobs, env={**os.environ, **PLACES[place]})
    assert (result.returncode, result.stderr) == (0, "")
    check_and_go_on(tree, biodenoise, result, wanted)


# --- disks of every size -------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("pages", [1, 4, 6, 8, 10, 12, 16, 18, 20])
def test_a_disk_of_so_many_pages(tree, command, biodenoise, wanted, pages) -> None:
    """From no room at all past an exact fit: outputs, manifest and lock take about 16 pages."""
    kept, words = tree.root / "kept", command.words(tree.input, tree.output)
    result = in_small_space(tree, words, f"{4 * pages}k", kept)
    assert pages < 18 or result.returncode == 0
    assert pages > 8 or result.returncode in (1, 2)
    check_and_go_on(tree, biodenoise, result, wanted, kept)


@pytest.mark.slow
@pytest.mark.parametrize("names", [2, 3, 4, 5, 6, 8, 12])
def test_a_disk_with_room_for_so_many_names(tree, command, biodenoise, wanted, names) -> None:
    place = shlex.quote(str(tree.output))
    tree.output.mkdir()
    kept = tree.root / "kept"
    kept.mkdir()
    copied = shlex.join(["cp", "-a", f"{tree.output}/.", str(kept)])
    words = shlex.join(command.words(tree.input, tree.output))
    result = mounted(
        ["sh", "-c", f"{words}; status=$?; {copied}; exit $status"],
        f"mount -t tmpfs -o nr_inodes={names} none {place}",
    )
    if result.returncode == 1:
        assert "for another name" in result.stderr
    assert result.returncode == (0 if names > 8 else result.returncode)
    check_and_go_on(tree, biodenoise, result, wanted, kept)


@pytest.mark.slow
@pytest.mark.parametrize("options", ["size=4k", "size=1m", "ro", "size=64k,nr_inodes=2"])
def test_shared_memory_of_workers(tree, command, biodenoise, wanted, options) -> None:
    words = command.words(tree.input, tree.output, jobs=2)
    result = mounted(words, f"mount -t tmpfs -o {options} none /dev/shm")
    check_and_go_on(tree, biodenoise, result, wanted)


# --- what else is left behind --------------------------------------------------------------------


NOTHING_BUT_SOUND = """
import sys
import numpy as np
from biodenoising import denoise
denoise(np.random.default_rng(0).normal(0, 0.1, 4_000), 16_000, model=sys.argv[1])
"""


def test_nothing_is_kept_in_the_users_home_and_nobody_is_told(tmp_path: Path, tiny_model) -> None:
    """ONNX Runtime would number the device and note events there, to send them away."""
    environment = {k: v for k, v in os.environ.items() if k not in ("ORT_DISABLE_TELEMETRY", "CI")}
    environment |= {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    subprocess.run(
        [sys.executable, "-c", NOTHING_BUT_SOUND, str(tiny_model)],
        env=environment, check=True, timeout=100,
    )  # fmt: skip
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
