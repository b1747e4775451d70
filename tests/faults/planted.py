"""Faults planted one at a time: `python -m tests.faults.planted` shows which test catches each.

Each is applied to a copy of the package in a temporary folder, and the tests that should notice
are run against the copy: they must pass without the fault and fail with it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


@dataclass(frozen=True)
class Planted:
    """A fault: `old` in `file` becomes `new`, and one of `tests` has to fail."""

    name: str
    file: str
    old: str
    new: str
    tests: str


FAULTS = (
    Planted(
        "an output is renamed without being flushed",
        "storage.py", "                os.fsync(file.fileno())\n            os.replace",
        "                pass\n            os.replace",
        "properties/test_storage_properties.py::test_contents_reach_the_disk_before_the_name_does",
    ),
    Planted(
        "an output gets its name before it is verified",
        "batch/files.py", "            verify(temporary, info, tally.frames,"
        " container=options.container)\n",
        "            os.link(temporary, targets[writers.index(writer)])\n"
        "            verify(temporary, info, tally.frames, container=options.container)\n",
        "faults/test_field_realities.py::test_an_output_that_lost_samples_never_gets_its_name",
    ),
    Planted(
        "outputs are not verified",
        "batch/files.py", "            verify(temporary, info, tally.frames,"
        " container=options.container)\n", "",
        "faults/test_field_realities.py::test_an_output_that_lost_samples_never_gets_its_name",
    ),
    Planted(
        "the folder is not locked",
        "batch/journal.py", "        lock.acquire(timeout=wait_s)\n", "        pass\n",
        "faults/test_interruptions.py::test_a_second_run_on_the_same_folder_is_refused",
    ),
    Planted(
        "a worker's death is swallowed",
        "batch/workers.py", "            broken.extend(running.values())\n", "            pass\n",
        "faults/test_interruptions.py::test_a_file_that_kills_its_worker_is_one_failure",
    ),
    Planted(
        "soundfile's blocks() is back in",
        "audio/codecs.py",
        '        block = self._sound.read(frames, dtype="float32", always_2d=True)\n',
        '        self._all = getattr(self, "_all", None) or self._sound.blocks(\n'
        '            frames, dtype="float32", always_2d=True, frames=self._sound.frames)\n'
        "        block = next(self._all, np.zeros((0, self._sound.channels), np.float32))\n",
        "audio/test_faults.py::test_a_cut_file_is_never_passed_as_whole",
    ),
    Planted(
        "a recorder's size of 0 is believed",
        "audio/chunks.py", "    if lost_power and is_last and there:\n", "    if False:\n",
        "faults/test_field_realities.py::test_a_dead_battery_is_a_note_and_the_output_is_whole",
    ),
    Planted(
        "the manifest is written after the name is given",
        "batch/files.py", "        if commit:\n"
        "            commit(result, [sha256_of(path) for path in temporaries])\n"
        "        return result\n",
        "        hashes = [sha256_of(path) for path in temporaries]\n"
        "    if commit:\n        commit(result, hashes)\n    return result\n",
        "faults/test_crash_points.py",
    ),
    Planted(
        "a file still being written is taken",
        "batch/files.py", "        if stamp(path) != before:\n", "        if False:\n",
        "faults/test_field_realities.py::test_a_file_still_being_written_is_left_for_the_next_run",
    ),
    Planted(
        "counters of T.WAV files are denoised",
        "batch/files.py", "            ready = reader.untouched.put_back(*ready)\n", "",
        "audio/test_triggered.py::test_a_run_passes_counters_on_byte_for_byte",
    ),
    Planted(
        "leftovers of killed runs stay",
        "storage.py", "                    (Path(root) / name).unlink()\n",
        "                    pass\n",
        "faults/test_crash_points.py",
    ),
    Planted(
        "a full disk does not stop the run",
        "batch/work.py", "fatal=isinstance(error, DiskFullError)", "fatal=False",
        "faults/test_field_realities.py::test_what_will_not_fit_is_refused_before_work",
    ),
    Planted(
        "damage that was salvaged shifts what follows",
        "audio/salvage.py", "                self._silence = start - self._given\n", "",
        "audio/test_salvage.py::test_damage_within_a_flac_is_silence_in_its_place",
    ),
    Planted(
        "members of archives may lead out of their folder",
        "corpus/sources/archives.py", '        or ".." in parts\n', "",
        "corpus/sources/test_archives.py",
    ),
    Planted(
        "a run is judged by the outcomes that are kept",
        "batch/runner.py", "finished == self.counts.total()", "finished == len(self.outcomes)",
        "batch/test_large_trees.py::"
        "test_only_the_first_outcomes_are_kept_and_all_are_counted",
    ),
    Planted(
        "a report is silent about files that it does not show",
        "report/page.py", "summary.counts.total() - len(summary.outcomes)", "0",
        "faults/test_hostile_report.py::test_a_hundred_thousand_files",
    ),
    Planted(
        "ONNX Runtime keeps events in the user's home",
        "__init__.py", 'os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")\n', "",
        "faults/test_limits.py::test_nothing_is_kept_in_the_users_home_and_nobody_is_told",
    ),
    Planted(
        "graphs are not looked through",
        "models/registry.py", "        check_operators(graph)\n", "        pass\n",
        "faults/test_hostile_graphs.py::test_a_graph_that_is_refused_is_one_line_of_the_command",
    ),
    Planted(
        "Ctrl-C may break into a call of libsndfile",
        "audio/encodings.py", "        with interrupts_held():\n            samples,",
        "        if True:\n            samples,",
        "test_signals.py::test_an_interrupt_in_the_call_is_heeded_after_it",
    ),
)  # fmt: skip


def run_tests(root: Path, tests: str) -> tuple[bool, str]:
    """Run tests against a copy; return whether they passed, and the first that failed."""
    place = root / "tests" / tests.partition("::")[0]
    name = tests.partition("::")[2]
    words = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--rootdir"]
    selected = f"{place}::{name}" if name else str(place)
    shown = subprocess.run(
        [*words, str(root), selected], cwd=root, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(root) + os.pathsep + os.environ.get("PYTHONPATH", "")},
    )  # fmt: skip
    failed = re.findall(r"^(?:FAILED|ERROR) (\S+)", shown.stdout, re.MULTILINE)
    if shown.returncode not in (0, 1):
        raise SystemExit(f"the tests could not be run:\n{shown.stdout}{shown.stderr}")
    return shown.returncode == 0, failed[0] if failed else ""


def copy(folder: Path) -> Path:
    for name in ("biodenoising", "tests", "setup.cfg", "pyproject.toml"):
        source = ROOT / name
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, folder / name, ignore=ignored)
        else:
            shutil.copy(source, folder / name)
    return folder


def main() -> int:
    wanted = sys.argv[1:]
    missed = 0
    with tempfile.TemporaryDirectory() as place:
        root = copy(Path(place))
        for fault in FAULTS:
            if wanted and not any(word in fault.name for word in wanted):
                continue
            path = root / "biodenoising" / fault.file
            text = path.read_text(encoding="utf-8")
            if text.count(fault.old) != 1:
                raise SystemExit(f"{fault.name}: its place in {fault.file} has changed")
            path.write_text(text.replace(fault.old, fault.new), encoding="utf-8")
            passed, first = run_tests(root, fault.tests)
            path.write_text(text, encoding="utf-8")
            sound, _ = run_tests(root, fault.tests)
            caught = not passed and sound
            missed += not caught
            print(f"{'caught' if caught else 'MISSED'}  {fault.name}: {first}", flush=True)
    return min(missed, 1)


if __name__ == "__main__":
    sys.exit(main())
