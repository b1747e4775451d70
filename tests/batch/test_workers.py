"""Worker processes: none is left behind, and nobody else's is touched."""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import pytest

from biodenoising import denoise_tree
from biodenoising.batch import runner, workers
from biodenoising.batch.work import Outcome


def test_a_run_broken_off_leaves_nothing_of_its_own_and_all_of_others(tree, tiny_model) -> None:
    for name in "abcdef":
        tree.add(f"{name}.wav", 100_000)
    threads = set(threading.enumerate())
    mine = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(60,))
    mine.start()

    def break_off(outcome: object) -> None:
        raise KeyboardInterrupt

    try:
        with pytest.raises(KeyboardInterrupt):
            denoise_tree(tree.input, tree.output, model=tiny_model, jobs=2, observer=break_off)
        assert multiprocessing.active_children() == [mine]
        # A pool's thread that outlives it prints a traceback when the interpreter ends.
        assert not [
            t for t in set(threading.enumerate()) - threads if "Manager" in type(t).__name__
        ]
    finally:
        mine.kill()
        mine.join()


def test_the_number_of_workers_does_not_change_a_byte(tree, tiny_model) -> None:
    for name in ("a.wav", "b/c.wav", "d.flac"):
        tree.add(name, 50_000, channels=2)
    outputs = []
    for jobs in (1, 2):
        folder = tree.root / f"out{jobs}"
        assert denoise_tree(tree.input, folder, model=tiny_model, jobs=jobs).ok
        outputs.append(tree.outputs(folder))
    assert len(outputs[0]) == 3
    assert outputs[0] == outputs[1]


def test_a_worker_dead_before_it_is_given_a_file_costs_none(tree, tiny_model, monkeypatch) -> None:
    for name in "abc":
        tree.add(f"{name}.wav", 8_000)
    submit, calls = workers.ProcessPoolExecutor.submit, []

    def break_once(pool: Any, *given: Any) -> Any:
        calls.append(given)
        if len(calls) == 2:
            raise BrokenProcessPool("a worker died")
        return submit(pool, *given)

    monkeypatch.setattr(workers.ProcessPoolExecutor, "submit", break_once)
    summary = denoise_tree(tree.input, tree.output, model=tiny_model, jobs=2)
    assert summary.ok
    assert summary.count("done") == 3
    assert len(tree.outputs()) == 3


def test_a_file_that_never_comes_back_is_no_success(tree, tiny_model, monkeypatch) -> None:
    for name in "abc":
        tree.add(f"{name}.wav", 8_000)

    def forgetful(*given: Any, **how: Any) -> Iterator[Outcome]:
        outcomes = run_jobs(*given, **how)
        next(outcomes)
        yield from outcomes

    run_jobs = runner.run_jobs
    monkeypatch.setattr(runner, "run_jobs", forgetful)
    summary = denoise_tree(tree.input, tree.output, model=tiny_model, jobs=1)
    assert not summary.ok
    assert (summary.not_tried, "got lost" in summary.stopped) == (1, True)
