"""Public weights of teachers: found, fetched, checked against their hash, never unpickled freely.

They are looked for below the folder that BIODENOISING_TEACHERS names, then in the user's cache, and
fetched into that otherwise. Nothing is used whose SHA-256 is not the one written here.
"""

from __future__ import annotations

import os
import pickle
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from biodenoising.errors import TeacherError
from biodenoising.storage import printable, sha256_of, whole_file

FOLDER_VARIABLE = "BIODENOISING_TEACHERS"
# Under these names training programs keep a state dict within a larger record.
NESTED = ("model_state_dict", "model", "state_dict", "state")
TIMEOUT_S = 60


@dataclass(frozen=True)
class WeightsFile:
    """A file of public weights.

    `path` is where it stands below the folder of weights, with `/`. `sha256` is the whole hash, or
    its first digits where the publisher gives no more (16 at least).
    """

    path: str
    url: str
    sha256: str
    megabytes: float


def missing_weights(file: WeightsFile) -> str:
    """Return how to get a file that is not here, in one line; nothing if it is here."""
    if find_weights(file) is not None:
        return ""
    return (
        f"its weights ({file.megabytes:g} MB) are fetched on first use from {file.url}; without a "
        f"network, put that file at {file.path} below a folder and name the folder in "
        f"{FOLDER_VARIABLE}"
    )


def find_weights(file: WeightsFile) -> Path | None:
    """Return where a file is, if it is in one of the two places; its hash is not looked at."""
    folder = os.environ.get(FOLDER_VARIABLE)
    places = [Path(folder)] if folder else []
    if find_spec("pooch") is not None:
        places.append(_cache())
    paths = [place / file.path for place in places]
    return next((path for path in paths if path.is_file()), None)


def get_weights(teacher: str, file: WeightsFile) -> Path:
    """Return a file that is here, or fetch it, and check its hash.

    Raises TeacherError where it cannot be had or is not the file that was meant.
    """
    path = find_weights(file)
    if path is None:
        return _fetch(teacher, file)
    try:
        digest = sha256_of(path)
    except OSError as error:
        raise TeacherError(
            f"teacher {teacher}: {printable(path)} cannot be read ({error.strerror}); check it"
        ) from error
    if not digest.startswith(file.sha256):
        raise TeacherError(
            f"teacher {teacher}: {printable(path)} is damaged or another file (sha256 "
            f"{digest[:16]}..., expected {file.sha256[:16]}...); delete it and get {file.url}"
        )
    return path


def load_state(teacher: str, path: Path) -> dict[str, Any]:
    """Return the tensors of a torch file by name, wherever in its record they stand.

    Only tensors and plain values are ever read from it. Raises TeacherError for anything else.
    """
    import torch

    record = load_record(teacher, path)
    for _ in range(len(NESTED)):
        inner = [record[key] for key in NESTED if isinstance(record.get(key), dict)]
        if not inner:
            break
        record = inner[0]
    if not record or not all(isinstance(value, torch.Tensor) for value in record.values()):
        raise TeacherError(
            f"teacher {teacher}: {printable(path)} holds no state dict; get the file again"
        )
    return record


def load_record(teacher: str, path: Path, allowed: Sequence[type] = ()) -> dict[str, Any]:
    """Read a torch file that may hold tensors, plain values and the `allowed` classes only.

    Raises TeacherError where it holds anything else or is damaged.
    """
    import torch

    failures = (pickle.UnpicklingError, RuntimeError, OSError, EOFError, LookupError, ValueError)
    try:
        with torch.serialization.safe_globals(list(allowed)), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # old formats are warned about and read all the same
            record = torch.load(path, map_location="cpu", weights_only=True)
    except (*failures, AttributeError, TypeError) as error:
        raise TeacherError(
            f"teacher {teacher}: {printable(path)} is no plain file of weights, damaged or holding "
            "code, and is not loaded"
        ) from error
    if not isinstance(record, dict):
        raise TeacherError(
            f"teacher {teacher}: {printable(path)} holds no state dict; get the file again"
        )
    return record


def fill(teacher: str, network: Any, state: dict[str, Any]) -> Any:
    """Put a state dict into a network, every name and shape of it, and make it ready to run.

    Raises TeacherError where they do not fit.
    """
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:160]
        raise TeacherError(
            f"teacher {teacher}: its weights do not fit its network ({reason})"
        ) from error
    return network.eval().requires_grad_(False)


def _cache() -> Path:
    import pooch

    return Path(pooch.os_cache("biodenoising")) / "teachers"


def _fetch(teacher: str, file: WeightsFile) -> Path:
    """Download a file into the cache, whole and checked or not at all."""
    if find_spec("pooch") is None:
        raise TeacherError(
            f"teacher {teacher}: to fetch its weights: pip install 'biodenoising[teachers]'; or "
            f"put {file.url} at {file.path} below a folder and name the folder in {FOLDER_VARIABLE}"
        )
    import pooch
    from requests import RequestException

    target = _cache() / file.path
    download = pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), timeout=TIMEOUT_S)
    with whole_file(target) as temporary:
        try:
            download(file.url, str(temporary), None)
        except (RequestException, ValueError) as error:
            raise TeacherError(
                f"teacher {teacher}: its weights could not be fetched from {file.url} "
                f"({type(error).__name__}); put that file at {file.path} below a folder and name "
                f"the folder in {FOLDER_VARIABLE}, or try again later"
            ) from error
        digest = sha256_of(temporary)
        if not digest.startswith(file.sha256):
            raise TeacherError(
                f"teacher {teacher}: {file.url} gave another file than expected (sha256 "
                f"{digest[:16]}..., expected {file.sha256[:16]}...); it was thrown away"
            )
    return target
