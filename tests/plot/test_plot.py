"""Figures have the right axes, and a notebook shows pictures and players."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from biodenoising.errors import AudioValueError, OptionError
from biodenoising.plot import Comparison, before_after, compare, spectrogram

ROOT = Path(__file__).resolve().parents[2]
RATE = 48_000


@pytest.fixture
def pyplot() -> Any:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    from matplotlib import pyplot

    yield pyplot
    pyplot.close("all")


def sound(hertz: float = 6_000, seconds: float = 2.0, rate: int = RATE) -> np.ndarray:
    time_s = np.arange(int(seconds * rate)) / rate
    noise = 0.01 * np.random.default_rng(0).normal(size=len(time_s))
    return (0.3 * np.sin(2 * np.pi * hertz * time_s) + noise).astype(np.float32)


def test_a_spectrogram_has_true_axes(pyplot: Any) -> None:
    _, axes = pyplot.subplots()
    drawn = spectrogram(np.stack([0 * sound(), sound()]), RATE, axes=axes, title="dawn")
    assert drawn is axes
    (image,) = axes.images
    assert tuple(image.get_extent()) == (0, 2, 0, 24)
    rows = np.asarray(image.get_array()).mean(axis=1)
    assert rows.argmax() / len(rows) * 24 == pytest.approx(6, abs=0.2)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("s", "kHz")
    # Without axes, the current ones; the scale is taken as given.
    assert spectrogram(sound(), RATE, scale=(-70, -10)) is pyplot.gca()
    assert pyplot.gca().images[-1].get_clim() == (-70, -10)


def test_before_and_after_share_scale_and_axes(pyplot: Any) -> None:
    figure = before_after(sound(), 0.5 * sound(), RATE)
    panels = [axes for axes in figure.axes if axes.images]
    assert [axes.get_title(loc="left") for axes in panels] == ["before", "after", "removed"]
    assert len({axes.images[0].get_clim() for axes in panels}) == 1
    before, after = (np.asarray(axes.images[0].get_array()) for axes in panels[:2])
    assert np.median(before - after) == pytest.approx(6.02, abs=0.01)
    own = pyplot.figure()
    assert before_after(sound(), sound(), RATE, removed=False, figure=own) is own
    assert sum(bool(axes.images) for axes in own.axes) == 2


@pytest.mark.parametrize("dtype", [np.float32, np.int16])
def test_comparing_denoises_and_shows_players(tiny_model: Path, dtype: Any) -> None:
    scale = 1 if dtype is np.float32 else 32767
    audio = (np.stack([sound(), 0.1 * sound()]) * scale).astype(dtype)
    both = compare(audio, RATE, model=tiny_model, mix=0.5)
    assert both.before.shape == both.after.shape == audio.shape
    assert np.abs(both.removed).max() > 0
    assert np.abs(both.before).max() <= 1
    shown = both._repr_html_()
    assert shown.count("<audio controls") == shown.count("data:image/png") == 3
    assert "0 to 24 kHz" in shown
    assert "http" not in shown


def test_bats_are_slowed_and_long_sounds_cut() -> None:
    bat = sound(40_000, 0.5, 250_000)
    assert "10 times slower" in Comparison(bat, bat / 2, 250_000)._repr_html_()
    long = sound(seconds=70, rate=8_000)
    assert "0 to 60 s, 0 to 4 kHz" in Comparison(long, long, 8_000)._repr_html_()


def test_what_cannot_be_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AudioValueError, match="nothing to draw"):
        spectrogram(np.zeros(0), RATE)
    with pytest.raises(AudioValueError, match="same audio"):
        before_after(np.zeros(10), np.zeros(11), RATE)
    whole = builtins.__import__

    def missing(name: str, *others: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return whole(name, *others)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(OptionError, match=r"biodenoising\[plot\]"):
        spectrogram(sound(), RATE)


@pytest.mark.slow
def test_the_tutorial_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
    client = pytest.importorskip("nbclient", reason="nbclient is not installed")
    pytest.importorskip("ipykernel", reason="ipykernel is not installed")
    pytest.importorskip("matplotlib")
    notebook = nbformat.read(ROOT / "docs" / "tutorial.ipynb", as_version=4)
    assert all(not cell.get("outputs") for cell in notebook.cells), "commit it without outputs"
    resources = {"metadata": {"path": str(ROOT / "docs")}}
    client.NotebookClient(notebook, timeout=240, resources=resources).execute()
    outputs = [o for c in notebook.cells if c.cell_type == "code" for o in c.outputs]
    html = "".join(o.data.get("text/html", "") for o in outputs if "data" in o)
    assert html.count("<audio") == 6
    assert sum("image/png" in o.data for o in outputs if "data" in o) == 2
    assert "1 denoised, 0 failed" in "".join(o.text for o in outputs if o.output_type == "stream")
