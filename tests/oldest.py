"""The main jobs with the oldest packages that setup.cfg allows: `python -m tests.oldest`.

A virtual environment gets exactly those versions and this checkout, without any extra, and is kept
beside the development one for the next time. Wheels of that age exist for Python 3.10 and 3.11; on
a later Python one line says that nothing was checked.
"""

from __future__ import annotations

import configparser
import os
import subprocess
import sys
import tempfile
import venv
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / ".venv" / "oldest"
DEMO = ROOT / "docs" / "demo" / "powdermill_dawn.flac"
NEWEST_PYTHON = (3, 11)
EVERY_MODEL = """
import numpy as np
from biodenoising import Denoiser
from biodenoising.models.registry import list_models
audio = np.random.default_rng(0).standard_normal(20_000).astype(np.float32)
for name in list_models():
    if not name.startswith("noisereduce"):
        clean = Denoiser(name, threads=1).denoise(audio, 44_100)
        assert clean.shape == audio.shape and 0 < clean.std() < 0.5 * audio.std(), name
for name in ("light", "demucs"):
    stream = Denoiser(name, threads=1).stream(16_000)
    assert len(stream.feed(audio)) + len(stream.flush()) == len(audio) + stream.latency, name
"""
# What is said by commands whose extra is not there: which one, and nothing of Python's.
WITHOUT_EXTRAS = {
    "train": (["recipes/smoke/masknet.yaml"], "biodenoising[train]"),
    "adapt": (["LONG", "adapted.safetensors"], "biodenoising[train]"),
    "app": ([], "biodenoising[app]"),
}


def oldest() -> list[str]:
    """Return what setup.cfg requires, each at the lowest version it allows."""
    found = configparser.ConfigParser()
    found.read(ROOT / "setup.cfg")
    required = found["options"]["install_requires"].split()
    return [requirement.replace(">=", "==") for requirement in required]


def install(pinned: Sequence[str]) -> None:
    """Make the virtual environment with the pinned packages and this checkout."""
    if not (FOLDER / "bin" / "python").exists():
        venv.create(FOLDER, with_pip=True)
    pip = [FOLDER / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--only-binary", ":all:", *pinned], check=True)
    subprocess.run([*pip, "--no-deps", "-e", ROOT], check=True)


def command(name: str, *words: str | Path, sound: bytes | None = None) -> tuple[int, bytes, str]:
    """Run a program of the environment; return its exit code and what it wrote."""
    done = subprocess.run(
        [FOLDER / "bin" / name, *words],
        input=sound,
        stdin=subprocess.DEVNULL if sound is None else None,
        capture_output=True,
        cwd=ROOT,
        env={k: v for k, v in os.environ.items() if not k.startswith("PYTHON")},
        check=False,
    )
    return done.returncode, done.stdout, done.stderr.decode(errors="replace")


def failures(scratch: Path) -> list[str]:
    """Do the main jobs; return a line for each that failed."""
    found = []

    def expect(what: str, good: bool, told: str) -> None:
        if not good:
            found.append(f"{what}: {told.strip()[-300:]}")

    code, _, told = command("biodenoise", DEMO, scratch / "out", "--report")
    written = (scratch / "out" / DEMO.name).exists()
    expect("a recording with a report", code == 0 and written, told)
    wave = _wave(scratch / "in.wav")
    for number in "12":  # adaptation wants a minute, and a second recording to check with
        _wave(scratch / "long" / f"{number}.wav", times=5)
    code, quiet, told = command("biodenoise", "-", "-", "--model", "light", sound=wave)
    expect("a pipe", code == 0 and len(quiet) >= len(wave), told)
    code, _, told = command("python", "-c", EVERY_MODEL)
    expect("every model", code == 0, told)
    for words in (["list"], ["verify"]):
        code, _, told = command("biodenoise-models", *words)
        expect(f"biodenoise-models {words[0]}", code == 0, told)
    for name, (arguments, extra) in WITHOUT_EXTRAS.items():
        words = [str(scratch / "long") if word == "LONG" else word for word in arguments]
        code, _, told = command(f"biodenoise-{name}", *words)
        good = code != 0 and extra in told and "Traceback" not in told
        expect(f"biodenoise-{name} without its extra", good, told)
    return found


def _wave(path: Path, times: int = 1) -> bytes:
    """Return the demo as a WAV file, so many times over, written by the environment's soundfile."""
    path.parent.mkdir(exist_ok=True)
    code = (
        f"import numpy, soundfile; audio, rate = soundfile.read({str(DEMO)!r}); "
        f"soundfile.write({str(path)!r}, numpy.tile(audio, {times}), rate, 'PCM_16')"
    )
    done, _, told = command("python", "-c", code)
    assert done == 0, told
    return path.read_bytes()


def main() -> int:
    pinned = oldest()
    if sys.version_info[:2] > NEWEST_PYTHON:
        print(f"oldest: not checked: {', '.join(pinned)} have no wheels for this Python")
        return 0
    install(pinned)
    with tempfile.TemporaryDirectory() as scratch:
        found = failures(Path(scratch))
    for line in found:
        print(f"oldest: {line}")
    print(f"oldest: {len(found)} failures with {', '.join(pinned)}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
