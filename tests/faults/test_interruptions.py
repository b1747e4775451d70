"""Killed, interrupted and crowded runs: run again and everything is there, nothing done twice."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")


def wait_for_outputs(process: subprocess.Popen[str], folder: Path, count: int) -> None:
    """Wait until a run has finished so many files, or has ended."""
    while process.poll() is None and len(list(folder.glob("*/[!.]*.wav"))) < count:
        time.sleep(0.005)


def stamps(folder: Path) -> dict[str, tuple[int, int]]:
    found = {path.name: os.stat(path) for path in folder.rglob("*.wav")}
    return {name: (status.st_ino, status.st_mtime_ns) for name, status in found.items()}


def fill(tree, files: int, frames: int, last: int = 0) -> None:
    """Add files, of which one that takes long comes last."""
    for number in range(files):
        length = last if last and number == files - 1 else frames
        tree.add(f"{number // 3}/{number}.wav", length, seed=number)


def kill(process: subprocess.Popen[str], number: int = signal.SIGKILL) -> str:
    """Send a signal to the run and all its workers; return what it had to say."""
    os.killpg(process.pid, number)
    return process.communicate(timeout=60)[1]


def reference(tree, biodenoise) -> dict[str, bytes]:
    """Return the outputs of an undisturbed run."""
    assert biodenoise(tree.input, tree.root / "undisturbed").exit_code == 0
    return tree.outputs(tree.root / "undisturbed")


def check_whole(tree, wanted: dict[str, bytes]) -> None:
    """See that every final name of OUTPUT holds a finished file, as far as there are any."""
    assert tree.outputs().items() <= wanted.items()


# --- kill -9 -------------------------------------------------------------------------------------


@pytest.mark.parametrize("jobs", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_killed_in_mid_batch_and_run_again(tree, command, biodenoise, jobs) -> None:
    fill(tree, 6, 40_000, last=480_000)
    wanted = reference(tree, biodenoise)
    process = command.start(tree.input, tree.output, jobs=jobs)
    wait_for_outputs(process, tree.output, 2)
    kill(process)
    assert process.returncode == -signal.SIGKILL
    check_whole(tree, wanted)
    finished = stamps(tree.output)
    assert 1 <= len(finished) < 6
    assert (tree.output / ".biodenoise.lock").exists()  # a dead run's is no obstacle
    result = biodenoise(tree.input, tree.output)
    assert result.exit_code == 0
    assert f"{len(finished)} skipped" in result.stdout
    assert tree.outputs() == wanted
    assert finished.items() <= stamps(tree.output).items()
    assert tree.leftovers() == []


@pytest.mark.slow
def test_workers_end_with_their_parent(tree, command) -> None:
    for name in "ab":
        tree.add(f"{name}.wav", 8_000_000)
    process = command.start(tree.input, tree.output, jobs=2)
    while process.poll() is None and len(tree.leftovers()) < 2:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    # The pipe of their error messages is closed when the last of them is gone.
    process.communicate(timeout=20)
    assert len(tree.leftovers()) == 2  # both were in the middle of a file


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("jobs", [1, 2])
def test_killed_again_and_again(tree, command, biodenoise, jobs) -> None:
    fill(tree, 10, 80_000)
    wanted = reference(tree, biodenoise)
    chance = random.Random(jobs)
    finished: dict[str, tuple[int, int]] = {}
    for _ in range(40):
        process = command.start(tree.input, tree.output, jobs=jobs)
        try:
            process.communicate(timeout=chance.uniform(0.8, 4.0) * jobs)
        except subprocess.TimeoutExpired:
            kill(process)
        check_whole(tree, wanted)
        now = stamps(tree.output)
        assert finished.items() <= now.items()
        finished = now
        if process.returncode == 0:
            break
    assert biodenoise(tree.input, tree.output).exit_code == 0
    assert tree.outputs() == wanted
    assert finished.items() <= stamps(tree.output).items()
    assert tree.leftovers() == []


KILLED_AT_A_CALL = """
import os, signal, sys
left = int(sys.argv.pop(1))
def deadly(call):
    def counted(*arguments, **options):
        global left
        left -= 1
        last = left == 0
        if last and {before}:
            os.kill(os.getpid(), signal.SIGKILL)
        try:
            return call(*arguments, **options)
        finally:
            if last:
                os.kill(os.getpid(), signal.SIGKILL)
    return counted
for name in ("fsync", "replace", "open", "utime", "unlink", "mkdir"):
    setattr(os, name, deadly(getattr(os, name)))
from biodenoising.cli.denoise import main
main()
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("before", [True, False])
def test_killed_at_every_call_that_touches_the_disk(tree, command, biodenoise, before) -> None:
    fill(tree, 2, 3_000)
    assert biodenoise(tree.input, tree.root / "u", "--residual", tree.root / "v").exit_code == 0
    wanted, removed = tree.outputs(tree.root / "u"), tree.outputs(tree.root / "v")
    script = KILLED_AT_A_CALL.replace("{before}", str(before))
    for call in range(1, 200):
        output, residual = tree.root / f"out{call}", tree.root / f"residual{call}"
        words = command.words(tree.input, output, "--residual", residual)
        words[2:3] = [script, str(call)]
        died = subprocess.run(words, capture_output=True, text=True, timeout=60)
        assert died.returncode in (-signal.SIGKILL, 0), died.stderr
        if output.exists():
            assert tree.outputs(output).items() <= wanted.items(), call
        again = biodenoise(tree.input, output, "--residual", residual)
        assert again.exit_code == 0, (call, again.output)
        assert (tree.outputs(output), tree.outputs(residual)) == (wanted, removed), call
        assert tree.leftovers() == []
        if died.returncode == 0:
            assert call > 20
            return
    pytest.fail("the run was never left alone")


# --- Ctrl-C and SIGTERM --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "jobs"),
    [
        (signal.SIGINT, 2),
        pytest.param(signal.SIGTERM, 1, marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, 1, marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, 2, marks=pytest.mark.slow),
    ],
)
def test_interrupted_in_mid_batch(tree, command, biodenoise, number, jobs) -> None:
    fill(tree, 6, 40_000, last=1_600_000)
    process = command.start(tree.input, tree.output, jobs=jobs)
    wait_for_outputs(process, tree.output, 1)
    error = kill(process, number)
    assert process.returncode == 130, error
    assert error.count("\n") <= 1, error
    (line,) = error.splitlines()
    assert "interrupted" in line
    assert tree.leftovers() == []
    finished = stamps(tree.output)
    assert 1 <= len(finished) < 6
    result = biodenoise(tree.input, tree.output, "--exclude", "5.wav")
    assert result.exit_code == 0
    assert f"{len(finished)} skipped" in result.stdout
    assert finished.items() <= stamps(tree.output).items()


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_at_any_moment(tree, command, biodenoise, jobs, number) -> None:
    fill(tree, 8, 80_000)
    wanted = reference(tree, biodenoise)
    for tenth in range(5, 50, 5):
        process = command.start(tree.input, tree.output, jobs=jobs)
        time.sleep(tenth / 10)
        if process.poll() is None:
            error = kill(process, number)
            # Before anything is written, a signal may still be the interpreter's.
            if tree.output.exists():
                assert process.returncode in (130, 0), error
                assert "Traceback" not in error
        check_whole(tree, wanted)
        shutil.rmtree(tree.output, ignore_errors=True)
    assert biodenoise(tree.input, tree.output).exit_code == 0
    assert tree.outputs() == wanted
    assert tree.leftovers() == []


def test_interrupted_in_a_long_file(tree, command, biodenoise) -> None:
    tree.add("long.wav", 1_600_000)
    tree.output.mkdir()
    process = command.start(tree.input, tree.output)
    while process.poll() is None and not list(tree.output.glob(".*.long.wav.part")):
        time.sleep(0.01)
    error = kill(process, signal.SIGTERM)
    assert process.returncode == 130
    assert len(error.splitlines()) == 1
    assert tree.outputs() == {}
    assert tree.leftovers() == []


# --- workers -------------------------------------------------------------------------------------


def children(process: subprocess.Popen[str]) -> list[int]:
    """Return the worker processes of a run."""
    tasks = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    found = []
    for child in tasks.read_text().split():
        try:
            words = Path(f"/proc/{child}/cmdline").read_bytes()
        except OSError:
            continue
        if b"spawn_main" in words:
            found.append(int(child))
    return found


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux's /proc")
def test_a_killed_worker_costs_no_file(tree, command, biodenoise) -> None:
    fill(tree, 6, 80_000)
    process = command.start(tree.input, tree.output, jobs=2)
    wait_for_outputs(process, tree.output, 2)
    os.kill(children(process)[0], signal.SIGKILL)
    out, error = process.communicate(timeout=120)
    assert process.returncode == 0, error
    assert error == ""
    assert "0 failed" in out
    assert tree.outputs() == reference(tree, biodenoise)
    assert tree.leftovers() == []


DEADLY_FILE = """
import multiprocessing, os, signal
from biodenoising.batch import remote, work, workers
inner = work.convert
def convert(input, *arguments):
    if "deadly" in input.name:
        os.kill(os.getpid(), signal.SIGKILL)
    return inner(input, *arguments)
work.convert = convert
if __name__ == "__main__":
    from biodenoising.cli.denoise import main
    # Only Python's own workers run this script again and are patched too.
    workers.WORKERS = remote.WORKERS = multiprocessing.get_context("spawn")
    main()
"""


def test_a_file_that_kills_its_worker_is_one_failure(tree, command, biodenoise) -> None:
    fill(tree, 4, 16_000)
    tree.add("1/deadly.wav", 16_000)
    script = tree.root / "deadly_command.py"
    script.write_text(DEADLY_FILE)
    words = command.words(tree.input, tree.output, jobs=2)
    words[1:3] = [str(script)]
    result = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert result.returncode == 1, result.stderr
    (line,) = result.stderr.splitlines()
    assert "deadly.wav" in line
    assert "died" in line
    assert len(tree.outputs()) == 4
    assert tree.leftovers() == []


LATE_DEATH = DEADLY_FILE.replace(
    """    if "deadly" in input.name:
        os.kill(os.getpid(), signal.SIGKILL)
    return inner(input, *arguments)
""",
    """    result = inner(input, *arguments)
    if "deadly" in input.name:
        os.kill(os.getpid(), signal.SIGKILL)
    return result
""",
)


@pytest.mark.slow
def test_a_worker_that_dies_after_its_file_is_done_loses_nothing(tree, command) -> None:
    fill(tree, 2, 16_000)
    tree.add("1/deadly.wav", 16_000)
    script = tree.root / "deadly_command.py"
    script.write_text(LATE_DEATH)
    words = command.words(tree.input, tree.output, jobs=2)
    words[1:3] = [str(script)]
    result = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert len(tree.outputs()) == 3


@pytest.mark.slow
def test_same_bytes_whatever_the_number_of_jobs(tree, command, biodenoise) -> None:
    for number, channels in enumerate((1, 2, 5)):
        tree.add(f"{number}.wav", 40_000, channels=channels)
    tree.add("x.flac", 100_000)
    assert command.run(tree.input, tree.output, jobs=2).returncode == 0
    assert tree.outputs() == reference(tree, biodenoise)


# --- two runs at a time --------------------------------------------------------------------------


@pytest.mark.parametrize("shared", ["OUTPUT", pytest.param("residual", marks=pytest.mark.slow)])
def test_a_second_run_on_the_same_folder_is_refused(tree, command, biodenoise, shared) -> None:
    fill(tree, 4, 40_000, last=800_000)
    process = command.start(tree.input, tree.output, "--residual", tree.residual)
    wait_for_outputs(process, tree.output, 1)
    folders = (
        [tree.output] if shared == "OUTPUT" else [tree.root / "o", "--residual", tree.residual]
    )
    assert process.poll() is None
    # Held in the middle, so that a busy machine does not end it too early.
    os.kill(process.pid, signal.SIGSTOP)
    second = biodenoise(tree.input, *folders)
    os.kill(process.pid, signal.SIGCONT)
    assert second.exit_code == 2
    (line,) = second.stderr.splitlines()
    assert "another run" in line
    out, error = process.communicate(timeout=120)
    assert (process.returncode, error) == (0, "")
    assert "4 denoised" in out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_until_a_worker_is_born(number: int) -> None:
    """Broken off then, the worker prints a traceback of its own; any thread may get the signal."""
    from biodenoising.batch.workers import being_born

    order: list[str] = []
    before = signal.signal(number, lambda *_: order.append("signal"))
    try:
        with being_born():
            ended = threading.Event()
            threading.Thread(target=ended.wait).start()  # a thread without the mask
            os.kill(os.getpid(), number)
            time.sleep(0.05)
            order.append("born")
            ended.set()
        assert order == ["born", "signal"]
        os.kill(os.getpid(), number)
        time.sleep(0.01)
        assert order == ["born", "signal", "signal"]
    finally:
        signal.signal(number, before)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("pause", [0.0, 0.002, 0.02])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_birth_of_workers_is_disturbed(tree, command, biodenoise, number, pause) -> None:
    """SIGTERM to the run ends it in one line, SIGKILL to a worker just born costs no file."""
    fill(tree, 3, 8_000)
    wanted = reference(tree, biodenoise)
    process = command.start(tree.input, tree.output, jobs=2)
    while process.poll() is None and not children(process):
        time.sleep(0.0005)
    time.sleep(pause)
    os.kill(process.pid if number == signal.SIGTERM else children(process)[0], number)
    _, error = process.communicate(timeout=200)
    assert "Traceback" not in error
    if number == signal.SIGTERM:
        assert process.returncode == 130
        assert len(error.splitlines()) == 1
        assert biodenoise(tree.input, tree.output).exit_code == 0
    else:
        assert (process.returncode, error) == (0, "")
    assert tree.outputs() == wanted
    assert tree.leftovers() == []
