"""Denoise a pipe: sound in on one side, out on the other, in the same format."""

from __future__ import annotations

from dataclasses import dataclass
from io import RawIOBase
from pathlib import Path

from biodenoising.audio.formats import AudioInfo
from biodenoising.audio.pipes import PipeReader, PipeSink
from biodenoising.audio.writer import AudioWriter
from biodenoising.batch.files import BLOCK_FRAMES, Tally
from biodenoising.inference.denoiser import Denoiser, DenoiseSettings
from biodenoising.inference.waiting import Block

LIVE_FRAMES = 4_096


@dataclass(frozen=True)
class PipeResult:
    """What went through: samples per channel, energy removed relative to the input's, notes."""

    frames: int
    removed_db: float | None
    notes: tuple[str, ...]


def denoise_pipe(
    reader: PipeReader,
    output: RawIOBase,
    name: Path,
    denoiser: Denoiser,
    settings: DenoiseSettings,
    *,
    live: bool = False,
    dither: bool = False,
) -> PipeResult:
    """Denoise what `reader` gives into the raw handle `output`, called `name` in messages.

    `live` gives every sample as soon as it can be, from the past alone; otherwise the samples are
    those of a file. Raises AudioReadError, AudioWriteError, OptionError, and PipeClosedError where
    nobody reads the output any more.
    """
    encoding = reader.head.encoding
    stream = denoiser.open(encoding.sample_rate, encoding.channels, settings, live=live)
    info = AudioInfo(
        name, "WAV", encoding.subtype, encoding.sample_rate, encoding.channels,
        reader.head.frames or 0,
    )  # fmt: skip
    sink = PipeSink(output, reader.head)
    writer = AudioWriter(name, info, sink, subtype=encoding.subtype, dither=dither)
    tally = Tally()

    def write(ready: tuple[Block, Block]) -> None:
        tally.count_removed(ready[1])
        writer.write(ready[0])

    read, frames = (reader.read, LIVE_FRAMES) if live else (reader.read_whole, BLOCK_FRAMES)
    while (block := read(frames)).shape[1]:
        write(stream.push(tally.count_input(block)))
    write(stream.flush())
    while behind := reader.read_behind():
        sink.write_behind(behind)
    writer.close()
    notes = [*reader.notes, *tally.notes(writer.clipped)]
    return PipeResult(tally.frames, tally.removed_db, tuple(notes))
