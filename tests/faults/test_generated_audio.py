"""Every format with every kind of damage: one row each, whole outputs only, the rest unharmed.

One run over a folder of all of them; each file is a case.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from biodenoising import denoise_tree

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "audio"))

from recordings import GUANO, INFO, bext, encoded, read_all, rf64, wav

FORMATS = {
    "wav16": ("wav", "WAV", "PCM_16"), "wav24": ("wav", "WAV", "PCM_24"),
    "float": ("wav", "WAV", "FLOAT"), "rf64": ("wav", "RF64", "PCM_16"),
    "aiff": ("aif", "AIFF", "PCM_16"), "flac": ("flac", "FLAC", "PCM_16"),
    "vorbis": ("ogg", "OGG", "VORBIS"), "opus": ("opus", "OGG", "OPUS"),
    "mp3": ("mp3", "MP3", "MPEG_LAYER_III"),
}  # fmt: skip
CUTS = (1, 10, 50, 90, 99)
DAMAGES = [
    "empty", "one byte", "header only", *[f"cut {n}" for n in CUTS],
    *[f"header flip {n}" for n in range(4)], *[f"data flip {n}" for n in range(4)],
    "zeroed middle", "zeroed end", "zeroed head", "rubbish behind", "rubbish before", "twice",
    "text behind its magic", "sizes all ones", "sizes odd",
]  # fmt: skip
FRAMES = 24_000


def damaged(whole: bytes, damage: str, rng: random.Random) -> bytes:
    """Return the bytes of a file with that damage."""
    size = len(whole)
    word, _, number = damage.rpartition(" ")
    raw = bytearray(whole)
    if word == "cut":
        return whole[: size * int(number) // 100]
    if word in ("header flip", "data flip"):
        for _ in range(3):
            place = rng.randrange(64) if word == "header flip" else rng.randrange(64, size)
            raw[place] ^= 1 << rng.randrange(8)
        return bytes(raw)
    third = size // 3
    rubbish = bytes(rng.randrange(256) for _ in range(3_000))
    return {
        "empty": b"", "one byte": whole[:1], "header only": whole[:44],
        "zeroed middle": whole[:third] + bytes(third) + whole[2 * third :],
        "zeroed end": whole[:third] + bytes(size - third), "zeroed head": bytes(64) + whole[64:],
        "rubbish behind": whole + rubbish, "rubbish before": rubbish + whole, "twice": whole * 2,
        "text behind its magic": whole[:12] + b"these are field notes\n" * 100,
        "sizes all ones": whole[:4] + b"\xff" * 4 + whole[8:16] + b"\xff" * 4 + whole[20:],
        "sizes odd": whole[:4] + b"\x01\x02\x03\x7f" + whole[8:],
    }[damage]  # fmt: skip


def case_name(kind: str, damage: str) -> str:
    return f"{kind}-{damage.replace(' ', '_')}.{FORMATS[kind][0]}"


def make(path: Path, kind: str) -> None:
    _, container, subtype = FORMATS[kind]
    if container == "RF64":
        rf64(path, FRAMES)
    elif kind == "wav16":
        wav(path, FRAMES, before=((b"bext", bext()),), after=((b"LIST", INFO), (b"guan", GUANO)))
    else:
        encoded(path, FRAMES, container=container, subtype=subtype, rate=48_000)


class Run:
    """One run over all damaged files."""

    def __init__(self, root: Path, model: Path, *, salvage: bool) -> None:
        self.source, self.output = root / "in", root / "out"
        self.source.mkdir()
        rng = random.Random(7)
        encoded(
            self.source / "good.wav", FRAMES, container="WAV", subtype="PCM_16", rate=48_000
        )  # fmt: skip
        for kind in FORMATS:
            make(root / "whole", kind)
            whole = (root / "whole").read_bytes()
            for damage in DAMAGES:
                (self.source / case_name(kind, damage)).write_bytes(damaged(whole, damage, rng))
        self.before = {path.name: path.read_bytes() for path in self.source.iterdir()}
        summary = denoise_tree(self.source, self.output, model=model, jobs=1, salvage=salvage)
        self.outcomes = {str(outcome.name): outcome for outcome in summary.outcomes}
        self.rows = [
            json.loads(line) for line in (self.output / "biodenoise.jsonl").read_text().splitlines()
        ]
        self.count = len(summary.outcomes)


@pytest.fixture(
    scope="module",
    params=[False, pytest.param(True, marks=pytest.mark.slow)],
    ids=["plain", "salvage"],
)
def run(request, tmp_path_factory, tiny_model) -> Run:
    return Run(tmp_path_factory.mktemp("damaged"), tiny_model, salvage=request.param)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("kind", FORMATS)
def test_a_damaged_file_ends_in_one_state(run: Run, kind: str, damage: str) -> None:
    name = case_name(kind, damage)
    outcome = run.outcomes[name]
    rows = [row for row in run.rows if row["file"] == name]
    assert len(rows) == 1
    assert rows[0]["status"] == outcome.status
    target = run.output / name
    if outcome.status == "failed":
        assert not target.exists()
        assert "unexpectedly" not in outcome.message
        assert outcome.message.isprintable()
        assert name in outcome.message
        assert not outcome.fatal
    else:
        assert outcome.status == "done"
        assert outcome.result is not None
        samples, info, notes = read_all(target)
        assert np.isfinite(samples).all()
        frames = round(outcome.result.duration_s * info.sample_rate)
        assert samples.shape == (outcome.result.channels, frames)
        assert not [n for n in notes if "cut short" in n and n not in outcome.result.notes]
    assert (run.source / name).read_bytes() == run.before[name]


def test_the_good_file_is_unharmed(run: Run) -> None:
    assert run.outcomes["good.wav"].status == "done"
    assert soundfile.info(run.output / "good.wav").frames == FRAMES
    assert run.count == len(FORMATS) * len(DAMAGES) + 1
    assert not list(run.output.rglob(".*.part"))


def test_less_is_lost_with_salvage(run: Run, tmp_path_factory, tiny_model) -> None:
    done = {name for name, outcome in run.outcomes.items() if outcome.status == "done"}
    cut = {case_name("flac", f"cut {n}") for n in CUTS[2:]} | {case_name("flac", "zeroed middle")}
    salvaged = any("salvaged" in n for row in run.rows for n in row.get("notes", []))
    assert (cut <= done) == salvaged
