"""Worker processes that start afresh and leave the caller's script alone.

Python's own run the main module again in each new process, to find there what it defines. So a
script that calls us outside `if __name__ == "__main__":` would call us again in every worker, which
is refused, and no worker would live. Ours need nothing of the main module.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.context import SpawnContext, SpawnProcess
from threading import Lock
from types import ModuleType
from typing import Any, ClassVar

_STARTING = Lock()
_MISSING: Any = object()


class _Worker(SpawnProcess):
    def start(self) -> None:
        with _STARTING, _nameless(sys.modules["__main__"]):
            super().start()


class _Workers(SpawnContext):
    Process: ClassVar[type[SpawnProcess]] = _Worker


# A context for executors, queues and loaders, as multiprocessing.get_context returns one.
WORKERS = _Workers()


@contextmanager
def _nameless(module: ModuleType) -> Iterator[None]:
    """Hide where a module came from: what cannot be found again is not run again."""
    before = {name: module.__dict__.get(name, _MISSING) for name in ("__spec__", "__file__")}
    module.__dict__.update(__spec__=None, __file__=None)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is _MISSING:
                del module.__dict__[name]
            else:
                module.__dict__[name] = value
