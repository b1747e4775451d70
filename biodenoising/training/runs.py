"""A run's folder: one training at a time, its settings beside what it learnt, begun or gone on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import yaml
from filelock import FileLock, Timeout

from biodenoising.errors import TrainingError
from biodenoising.storage import printable, remove_leftovers, require_writable_folder, whole_file
from biodenoising.training.curves import CURVES
from biodenoising.training.data import prepare
from biodenoising.training.settings import TrainingSettings
from biodenoising.training.state import AVERAGE, BEST, CHECKPOINT, new_network
from biodenoising.training.trainer import CHECKS, LOG, Observer, Summary, train

SETTINGS = "settings.yaml"
FILES = (CHECKPOINT, AVERAGE, BEST, LOG, CHECKS, CURVES, SETTINGS)

Start = Literal["either", "resume", "fresh"]


def run_training(
    settings: TrainingSettings,
    corpora: Sequence[Path],
    folder: Path,
    *,
    start: Start = "either",
    observer: Observer = lambda event: None,
    stop: Callable[[], bool] = lambda: False,
) -> Summary:
    """Train in a folder of its own: go on with what is there, or begin.

    With `resume` there must be something, with `fresh` what is there is deleted. Raises
    TrainingError, also where another process is training in this folder.
    """
    new_network(settings)  # refuses wrong arguments before minutes of reading
    require_writable_folder(folder)
    with _only_one(folder):
        remove_leftovers(folder, below=False)
        if start == "resume" and not (folder / CHECKPOINT).exists():
            raise TrainingError(f"{printable(folder)}: no checkpoint to resume from")
        if start == "fresh":
            for name in FILES:
                (folder / name).unlink(missing_ok=True)
        material = prepare(settings, corpora)
        observer(material.description)
        with whole_file(folder / SETTINGS) as temporary:
            temporary.write_text(as_yaml(settings), encoding="utf-8")
        return train(settings, material, folder, observer=observer, stop=stop)


def as_yaml(settings: TrainingSettings) -> str:
    """Return all settings, defaults too, as the YAML that reads back as the same."""
    return str(yaml.safe_dump(_plain(dataclasses.asdict(settings)), sort_keys=False))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise TrainingError(
            f"{printable(folder)}: another training is going on there; choose another run folder"
        ) from error
    try:
        yield
    finally:
        lock.release()
