"""What is fuzzed: each target takes bytes and may only end well or with our own error."""

from __future__ import annotations

import io
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from biodenoising.audio import ReadOptions, header_seconds, open_reader
from biodenoising.audio.chunks import parse_layout
from biodenoising.audio.flac_blocks import read_blocks, riff_image
from biodenoising.audio.flac_frames import FlacFrames
from biodenoising.audio.mpeg import scan_mpeg
from biodenoising.audio.tags import chunk_tags
from biodenoising.audio.triggered import count_omitted, may_be_triggered
from biodenoising.audio.untouched import Untouched
from biodenoising.batch.journal import MANIFEST_NAME, read_manifest
from biodenoising.corpus.annotations import read_annotations
from biodenoising.corpus.manifest import check_manifest
from biodenoising.errors import BiodenoisingError
from biodenoising.models.cards import read_card
from biodenoising.training.configuration import read_settings

# In memory where that is offered: a fuzzer writes thousands of files a minute.
_memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
_folder = Path(tempfile.mkdtemp(prefix="fuzz-", dir=_memory))
MOST_FRAMES = 1 << 20


def at(name: str, data: bytes) -> Path:
    path = _folder / name
    path.write_bytes(data)
    return path


def riff(data: bytes) -> None:
    handle = io.BytesIO(data)
    layout = parse_layout(handle, Path("x.wav"))
    if layout is None:
        return
    assert 0 <= layout.data_start <= layout.data_end <= max(len(data), layout.data_start)
    chunk_tags(handle, layout)
    if may_be_triggered(handle, Path("xT.WAV"), layout):
        number, omitted = count_omitted(handle, layout)
        assert 0 <= number <= len(data) // 512
        assert 0 <= omitted <= number * 2**40


def reading(data: bytes) -> None:
    """The whole reader on files made of chunks; libsndfile is fuzzed by its own makers."""
    if data[:4] not in (b"RIFF", b"RIFX", b"RF64", b"BW64", b"FORM"):
        return
    path = at("xT.WAV", data)
    for options in (ReadOptions(), ReadOptions("expand", salvage=True)):
        with open_reader(path, options) as reader:
            done = 0
            while done < MOST_FRAMES and (block := reader.read(5000)).shape[1]:
                assert block.shape[0] == reader.info.channels
                done += block.shape[1]
                reader.untouched.put_back(block, np.zeros_like(block))


def twav(data: bytes) -> None:
    """The expander: random bytes as samples of an AudioMoth."""
    fmt = struct.pack("<HHIIHH", 1, 1, 48_000, 96_000, 2, 16)
    body = b"WAVEfmt \x10\0\0\0" + fmt + b"data" + struct.pack("<I", len(data)) + data
    path = at("aT.WAV", b"RIFF" + struct.pack("<I", len(body)) + body)
    with open_reader(path, ReadOptions("expand", max_hours=1e9)) as reader:
        done = 0
        while done < MOST_FRAMES and (block := reader.read(70_000)).shape[1]:
            done += block.shape[1]
        assert done == reader.info.frames or done >= MOST_FRAMES


def flac(data: bytes) -> None:
    path = at("x.flac", data)
    blocks, _ = read_blocks(io.BytesIO(data))
    riff_image(blocks)
    starts = FlacFrames(path).starts
    assert starts == sorted(set(starts)) or len(starts) >= len(set(starts))


def lengths(data: bytes) -> None:
    seconds = header_seconds(at("x.mp3", data))
    assert np.isfinite(seconds)
    assert seconds >= 0
    scan_mpeg(_folder / "x.mp3")


def untouched(data: bytes) -> None:
    """Stretches put back: whatever the stretches and blocks, lengths stay and all is replaced."""
    kept, total = Untouched(), 0
    spans = []
    for length, gap in zip(data[::2], data[1::2], strict=False):
        kept.add(total + gap, total + gap + length)
        spans.append((total + gap, total + gap + length))
        total += gap + length
    out = []
    for start in range(0, total, 37):
        size = min(37, total - start)
        ones = np.ones((1, size), np.float32)
        out.append(kept.put_back(ones, ones)[0])
    whole = np.concatenate([np.zeros((1, 0), np.float32), *out], axis=1)[0]
    wanted = np.ones(total, np.float32)
    for start, end in spans:
        wanted[start:end] = 0
    assert np.array_equal(whole, wanted)


def journal(data: bytes) -> None:
    at(MANIFEST_NAME, data)
    for name, done in read_manifest(_folder).items():
        assert isinstance(name, str)
        assert isinstance(done.input_sha256, str)


def manifest(data: bytes) -> None:
    for _ in check_manifest(at("m.jsonl", data)):
        pass


def settings(data: bytes) -> None:
    read_settings(at("x.yaml", data))


def card(data: bytes) -> None:
    read_card(at("x.json", data))


def annotations(data: bytes) -> None:
    read_annotations(at("x.txt", data))


TARGETS: dict[str, Callable[[bytes], None]] = {
    "riff": riff, "reading": reading, "twav": twav, "flac": flac, "lengths": lengths,
    "untouched": untouched, "journal": journal, "manifest": manifest, "settings": settings,
    "card": card, "annotations": annotations,
}  # fmt: skip


def run_one(name: str, data: bytes) -> None:
    """Run one input; an error that is not ours, or has more than a line, goes through."""
    try:
        TARGETS[name](data)
    except BiodenoisingError as error:
        if "\n" in str(error):
            raise RuntimeError("a message of several lines") from error
