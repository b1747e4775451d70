"""What the long commands share: a bar, a line a minute, how they stop, and their errors."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from types import FrameType
from typing import TypeVar

import click

from biodenoising.errors import BiodenoisingError

EXIT_USAGE, EXIT_INTERRUPTED = 2, 130
LOG_EVERY_S = 60.0  # without a terminal, a line a minute

B = TypeVar("B", bound="Bar")


class Bar:
    """A bar in percent, drawn at a terminal only; to be subclassed by what fills it.

    Within it Ctrl-C asks to stop after this step, and stops at once when pressed again.
    """

    def __init__(self, *, quiet: bool) -> None:
        from tqdm import tqdm

        self._quiet, self._stop = quiet, False
        self._logged = monotonic()
        self._bar = tqdm(
            total=100.0,
            disable=quiet or not sys.stderr.isatty(),
            bar_format="{percentage:3.0f}% |{bar:30}| {desc}",
            mininterval=0.2,
            dynamic_ncols=True,
        )

    def __enter__(self: B) -> B:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._ask_to_stop)
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.close()

    def asked(self) -> bool:
        """Tell whether someone asked to stop."""
        return self._stop

    def _ask_to_stop(self, number: int, frame: FrameType | None) -> None:
        if self._stop:
            raise KeyboardInterrupt
        self._stop = True

    def _show(self, percent: float, line: str) -> None:
        """Draw the bar; without a terminal, print a line now and then."""
        self._bar.set_description_str(line, refresh=False)
        self._bar.update(min(percent, 100.0) - self._bar.n)
        if self._bar.disable and not self._quiet and monotonic() - self._logged > LOG_EVERY_S:
            self._logged = monotonic()
            click.echo(f"{percent:.0f}% {line}", err=True)


@contextmanager
def errors_told(program: str) -> Iterator[None]:
    """Turn what went wrong, or Ctrl-C, into one line and an exit code."""
    try:
        yield
    except BiodenoisingError as error:
        click.echo(f"{program}: {error}", err=True)
        sys.exit(EXIT_USAGE)
    except KeyboardInterrupt:
        interrupted(program)


def interrupted(program: str) -> None:
    """Say so, and exit."""
    click.echo(f"{program}: interrupted; the same command goes on from here", err=True)
    sys.exit(EXIT_INTERRUPTED)
