"""Power cuts: every state that a disk may be left in, built from the trace of a run.

The system calls of a run are recorded. For every prefix of them the disk is put together as it
could be found after a power cut: data that was not flushed is there, gone, torn or zeros, and
names that were not flushed are there or not. On each state the command is run again.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

MODES = ("all", "empty", "torn", "zeros", "old names", "old names, empty")
CALL = re.compile(r"^\d+ +(\w+)\((.*)\) += (\d+)")
TRACED = "openat,open,write,pwrite64,fsync,rename,renameat,renameat2,unlink,unlinkat"


class Disk:
    """What has been written to OUTPUT, and what of it has been flushed."""

    def __init__(self, folder: Path) -> None:
        self.folder = os.fspath(folder) + "/"
        self.now: dict[str, str] = {}  # name -> file
        self.durable: dict[str, str] = {}  # names as the folder last was flushed
        self.sizes: dict[str, int] = {}  # file -> bytes written
        self.flushed: dict[str, int] = {}
        self._files = 0

    def follow(self, line: str) -> bool:
        """Follow one line of the trace; tell whether it changed the disk."""
        match = CALL.match(line)
        if match is None:
            return False
        call, arguments, value = match[1], match[2], int(match[3])
        paths = [p[len(self.folder) :] for p in re.findall(r'"([^"]*)"', arguments)
                 if p.startswith(self.folder)]  # fmt: skip
        handle = re.match(r"\d+<([^>]*)>", arguments)
        inside = handle is not None and handle[1].startswith(self.folder)
        name = handle[1][len(self.folder) :] if handle is not None and inside else ""
        if call in ("openat", "open") and paths and "O_CREAT" in arguments:
            return self._create(paths[-1], truncate="O_TRUNC" in arguments)
        if call in ("write", "pwrite64") and inside and name in self.now:
            self.sizes[self.now[name]] += value
            return True
        if call == "fsync" and handle is not None:
            return self._flush(name, whole=handle[1] + "/" == self.folder)
        if call.startswith("rename") and len(paths) == 2:
            self.now[paths[1]] = self.now.pop(paths[0])
            return True
        if call.startswith("unlink") and paths:
            return self.now.pop(paths[-1], None) is not None
        return False

    def _create(self, name: str, *, truncate: bool) -> bool:
        if name in self.now:
            if truncate:
                self.sizes[self.now[name]] = 0
            return truncate
        self._files += 1
        self.now[name] = f"{self._files}"
        self.sizes[f"{self._files}"] = self.flushed[f"{self._files}"] = 0
        return True

    def _flush(self, name: str, *, whole: bool) -> bool:
        if whole:
            self.durable = dict(self.now)
        elif name in self.now:
            self.flushed[self.now[name]] = self.sizes[self.now[name]]
        return whole or name in self.now


def contents(disk: Disk, final: dict[str, bytes], ends: dict[str, str]) -> list[dict[str, bytes]]:
    """Return the state of the disk after a power cut now, in each mode.

    `ends` maps files to the names they end under, whose bytes are in `final`.
    """
    states = []
    for mode in MODES:
        names = dict(disk.now)
        if mode.startswith("old names"):
            # Renames and removals since the folder was flushed are undone, new names are lost.
            names = dict(disk.durable)
        state = {}
        for name, file in names.items():
            whole = final.get(ends.get(file, ""), b"x" * disk.sizes[file])
            written, flushed = whole[: disk.sizes[file]], whole[: disk.flushed[file]]
            lost = len(written) - len(flushed)
            if mode in ("all", "old names"):
                state[name] = written
            elif mode in ("empty", "old names, empty"):
                state[name] = flushed
            elif mode == "torn":
                state[name] = written[: len(flushed) + lost // 2]
            else:
                state[name] = flushed + bytes(lost)
        states.append(state)
    return states


def trace(tree, command) -> list[str]:
    """Run the command under strace; return its lines."""
    log = tree.root / "trace"
    words = ["strace", "-f", "-y", "-s", "4096", "-o", str(log), "-e", f"trace={TRACED}"]
    result = subprocess.run(
        [*words, *command.words(tree.input, tree.output)],
        capture_output=True, text=True, check=False, timeout=240,
    )  # fmt: skip
    if "ptrace" in result.stderr:
        pytest.skip("tracing is not permitted here")
    assert result.returncode == 0, result.stderr
    return log.read_text(errors="replace").splitlines()


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")
def test_every_state_after_a_power_cut(tree, command, biodenoise, record_property) -> None:
    for number in range(6):
        tree.add(f"{number}.{'flac' if number % 2 else 'wav'}", 2_000, seed=number)
    lines = trace(tree, command)
    wanted = tree.outputs()
    final = {**wanted, "biodenoise.jsonl": (tree.output / "biodenoise.jsonl").read_bytes()}
    end = Disk(tree.output)
    for line in lines:
        end.follow(line)
    assert final.keys() <= end.now.keys()
    ends = {file: name for name, file in end.now.items()}
    disk, seen = Disk(tree.output), set()
    states = []
    for line in lines:
        if disk.follow(line):
            for mode, state in zip(MODES, contents(disk, final, ends), strict=True):
                key = frozenset(state.items())
                if key not in seen:
                    seen.add(key)
                    states.append((mode, line, state))
    record_property("points", len(states))
    assert len(states) > 80
    for number, (mode, line, state) in enumerate(states):
        folder = tree.root / "states" / str(number)
        folder.mkdir(parents=True)
        for name, content in state.items():
            (folder / name).write_bytes(content)
        for name, content in tree.outputs(folder).items():
            assert wanted.get(name) == content, (mode, line, name)
        again = biodenoise(tree.input, folder)
        assert again.exit_code == 0, (mode, line, again.output)
        assert tree.outputs(folder) == wanted, (mode, line)
        assert tree.leftovers(folder) == []
        shutil.rmtree(folder)


def test_the_model_of_a_disk_itself() -> None:
    """A protocol without flushing would leave an empty file under its final name."""
    disk = Disk(Path("/o"))
    for line in (
        '1 openat(AT_FDCWD, "/o/.t.part", O_WRONLY|O_CREAT|O_EXCL, 0666) = 3</o/.t.part>',
        '1 write(3</o/.t.part>, "abcd", 4) = 4',
        '1 rename("/o/.t.part", "/o/a") = 0',
    ):
        assert disk.follow(line)
    states = dict(zip(MODES, contents(disk, {"a": b"abcd"}, {"1": "a"}), strict=True))
    assert states["all"] == {"a": b"abcd"}
    assert states["empty"] == {"a": b""}
    assert states["torn"] == {"a": b"ab"}
    assert states["zeros"] == {"a": bytes(4)}
    assert states["old names"] == {}
    assert disk.follow("1 fsync(3</o/a>) = 0")
    assert disk.follow("1 fsync(4</o>) = 0")
    assert contents(disk, {"a": b"abcd"}, {"1": "a"})[-1] == {"a": b"abcd"}
