"""HTDemucs: what is read of its weights, and the vocals of a stand-in for the package's network."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from biodenoising.errors import TeacherError
from biodenoising.storage import sha256_of
from biodenoising.teachers import htdemucs
from biodenoising.teachers.base import Wave, run_teacher
from biodenoising.teachers.expansion import denoise_at
from biodenoising.teachers.registry import find_teacher

torch = pytest.importorskip("torch")

# Takes and gives what the package's network does: (batch, channels, samples) to (batch, sources,
# channels, samples).
PACKAGE = """
import torch
class HTDemucs(torch.nn.Module):
    def __init__(self, sources, segment=10, audio_channels=2):
        super().__init__()
        self.sources, self.segment, self.audio_channels = sources, segment, audio_channels
        self.gains = torch.nn.Parameter(torch.zeros(len(sources)))
    def forward(self, mix):
        assert mix.shape[1] == 2 and mix.shape[2] <= self.segment * 44100
        return mix[:, None] * self.gains[None, :, None, None]
class Other(HTDemucs):
    pass
"""
SOURCES = ["drums", "bass", "other", "vocals"]


@pytest.fixture
def package(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The stand-in, importable as the package is."""
    folder = nowhere.parent / "site" / "demucs"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "htdemucs.py").write_text(PACKAGE)
    names = [name for name in sys.modules if name.split(".")[0] == "demucs"]
    for name in names:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(folder.parent)
    import demucs.htdemucs as module

    yield module
    for name in ("demucs", "demucs.htdemucs"):
        sys.modules.pop(name, None)


def save(folder: Path, monkeypatch: pytest.MonkeyPatch, record: dict[str, Any]) -> None:
    """Save a record as the public file, and expect its hash."""
    path = folder / htdemucs.WEIGHTS.path
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(record, path)
    expected = dataclasses.replace(htdemucs.WEIGHTS, sha256=sha256_of(path))
    monkeypatch.setattr(htdemucs, "WEIGHTS", expected)


def record_of(package: Any, **changes: Any) -> dict[str, Any]:
    record = {
        "klass": package.HTDemucs,
        "args": (),
        "kwargs": {"sources": SOURCES, "segment": Fraction(39, 5)},
        "state": {"gains": torch.tensor([0.0, 0.1, 0.2, 0.5]).half()},
    }
    return record | changes


def test_the_vocals_are_kept(
    package: Any, nowhere: Path, monkeypatch: pytest.MonkeyPatch, noisy: Wave
) -> None:
    save(nowhere, monkeypatch, record_of(package))
    teacher = find_teacher("htdemucs")
    assert teacher.rate == 44_100
    clean = denoise_at(teacher, noisy - noisy.mean(), 44_100)
    assert np.abs(clean - 0.5 * (noisy - noisy.mean())).max() < 1e-4
    long = np.tile(noisy, 13)  # more than one segment
    assert len(long) > teacher.longest
    assert run_teacher(teacher, long, 44_100).shape == long.shape


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"kwargs": {"sources": ["drums", "bass"]}}, "of another network"),
        ({"state": {"gain": torch.zeros(4)}}, "do not fit its network"),
        ({"kwargs": {"sources": SOURCES, "newer": 1}}, "do not fit the installed demucs"),
        ({"klass": None}, "of another network"),
    ],
)
def test_other_weights_are_refused(
    package: Any,
    nowhere: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
    words: str,
) -> None:
    save(nowhere, monkeypatch, record_of(package, **changes))
    with pytest.raises(TeacherError, match=words):
        find_teacher("htdemucs")


def test_no_other_class_is_read(
    package: Any, nowhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(nowhere, monkeypatch, record_of(package, klass=package.Other))
    with pytest.raises(TeacherError, match="damaged or holding code"):
        find_teacher("htdemucs")


def test_without_the_package_the_way_is_told(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = "it needs a package: pip install 'biodenoising[demucs]'"
    monkeypatch.setattr(htdemucs, "_missing_code", lambda: missing)
    with pytest.raises(TeacherError, match=r"^teacher htdemucs: it needs a package: pip install"):
        find_teacher("htdemucs")
