"""A fast untrained model, synthesized recordings, and the command in this process or its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner, Result
from numpy.typing import NDArray

RATE_HZ = 16_000
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
Samples = NDArray[np.float32]


def write_tiny_model(folder: Path) -> Path:
    """Write a small untrained Demucs, which changes every sample, and fast; return its card."""
    import torch

    from biodenoising.models.cards import Card, Chunking
    from biodenoising.models.demucs import Demucs, DemucsSettings
    from biodenoising.models.networks import save_checkpoint

    torch.manual_seed(3)
    network = Demucs(DemucsSettings(hidden=4, depth=5))
    card = Card(
        name="tiny",
        architecture="demucs",
        description="Untrained, for tests.",
        licence="none",
        sample_rate=RATE_HZ,
        chunking=Chunking(
            samples=network.valid_length(20_000),
            left=4_096,
            right=1_024,
            overlap=512,
            warm_up=4_096,
        ),
    )
    save_checkpoint(network, card, folder, half=False)
    return folder / "tiny.json"


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The card's path of the tiny model."""
    return write_tiny_model(tmp_path_factory.mktemp("model"))


class Tree:
    """Makes recordings below one folder and looks at what became of them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.input, self.output, self.residual = root / "in", root / "out", root / "residual"
        self.input.mkdir()

    def add(
        self,
        name: str | bytes,
        frames: int = 4_000,
        *,
        seed: int | None = None,
        channels: int = 1,
        rate: int = RATE_HZ,
        subtype: str | None = None,
        samples: Samples | None = None,
    ) -> Path:
        """Write a recording of a chirping tone in noise, or of `samples` (frames, channels)."""
        path = self.input / os.fsdecode(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        if samples is None:
            rng = np.random.default_rng(len(os.fsencode(name)) if seed is None else seed)
            time_s = np.arange(frames)[:, None] / rate
            tone = np.sin(2 * np.pi * 0.1 * rate * time_s * (1 + time_s))
            samples = (0.3 * tone + rng.uniform(-0.2, 0.2, (frames, channels))).astype(np.float32)
        soundfile.write(path, samples, rate, subtype=subtype)
        return path

    def outputs(self, folder: Path | None = None) -> dict[str, bytes]:
        """Return the bytes of every visible file of OUTPUT but the manifest, by relative path."""
        folder = folder or self.output
        return {
            str(path.relative_to(folder)): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file() and path.name[0] != "." and path.name != "biodenoise.jsonl"
        }

    def leftovers(self, folder: Path | None = None) -> list[str]:
        """Return the names of all temporary files."""
        return [path.name for path in (folder or self.root).rglob(".*.part")]

    def everything(self) -> dict[str, bytes | str]:
        """Return all that exists below the root, to see whether anything was written."""
        return {
            str(path.relative_to(self.root)): (
                os.readlink(path)
                if path.is_symlink()
                else path.read_bytes()
                if path.is_file()
                else "a folder or no file"
            )
            for path in sorted(self.root.rglob("*"))
        }

    def rows(self) -> list[dict[str, Any]]:
        """Return the manifest's rows."""
        text = (self.output / "biodenoise.jsonl").read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """An empty INPUT folder, with OUTPUT and the residual folder not there yet."""
    return Tree(tmp_path)


@pytest.fixture
def tree_at() -> Callable[[Path], Tree]:
    """Make a tree below another folder."""
    return Tree


@pytest.fixture
def biodenoise(tiny_model: Path) -> Iterator[Callable[..., Result]]:
    """Run the command in this process, on one processor, with the tiny model unless told."""
    from biodenoising.cli.denoise import biodenoise as command

    def run(*arguments: str | bytes | Path, model: str | Path | None = tiny_model) -> Result:
        words = [os.fsdecode(a) for a in arguments]
        if "--jobs" not in words:
            words += ["--jobs", "1"]
        if model is not None:
            words += ["--model", os.fspath(model)]
        result = CliRunner().invoke(command, words)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    before = signal.getsignal(signal.SIGTERM)
    yield run
    signal.signal(signal.SIGTERM, before)


class Command:
    """Runs the installed command in a process group of its own."""

    def __init__(self, model: Path) -> None:
        self._model = model
        self._started: list[subprocess.Popen[str]] = []

    def words(self, *arguments: str | Path, jobs: int = 1) -> list[str]:
        """Return the command line."""
        start = "from biodenoising.cli.denoise import main; main()"
        given = [os.fspath(a) for a in arguments]
        options = ["--jobs", str(jobs), "--model", str(self._model)]
        return [sys.executable, "-c", start, *given, *options]

    def start(self, *arguments: str | Path, jobs: int = 1, **options: Any) -> subprocess.Popen[str]:
        """Start the command; it is killed with the test if it still runs."""
        # A test run in the background ignores Ctrl-C, and so would all that it starts.
        options.setdefault("preexec_fn", lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
        process = subprocess.Popen(
            self.words(*arguments, jobs=jobs),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            **options,
        )
        self._started.append(process)
        return process

    def run(
        self, *arguments: str | Path, jobs: int = 1, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run the command to its end."""
        process = self.start(*arguments, jobs=jobs, **options)
        out, err = process.communicate(timeout=120)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def end(self) -> None:
        """Kill what still runs."""
        for process in self._started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()


@pytest.fixture
def command(tiny_model: Path) -> Iterator[Command]:
    """The command as a process of its own."""
    made = Command(tiny_model)
    yield made
    made.end()


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A headless Chromium of this machine, driven by playwright."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if program is None:
        pytest.skip("no Chromium on this machine")
    with api.sync_playwright() as play:
        started = play.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield started
        started.close()
