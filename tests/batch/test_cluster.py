"""Executors made by others: the same tree, whoever works on it and whoever dies at it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

import biodenoising
from biodenoising import denoise_tree
from biodenoising.batch import crew
from biodenoising.batch.executors import mismatch
from biodenoising.batch.files import FileOptions
from biodenoising.batch.work import Recipe
from biodenoising.inference.denoiser import DenoiseSettings

PATIENCE_S = 300


def fill(tree, files: int, frames: int = 4_000) -> None:
    for number in range(files):
        tree.add(f"{number // 3}/{number}.wav", frames, seed=number)


# --- any executor --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [ThreadPoolExecutor, ProcessPoolExecutor])
def test_an_executor_makes_the_same_tree(tree, tiny_model, biodenoise, kind) -> None:
    fill(tree, 7)
    (tree.input / "bad.wav").write_text("no audio")
    assert biodenoise(tree.input, tree.root / "here").exit_code == 1
    heard = []
    with kind(2) as executor:
        summary = denoise_tree(
            tree.input, tree.output, model=tiny_model, executor=executor, progress=heard.append
        )
        again = denoise_tree(tree.input, tree.output, model=tiny_model, executor=executor)
    assert (summary.count("done"), summary.count("failed")) == (7, 1)
    assert (again.count("skipped"), again.count("failed")) == (7, 1)
    assert sum(heard) == summary.audio_s == 7 * 0.25
    assert tree.outputs() == tree.outputs(tree.root / "here")
    assert sum(row["status"] == "done" for row in tree.rows()) == 7
    assert tree.leftovers() == []


class Counting(Executor):
    """Holds what it is given back, and counts it."""

    def __init__(self, workers: int) -> None:
        self._inner, self._max_workers = ThreadPoolExecutor(workers), workers
        self.waiting, self.most = 0, 0

    def submit(self, function, /, *arguments, **options) -> Future:
        self.waiting += 1
        self.most = max(self.most, self.waiting)
        future = self._inner.submit(function, *arguments, **options)
        future.add_done_callback(lambda _: self._ended())
        return future

    def _ended(self) -> None:
        self.waiting -= 1


def test_few_tasks_are_in_flight(tree, tiny_model) -> None:
    fill(tree, 15)
    executor = Counting(2)
    assert denoise_tree(tree.input, tree.output, model=tiny_model, executor=executor).ok
    assert 2 <= executor.most <= 4


def test_a_pool_that_breaks_stops_the_run_in_one_line(tree, tiny_model, biodenoise) -> None:
    fill(tree, 6)
    with ProcessPoolExecutor(1) as pool:

        class Deadly(Executor):
            _max_workers = 1

            def submit(self, function, /, *arguments, **options):
                return pool.submit(os._exit, 1)

        summary = denoise_tree(tree.input, tree.output, model=tiny_model, executor=Deadly())
    assert "workers are gone" in summary.stopped
    assert not summary.ok
    assert summary.not_tried == 5
    assert "6 denoised" in biodenoise(tree.input, tree.output).stdout


class Deserted(Executor):
    """Dask's, with a scheduler that has lost its workers; `back` of them return."""

    def __init__(self, back: int = 0) -> None:
        self._client, self._max_workers, self._back = self, None, back
        self.scheduler = SimpleNamespace(address="tcp://host:8786")
        self._asked, self._waiting = 0, []

    def nthreads(self) -> dict[str, int]:
        self._asked += 1
        if not self._back or self._asked < 6:
            return {}
        for start in self._waiting:
            start()
        self._waiting.clear()
        return dict.fromkeys(map(str, range(self._back)), 1)

    def submit(self, function, /, *arguments, **options) -> Future:
        future: Future = Future()

        def start() -> None:
            future.set_result(function(*arguments, **options))

        self._waiting.append(start)
        return future


@pytest.fixture
def hasty(monkeypatch) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr(crew, "RECOUNT_S", 0.1)
    monkeypatch.setattr(crew, "TELL_AFTER_S", 0.2)
    monkeypatch.setattr(crew, "WITHOUT_WORKERS_S", 1.5)


def test_without_any_worker_the_run_says_so_and_ends(tree, tiny_model, hasty, caplog) -> None:
    fill(tree, 5)
    summary = denoise_tree(tree.input, tree.output, model=tiny_model, executor=Deserted())
    assert summary.stopped.startswith("tcp://host:8786: the scheduler has had no workers for 2 s")
    assert "dask worker tcp://host:8786" in summary.stopped
    assert (summary.ok, summary.not_tried, summary.count("done")) == (False, 4, 0)
    (line,) = caplog.messages
    assert "tcp://host:8786: the scheduler has had no workers for 0 s; start some" in line
    assert tree.leftovers() == []


def test_a_worker_that_comes_in_time_lets_the_run_go_on(tree, tiny_model, hasty, caplog) -> None:
    fill(tree, 5)
    summary = denoise_tree(tree.input, tree.output, model=tiny_model, executor=Deserted(2))
    assert summary.ok
    assert summary.count("done") == 5
    assert len(caplog.messages) == 1


def recipe(model: Path) -> Recipe:
    return Recipe(os.fspath(model), "auto", DenoiseSettings(), FileOptions())


def test_workers_that_would_make_other_outputs_say_so(tiny_model: Path, tmp_path: Path) -> None:
    ours, version = recipe(tiny_model), biodenoising.__version__
    settings = ours.fingerprint(residual=False)
    assert mismatch(ours, settings, version, residual=False) == ""
    assert "biodenoising" in mismatch(ours, settings, "0.0.9", residual=False)
    assert "weights" in mismatch(ours, "0" * 16, version, residual=False)
    missing = recipe(tmp_path / "missing.json")
    assert "cannot use the model" in mismatch(missing, settings, version, residual=False)


# --- refused -------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["host", "local", "local:0", "http://host:8786", "tcp://host"])
def test_what_is_no_cluster(tree, biodenoise, address) -> None:
    pytest.importorskip("distributed")
    tree.add("a.wav")
    before = tree.everything()
    result = biodenoise(tree.input, tree.output, "--cluster", address)
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert "local:4" in line
    assert tree.everything() == before


def test_without_dask_the_extra_is_named(tree, biodenoise, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "dask.distributed", None)
    tree.add("a.wav")
    result = biodenoise(tree.input, tree.output, "--cluster", "local:2")
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert "biodenoising[cluster]" in line


# --- Dask ----------------------------------------------------------------------------------------


class Cluster:
    """A scheduler and workers as processes of their own on loopback."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "scheduler.json"
        self._folder = folder
        self._environment = {
            **os.environ,
            "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "40s",
            "DASK_DISTRIBUTED__WORKER__HEARTBEAT_INTERVAL": "500ms",
        }
        words = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--no-show"]
        self.scheduler = self._start("dask_scheduler", *words)
        deadline = time.monotonic() + PATIENCE_S
        while not self._file.exists():
            assert self.scheduler.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        self.address = json.loads(self._file.read_text())["address"]
        self.workers: list[subprocess.Popen[bytes]] = []

    def add_worker(self, *words: str) -> None:
        """Start one worker of one thread; nothing starts it again when it dies."""
        here = ["--nthreads", "1", "--no-nanny", "--no-dashboard", "--host", "127.0.0.1"]
        folder = ["--local-directory", str(self._folder)]
        self.workers.append(self._start("dask_worker", *here, *folder, *words))

    def _start(self, name: str, *words: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.{name}", "--scheduler-file", str(self._file),
             *words],
            env=self._environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def end(self) -> None:
        for process in (*self.workers, self.scheduler):
            process.kill()
            process.wait()


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    pytest.importorskip("distributed")
    made = Cluster(tmp_path_factory.mktemp("cluster"))
    yield made
    made.end()


def wait_for_outputs(process: subprocess.Popen[str], folder: Path, count: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while process.poll() is None and len(list(folder.glob("*/[!.]*.wav"))) < count:
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_workers_killed_and_stopped_in_mid_run_cost_nothing(
    tree, command, cluster, biodenoise
) -> None:
    fill(tree, 15, 80_000)
    # The shipped model's samples are the same on one thread and on several.
    command = type(command)("compact")
    assert biodenoise(tree.input, tree.root / "here", model="compact").exit_code == 0
    for _ in range(3):
        cluster.add_worker()
    process = command.start(tree.input, tree.output, "--cluster", cluster.address, jobs=3)
    wait_for_outputs(process, tree.output, 3)
    cluster.workers[0].kill()
    cluster.workers[1].send_signal(signal.SIGSTOP)
    out, error = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, error
    assert "Traceback" not in error
    # What a lost worker had finished without being able to say so is found there.
    done, skipped, failed = map(int, re.findall(r"(\d+) (?:denoised|skipped|failed)", out))
    assert (done + skipped, failed) == (15, 0)
    assert tree.outputs() == tree.outputs(tree.root / "here")
    assert tree.leftovers() == []
    # The one that was taken for dead comes back and finishes what it had begun: no harm.
    cluster.workers[1].send_signal(signal.SIGCONT)
    time.sleep(2)
    assert "15 skipped" in biodenoise(tree.input, tree.output, model="compact").stdout
    assert {k: v for k, v in tree.outputs().items() if k.endswith(".wav")} == tree.outputs(
        tree.root / "here"
    )


@pytest.mark.slow
def test_a_scheduler_that_dies_is_one_line_and_the_run_goes_on_later(
    tree, command, cluster, biodenoise
) -> None:
    fill(tree, 12, 160_000)
    cluster.add_worker()
    process = command.start(tree.input, tree.output, "--cluster", cluster.address)
    wait_for_outputs(process, tree.output, 2)
    cluster.scheduler.kill()
    _, error = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1, error
    assert "Traceback" not in error
    assert len([line for line in error.splitlines() if "workers are gone" in line]) == 1
    cluster.end()
    assert biodenoise(tree.input, tree.output).exit_code == 0
    assert len([name for name in tree.outputs() if name.endswith(".wav")]) == 12


@pytest.mark.slow
@pytest.mark.parametrize("comes_back", [True, False])
def test_all_workers_lost(tree, command, cluster, biodenoise, monkeypatch, comes_back) -> None:
    monkeypatch.setenv("DASK_DISTRIBUTED__SCHEDULER__NO_WORKERS_TIMEOUT", "20s")
    fill(tree, 9, 160_000)
    cluster.add_worker()
    process = command.start(tree.input, tree.output, "--cluster", cluster.address)
    wait_for_outputs(process, tree.output, 2)
    cluster.workers[0].kill()
    line = process.stderr.readline()
    assert f"{cluster.address}: the scheduler has had no workers for " in line
    if comes_back:
        cluster.add_worker()
    _, error = process.communicate(timeout=PATIENCE_S)
    assert "Traceback" not in error
    if comes_back:
        assert process.returncode == 0, error
        assert "no workers" not in error
        assert biodenoise(tree.input, tree.root / "here").exit_code == 0
        made = {k: v for k, v in tree.outputs().items() if k.endswith(".wav")}
        assert made == tree.outputs(tree.root / "here")
    else:
        assert process.returncode == 1
        assert len([line for line in error.splitlines() if "no workers" in line]) == 1
        assert "files were not tried" in error


@pytest.mark.slow
def test_a_worker_of_another_version_is_refused_in_one_line(tree, command, cluster) -> None:
    tree.add("a.wav")
    preload = tree.root / "older.py"
    preload.write_text("import biodenoising\nbiodenoising.__version__ = '0.0.9'\n")
    cluster.add_worker("--preload", str(preload))
    result = command.run(tree.input, tree.output, "--cluster", cluster.address)
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert "0.0.9" in line
    assert not tree.output.exists()


@pytest.mark.slow
def test_no_scheduler_and_no_workers(tree, command, cluster, tiny_model, monkeypatch) -> None:
    from biodenoising import BatchError
    from biodenoising.batch import cluster as clusters

    monkeypatch.setattr(clusters, "CONNECT_S", 2.0)
    monkeypatch.setattr(clusters, "FIRST_WORKER_S", 2.0)
    ours = recipe(tiny_model)
    with (
        pytest.raises(BatchError, match="no workers"),
        clusters.connect(cluster.address, ours, residual=False),
    ):
        pass
    with (
        pytest.raises(BatchError, match="no scheduler"),
        clusters.connect("tcp://127.0.0.1:9", ours, residual=False),
    ):
        pass


@pytest.mark.slow
def test_workers_started_here_and_stopped_by_ctrl_c(tree, command, biodenoise) -> None:
    pytest.importorskip("distributed")
    fill(tree, 6, 40_000)
    result = command.run(tree.input, tree.output, "--cluster", "local:2")
    assert (result.returncode, result.stderr) == (0, "")
    assert biodenoise(tree.input, tree.root / "here").exit_code == 0
    assert tree.outputs() == tree.outputs(tree.root / "here")
    fill(tree, 12, 400_000)
    process = command.start(tree.input, tree.root / "other", "--cluster", "local:2")
    wait_for_outputs(process, tree.root / "other", 1)
    os.kill(process.pid, signal.SIGINT)
    _, error = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    assert len(error.splitlines()) == 1, error


@pytest.mark.slow
def test_dask_s_own_executor_goes_into_the_library(tree, cluster, tiny_model) -> None:
    from distributed import Client

    fill(tree, 5)
    cluster.add_worker()
    with Client(cluster.address, set_as_default=False) as client:
        summary = denoise_tree(
            tree.input, tree.output, model=tiny_model, executor=client.get_executor(pure=False)
        )
    assert summary.ok
    assert summary.count("done") == 5
