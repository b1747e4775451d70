"""`biodenoise - -`: sound through standard input and output; messages go to standard error only."""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack, contextmanager
from io import FileIO
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from biodenoising.errors import AudioReadError, AudioWriteError, OptionError
from biodenoising.storage import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from biodenoising.audio.pipes import Head
    from biodenoising.batch.work import Recipe
    from biodenoising.inference.denoiser import Denoiser

PIPE = Path("-")
# What a shell reports of a command that wrote to a closed pipe, as SIGPIPE ends it.
EXIT_CLOSED_PIPE = 141
EXIT_INTERRUPTED = 130
EXIT_FAILURE = 1


def is_piped(input: Path | str, output: Path | str, live: bool, raw: str | None) -> bool:
    """Return whether a pipe takes part. Raises OptionError for what only a pipe can do."""
    piped = PIPE in (input, output)
    if not piped and (live or raw):
        word = "live" if live else "raw"
        raise OptionError(f"--{word} is for pipes: give - for standard input or output")
    return piped


def refuse(**of_files: object) -> None:
    """Raise OptionError for options, by their names, that say something about files."""
    for name, value in of_files.items():
        if value:
            word = name.replace("_", "-")
            raise OptionError(f"--{word} is for files; leave it away with - as INPUT or OUTPUT")


def run(
    input: Path, output: Path, recipe: Recipe, *, live: bool, raw: str | None, quiet: bool
) -> int:
    """Denoise what comes in to what goes out; return the exit code.

    Ctrl-C ends the input, and what was read is completed; a second one breaks off. Raises
    OptionError and ModelError before anything is read or written.
    """
    from biodenoising.audio.pipes import PipeClosedError, raw_head
    from biodenoising.inference.denoiser import Denoiser

    head = raw_head(raw) if raw else None
    denoiser = Denoiser(recipe.model, device=recipe.device)
    if live:
        # What cannot be is refused before anything is read.
        denoiser.open(denoiser.card.sample_rate, 1, recipe.settings, live=True)
    try:
        with ExitStack() as stack:
            source = stack.enter_context(_source(input))
            target = stack.enter_context(_target(output, overwrite=recipe.overwrite))
            notes = _through(source, target, (input, output), denoiser, recipe, head, live, quiet)
    except PipeClosedError:
        return EXIT_CLOSED_PIPE
    except (AudioReadError, AudioWriteError) as error:
        click.echo(f"biodenoise: {error}", err=True)
        return EXIT_FAILURE
    for note in () if quiet else notes:
        click.echo(f"biodenoise: {note}", err=True)
    return EXIT_INTERRUPTED if source.interrupts else 0


def _through(
    source: Input, target: FileIO, paths: tuple[Path, Path], denoiser: Denoiser, recipe: Recipe,
    head: Head | None, live: bool, quiet: bool,
) -> tuple[str, ...]:  # fmt: skip
    from biodenoising.audio.pipes import PipeReader
    from biodenoising.batch.pipes import denoise_pipe

    names = [
        Path(word) if path == PIPE else path
        for path, word in zip(paths, ("standard input", "standard output"), strict=True)
    ]
    reader = PipeReader(source, names[0], head)
    if not quiet:
        click.echo(_greeting(names[0], reader.head.encoding, denoiser, live), err=True)
    return denoise_pipe(
        reader, target, names[1], denoiser, recipe.settings, live=live,
        dither=recipe.options.dither,
    ).notes  # fmt: skip


class Input(FileIO):
    """A file or pipe that ends with the first SIGINT or SIGTERM; the second one breaks off."""

    def __init__(self, file: int | Path, *, closefd: bool = True) -> None:
        super().__init__(file, "rb", closefd=closefd)
        self.interrupts = 0
        self._waits = False

    def take(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        self.interrupts += 1
        # Only a read may be broken off without harm.
        if self._waits or self.interrupts > 1:
            raise KeyboardInterrupt

    def read(self, size: int | None = -1) -> bytes:
        """Return what is there, waiting for a byte at least; none at the end."""
        self._waits = True
        try:
            return b"" if self.interrupts else super().read(size) or b""
        except KeyboardInterrupt:
            if self.interrupts > 1:
                raise
            return b""
        finally:
            self._waits = False


def _greeting(name: Path, encoding: Any, denoiser: Denoiser, live: bool) -> str:
    rate = encoding.sample_rate
    sound = f"{printable(name)}: {encoding.channels} x {rate} Hz {encoding.subtype}"
    if live:
        late = 1000 * denoiser.latency() / rate
        return f"biodenoise: {sound}, live with {denoiser.card.name}: comes out {late:.0f} ms later"
    return f"biodenoise: {sound}, as for files: comes out some seconds later (see --live)"


@contextmanager
def _source(path: Path) -> Iterator[Input]:
    if path == PIPE:
        if os.isatty(0):
            raise OptionError("standard input is a terminal; pipe a recording into it")
        handle = Input(0, closefd=False)
    elif path.is_dir():
        raise OptionError(f"{printable(path)}: is a folder; only one recording fits into a pipe")
    else:
        try:
            handle = Input(path)
        except OSError as error:
            reason = error.strerror
            raise AudioReadError(f"{printable(path)}: cannot be opened ({reason})") from error
    signals = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, handle.take) for number in signals]
    try:
        with handle:
            yield handle
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)


@contextmanager
def _target(path: Path, *, overwrite: bool) -> Iterator[FileIO]:
    """Open standard output, or a file that gets its name when it is whole."""
    from biodenoising.storage import whole_file

    if path == PIPE:
        if os.isatty(1):
            raise OptionError("standard output is a terminal; pipe it on or write it into a file")
        with FileIO(1, "wb", closefd=False) as output:
            yield output
        return
    if path.is_dir():
        raise OptionError(f"{printable(path)}: is a folder; give a file's name for what comes in")
    if path.exists() and not overwrite:
        raise AudioWriteError(f"{printable(path)}: is there already; --overwrite replaces it")
    with whole_file(path) as temporary, FileIO(temporary, "wb") as output:
        yield output
