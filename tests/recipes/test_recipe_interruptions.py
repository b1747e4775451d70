"""Killed anywhere, a run goes on and ends as if nothing had happened."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from recipes.pseudo_clean.__main__ import main

# Ends the process the hard way at the n-th time that anything is flushed to the disk.
DEADLY = """
import os, signal, sys
left = int(sys.argv[1])
flush = os.fsync
def deadly(handle):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    flush(handle)
os.fsync = deadly
from recipes.pseudo_clean.__main__ import main
if __name__ == "__main__":
    sys.exit(main(sys.argv[2:]))
"""


class Killed(BaseException):
    """Nothing in the program knows this and could hold it up."""


@pytest.fixture
def whole(project):
    """What a run makes that nothing disturbs."""
    assert project.run()[0] == 0
    files = project.files()
    shutil.rmtree(project.run_folder)
    return files


def test_ended_at_every_seventh_flush(project, whole, monkeypatch) -> None:
    flush, ends = os.fsync, 0
    left = 7

    def deadly(handle: int) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise Killed
        flush(handle)

    monkeypatch.setattr(os, "fsync", deadly)
    while True:
        left = 7 + ends  # else the longest item is never finished
        try:
            assert main([str(project.config)]) == 0
            break
        except Killed:
            ends += 1
    assert ends > 5
    assert project.files() == whole


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "jobs"),
    [("1", "1"), ("2", "1"), ("3", "1"), ("5", "1"), ("6", "1"), ("2", "2"), ("3", "2")],
)
def test_killed_in_each_stage(project, whole, stage, jobs) -> None:
    if stage != "1":
        assert project.run("--stop-stage", str(int(stage) - 1))[0] == 0
    killed = 0
    for flushes in (1, 3, 8):
        command = [sys.executable, "-c", DEADLY, str(flushes), str(project.config), "--jobs", jobs]
        ended = subprocess.run(
            [*command, "--stage", stage, "--stop-stage", stage], capture_output=True, text=True
        )
        killed += ended.returncode == -9
        assert ended.returncode in (0, -9), ended.stderr
    assert killed >= 1
    assert project.run()[0] == 0
    assert project.files() == whole


def test_a_torn_line_of_a_journal_is_done_again(project, whole) -> None:
    project.run()
    journal = project.run_folder / ".journal/segments.jsonl"
    data = journal.read_bytes()
    journal.write_bytes(data[: len(data) - 30])
    code, told = project.run()
    assert code == 0
    assert "1 items done now, 1 before" in told
    assert project.files() == whole


def test_a_file_that_is_gone_is_made_again(project, whole) -> None:
    project.run()
    path = next(project.run_folder.glob("targets/*/*.flac"))
    data = path.read_bytes()
    path.unlink()
    project.run()
    assert path.read_bytes() == data
