"""The workers of somebody else's executor: how many there are now, and what if there are none."""

from __future__ import annotations

import logging
from concurrent.futures import Executor
from time import monotonic

from biodenoising.inference.runtimes import processors

RECOUNT_S = 5.0
TELL_AFTER_S = 15.0
WITHOUT_WORKERS_S = 300.0

logger = logging.getLogger(__name__)


class Crew:
    """How many workers an executor has: a cluster grows and shrinks, and may be left without any.

    `width` files are worked on at a time. `given_up` says why no more is to be hoped for.
    """

    def __init__(self, executor: Executor, asked: int) -> None:
        self._client = getattr(executor, "_client", None)  # Dask's
        self._asked = asked
        self._counted = -RECOUNT_S
        self._gone_since: float | None = None
        self._told = False
        self.given_up = ""
        self.width = asked or int(getattr(executor, "_max_workers", None) or processors())

    def count(self) -> None:
        """Ask the scheduler, if there is one and it is time again."""
        if self._client is None or monotonic() - self._counted < RECOUNT_S:
            return
        self._counted = monotonic()
        try:
            threads = sum(map(int, self._client.nthreads().values()))
        except (OSError, TimeoutError):  # the scheduler is away: its futures will say so
            return
        self.width = self._asked or max(1, threads)
        if threads:
            self._gone_since, self._told = None, False
        else:
            self._say_who_is_missing()

    def _say_who_is_missing(self) -> None:
        assert self._client is not None
        now, patience = monotonic(), patience_s(WITHOUT_WORKERS_S)
        self._gone_since = now if self._gone_since is None else self._gone_since
        gone = now - self._gone_since
        address = self._client.scheduler.address
        lost = f"{address}: the scheduler has had no workers for {gone:.0f} s"
        if gone >= patience:
            self.given_up = (
                f"{lost}; start some (dask worker {address}) and give the same command again"
            )
        elif gone >= min(TELL_AFTER_S, patience / 2) and not self._told:
            self._told = True
            logger.warning(
                "%s; start some (dask worker %s), or the run ends in %.0f s",
                lost, address, patience - gone,
            )  # fmt: skip


def patience_s(default: float) -> float:
    """Return how long a run waits without workers: by Dask's own setting, where there is one."""
    from dask import config
    from dask.utils import parse_timedelta

    found = config.get("distributed.scheduler.no-workers-timeout", None)
    return default if found is None else float(parse_timedelta(found))
