"""What happens to one file of a run, in whichever process it happens."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from time import monotonic
from typing import Any, Literal

from biodenoising.audio.formats import READ_DEFAULTS, ReadOptions
from biodenoising.batch.files import FileOptions, FileResult, Progress, convert, stamp, watch
from biodenoising.batch.journal import MANIFEST_NAME, Done, add_row, settings_fingerprint
from biodenoising.batch.listing import Task
from biodenoising.errors import (
    AudioChangedError,
    AudioReadError,
    AudioWriteError,
    BiodenoisingError,
    DiskFullError,
    ModelError,
    OptionError,
)
from biodenoising.inference.denoiser import Denoiser, DenoiseSettings
from biodenoising.models.registry import find_model, fingerprint
from biodenoising.storage import printable, sha256_of

# Six times what 64 channels at 384 kHz, resampled to a low band, were seen to reserve.
DEFAULT_MAX_MEMORY_GB = 8.0
RESULT_VERSION = 2  # raised when the same settings begin to give other samples


@dataclass(frozen=True)
class Recipe:
    """Everything that a run does to each of its files."""

    model: str
    device: str
    settings: DenoiseSettings
    options: FileOptions
    overwrite: bool = False
    inspect: Callable[[Task], object] | None = None  # looks at each output that is there
    reading: ReadOptions = READ_DEFAULTS
    max_memory_gb: float = DEFAULT_MAX_MEMORY_GB  # for each worker, beyond its model; 0 is no limit

    def fingerprint(self, *, residual: bool) -> str:
        """Return a hash of what changes the outputs. Raises ModelError for an unknown model."""
        parts = {
            "version": RESULT_VERSION,
            "model": fingerprint(find_model(self.model)),
            "settings": dataclasses.asdict(self.settings),
            "options": dataclasses.asdict(self.options),
            "residual": residual,
        }
        # Limits and salvage change no output that can be made without them. The default is left
        # out, so that outputs made before there was a choice are still known.
        if self.reading.twav != READ_DEFAULTS.twav:
            parts["twav"] = self.reading.twav
        return settings_fingerprint(parts)


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
    """How one file ended; `message` says why it failed, `fatal` that no other can succeed.

    `seen` is what the recipe's `inspect` returned, or its error's words.
    `changing` is a file that is still being written, left for the next run.
    """

    name: Path
    status: Literal["done", "skipped", "failed", "changing"]
    message: str = ""
    result: FileResult | None = None
    fatal: bool = False
    seen: object = None


def work(job: Job, denoiser: Denoiser, recipe: Recipe, progress: Progress) -> Outcome:
    """Make one output, or find that it is there already, or say why it cannot be made."""
    task, begun = job.task, monotonic()
    unchanged = watch(task.input)
    try:
        input_sha256 = _hash_input(task.input)
        # Also when overwriting: such a run is gone on with by the same command.
        if _is_finished(job, input_sha256):
            return Outcome(task.name, "skipped", seen=_inspected(task, recipe))
        if not recipe.overwrite:
            _refuse_foreign_output(job, input_sha256)
        result = convert(
            task.input,
            task.output,
            task.residual,
            denoiser,
            recipe.settings,
            recipe.options,
            recipe.reading,
            progress,
            _commit(job, recipe, input_sha256, begun, unchanged),
        )
        return Outcome(task.name, "done", result=result, seen=_inspected(task, recipe))
    except AudioChangedError as error:
        return failure(job, str(error), status="changing")
    except (OptionError, ModelError) as error:  # they do not know which file it is
        return failure(job, f"{printable(task.input)}: {error}")
    except BiodenoisingError as error:
        return _failure_or_change(job, error, unchanged)
    except MemoryError:
        name = printable(task.input)
        return failure(job, f"{name}: needs too much memory; --max-memory raises the limit")
    except Exception as error:  # noqa: BLE001 - the one place where any failure becomes a row
        reason = " ".join(str(error).split()) or type(error).__name__
        return failure(job, f"{printable(task.input)}: failed unexpectedly ({reason})")


def _inspected(task: Task, recipe: Recipe) -> object:
    try:
        return recipe.inspect(task) if recipe.inspect else None
    except Exception as error:  # noqa: BLE001 - what is whole stays done, whatever is said of it
        return " ".join(str(error).split()) or type(error).__name__


def _failure_or_change(
    job: Job, error: BiodenoisingError, unchanged: Callable[[], None]
) -> Outcome:
    """Return a failure, unless the file failed because somebody is still writing it."""
    gone = stamp(job.task.input) is None
    if isinstance(error, AudioReadError | AudioWriteError) and not gone:
        try:
            unchanged()
        except AudioChangedError as change:
            return failure(job, str(change), status="changing")
    return failure(job, str(error), fatal=isinstance(error, DiskFullError))


def failure(
    job: Job,
    message: str,
    *,
    fatal: bool = False,
    status: Literal["failed", "changing"] = "failed",
) -> Outcome:
    """Return the outcome of a failed file and note it in the manifest, if that can be written."""
    row = {
        "file": job.task.name.as_posix(),
        "status": status,
        "input": str(job.task.input),
        "message": message,
        "time": _now(),
    }
    try:
        add_row(job.root, row, job.manifest)
    except AudioWriteError:
        fatal = True
    return Outcome(job.task.name, status, message, fatal=fatal)


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
    job: Job,
    recipe: Recipe,
    input_sha256: str,
    begun: float,
    unchanged: Callable[[], None],
) -> Callable[[FileResult, list[str]], None]:
    def commit(result: FileResult, hashes: list[str]) -> None:
        unchanged()
        if not input_sha256 and not recipe.reading.salvage:
            # A decoder may take a sector that cannot be read for the end of the file.
            raise AudioReadError(
                f"{printable(job.task.input)}: cannot be read to its end; its disk is damaged;"
                " --salvage keeps what can be read"
            )
        row: dict[str, Any] = {
            "file": job.task.name.as_posix(),
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
                "twav": recipe.reading.twav,
                "salvage": recipe.reading.salvage,
            },
            "duration_s": result.duration_s,
            "sample_rate": result.sample_rate,
            "channels": result.channels,
            "clipped": result.clipped,
            "removed_db": result.removed_db,
            "time_expansion": result.time_expansion,
            "notes": list(result.notes),
            "seconds": round(monotonic() - begun, 3),
            "time": _now(),
        }
        add_row(job.root, row, job.manifest)

    return commit


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
