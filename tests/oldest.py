"""The main jobs with the oldest packages that setup.cfg allows: `python -m tests.oldest`.

A virtual environment gets exactly those versions and this checkout, first without any extra, then
with some. Wheels of that age exist for Python 3.10 and 3.11; on a later Python one line says that
nothing was checked.
"""

from __future__ import annotations

import configparser
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
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
EXTRAS = ("noisereduce", "plot", "app")
WITH_EXTRAS = """
import os, sys, urllib.request
from pathlib import Path
os.environ["MPLBACKEND"] = "Agg"
import numpy as np
from biodenoising import denoise, plot
from biodenoising.app.page import start
audio = np.random.default_rng(0).standard_normal(32_000).astype(np.float32)
assert denoise(audio, 16_000, model="noisereduce").std() < audio.std()
plot.compare(audio, 16_000, model="light")
page = start(Path(sys.argv[1]), host="127.0.0.1", port=None, open_browser=False)
assert b"biodenoise" in urllib.request.urlopen(page.local_url).read()
os._exit(0)  # gradio's server would go on
"""
# What is said by commands whose extra is not there: which one, and nothing of Python's.
WITHOUT_EXTRAS = {
    "train": (["recipes/smoke/masknet.yaml"], "biodenoising[train]"),
    "adapt": (["LONG", "adapted.safetensors"], "biodenoising[train]"),
    "app": ([], "biodenoising[app]"),
}


def oldest(section: str, key: str) -> list[str]:
    """Return what setup.cfg requires there, each at the lowest version it allows."""
    found = configparser.ConfigParser()
    found.read(ROOT / "setup.cfg")
    return [requirement.replace(">=", "==") for requirement in found[section][key].split()]


class Environment:
    """A virtual environment of exact versions and this checkout."""

    def __init__(self, folder: Path) -> None:
        self.programs = folder / "bin"
        venv.create(folder, with_pip=True)
        self.install("--no-deps", "-e", ROOT)

    def install(self, *words: str | Path) -> None:
        pip = [self.programs / "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *words], check=True)

    def run(self, name: str, *words: str | Path, sound: bytes = b"") -> tuple[int, bytes, str]:
        """Run a program; return its exit code and what it wrote."""
        done = subprocess.run(
            [self.programs / name, *words],
            input=sound,
            capture_output=True,
            cwd=ROOT,
            env={k: v for k, v in os.environ.items() if not k.startswith("PYTHON")},
            check=False,
        )
        return done.returncode, done.stdout, done.stderr.decode(errors="replace")

    def write_wave(self, path: Path, times: int = 1) -> bytes:
        """Write the demo as a WAV file, so many times over; return its bytes."""
        path.parent.mkdir(exist_ok=True)
        code = (
            f"import numpy, soundfile; audio, rate = soundfile.read({str(DEMO)!r}); "
            f"soundfile.write({str(path)!r}, numpy.tile(audio, {times}), rate, 'PCM_16')"
        )
        done, _, told = self.run("python", "-c", code)
        assert done == 0, told
        return path.read_bytes()


def failures(at: Environment, scratch: Path) -> list[str]:
    """Do the main jobs without extras; return a line for each that failed."""
    found = []

    def expect(what: str, good: bool, told: str) -> None:
        if not good:
            found.append(f"{what}: {told.strip()[-300:]}")

    code, _, told = at.run("biodenoise", DEMO, scratch / "out", "--report")
    expect("a recording with a report", code == 0 and (scratch / "out" / DEMO.name).exists(), told)
    wave = at.write_wave(scratch / "in.wav")
    code, quiet, told = at.run("biodenoise", "-", "-", "--model", "light", sound=wave)
    expect("a pipe", code == 0 and len(quiet) >= len(wave), told)
    code, _, told = at.run("python", "-c", EVERY_MODEL)
    expect("every model", code == 0, told)
    for word in ("list", "verify"):
        code, _, told = at.run("biodenoise-models", word)
        expect(f"biodenoise-models {word}", code == 0, told)
    for number in "12":  # adaptation wants a minute, and a second recording to check with
        at.write_wave(scratch / "long" / f"{number}.wav", times=5)
    for name, (arguments, extra) in WITHOUT_EXTRAS.items():
        words = [str(scratch / "long") if word == "LONG" else word for word in arguments]
        code, _, told = at.run(f"biodenoise-{name}", *words)
        good = code != 0 and extra in told and "Traceback" not in told
        expect(f"biodenoise-{name} without its extra", good, told)
    return found


def main() -> int:
    pinned = oldest("options", "install_requires")
    more = [each for extra in EXTRAS for each in oldest("options.extras_require", extra)]
    told = ", ".join([*pinned, *more])
    if sys.version_info[:2] > NEWEST_PYTHON:
        print(f"oldest: not checked: {told} have no wheels for this Python")
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        at = Environment(Path(scratch) / "venv")
        at.install("--only-binary", ":all:", *pinned)
        found = failures(at, Path(scratch))
        at.install("--only-binary", ":all:", *pinned, *more)
        code, _, said = at.run("python", "-c", WITH_EXTRAS, scratch)
        found += [f"extras {', '.join(EXTRAS)}: {said.strip()[-300:]}"] if code else []
    for line in found:
        print(f"oldest: {line}")
    print(f"oldest: {len(found)} failures with {told}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
