"""A tree of every format, rate and channel count goes through; only the samples change."""

from __future__ import annotations

import itertools
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from wavinfo import WavInfoReader

from biodenoising import denoise_tree
from biodenoising.audio.chunks import parse_layout

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "audio"))

from recordings import ADTL, CUE, GUANO, INFO, IXML, WAMD, bext, rf64, wav

SECONDS = 0.4
FIELD = (
    (b"bext", bext()), (b"iXML", IXML), (b"LIST", INFO), (b"cue ", CUE), (b"LIST", ADTL),
    (b"guan", GUANO), (b"wamd", WAMD),
)  # fmt: skip
WAV_SUBTYPES = ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE")
RATES = (
    1_000,
    8_000,
    11_025,
    16_000,
    22_050,
    44_100,
    48_000,
    96_000,
    192_000,
    250_000,
    384_000,
    500_000,
)
OTHERS = (
    ("FLAC", "PCM_16", "flac"), ("FLAC", "PCM_24", "flac"), ("AIFF", "PCM_16", "aif"),
    ("AIFF", "PCM_24", "aiff"), ("AIFF", "FLOAT", "aiff"), ("OGG", "VORBIS", "ogg"),
    ("OGG", "OPUS", "opus"), ("MP3", "MPEG_LAYER_III", "mp3"),
)  # fmt: skip
ONLY_RATES = {
    "OPUS": (8_000, 16_000, 48_000),
    "MPEG_LAYER_III": (16_000, 44_100),
    "VORBIS": (16_000, 48_000),
}


def make_tree(root: Path) -> int:
    """Write the tree and return how many files it has."""
    rng = np.random.default_rng(0)
    count = 0
    for subtype, rate, channels in itertools.product(WAV_SUBTYPES, RATES, (1, 2, 5)):
        folder = root / "wav" / subtype / str(channels)
        folder.mkdir(parents=True, exist_ok=True)
        before, after = (FIELD, ()) if count % 2 else ((), FIELD)
        wav(
            folder / f"20240501_2100{count % 60:02}_{rate}.WAV", int(SECONDS * rate),
            channels=channels, rate=rate, subtype=subtype, before=before, after=after,
            extensible=count % 3 == 0,
        )  # fmt: skip
        count += 1
    rf64(root / "long.wav", 20_000)
    for (container, subtype, suffix), channels in itertools.product(OTHERS, (1, 2)):
        for rate in ONLY_RATES.get(subtype, (8_000, 44_100, 96_000)):
            folder = root / container / subtype
            folder.mkdir(parents=True, exist_ok=True)
            samples = rng.standard_normal((int(SECONDS * rate), channels)) * 0.1
            path = folder / f"{rate}-{channels}.{suffix}"
            soundfile.write(path, samples, rate, subtype=subtype, format=container)
            count += 1
    return count + 1


def everything_but_the_samples(path: Path) -> bytes:
    with open(path, "rb") as handle:
        layout = parse_layout(handle, path)
    assert layout is not None
    data = path.read_bytes()
    end = layout.data_start + layout.frames * layout.encoding.frame_bytes
    return data[: layout.data_start] + data[end:]


@pytest.mark.slow
def test_only_the_samples_change(tiny_model: Path, tmp_path: Path) -> None:
    model = os.environ.get("BIODENOISING_TEST_MODEL", str(tiny_model))
    source, target = tmp_path / "in", tmp_path / "out"
    count = make_tree(source)
    for path in source.rglob("*.*"):
        os.utime(path, (1_700_000_000, 1_700_000_000))
    summary = denoise_tree(source, target, model=model)
    assert [o.message for o in summary.outcomes if o.status == "failed"] == []
    assert summary.count("done") == count
    for before in (p for p in source.rglob("*") if p.is_file()):
        after = target / before.relative_to(source)
        assert after.stat().st_mtime == 1_700_000_000
        one, other = soundfile.info(before), soundfile.info(after)
        for field in ("format", "subtype", "samplerate", "channels", "frames"):
            assert getattr(one, field) == getattr(other, field), (after, field)
        if before.suffix.lower() in (".wav", ".aif", ".aiff"):
            assert everything_but_the_samples(before) == everything_but_the_samples(after)
            assert before.read_bytes() != after.read_bytes()
        if before.suffix == ".WAV":
            info = WavInfoReader(str(after))
            assert info.bext.description.startswith("a nightjar")
            assert info.bext.to_dict() == WavInfoReader(str(before)).bext.to_dict()
