"""A fault at every single write, flush, rename and removal of a run, by C code and Python alike."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The preloaded library that counts calls and lets one fail."""
    if sys.platform != "linux" or shutil.which("gcc") is None:
        pytest.skip("needs Linux and gcc")
    path = tmp_path_factory.mktemp("shim") / "shim.so"
    words = ["gcc", "-O1", "-Wall", "-shared", "-fPIC", "-o", path, HERE / "shim.c", "-ldl"]
    subprocess.run(words, check=True)
    return path


KILLED_BEFORE, KILLED_AFTER = 0, -1
FAULTS = [
    (KILLED_BEFORE, False), (KILLED_AFTER, False), (errno.ENOSPC, True), (errno.EIO, False),
    (errno.EROFS, True),
]  # fmt: skip


def name(fault: tuple[int, bool]) -> str:
    number, for_good = fault
    words = {KILLED_BEFORE: "killed-before", KILLED_AFTER: "killed-after"}
    return words.get(number, errno.errorcode.get(number, "")) + ("-for-good" if for_good else "")


def run_all(tree, shim: Path, model: Path, fault: tuple[int, bool]) -> list[dict]:
    """Return what became of every point."""
    words = [
        sys.executable,
        str(HERE / "crash_points.py"),
        str(tree.input),
        str(tree.root / "runs"),
    ]
    result = subprocess.run(
        [*words, str(model), str(fault[0]), str(int(fault[1]))],
        capture_output=True, text=True, check=False, timeout=600,
        env={**os.environ, "LD_PRELOAD": str(shim), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(f, marks=[] if f == (KILLED_BEFORE, False) else pytest.mark.slow)
        for f in FAULTS
    ],
    ids=[name(f) for f in FAULTS],
)
def test_a_fault_at_every_call(
    tree, biodenoise, tiny_model, shim, fault, request, record_property
) -> None:
    tree.add("a.wav", 3_000)
    if request.config.getoption("-m") != "not slow":  # more formats take more time
        tree.add("b/b.flac", 3_000)
        tree.add("c.mp3", 6_000)
    assert biodenoise(tree.input, tree.root / "undisturbed").exit_code == 0
    points = run_all(tree, shim, tiny_model, fault)
    record_property("points", len(points))
    assert len(points) > 6
    for point in points:
        assert point["whole"], point
        assert point["again"] == 0, point
        assert point["same"], point
        assert point["left"] == [], point
        if fault[0] > 0:
            assert point["code"] in (0, 1, 2), point
            assert not point["error"].startswith("traceback"), point
            assert "unexpectedly" not in point["error"], point
            assert (point["code"] == 0) == (point["error"] == ""), point
        else:
            last = point is points[-1]
            assert point["code"] == (0 if last else -signal.SIGKILL), point
