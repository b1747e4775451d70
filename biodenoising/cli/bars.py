"""What a long command shows at a terminal, and how Ctrl-C asks it to stop after this step."""

from __future__ import annotations

import sys
from types import FrameType
from typing import TypeVar

B = TypeVar("B", bound="Bar")


class Bar:
    """A bar in percent, drawn at a terminal only; to be subclassed by what fills it."""

    def __init__(self, *, quiet: bool) -> None:
        from tqdm import tqdm

        self._quiet, self._stop = quiet, False
        self._bar = tqdm(
            total=100.0,
            disable=quiet or not sys.stderr.isatty(),
            bar_format="{percentage:3.0f}% |{bar:30}| {desc}",
            mininterval=0.2,
            dynamic_ncols=True,
        )

    def __enter__(self: B) -> B:
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.close()

    def ask_to_stop(self, number: int, frame: FrameType | None) -> None:
        """Stop after this step; at once when asked again."""
        if self._stop:
            raise KeyboardInterrupt
        self._stop = True

    def asked(self) -> bool:
        """Tell whether someone asked to stop."""
        return self._stop
