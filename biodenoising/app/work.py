"""What the page does with a recording: denoise it in pieces, show a stretch, say the command."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from biodenoising.audio import open_reader
from biodenoising.batch.files import FileOptions, FileResult, convert
from biodenoising.batch.listing import Task
from biodenoising.errors import OptionError
from biodenoising.inference.choosing import as_word
from biodenoising.inference.denoiser import Denoiser, DenoiseSettings
from biodenoising.models import DEFAULT_MODEL
from biodenoising.report.facts import Facts, examine, shown_s
from biodenoising.report.flags import FLAGS, Entry, flags_of
from biodenoising.report.stretch import card_of, html_of

Progress = Callable[[float], None]


@dataclass(frozen=True)
class Choices:
    """What a person chose on the page."""

    model: str = DEFAULT_MODEL
    settings: DenoiseSettings = DenoiseSettings()


@dataclass(frozen=True)
class Denoised:
    """A recording that was denoised: its files, and what is to be said of it."""

    task: Task
    result: FileResult
    facts: Facts

    @property
    def latest_s(self) -> float:
        """The last second from which a whole stretch can be shown."""
        duration_s = self.facts.duration_s
        return max(duration_s - shown_s(self.facts.sample_rate, duration_s), 0)


def choices_of(
    model: str,
    mix: float,
    limit_db: float | None,
    expansion: float | None,
    low_khz: float | None,
    high_khz: float | None,
    outside: str,
) -> Choices:
    """Return what the page's fields hold, None or 0 for an empty one. Raises OptionError."""
    # An empty field of gradio's holds 0 as soon as it is shown, so only a band may begin there.
    if not high_khz:
        low_khz, high_khz = low_khz or None, None
    if (low_khz is None) != (high_khz is None):
        raise OptionError("give both edges of the band, or none")
    band = None if low_khz is None or high_khz is None else (low_khz * 1000, high_khz * 1000)
    settings = DenoiseSettings(
        mix, limit_db or None, expansion or None, band, "mute" if outside == "mute" else "keep"
    )
    return Choices(model, settings)


def denoise_recording(source: Path, folder: Path, choices: Choices, progress: Progress) -> Denoised:
    """Denoise `source` into `folder`, block by block, and look at what became of it.

    `progress` is told the share that is done, 0 to 1. Memory does not grow with the length. Raises
    AudioReadError, AudioWriteError, ModelError or OptionError.
    """
    with open_reader(source) as reader:
        total_s = max(reader.info.frames / reader.info.sample_rate, 1e-9)
    done_s = 0.0

    def passed(seconds: float) -> None:
        nonlocal done_s
        done_s += seconds
        progress(min(done_s / total_s, 1.0))

    removed = folder / f"{source.stem}-removed{source.suffix}"
    task = Task(Path(source.name), source, folder / source.name, removed)
    result = convert(
        source, task.output, task.residual, _denoiser(choices.model), choices.settings,
        FileOptions(), progress=passed,
    )  # fmt: skip
    return Denoised(task, result, examine(task))


def view(denoised: Denoised, start_s: float) -> str:
    """Return the stretch from `start_s` as HTML. Raises AudioReadError."""
    facts = replace(denoised.facts, start_s=min(max(start_s, 0.0), denoised.latest_s))
    return html_of(card_of(denoised.task, facts))


def verdict(denoised: Denoised) -> str:
    """Return what was found, in one line of Markdown."""
    facts = denoised.facts
    (flags,) = flags_of([Entry("", "done", facts)])
    said = [
        f"{facts.sample_rate / 1000:g} kHz, {facts.duration_s:.1f} s",
        _change("background", facts.background_db),
        _change("calls", facts.calls_db),
        *(f"**{FLAGS[flag]}**" for flag in flags),
        *denoised.result.notes,
    ]
    return " · ".join(text for text in said if text)


def command_line(name: str, choices: Choices) -> str:
    """Return the command that does the same to a file of that name."""
    settings = choices.settings
    words = ["biodenoise", name, "denoised/"]
    if choices.model != DEFAULT_MODEL:
        words += ["--model", choices.model]
    if settings.mix != 1:
        words += ["--mix", f"{settings.mix:g}"]
    if settings.max_attenuation_db is not None:
        words += ["--max-attenuation", f"{settings.max_attenuation_db:g}"]
    if settings.time_expansion is not None:
        words += ["--time-expansion", as_word(settings.time_expansion)]
    if settings.band is not None:
        words += ["--band", f"{settings.band[0]:.10g}-{settings.band[1]:.10g}"]
    if settings.outside != "keep":
        words += ["--outside", settings.outside]
    if name.startswith("-"):
        words = [words[0], *words[3:], "--", *words[1:3]]
    return shlex.join(words)


@lru_cache(maxsize=2)
def _denoiser(model: str) -> Denoiser:
    return Denoiser(model)


def _change(what: str, value: float | None) -> str:
    if value is None:
        return ""
    # Adding zero turns what was rounded to minus zero into zero.
    return f"{what} {round(value, 1) + 0.0:+.1f} dB".replace("-", "\u2212").replace("+0.0", "0.0")
