"""The fault catalogue by areas: `python -m tests.faults` runs it and ends with a table.

An area is made of test modules, wherever they lie, and of single tests by their names. Letters as
arguments choose the modules of some areas only; all other arguments go to pytest. The exit code is
pytest's; what was skipped is told with its reason.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).resolve().parent.parent
AREAS: dict[str, tuple[str, tuple[str, ...]]] = {
    "A": ("broken or hostile audio", (
        "audio/test_faults.py", "audio/test_salvage.py", "audio/test_triggered.py",
        "faults/test_generated_audio.py", "faults/test_bad_input.py",
        "faults/test_field_realities.py", "faults/test_crashers.py",
        "audio/test_hostile_chunks.py",
    )),
    "B": ("extreme but legal audio", ("faults/test_extreme_audio.py", "batch/test_memory.py")),
    "C": ("names and trees", (
        "batch/test_whole_tree.py", "batch/test_large_trees.py", "faults/test_generated_names.py",
    )),
    "D": ("manifests and configuration", (
        "faults/test_hostile_texts.py", "corpus/test_manifest.py", "corpus/test_annotations.py",
        "training/test_settings.py",
    )),
    "E": ("archives and downloads", (
        "corpus/sources/test_archives.py", "corpus/sources/test_downloads.py",
    )),
    "F": ("model files", (
        "faults/test_generated_models.py", "faults/test_hostile_graphs.py",
        "models/test_registry.py", "teachers/test_weights.py",
    )),
    "G": ("crash and resume", (
        "faults/test_crash_points.py", "faults/test_interruptions.py", "batch/test_resume.py",
        "batch/test_workers.py",
    )),
    "H": ("power loss", ("faults/test_power_loss.py",)),
    "I": ("disk and limits", (
        "faults/test_full_disks.py", "faults/test_limits.py", "faults/test_other_systems.py",
        "properties/test_storage_properties.py",
    )),
    "J": ("others at OUTPUT", ("faults/test_crowded.py", "batch/test_shards.py")),
    "K": ("numerics", (
        "faults/test_same_bytes.py", "inference/test_streams.py", "inference/test_denoise.py",
        "test_metrics.py", "properties/test_option_properties.py",
    )),
    "L": ("command line", (
        "cli/test_command_line.py", "cli/test_refusals.py", "cli/test_pipes.py",
        "faults/test_generated_commands.py",
    )),
    "M": ("report and what is printed", (
        "faults/test_hostile_report.py", "report/test_report_command.py",
    )),
    "N": ("the checks themselves", (
        "faults/test_catalogue.py", "faults/test_advisories.py",
    )),
}  # fmt: skip
# Tests of one area that stand in a module of another.
BY_NAME = {
    "test_interrupted_twice": "G", "test_rows_that_make_no_sense_are_no_proof": "G",
    "test_rows_of_newer_and_older_versions_are_still_known": "G",
    "test_a_clock_that_was_set_back_or_ahead": "G",
    "test_odd_names": "M",
    "test_names_of_any_bytes": "C", "test_the_longest_name": "C",
    "test_a_name_that_gets_too_long": "C", "test_recorders_names_stay_as_they_are": "C",
    "test_every_input_has_one_output_of_its_own_or_nothing_starts": "C",
    "test_a_printed_path_is_one_line_of_plain_text": "M",
    "test_a_second_run_on_the_same_folder_is_refused": "J",
    "test_lines_of_several_processes_do_not_mix": "J", "test_four_runs_started_at_once": "J",
    "test_limits_name_the_option_that_raises_them": "I",
    "test_what_will_not_fit_is_refused_before_work": "I",
    "test_a_file_that_takes_all_memory_is_one_failure": "I",
    "test_log_json_has_a_line_per_file_and_one_for_the_run": "M",
    "test_output_lies_in_input_and_input_in_output": "C", "test_output_is_a_link_to_input": "C",
    "test_a_folder_in_output_is_a_link_into_input": "C",
    "test_a_link_in_input_leads_to_output": "C", "test_output_is_a_link_to_itself": "C",
    "test_two_inputs_for_one_output": "C", "test_one_file_onto_itself": "C",
}  # fmt: skip


class Table:
    """Counts what became of each area's cases; a pytest plugin."""

    def __init__(self) -> None:
        self.homes = {name: area for area, (_, names) in AREAS.items() for name in names}
        self.counts: dict[str, Counter[str]] = {area: Counter() for area in AREAS}
        self.skipped: list[str] = []
        self.begun = time.monotonic()

    def area_of(self, nodeid: str) -> str:
        path, _, name = nodeid.partition("::")
        inside = path.split("tests/", 1)[-1]
        return BY_NAME.get(name.partition("[")[0], self.homes.get(inside, "?"))

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.when != "call" and report.outcome == "passed":
            return
        count = self.counts.setdefault(self.area_of(report.nodeid), Counter())
        count[report.outcome] += 1
        count["points"] += sum(n for key, n in report.user_properties if key == "points")
        if report.outcome == "skipped":
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
            self.skipped.append(f"{report.nodeid}: {reason}")

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        write = terminalreporter.write_line
        write(f"\n{'area':<32}{'cases':>7}{'passed':>8}{'failed':>8}{'skipped':>9}{'points':>8}")
        total: Counter[str] = Counter()
        for area, count in sorted(self.counts.items()):
            title = AREAS.get(area, ("not in the catalogue", ()))[0]
            self._line(write, f"{area}  {title}", count)
            total += count
        self._line(write, "all", total)
        write(f"{time.monotonic() - self.begun:.0f} s; points are faults, states or crashes that")
        write("one case goes through, one after the other")
        for line in self.skipped:
            write(f"skipped  {line}")

    def _line(self, write: Any, title: str, count: Counter[str]) -> None:
        cases = count["passed"] + count["failed"] + count["skipped"]
        write(
            f"{title:<32}{cases:>7}{count['passed']:>8}{count['failed']:>8}"
            f"{count['skipped']:>9}{count['points']:>8}"
        )


def main() -> int:
    letters = [word for word in sys.argv[1:] if word in AREAS]
    others = [word for word in sys.argv[1:] if word not in AREAS]
    chosen = [AREAS[letter] for letter in letters or AREAS]
    paths = [str(TESTS / name) for _, names in chosen for name in names]
    words = ["-q", "-m", "slow or not slow", "-p", "no:cacheprovider", *paths, *others]
    return int(pytest.main(words, plugins=[Table()]))


if __name__ == "__main__":
    sys.exit(main())
