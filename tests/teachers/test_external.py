"""An external command as a teacher: it works, and every way in which it may not is one line."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from biodenoising.errors import OptionError, TeacherError
from biodenoising.teachers.base import Wave
from biodenoising.teachers.expansion import denoise_at
from biodenoising.teachers.external import external_teacher
from biodenoising.teachers.registry import find_teacher

SCRIPT = """
import sys, numpy, soundfile
samples, rate = soundfile.read(sys.argv[1], dtype="float32")
{change}
soundfile.write(sys.argv[2], samples, rate, subtype="FLOAT")
"""
FAULTS = {
    "too short": ("samples = samples[:-1]", "wrote 31999 samples in 1 channels for 32000 in one"),
    "too long": ("samples = numpy.append(samples, 0)", "wrote 32001 samples"),
    "another rate": ("rate = 8000", "wrote 8000 Hz for 16000 Hz"),
    "stereo": ("samples = numpy.stack([samples] * 2, 1)", "in 2 channels"),
    "not finite": ("samples[5] = numpy.nan", "not finite"),
    "failing": ("raise SystemExit('no licence\\x1b')", r"ended with 1: no licence\\x1b$"),
    "silent exit": ("raise SystemExit(0)", "wrote no output"),
    "no audio": ("open(sys.argv[2], 'w').write('sorry'); sys.exit()", "is no recording"),
    "killed": ("import os; os.kill(os.getpid(), 9)", "ended with -9"),
}


@pytest.fixture
def option(tmp_path: Path) -> Callable[[str], str]:
    """Write a script that changes `samples`, and return the option that runs it."""

    def write(change: str) -> str:
        script = tmp_path / "a tool.py"
        script.write_text(SCRIPT.format(change=change))
        words = shlex.join([sys.executable, str(script)])
        return f"tool={words} {{input}} {{output}}"

    return write


def test_a_command_is_a_teacher(option: Callable[[str], str], noisy: Wave) -> None:
    teacher = external_teacher(option("samples = samples * 0.5"))
    assert teacher.name == "tool"
    clean = denoise_at(teacher, noisy, 16_000)
    assert np.abs(clean - 0.5 * noisy).max() < 1e-6
    slowed = denoise_at(teacher, noisy, 16_000, 2.0)
    assert np.abs(slowed[1_000:-1_000] - 0.5 * noisy[1_000:-1_000]).std() < 0.01


def test_a_command_at_one_rate(option: Callable[[str], str], noisy: Wave) -> None:
    teacher = external_teacher(option("assert rate == 44100; samples = -samples"), rate=44_100)
    assert np.abs(denoise_at(teacher, noisy, 16_000) + noisy).max() < 1e-6


def test_the_registry_takes_a_command(option: Callable[[str], str], noisy: Wave) -> None:
    teacher = find_teacher(option("pass"))
    assert np.abs(denoise_at(teacher, noisy, 96_000) - noisy).max() < 1e-6


@pytest.mark.parametrize("fault", sorted(FAULTS))
def test_faults_are_one_line(option: Callable[[str], str], noisy: Wave, fault: str) -> None:
    change, words = FAULTS[fault]
    teacher = external_teacher(option(change))
    with pytest.raises(TeacherError, match=words) as caught:
        denoise_at(teacher, noisy, 16_000)
    message = str(caught.value)
    assert message.startswith("teacher tool: ")
    assert message.isprintable()


def test_a_hanging_command_is_stopped_with_all_it_started(noisy: Wave, tmp_path: Path) -> None:
    mark = tmp_path / "child"
    words = ["sh", "-c", f"sleep 600 & echo $! > {shlex.quote(str(mark))}; sleep 600"]
    teacher = external_teacher(f"tool={shlex.join(words)} {{input}} {{output}}", timeout_s=2)
    begun = time.monotonic()
    with pytest.raises(TeacherError, match="did not end within 2 s and was stopped"):
        denoise_at(teacher, noisy, 16_000)
    assert time.monotonic() - begun < 60
    child_pid = int(mark.read_text())
    for _ in range(100):
        if not _runs(child_pid):
            break
        time.sleep(0.1)
    assert not _runs(child_pid)


def _runs(pid: int) -> bool:
    """Whether a process still runs; one that nobody has waited for yet does not."""
    try:
        os.kill(pid, 0)
        status = Path(f"/proc/{pid}/stat")
        return not status.exists() or status.read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


@pytest.mark.parametrize("words", ["tool", "=x {input} {output}", "a=x {input}", "a=x {output}"])
def test_the_option_is_checked(words: str) -> None:
    with pytest.raises(OptionError, match=r"give 'name=cmd \{input\} \{output\}'"):
        external_teacher(words)


def test_quotes_and_commands_are_checked() -> None:
    with pytest.raises(OptionError, match="quotes do not match"):
        external_teacher("a=x '{input} {output}")
    with pytest.raises(TeacherError, match=r"no command /no/such/tool; install it"):
        external_teacher("a=/no/such/tool {input} {output}")


def test_no_shell_reads_the_command(noisy: Wave, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    teacher = external_teacher(f"a=true {{input}} {{output}} ; touch {mark}")
    with pytest.raises(TeacherError, match="wrote no output"):
        denoise_at(teacher, noisy, 16_000)
    assert not mark.exists()
