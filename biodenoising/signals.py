"""Ctrl-C and SIGTERM, held back where an exception would vanish or do harm."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

INTERRUPTS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Hold Ctrl-C and SIGTERM back until the end of the block, and heed the first one then.

    libsndfile reads and writes what lies in memory by calling back into Python. An exception in
    such a call is printed and lost, KeyboardInterrupt as well, and the call taken for the end of
    the file: one Ctrl-C in ten made a whole recording a short one. So every such use of it stands
    in this block. Only the main thread ever gets signals; in others nothing is done.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = {number: signal.getsignal(number) for number in INTERRUPTS}
    try:
        for number in INTERRUPTS:
            signal.signal(number, lambda number, frame: came.append(number))
        yield
    finally:
        for number, handler in before.items():
            # None is a handler that was not set from Python.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        for heard in came[:1]:
            signal.raise_signal(heard)
