"""Denoise one file into another: same container, format, rate, channels, length and metadata.

The output appears under its name only when it is whole, flushed to the disk and read back.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from biodenoising.audio import AudioInfo, AudioReader, ReadOptions, open_reader, open_writer, verify
from biodenoising.audio.formats import (
    DEFAULT_MAX_CHANNELS,
    DEFAULT_MAX_HOURS,
    READ_DEFAULTS,
    SAMPLE_BYTES,
    target_container,
    target_subtype,
)
from biodenoising.errors import (
    AudioChangedError,
    AudioWriteError,
    BatchError,
    DiskFullError,
    OptionError,
)
from biodenoising.inference.choosing import AUTO, TimeExpansion
from biodenoising.inference.denoiser import Denoiser, DenoiseSettings
from biodenoising.inference.waiting import Block
from biodenoising.models import DEFAULT_MODEL
from biodenoising.storage import free_bytes, printable, sha256_of, whole_file

BLOCK_FRAMES = 1 << 16
Progress = Callable[[float], None]
Commit = Callable[["FileResult", list[str]], None]


@dataclass(frozen=True)
class FileResult:
    """What became of one file: seconds of audio, energy removed relative to the input's, notes.

    `time_expansion` is that at which it was heard, None for its samples as they are.
    """

    input: Path
    output: Path
    duration_s: float
    sample_rate: int
    channels: int
    clipped: int
    removed_db: float | None
    notes: tuple[str, ...]
    time_expansion: float | None = None


@dataclass(frozen=True)
class FileOptions:
    """How an output is written: `container` WAV, FLAC or None for the input's own."""

    container: Literal["WAV", "FLAC"] | None = None
    dither: bool = False


def denoise_file(
    input: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    model: str | Path = DEFAULT_MODEL,
    device: str = "auto",
    mix: float = 1.0,
    max_attenuation_db: float | None = None,
    time_expansion: TimeExpansion = None,
    band: tuple[float, float] | None = None,
    outside: Literal["keep", "mute"] = "keep",
    format: Literal["wav", "flac"] | None = None,
    dither: bool = False,
    residual: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    twav: Literal["expand", "pass", "refuse"] = "pass",
    salvage: bool = False,
    max_channels: int = DEFAULT_MAX_CHANNELS,
    max_hours: float = DEFAULT_MAX_HOURS,
) -> FileResult:
    """Denoise the file `input` into the file `output`; `residual` gets what was removed.

    Options as for `denoise` and the command line. Raises AudioReadError, AudioWriteError (also
    where the output exists and `overwrite` is off), ModelError or OptionError.
    """
    settings = DenoiseSettings(mix, max_attenuation_db, time_expansion, band, outside)
    options = FileOptions(container_of(format), dither)
    targets = [Path(output)] if residual is None else [Path(output), Path(residual)]
    for target in targets:
        if target.exists() and os.path.samefile(input, target):
            raise BatchError(f"{printable(target)}: is the input itself; choose another name")
        if target.exists() and not overwrite:
            raise AudioWriteError(f"{printable(target)}: exists already; pass overwrite=True")
    reading = ReadOptions(twav, salvage, max_channels, max_hours)
    denoiser = Denoiser(model, device=device)
    unchanged = watch(Path(input))
    return convert(
        Path(input),
        Path(output),
        targets[1] if residual else None,
        denoiser,
        settings,
        options,
        reading,
        commit=lambda result, hashes: unchanged(),
    )


def watch(path: Path) -> Callable[[], None]:
    """Return a check that raises AudioChangedError if the file is not what it is now."""
    before = stamp(path)

    def unchanged() -> None:
        if stamp(path) != before:
            raise AudioChangedError(
                f"{printable(path)}: changed while it was read, so it is still being written;"
                " the same command takes it when it is complete"
            )

    return unchanged


def stamp(path: Path) -> tuple[int, int, int] | None:
    """Return what changes when a file is written to or replaced; None where it is not there."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns, status.st_ino


def container_of(format: str | None) -> Literal["WAV", "FLAC"] | None:
    """Return the container that a `--format` value names. Raises BatchError for another word."""
    if format is None:
        return None
    if format.lower() == "wav":
        return "WAV"
    if format.lower() == "flac":
        return "FLAC"
    raise BatchError(f"format is {format!r}; choose wav or flac")


def convert(
    input: Path,
    output: Path,
    residual: Path | None,
    denoiser: Denoiser,
    settings: DenoiseSettings,
    options: FileOptions,
    reading: ReadOptions = READ_DEFAULTS,
    progress: Progress | None = None,
    commit: Commit | None = None,
) -> FileResult:
    """Denoise one file with a loaded model.

    `progress` is told the audio seconds as they pass. `commit` is called with the result and the
    SHA-256 of each output when all are complete and checked, just before they get their names.
    """
    settings = _settled(input, denoiser, settings, reading)
    expansion = settings.time_expansion
    assert expansion != AUTO
    with ExitStack() as stack:
        reader = stack.enter_context(open_reader(input, reading))
        info = reader.info
        # Opened before anything is written: options that do not fit leave no trace.
        stream = denoiser.open(info.sample_rate, info.channels, settings)
        _refuse_dithered_counters(reader, reading, options)
        targets = [output] if residual is None else [output, residual]
        require_room(targets, info, options.container)
        temporaries = [stack.enter_context(whole_file(target)) for target in targets]
        writers = [
            stack.enter_context(
                open_writer(path, info, container=options.container, dither=options.dither)
            )
            for path in temporaries
        ]
        tally = Tally()

        def write(ready: tuple[Block, Block]) -> None:
            ready = reader.untouched.put_back(*ready)
            tally.count_removed(ready[1])
            for writer, samples in zip(writers, ready, strict=False):
                writer.write(samples)

        while (block := reader.read(BLOCK_FRAMES)).shape[1]:
            write(stream.push(tally.count_input(block)))
            if progress:
                progress(block.shape[1] / info.sample_rate)
        write(stream.flush())
        times = os.stat(input)
        for writer, temporary in zip(writers, temporaries, strict=True):
            writer.close()
            verify(temporary, info, tally.frames, container=options.container)
            os.utime(temporary, ns=(times.st_atime_ns, times.st_mtime_ns))
        notes = dict.fromkeys([*reader.notes, *writers[0].notes, *tally.notes(writers[0].clipped)])
        result = FileResult(
            input,
            output,
            tally.frames / info.sample_rate,
            info.sample_rate,
            info.channels,
            writers[0].clipped,
            tally.removed_db,
            tuple(notes),
            expansion,
        )
        if commit:
            commit(result, [sha256_of(path) for path in temporaries])
        return result


def _settled(
    input: Path, denoiser: Denoiser, settings: DenoiseSettings, reading: ReadOptions
) -> DenoiseSettings:
    """Read a recording once to choose its time expansion, where that is wanted."""
    if settings.time_expansion != AUTO:
        return settings
    with open_reader(input, reading) as reader:

        def blocks() -> Iterator[Block]:
            while (block := reader.read(BLOCK_FRAMES)).shape[1]:
                yield block

        return denoiser.settle(settings, reader.info.sample_rate, reader.info.channels, blocks())


def _refuse_dithered_counters(
    reader: AudioReader, reading: ReadOptions, options: FileOptions
) -> None:
    if options.dither and reader.is_triggered and reading.twav == "pass":
        raise OptionError(
            "dither would spoil the counters of this triggered recording; leave --dither away or"
            " choose --twav expand"
        )


def require_room(targets: list[Path], info: AudioInfo, container: str | None) -> None:
    """Refuse an output of known size for which there is no space, before working for it.

    Raises DiskFullError where the input's own size vouches for the prediction, AudioWriteError
    where a small file only claims to become a large one.
    """
    if target_container(info.container, container) in ("FLAC", "OGG", "MP3"):
        return
    width = SAMPLE_BYTES[target_subtype(info, container)] * info.channels
    needed, free = info.frames * width * len(targets), free_bytes(targets[0].parent)
    if needed <= free:
        return
    honest = os.stat(info.path).st_size * len(targets) >= needed // 2
    raise (DiskFullError if honest else AudioWriteError)(
        f"{printable(targets[0])}: no space left for it ({needed / 1e6:.1f} MB needed,"
        f" {free / 1e6:.1f} MB free); make room or choose another OUTPUT, then give the same"
        " command again"
    )


class Tally:
    """Counts what a person wants to know of a file afterwards."""

    def __init__(self) -> None:
        self.frames = 0
        self._not_finite = 0
        self._input_energy = 0.0
        self._removed_energy = 0.0

    def count_input(self, block: Block) -> Block:
        """Count a block of input and return it with NaN and infinite samples set to zero."""
        self.frames += block.shape[1]
        bad = ~np.isfinite(block)
        if bad.any():
            self._not_finite += int(np.count_nonzero(bad))
            block = np.where(bad, np.float32(0), block)
        self._input_energy += float(np.sum(np.square(block, dtype=np.float64)))
        return block

    def count_removed(self, removed: Block) -> None:
        """Count a block of what was removed."""
        self._removed_energy += float(np.sum(np.square(removed, dtype=np.float64)))

    @property
    def removed_db(self) -> float | None:
        """Energy removed relative to the input's, in dB; None for silence or nothing removed."""
        if self._input_energy <= 0 or self._removed_energy <= 0:
            return None
        return round(10 * float(np.log10(self._removed_energy / self._input_energy)), 2)

    def notes(self, clipped: int) -> list[str]:
        """Return what is worth a note: samples replaced or clipped, silence, no samples."""
        found = []
        if self.frames == 0:
            found.append("the file has no samples")
        elif self._input_energy == 0:
            found.append("the file is silent")
        if self._not_finite:
            found.append(f"{self._not_finite} samples were NaN or infinite and became 0")
        if clipped:
            found.append(f"{clipped} samples were clipped")
        return found
