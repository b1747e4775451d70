"""Whole runs over a user's folders: resumable, repeatable, checked; failures are rows."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmark import PROTOCOL
from benchmark.__main__ import main
from benchmark.detection import detect, iou, score
from benchmark.mixtures import Plan
from benchmark.results import read_results
from benchmark.rows import append_rows, read_rows
from benchmark.runner import NO_MIXTURE, Job, Task, run_task
from benchmark.sets import Settings
from benchmark.statistics import best_peer, summaries


def _arguments(folders: tuple[Path, Path], tmp_path: Path, *more: str) -> list[str]:
    where = ["--clean", str(folders[0]), "--noise", str(folders[1])]
    out = ["--cache", str(tmp_path / "cache"), "--output", str(tmp_path / "out")]
    systems = ["--only", "unprocessed", "--only", "highpass*", "--only", "oracle*"]
    return [
        "--sets",
        "own",
        "--no-cost",
        "--no-plots",
        "--workers",
        "1",
        *where,
        *out,
        *systems,
        *more,
    ]


def _table(tmp_path: Path) -> str:
    return (tmp_path / "out" / "RESULTS.md").read_text(encoding="utf-8")


def test_a_run_is_resumed_repeated_and_checked(
    own_folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    half = f"half={sys.executable} {tmp_path}/half.py {{input}} {{output}}"
    (tmp_path / "half.py").write_text(
        "import sys, soundfile as s\nx, r = s.read(sys.argv[1])\ns.write(sys.argv[2], x[::2], r)\n"
    )
    arguments = _arguments(own_folders, tmp_path, "--only", "half", "--system", half)
    assert main(arguments) == 0
    first = read_results(tmp_path / "out" / "results.json")
    rows = tmp_path / "cache" / f"rows-{PROTOCOL}.jsonl"
    lines = rows.read_text().splitlines()
    assert len(lines) == 4 * 6
    halves = [row for row in first.rows["own"] if row["system"] == "half"]
    assert all("8000 samples" in row["error"] for row in halves)
    text = (tmp_path / "out" / "RESULTS.md").read_text()
    assert "| half | external | 0.00 [0.00, 0.00] | 0.00 | 0 | 4 of 4 |" in text

    rows.write_text("\n".join(lines[:10]) + '\n{"torn": ')
    assert main(arguments) == 0
    second = read_results(tmp_path / "out" / "results.json")
    timed = ("seconds",)
    for one, other in zip(first.rows["own"], second.rows["own"], strict=True):
        assert {k: v for k, v in one.items() if k not in timed} == {
            k: v for k, v in other.items() if k not in timed
        }
    assert main([*arguments, "--repeat", "2"]) == 0
    assert "- Measured again: 12 rows, all the same to one in 100,000, to the last digit" in _table(
        tmp_path
    )
    # As after a processor that rounds mixtures otherwise: their bits differ, the figures do not.
    rows.write_text(rows.read_text().replace('"digest": "', '"digest": "other-'))
    assert main([*arguments, "--repeat", "1"]) == 0
    told = _table(tmp_path)
    assert "rows, all the same to one in 100,000, " in told
    assert "to one in 100,000, to the last digit" not in told
    tampered = rows.read_text().replace('"si_sdr": ', '"si_sdr": 1')
    rows.write_text(tampered)
    assert main([*arguments, "--repeat", "1"]) == 1
    assert "not the same when measured again, first own, " in capsys.readouterr().err
    assert "**" in _table(tmp_path)
    assert main([*arguments, "--check"]) == 0
    table = tmp_path / "out" / "RESULTS.md"
    table.write_text(table.read_text().replace("| oracle |", "| oracle  |", 1))
    assert main([*arguments, "--check"]) == 1
    assert "is not what results.json gives" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks processes up in /proc")
def test_workers_end_with_a_killed_run(own_folders: tuple[Path, Path], tmp_path: Path) -> None:
    slow, born = tmp_path / "slow.py", tmp_path / "worker"
    slow.write_text(
        "import os, pathlib, time\n"
        f"half = pathlib.Path({str(tmp_path / 'half')!r})\n"
        "half.write_text(str(os.getppid()))\n"
        f"half.rename({str(born)!r})\n"
        "time.sleep(20)\n"
    )
    system = f"slow={sys.executable} {slow} {{input}} {{output}}"
    arguments = _arguments(own_folders, tmp_path, "--only", "slow", "--system", system)
    run = subprocess.Popen([sys.executable, "-m", "benchmark", *arguments])
    try:
        _until(born.exists)
        worker = Path("/proc") / born.read_text()
        assert worker.exists()
    finally:
        run.kill()
        run.wait()
    _until(lambda: not worker.exists())


def _until(true: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_unmade_mixtures_are_rows_that_blame_nobody(own_folders: tuple[Path, Path]) -> None:
    job = Job(Settings(own_clean=own_folders[0], own_noise=own_folders[1]))
    plan = Plan("own", "x", "gone.wav", "gone.wav", 0.0, "own", "", "own", 16_000)
    rows = run_task(job, Task(plan, ("unprocessed", "highpass-1kHz")))
    assert [row["system"] for row in rows] == ["unprocessed", "highpass-1kHz"]
    assert all(row["error"].startswith(NO_MIXTURE) for row in rows)
    assert summaries(rows, {"unprocessed": "reference"}) == []


def test_without_recordings_only_synthetic_runs_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BIODENOISING_CORPUS", raising=False)
    out = tmp_path / "out"
    where = ["--cache", str(tmp_path), "--output", str(out), "--workers", "1"]
    systems = ["--only", "unprocessed", "--no-cost", "--limit", "1"]
    assert main(["--sets", "field,synthetic", *where, *systems]) == 0
    assert "synthesized sound only" in capsys.readouterr().out
    text = (out / "RESULTS.md").read_text()
    assert "**not run**: needs recordings" in text
    assert "nothing here says how good a system is" in text


def test_options_that_make_no_sense(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["--only", "nothing*"]) == 2
    assert main(["--sets", "feild", "--cache", str(tmp_path)]) == 2
    assert "there is no set 'feild'" in capsys.readouterr().err
    assert main(["--check", "--output", str(tmp_path)]) == 1


def test_rows_survive_a_torn_line(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    row = {
        "set": "s",
        "mixture": "m",
        "system": "x",
        "version": "1",
        "error": "",
        "v": float("nan"),
    }
    append_rows(file, [row])
    file.write_text(file.read_text() + '{"set": "s", "mix')
    append_rows(file, [row | {"mixture": "n"}])
    assert [key[1] for key in read_rows(file)] == ["m", "n"]
    assert json.loads(file.read_text().splitlines()[0])["v"] is None


def _row(system: str, mixture: str, value: float, error: str = "") -> dict[str, object]:
    shared = {"mixture": mixture, "clip": mixture, "group": "bird", "kind": "mixture"}
    return {**shared, "system": system, "error": error, "si_sdri": value, "si_sdr_zmi": value}


def test_failures_count_as_no_improvement() -> None:
    rows = [_row("a", str(n), 3.0 + n) for n in range(4)]
    rows += [_row("b", str(n), 2.0) for n in range(3)] + [_row("b", "3", 9.0, "it broke")]
    rows[-1]["si_sdri"] = None
    rows += [_row("ours", str(n), 5.0 + n) for n in range(4)]
    kinds = {"a": "peer", "b": "peer", "ours": "model"}
    assert best_peer(rows, kinds) == "a"
    found = {line.system: line for line in summaries(rows, kinds)}
    assert found["ours"].to_best_peer is not None
    assert found["ours"].to_best_peer == (2.0, 2.0, 2.0)
    assert found["a"].to_best_peer is None
    assert (found["b"].failures, found["b"].si_sdri.value) == (1, 2.0)


def test_detector_and_score() -> None:
    rng = np.random.default_rng(0)
    rate = 16_000
    samples = 0.01 * rng.standard_normal(3 * rate)
    truth = [(0.5, 0.9), (1.5, 1.8)]
    for onset, offset in truth:
        time_s = np.arange(int((offset - onset) * rate)) / rate
        samples[int(onset * rate) :][: len(time_s)] += np.sin(2 * np.pi * 2000 * time_s)
    assert score(detect(samples, rate), truth).f1 == 1.0
    assert score([], truth) == (0, 0, 2)
    assert score([(0.5, 0.9), (0.5, 0.9)], truth) == (1, 1, 1)
    assert iou((0, 1), (2, 3)) == 0
    assert detect(np.zeros(rate), rate) == []
