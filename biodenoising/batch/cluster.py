"""A Dask cluster as an executor: somebody's scheduler, or workers started on this machine.

Which worker does what, and what becomes of the files of a lost one, is Dask's business
(https://distributed.dask.org). Nothing here runs without the extra `cluster`.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import ExitStack, contextmanager

import biodenoising
from biodenoising.batch.crew import patience_s
from biodenoising.batch.executors import THREADS_VARIABLE, mismatch
from biodenoising.batch.work import Recipe
from biodenoising.errors import BatchError
from biodenoising.inference.runtimes import processors

CONNECT_S = 30.0
FIRST_WORKER_S = 60.0
LOGGERS = ("distributed", "distributed.client", "asyncio", "tornado", "tornado.application")
# For workers of our own, whom nobody watches: Dask's profiler and clocks take 4 % of a processor
# in each process, and giving every freed block back to the system costs 10 % of a file's time.
LEAN = {
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.system-monitor.interval": "5s",
    "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": None,
}


@contextmanager
def connect(address: str, recipe: Recipe, *, residual: bool) -> Iterator[Executor]:
    """Give the executor of the cluster at `address`, or of `local:N` workers started for it.

    Raises BatchError where there is none, or where a worker would make other outputs.
    """
    try:
        import dask

        # What Dask has to say of workers that come and go is no line of ours. Read on import.
        dask.config.set({"logging": dict.fromkeys(LOGGERS, "critical")})
        from dask.distributed import Client, LocalCluster
    except ImportError as error:
        raise BatchError(
            "--cluster needs Dask; install it: pip install 'biodenoising[cluster]'"
        ) from error
    for name in LOGGERS:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    local = re.fullmatch(r"local:([1-9]\d*)", address)
    if local is None and not re.match(r"(tcp|tls|ucx|wss?)://[^/]+:\d+$", address):
        raise BatchError(
            f"cluster is {address!r}; give a scheduler such as tcp://host:8786, or local:4"
        )
    with ExitStack() as stack:
        if local:
            threads = max(1, processors() // int(local[1]))
            stack.enter_context(dask.config.set(LEAN))
            made = LocalCluster(
                n_workers=int(local[1]),
                threads_per_worker=1,
                processes=True,
                memory_limit=0,
                silence_logs=logging.CRITICAL,
                dashboard_address=None,
                env={THREADS_VARIABLE: str(threads)},
            )
            address = stack.enter_context(made).scheduler_address
        try:
            client = stack.enter_context(Client(address, timeout=CONNECT_S, set_as_default=False))
            client.wait_for_workers(1, timeout=patience_s(FIRST_WORKER_S))
        except TimeoutError as error:
            raise BatchError(
                f"{address}: the scheduler has no workers; start some (dask worker {address})"
            ) from error
        except OSError as error:
            raise BatchError(
                f"{address}: no scheduler answers there; start one (dask scheduler)"
            ) from error
        settings = recipe.fingerprint(residual=residual)
        answers = client.run(
            mismatch, recipe, settings, biodenoising.__version__, residual=residual,
            on_error="return",
        )  # fmt: skip
        for worker, answer in answers.items():
            if isinstance(answer, OSError):  # it has gone in the meantime
                continue
            if isinstance(answer, BaseException):
                reason = " ".join(str(answer).split()) or type(answer).__name__
                answer = f"it cannot run biodenoising {biodenoising.__version__} ({reason})"
            if answer:
                raise BatchError(f"worker {worker}: {answer}")
        yield client.get_executor(pure=False)
