"""Spectrograms of what was denoised, for scripts and notebooks.

`spectrogram` and `before_after` draw with matplotlib (the extra `plot`); `compare` denoises and
shows pictures and players in a notebook, and needs nothing more than the package.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from biodenoising.errors import AudioValueError, OptionError
from biodenoising.inference.arrays import check_audio
from biodenoising.inference.denoiser import denoise
from biodenoising.report.pictures import Levels, Scale, levels, scale_of
from biodenoising.report.stretch import TITLES, facing, html_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PLAYED_S = 60.0


def spectrogram(
    audio: Any,
    sample_rate: float,
    *,
    axes: Axes | None = None,
    scale: tuple[float, float] | None = None,
    title: str = "",
) -> Axes:
    """Draw audio of shape (samples,) or (channels, samples), the loudest channel, onto axes.

    Time is in seconds, frequency in kHz up to half of `sample_rate`. `scale` gives the levels in dB
    (a sine at full scale is near 0) of the darkest and brightest colour; by default it is chosen so
    that the background is dark. Without `axes` the current ones are drawn onto; they are returned.

    Raises AudioValueError for what is no audio and OptionError where matplotlib is missing.
    """
    samples = _mono(audio, sample_rate)
    return _draw(levels(samples), len(samples) / sample_rate, sample_rate, axes, scale, title)


def before_after(
    before: Any,
    after: Any,
    sample_rate: float,
    *,
    removed: bool = True,
    figure: Figure | None = None,
) -> Figure:
    """Draw a recording before and after, and what was removed, one above the other.

    Both have the same shape, (samples,) or (channels, samples); all have one colour scale and share
    their axes. Draws into `figure`, or a new one, and returns it. Raises as `spectrogram`.
    """
    pair = _pair(before, after, sample_rate)
    drawn = [levels(samples) for samples in (*pair, pair[0] - pair[1])[: 3 if removed else 2]]
    scale = scale_of(drawn[0])
    if figure is None:
        figure = _pyplot().figure(figsize=(9, 2.4 * len(drawn) + 0.3), layout="constrained")
    rows = figure.subplots(len(drawn), 1, sharex=True, sharey=True)
    for axes, picture, title in zip(rows, drawn, TITLES, strict=False):
        duration_s = len(pair[0]) / sample_rate
        _draw(picture, duration_s, sample_rate, axes, (scale.low, scale.high), title)
        axes.set_xlabel("")
    rows[-1].set_xlabel("s")
    figure.colorbar(rows[0].images[0], ax=list(rows), label="dB", shrink=0.6)
    return figure


@dataclass(frozen=True)
class Comparison:
    """Audio before and after; a notebook shows it with pictures and players.

    `before` and `after` have the shape that was given, `removed` is their difference.
    """

    before: NDArray[Any]
    after: NDArray[Any]
    sample_rate: float

    @property
    def removed(self) -> NDArray[Any]:
        """What was taken away."""
        return np.asarray(self.before - self.after)

    def figure(self) -> Figure:
        """Return the spectrograms as a matplotlib figure."""
        return before_after(self.before, self.after, self.sample_rate)

    def _repr_html_(self) -> str:
        """Return the notebook's view: at most the first minute, as PNG and MP3."""
        most = int(PLAYED_S * self.sample_rate)
        before, after = (x[:most] for x in _pair(self.before, self.after, self.sample_rate))
        return html_of(facing(before, after, self.sample_rate))


def compare(audio: Any, sample_rate: float, **options: Any) -> Comparison:
    """Denoise audio as `biodenoising.denoise`, with its options, and return both to look at.

    Raises AudioValueError, ModelError or OptionError as that does.
    """
    if hasattr(audio, "detach"):
        audio = audio.detach().cpu().numpy()
    before = np.asarray(audio)
    after = denoise(before, sample_rate, **options)
    if not np.issubdtype(before.dtype, np.floating):
        # Differences of integers would run over.
        scale = float(np.iinfo(before.dtype).max)
        before, after = (x.astype(np.float32) / scale for x in (before, after))
    return Comparison(before, after, sample_rate)


def _mono(audio: Any, sample_rate: float) -> NDArray[np.float32]:
    audio = np.asarray(audio)
    check_audio(audio, sample_rate)
    channels = np.atleast_2d(audio).astype(np.float32)
    if not np.issubdtype(audio.dtype, np.floating):
        channels /= float(np.iinfo(audio.dtype).max)
    if not channels.shape[1]:
        raise AudioValueError("audio has no samples; there is nothing to draw")
    return np.asarray(channels[int(np.argmax(np.square(channels).sum(axis=1)))])


def _pair(
    before: Any, after: Any, sample_rate: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the channel of both that is the loudest before."""
    before, after = np.atleast_2d(np.asarray(before)), np.atleast_2d(np.asarray(after))
    if before.shape != after.shape:
        raise AudioValueError(
            f"before has shape {before.shape} and after {after.shape}; give the same audio twice"
        )
    loudest = int(np.argmax(np.square(before, dtype=np.float64).sum(axis=1)))
    return _mono(before[loudest], sample_rate), _mono(after[loudest], sample_rate)


def _draw(
    picture: Levels,
    duration_s: float,
    sample_rate: float,
    axes: Axes | None,
    scale: tuple[float, float] | None,
    title: str,
) -> Axes:
    chosen = Scale(*scale) if scale else scale_of(picture)
    axes = axes if axes is not None else _pyplot().gca()
    axes.imshow(
        picture, origin="lower", aspect="auto", cmap="magma", vmin=chosen.low, vmax=chosen.high,
        extent=(0.0, duration_s, 0.0, sample_rate / 2000),
    )  # fmt: skip
    axes.set(xlabel="s", ylabel="kHz")
    axes.set_title(title, loc="left")
    return axes


def _pyplot() -> Any:
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise OptionError(
            "drawing needs matplotlib; install it by: pip install 'biodenoising[plot]'"
        ) from error
    return pyplot
