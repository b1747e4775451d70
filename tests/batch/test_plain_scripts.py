"""Scripts without `if __name__ == "__main__":`, as people write them, may use several processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from biodenoising.processes import WORKERS

TREE = """
from biodenoising import denoise_tree
summary = denoise_tree("in", "out", model={model!r}, jobs=2)
print("once", summary.ok, __file__, __spec__ is not None)
"""

TRAINING = """
import multiprocessing
from pathlib import Path
multiprocessing.set_start_method("spawn")  # as on Windows and macOS
from biodenoising.training.configuration import read_settings
from biodenoising.training.runs import run_training
print("once", run_training(read_settings(Path("tiny.yaml")), [], Path("run")).step)
"""

SETTINGS = """
name: tiny
architecture: demucs
network: {hidden: 4, depth: 3, upsample: 2}
batch: 2
mixtures: {samples: 2048, synthesized_calls: 1, synthesized_noise: 1, mp3: 0, reverberation: 0}
loss: {spectra_sizes: [256]}
schedule: {steps: 2, warm_up_steps: 1}
checks: {every_steps: 100, held_back: 2, own: 1, samples: 2048}
machine: {device: cpu, workers: 1}
"""


def run(folder: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, *words], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


@pytest.mark.parametrize(("words", "told"), [(["script.py"], False), (["-m", "script"], True)])
def test_a_tree_in_two_processes(tree: Any, tiny_model: Path, words: list[str], told: bool) -> None:
    for name in ("a.wav", "b.wav"):
        tree.add(name)
    script = tree.root / "script.py"
    script.write_text(TREE.format(model=str(tiny_model)), encoding="utf-8")
    said = run(tree.root, *words).splitlines()
    # The script ran once, and what Python knows of it is as before.
    assert [line.split()[:2] for line in said] == [["once", "True"]]
    assert said[0].endswith(f"script.py {told}")
    assert sorted(tree.outputs()) == ["a.wav", "b.wav"]


def test_a_training_whose_mixtures_another_process_makes(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(TRAINING, encoding="utf-8")
    (tmp_path / "tiny.yaml").write_text(SETTINGS, encoding="utf-8")
    assert run(tmp_path, "script.py").splitlines() == ["once 2"]


def test_a_module_without_a_file_stays_without_one(monkeypatch: pytest.MonkeyPatch) -> None:
    main = type(sys)("__main__")
    before = dict(main.__dict__)
    monkeypatch.setitem(sys.modules, "__main__", main)
    process = WORKERS.Process(target=int)
    process.start()
    process.join()
    assert process.exitcode == 0
    assert main.__dict__ == before
