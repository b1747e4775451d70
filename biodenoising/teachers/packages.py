"""What several teachers need of the packages they stand on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from biodenoising.errors import TeacherError


def missing_package(module: str, command: str) -> str:
    """Return how to install a package whose module cannot be imported; nothing if it can."""
    return "" if find_spec(module) is not None else f"it needs a package: {command}"


def require(teacher: str, missing: str) -> None:
    """Raise TeacherError with what is missing, if anything is."""
    if missing:
        raise TeacherError(f"teacher {teacher}: {missing}")


def package_version(distribution: str) -> str:
    """Return "name version" of an installed distribution."""
    try:
        return f"{distribution} {metadata.version(distribution)}"
    except metadata.PackageNotFoundError:
        return f"{distribution} of unknown version"


def module_file(module: str, name: str) -> Path | None:
    """Return a file that ships inside a package, without importing the package."""
    spec = find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        return None
    path = Path(spec.submodule_search_locations[0]) / name
    return path if path.is_file() else None


@contextmanager
def torch_threads(threads: int) -> Iterator[Any]:
    """Compute in a block with that many processor threads, 0 for as many as torch likes."""
    import torch

    before = torch.get_num_threads()
    if threads:
        torch.set_num_threads(threads)
    try:
        with torch.inference_mode():
            yield torch
    finally:
        torch.set_num_threads(before)
