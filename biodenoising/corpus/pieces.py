"""Stretches of recordings cut out to files of their own, and read back.

A piece is mono: the channel that moves most within it, without its mean. It is written as FLAC of
24 bits, or as WAV of 32-bit floats where FLAC cannot hold the rate, at the recording's true rate.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray
from scipy import signal

from biodenoising.audio import open_reader
from biodenoising.storage import whole_file, write_error

Samples = NDArray[np.float32]

BLOCK_FRAMES = 1 << 16
FLAC_FINE_HZ, FLAC_HIGHEST_HZ = 65_535, 655_350
# Just below full scale: what is louder is turned down, never clipped.
LARGEST_PEAK = 0.999
# Zero-phase, so that the corner is 6 dB down and the order counts twice.
HIGHPASS_ORDER = 4
HIGHEST_CORNER = 0.45
# Where calls begin: the share of their power below the edge, and what counts as theirs.
EDGE_WINDOW, LEAST_EDGE_FRAMES, EDGE_SHARE = 1024, 8, 0.01
FLOOR_PERCENTILE, FLOOR_BIAS, SALIENT = 30.0, 1.4, 4.0


@dataclass
class _Open:
    """A stretch that is being collected: its index, and its blocks (channels, samples)."""

    index: int
    start: int
    end: int
    blocks: list[Samples] = field(default_factory=list)


def read_pieces(path: Path, spans: Sequence[tuple[int, int]]) -> Iterator[tuple[int, Samples]]:
    """Yield (index in `spans`, samples) for stretches of a recording, in the order of their ends.

    `spans` are (start, end) in samples and may overlap. The recording is read once, forward, and
    no more of it is held than the stretches that are open. A stretch beyond the recording's end
    comes shortened; one without a sample does not come. Values that are no numbers count as 0.

    Raises AudioReadError.
    """
    waiting = sorted((_Open(i, *span) for i, span in enumerate(spans)), key=lambda s: -s.start)
    running: list[_Open] = []
    place = 0
    with open_reader(path) as reader:
        while waiting or running:
            block = reader.read(BLOCK_FRAMES)
            if not block.shape[1]:
                break
            following = place + block.shape[1]
            while waiting and waiting[-1].start < following:
                running.append(waiting.pop())
            for span in running:
                low, high = max(span.start - place, 0), min(span.end - place, block.shape[1])
                span.blocks.append(block[:, low:high].copy())
            ended = sorted((s for s in running if s.end <= following), key=lambda s: s.end)
            running = [span for span in running if span.end > following]
            place = following
            yield from _mono_pieces(ended)
    yield from _mono_pieces(running)


def write_piece(path: Path, samples: Samples, sample_rate: int) -> float:
    """Write samples, shape (samples,), under a path from `piece_name`; return the gain in dB.

    The gain is 0 but for what is too loud for full scale. Raises AudioWriteError, DiskFullError.
    """
    peak = float(np.abs(samples).max(initial=0.0))
    gain = min(1.0, LARGEST_PEAK / peak) if peak > 0 else 1.0
    flac = path.suffix == ".flac"
    with whole_file(path) as temporary:
        try:
            soundfile.write(
                temporary, samples * np.float32(gain), sample_rate,
                format="FLAC" if flac else "WAV", subtype="PCM_24" if flac else "FLOAT",
            )  # fmt: skip
        except soundfile.LibsndfileError as error:
            raise write_error(path, error) from error
    return float(20 * np.log10(gain))


def piece_name(stem: str, sample_rate: int) -> str:
    """Return the file name of a piece at a rate in Hz.

    >>> piece_name("a", 48_000), piece_name("a", 384_000), piece_name("a", 312_501)
    ('a.flac', 'a.flac', 'a.wav')
    """
    fits = sample_rate <= FLAC_FINE_HZ or (sample_rate <= FLAC_HIGHEST_HZ and sample_rate % 10 == 0)
    return f"{stem}.flac" if fits else f"{stem}.wav"


def read_piece(path: Path) -> Samples:
    """Return the samples of a piece, shape (samples,). Raises AudioReadError."""
    with open_reader(path) as reader:
        blocks = []
        while (block := reader.read(BLOCK_FRAMES)).shape[1]:
            blocks.append(block[0])
    return np.concatenate(blocks) if blocks else np.zeros(0, np.float32)


def without_rumble(samples: Samples, sample_rate: float, highpass_hz: float) -> Samples:
    """Take away the mean and what lies below `highpass_hz` (0: nothing), no sample moved in time.

    Below a call's band lie wind, handling, hum and the recorder; a target must not hold them.
    """
    mono = samples.astype(np.float64)
    mono -= mono.mean() if len(mono) else 0.0
    corner = min(highpass_hz, HIGHEST_CORNER * sample_rate)
    if corner > 0 and len(mono) > 1:
        sos = signal.butter(HIGHPASS_ORDER, corner, "highpass", fs=sample_rate, output="sos")
        # A low corner rings for long: as much of the mirror image as there is, up to two periods.
        padding = min(int(2 * sample_rate / corner), len(mono) - 1)
        mono = signal.sosfiltfilt(sos, mono, padlen=padding)
    return np.asarray(mono, np.float32)


def lowest_call_hz(samples: Samples, sample_rate: float) -> float:
    """Return the frequency in Hz below which hardly any of a piece's calls lies; 0 if unknown.

    Counted is power that stands out of its bin's own floor, the level of the quieter third of the
    time; below the edge lies a hundredth of it. Gusts stand out too: then the edge is too low.
    """
    if len(samples) < EDGE_WINDOW * LEAST_EDGE_FRAMES // 2:
        return 0.0
    hz, _, power = signal.spectrogram(
        samples.astype(np.float64), sample_rate, nperseg=EDGE_WINDOW, noverlap=EDGE_WINDOW // 2
    )
    floor = FLOOR_BIAS * np.percentile(power, FLOOR_PERCENTILE, axis=1, keepdims=True)
    excess = np.where(power > SALIENT * floor, power - floor, 0.0).sum(axis=1)
    below = np.cumsum(excess)
    if not below[-1] > 0:
        return 0.0
    return float(hz[int(np.searchsorted(below, EDGE_SHARE * below[-1]))])


def mono_of(channels: Samples) -> Samples:
    """Return the channel that moves most, without its mean; (channels, samples) to (samples,).

    Values that are no numbers count as 0.
    """
    finite = np.where(np.isfinite(channels), channels, np.float32(0)).astype(np.float64)
    mono = finite[int(np.argmax(finite.std(axis=1)))]
    return np.asarray(mono - mono.mean(), np.float32)


def _mono_pieces(ended: Sequence[_Open]) -> Iterator[tuple[int, Samples]]:
    for span in ended:
        channels = np.concatenate(span.blocks, axis=1)
        if channels.shape[1]:
            yield span.index, mono_of(channels)
