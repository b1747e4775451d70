"""Any command as a teacher: `name=cmd {input} {output}`.

The command gets a mono 32-bit float WAV and must write a recording of the same rate and length. It
is run without a shell, in a process group of its own that is ended with it when its time is over.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import soundfile

from biodenoising.audio import open_reader
from biodenoising.errors import AudioReadError, OptionError, TeacherError
from biodenoising.storage import printable, write_error
from biodenoising.teachers.base import Teacher, Wave

TIMEOUT_S = 600.0
LICENCE = "unknown (an external command)"
LONGEST_REASON = 200
# Longer recordings are one call all the same: starting a command is what takes time.
LONGEST_SAMPLES = 1 << 26


def external_teacher(
    option: str, *, rate: int | None = None, timeout_s: float = TIMEOUT_S
) -> Teacher:
    """Return the teacher that a command is.

    Parameters
    ----------
    option : str
        `name=cmd {input} {output}`; quoted as for a POSIX shell, but no shell reads it.
    rate : int or None
        In Hz, where the command takes one only; otherwise it gets each recording's own.
    timeout_s : float
        How long one recording may take.

    Raises
    ------
    OptionError
        The option has another form.
    TeacherError
        There is no such command. The teacher itself raises it where the command fails, hangs or
        writes anything but a recording of the length and rate it was given.
    """
    name, separator, command = option.partition("=")
    if not separator or not name or "{input}" not in command or "{output}" not in command:
        raise OptionError(
            f"{printable(option)!r} is no external teacher; give 'name=cmd {{input}} {{output}}'"
        )
    name = printable(name)
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise OptionError(f"teacher {name}: the command's quotes do not match ({error})") from error
    if shutil.which(words[0]) is None:
        raise TeacherError(f"teacher {name}: no command {printable(words[0])}; install it")

    def enhance(heard: Wave, told: float) -> Wave:
        return _run(name, words, heard, round(told), timeout_s)

    version = f"command {hashlib.sha256(command.encode()).hexdigest()[:16]}"
    return Teacher(name, LICENCE, rate, enhance, version, LONGEST_SAMPLES)


def _run(name: str, words: list[str], heard: Wave, rate: int, timeout_s: float) -> Wave:
    with tempfile.TemporaryDirectory(prefix="biodenoise-teacher-") as folder:
        source, target, said = (Path(folder) / n for n in ("input.wav", "output.wav", "stderr"))
        try:
            soundfile.write(source, heard, rate, subtype="FLOAT")
        except (OSError, soundfile.SoundFileError) as error:
            raise write_error(source, error) from error
        filled = [w.replace("{input}", str(source)).replace("{output}", str(target)) for w in words]
        code = _wait(name, filled, said, timeout_s)
        if code:
            raise TeacherError(f"teacher {name}: it ended with {code}{_last_line(said)}")
        if not target.is_file():
            raise TeacherError(f"teacher {name}: it ended well but wrote no output")
        return _read(name, target, len(heard), rate)


def _wait(name: str, words: list[str], said: Path, timeout_s: float) -> int:
    """Run a command to its end; what it started is ended with it if it takes too long."""
    with open(said, "wb") as errors:
        try:
            process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                start_new_session=True,
            )
        except OSError as error:
            raise TeacherError(
                f"teacher {name}: {printable(words[0])} cannot be run ({error.strerror})"
            ) from error
        try:
            return process.wait(timeout_s)
        except subprocess.TimeoutExpired as error:
            raise TeacherError(
                f"teacher {name}: it did not end within {timeout_s:g} s and was stopped"
            ) from error
        finally:
            if process.poll() is None:
                if hasattr(os, "killpg"):
                    with suppress(ProcessLookupError):
                        os.killpg(process.pid, signal.SIGKILL)
                process.kill()  # on Windows there are no groups: what it started goes on
                process.wait()


def _read(name: str, path: Path, length: int, rate: int) -> Wave:
    try:
        with open_reader(path) as reader:
            info = reader.info
            output = reader.read(length + 1)
    except AudioReadError as error:
        raise TeacherError(f"teacher {name}: its output is no recording ({error})") from error
    if info.sample_rate != rate:
        raise TeacherError(f"teacher {name}: it wrote {info.sample_rate} Hz for {rate} Hz")
    if output.shape != (1, length):
        count = max(output.shape[1], info.frames)
        raise TeacherError(
            f"teacher {name}: it wrote {count} samples in {info.channels} channels for {length} "
            "in one"
        )
    return np.asarray(output[0])


def _last_line(said: Path) -> str:
    """Return the last thing a command said, for the end of a message."""
    lines = said.read_bytes().decode(errors="replace").strip().splitlines()
    return f": {printable(lines[-1].strip())[:LONGEST_REASON]}" if lines else ""
