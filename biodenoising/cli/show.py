"""What a run looks like at a terminal: a bar in audio time, failures as they come, one summary."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections import Counter
from concurrent.futures import Executor
from datetime import timedelta
from pathlib import Path
from time import monotonic
from typing import Any

import click
from tqdm import tqdm

from biodenoising.audio import header_seconds
from biodenoising.batch.listing import Refusal
from biodenoising.batch.plan import Plan
from biodenoising.batch.remote import RemotePlan, remote_jobs
from biodenoising.batch.runner import TreeSummary, run_plan, run_remote
from biodenoising.batch.work import Outcome, Recipe
from biodenoising.errors import BiodenoisingError
from biodenoising.storage import append_line, printable

LOG_EVERY_S = 60.0  # without a terminal, a line a minute
NOTES_SHOWN = 10
EXPANSIONS_SHOWN = 6


class Display:
    """Runs a plan and shows how it goes."""

    def __init__(
        self, plan: Plan | RemotePlan, recipe: Recipe, log: Path | None, *, quiet: bool
    ) -> None:
        self._plan, self._recipe, self._log, self._quiet = plan, recipe, log, quiet
        # Reading every header of a large tree would take longer than a person waits.
        self._ends = isinstance(plan, Plan) and plan.more is None
        self._durations = durations(plan) if isinstance(plan, Plan) and self._ends else {}
        self._files = 0
        self._heard_s = self._left_s = self._logged_s = 0.0
        self._begun = monotonic()

    def run(self, jobs: int, executor: Executor | None = None) -> TreeSummary:
        """Run the plan; return and print its summary."""
        total_s = round(sum(self._durations.values()), 1)
        with tqdm(
            total=total_s if self._ends else None,
            disable=self._quiet or sys.stderr is None or not sys.stderr.isatty(),
            bar_format="{percentage:3.0f}% |{bar:30}| {desc}" if self._ends else "{desc}",
            mininterval=0.2,
            dynamic_ncols=True,
        ) as bar:
            self._bar = bar
            self._left_s = total_s
            how: dict[str, Any] = {
                "jobs": jobs,
                "executor": executor,
                "progress": self._progress,
                "observer": self._observe,
            }
            if isinstance(self._plan, Plan):
                summary = run_plan(self._plan, self._recipe, **how)
            else:
                summary = run_remote(self._plan, self._recipe, **how)
        self._report(summary)
        return summary

    def _progress(self, seconds: float) -> None:
        self._heard_s += seconds
        self._left_s = max(0.0, self._left_s - seconds)
        elapsed = max(monotonic() - self._begun, 1e-3)
        speed = self._heard_s / elapsed
        line = (
            f"{clock(self._heard_s)} of {clock(self._heard_s + self._left_s)} audio, "
            f"{speed:.0f} x real time, {clock(self._left_s / max(speed, 1e-6))} left"
            if self._ends
            else f"{self._files} files ended, {clock(self._heard_s)} of audio heard, "
            f"{speed:.0f} x real time, {clock(elapsed)} gone"
        )
        self._bar.set_description_str(line, refresh=False)
        self._bar.update(seconds)
        if self._bar.disable and not self._quiet and elapsed - self._logged_s > LOG_EVERY_S:
            self._logged_s = elapsed
            click.echo(line, err=True)

    def _observe(self, outcome: Outcome) -> None:
        self._files += 1
        if outcome.message:
            self._bar.write(f"{outcome.status:<8} {outcome.message}", file=sys.stderr)
        if outcome.status != "done":
            # What is not worked on counts neither as done nor as left.
            unheard = min(self._durations.get(outcome.name, 0.0), self._left_s)
            self._left_s -= unheard
            if self._bar.total:
                self._bar.total -= unheard
        if self._log:
            append_line(self._log, json.dumps(_record(outcome)))

    def _report(self, summary: TreeSummary) -> None:
        counts = {s: summary.count(s) for s in ("done", "skipped", "failed")}
        changing = summary.count("changing")
        speed = summary.audio_s / max(summary.elapsed_s, 1e-9)
        if self._log:
            record = {
                "run": counts | ({"changing": changing} if changing else {}),
                "audio_s": summary.audio_s,
                "elapsed_s": round(summary.elapsed_s, 3),
                "not_tried": summary.not_tried,
            }
            append_line(self._log, json.dumps(record))
        if summary.not_tried:
            click.echo(f"stopped: {summary.not_tried} files were not tried", err=True)
        if self._quiet:
            return
        self._show_notes(summary)
        if self._recipe.settings.time_expansion == "auto":
            click.echo(_expansions(summary))
        click.echo(
            f"{counts['done']} denoised ({clock(summary.audio_s)} of audio in "
            f"{clock(summary.elapsed_s)}, {speed:.0f} x real time), "
            f"{counts['skipped']} skipped as done before, {counts['failed']} failed"
            + (f", {changing} still being written" if changing else "")
        )

    def _show_notes(self, summary: TreeSummary) -> None:
        noted = [o for o in summary.outcomes if o.result is not None and o.result.notes]
        for outcome in noted[:NOTES_SHOWN]:
            assert outcome.result is not None
            click.echo(f"note     {printable(outcome.name)}: {'; '.join(outcome.result.notes)}")
        if len(noted) > NOTES_SHOWN:
            click.echo(f"note     {len(noted) - NOTES_SHOWN} more files have notes in the manifest")


def _expansions(summary: TreeSummary) -> str:
    """Return which time expansions were chosen, and how often."""
    chosen = Counter(
        "samples as they are" if result.time_expansion is None else f"{result.time_expansion:g}"
        for result in (outcome.result for outcome in summary.outcomes)
        if result is not None
    )
    words = [f"{word} for {count}" for word, count in chosen.most_common(EXPANSIONS_SHOWN)]
    rest = len(chosen) - len(words)
    words += [f"{rest} more"] if rest else []
    return f"time expansion chosen: {', '.join(words) or 'none'}"


def inspected(recipe: Recipe) -> Recipe:
    """Return a recipe that has each file looked at for the report."""
    from biodenoising.report.facts import examine

    return dataclasses.replace(recipe, inspect=examine)


def write_report(
    path: Path,
    plan: Plan | RemotePlan,
    recipe: Recipe,
    summary: TreeSummary,
    files: int,
    *,
    quiet: bool,
) -> bool:
    """Write the report and say where it is, or why it is not."""
    from biodenoising.report import page

    if isinstance(plan, RemotePlan):  # the command refuses it before the run
        return False
    try:
        page.write_report(path, plan, recipe, summary, files=files)
    except BiodenoisingError as error:
        click.echo(f"biodenoise: no report: {error}", err=True)
        return False
    if not quiet:
        click.echo(f"report   {printable(path)}")
    return True


def durations(plan: Plan) -> dict[Path, float]:
    """Return each file's duration in seconds by its header; what cannot be read counts as none."""
    return {task.name: header_seconds(task.input) for task in plan.tasks}


def dry_run(plan: Plan | RemotePlan, recipe: Recipe) -> None:
    """Print what a run would do."""
    if isinstance(plan, RemotePlan):
        _dry_run_remote(plan, recipe)
        return
    files, audio_s = 0, 0.0
    for task in plan:
        if isinstance(task, Refusal):
            click.echo(f"left out {task.message}", err=True)
            continue
        files, audio_s = files + 1, audio_s + header_seconds(task.input)
        there = "" if recipe.overwrite or not task.output.exists() else "  (is there already)"
        click.echo(f"{printable(task.input)} -> {printable(task.output)}{there}")
    click.echo(
        f"{files} files, {clock(audio_s)} of audio, model {recipe.model}; nothing was written"
    )


def _dry_run_remote(plan: RemotePlan, recipe: Recipe) -> None:
    files = 0
    for job in remote_jobs(plan, recipe):
        if isinstance(job, Refusal):
            click.echo(f"left out {job.message}", err=True)
            continue
        files += 1
        target = plan.targets[0].at(job.task.name.as_posix())
        click.echo(f"{printable(plan.source.at(job.relative))} -> {printable(target)}")
    click.echo(f"{files} files, model {recipe.model}; nothing was written")


def nothing_to_do(source: Path | str, shard: str | None) -> None:
    """Say that INPUT holds no audio files, or this shard none of them."""
    part = f" in shard {shard}" if shard else ""
    hint = f"{printable(source)}: no audio files here{part} (see --include, --exclude)"
    click.echo(hint, err=True)


def clock(seconds: float) -> str:
    """Return a duration as H:MM:SS, or with a decimal below ten seconds."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    return str(timedelta(seconds=round(seconds)))


def _record(outcome: Outcome) -> dict[str, Any]:
    record: dict[str, Any] = {
        "file": str(outcome.name),
        "status": outcome.status,
        "message": outcome.message,
    }
    if outcome.result is not None:
        record["result"] = dataclasses.asdict(outcome.result) | {
            "input": str(outcome.result.input),
            "output": str(outcome.result.output),
        }
    return record
