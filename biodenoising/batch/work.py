"""What happens to one file of a run, in whichever process it happens."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from time import monotonic
from typing import Any, Literal

from biodenoising.batch.files import FileOptions, FileResult, Progress, convert
from biodenoising.batch.journal import MANIFEST_NAME, Done, add_row, settings_fingerprint
from biodenoising.batch.listing import Task
from biodenoising.errors import (
    AudioWriteError,
    BiodenoisingError,
    DiskFullError,
    ModelError,
    OptionError,
)
from biodenoising.inference.denoiser import Denoiser, DenoiseSettings
from biodenoising.models.registry import find_model, fingerprint
from biodenoising.storage import printable, sha256_of

RESULT_VERSION = 1  # raised when the same settings begin to give other samples


@dataclass(frozen=True)
class Recipe:
    """Everything that a run does to each of its files."""

    model: str
    device: str
    settings: DenoiseSettings
    options: FileOptions
    overwrite: bool = False

    def fingerprint(self, *, residual: bool) -> str:
        """Return a hash of what changes the outputs. Raises ModelError for an unknown model."""
        return settings_fingerprint(
            {
                "version": RESULT_VERSION,
                "model": fingerprint(find_model(self.model)),
                "settings": dataclasses.asdict(self.settings),
                "options": dataclasses.asdict(self.options),
                "residual": residual,
            }
        )


@dataclass(frozen=True)
class Job:
    """A task with what is known of it: `root` is OUTPUT, `done` what an earlier run made."""

    task: Task
    root: Path
    settings: str
    done: Done | None
    manifest: str = MANIFEST_NAME  # where in `root` the rows go
    missing: bool = False  # an output was not there when the job was given away


@dataclass(frozen=True)
class Outcome:
    """How one file ended; `message` says why it failed, `fatal` that no other can succeed."""

    name: Path
    status: Literal["done", "skipped", "failed"]
    message: str = ""
    result: FileResult | None = None
    fatal: bool = False


def work(job: Job, denoiser: Denoiser, recipe: Recipe, progress: Progress) -> Outcome:
    """Make one output, or find that it is there already, or say why it cannot be made."""
    task, begun = job.task, monotonic()
    try:
        input_sha256 = _hash_input(task.input)
        # Also when overwriting: such a run is gone on with by the same command.
        if _is_finished(job, input_sha256):
            return Outcome(task.name, "skipped")
        if not recipe.overwrite:
            _refuse_foreign_output(job, input_sha256)
        result = convert(
            task.input,
            task.output,
            task.residual,
            denoiser,
            recipe.settings,
            recipe.options,
            progress,
            _commit(job, recipe, input_sha256, begun),
        )
        return Outcome(task.name, "done", result=result)
    except (OptionError, ModelError) as error:  # they do not know which file it is
        return failure(job, f"{printable(task.input)}: {error}")
    except BiodenoisingError as error:
        return failure(job, str(error), fatal=isinstance(error, DiskFullError))
    except Exception as error:  # noqa: BLE001 - the one place where any failure becomes a row
        reason = " ".join(str(error).split()) or type(error).__name__
        return failure(job, f"{printable(task.input)}: failed unexpectedly ({reason})")


def failure(job: Job, message: str, *, fatal: bool = False) -> Outcome:
    """Return the outcome of a failed file and note it in the manifest, if that can be written."""
    row = {
        "file": str(job.task.name),
        "status": "failed",
        "input": str(job.task.input),
        "message": message,
        "time": _now(),
    }
    try:
        add_row(job.root, row, job.manifest)
    except AudioWriteError:
        fatal = True
    return Outcome(job.task.name, "failed", message, fatal=fatal)


def _hash_input(path: Path) -> str:
    """Return the input's hash, or nothing for what is no readable file: the reader says why."""
    try:
        return sha256_of(path) if path.is_file() else ""
    except OSError:
        return ""


def _is_finished(job: Job, input_sha256: str) -> bool:
    done, task = job.done, job.task
    return (
        _same_work(job, input_sha256)
        and done is not None
        and _has_content(task.output, done.output_sha256)
        and (task.residual is None or _has_content(task.residual, done.residual_sha256))
    )


def _refuse_foreign_output(job: Job, input_sha256: str) -> None:
    """Raise AudioWriteError if a file stands at the output's place that this run did not make."""
    same = _same_work(job, input_sha256)
    hashes = (job.done.output_sha256, job.done.residual_sha256) if job.done else (None, None)
    for path, sha256 in zip((job.task.output, job.task.residual), hashes, strict=True):
        if path is None or not path.exists() or (same and _has_content(path, sha256)):
            continue
        raise AudioWriteError(
            f"{printable(path)}: is there already, made with other options, from another input "
            "or by another program; --overwrite replaces it"
        )


def _same_work(job: Job, input_sha256: str) -> bool:
    done = job.done
    return done is not None and done.settings == job.settings and done.input_sha256 == input_sha256


def _has_content(path: Path, sha256: str | None) -> bool:
    return path.is_file() and sha256_of(path) == sha256


def _commit(
    job: Job, recipe: Recipe, input_sha256: str, begun: float
) -> Callable[[FileResult, list[str]], None]:
    def commit(result: FileResult, hashes: list[str]) -> None:
        row: dict[str, Any] = {
            "file": str(job.task.name),
            "status": "done",
            "input": str(job.task.input),
            "input_sha256": input_sha256,
            "output_sha256": hashes[0],
            "residual_sha256": hashes[1] if len(hashes) > 1 else None,
            "settings": job.settings,
            "model": fingerprint(find_model(recipe.model)),
            "options": {
                **dataclasses.asdict(recipe.settings),
                **dataclasses.asdict(recipe.options),
            },
            "duration_s": result.duration_s,
            "sample_rate": result.sample_rate,
            "channels": result.channels,
            "clipped": result.clipped,
            "removed_db": result.removed_db,
            "notes": list(result.notes),
            "seconds": round(monotonic() - begun, 3),
            "time": _now(),
        }
        add_row(job.root, row, job.manifest)

    return commit


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
