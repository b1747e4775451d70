"""The development set: clips that nothing is trained on and that no benchmark holds.

Calls are the vocal clips of a corpus's set `research`, whose licence nobody could make out, so that
they are neither trained on nor published; recordings and sources that `train` also has are left
out. Noise is that of `research` and what training holds back. Mixed as the benchmark mixes.

It holds few whales, bats and insects. The set `rare` holds no others, with those of the
non-commercial tier, which the shipped weights were not trained on either.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import soundfile

from benchmark.catalogue import open_set
from benchmark.mixtures import Mixture, Plan
from benchmark.sets import Settings
from biodenoising.corpus.clips import Row, is_held_back, read_clip, read_rows

LEAST_SNR_DB = 15.0
MOST_OF_A_TAXON = 3
# In these the benchmark's own rules see animals, or nothing that an ear hears.
REFUSED_NOISES = ("insects", "ultrasonic")
RARE_GROUPS = ("cetacean", "bat", "insect")
MOST_OF_A_RARE_TAXON = 6
SURROUNDING = 32_768  # samples on either side
QUIETER_DB = (20, 40, 60, 80)
WITHHELD_TIER = "noncommercial"


def mixtures(
    corpus: Path, folder: Path, per_clip: int = 2, rare: bool = False
) -> Iterator[tuple[Plan, Mixture]]:
    """Yield every mixture; `folder` gets the clips, high-passed, and is made anew.

    With `rare`, those of the rare groups, in ultrasonic noise too.
    """
    rows = sorted(read_rows(corpus), key=lambda row: str(row["sha256"]))
    shutil.rmtree(folder, ignore_errors=True)
    refused = tuple(kind for kind in REFUSED_NOISES if not (rare and kind == "ultrasonic"))
    calls = _rare_calls(rows) if rare else _calls(rows)
    for kind, chosen in (("clean", calls), ("noise", _noises(rows, refused))):
        (folder / kind).mkdir(parents=True)
        for row in chosen:
            label = row["group"] if kind == "clean" else row["noise_type"]
            corner_hz = (row.get("highpass_hz") or 0.0) if kind == "clean" else 0.0
            samples = read_clip(corpus / row["path"], corner_hz)
            path = folder / kind / f"{label}_{row['sha256'][:8]}.wav"
            soundfile.write(path, samples, row["sample_rate"], subtype="FLOAT")
    settings = Settings(own_clean=folder / "clean", own_noise=folder / "noise", per_clip=per_clip)
    opened = open_set("own", settings)
    for plan in opened.plans():
        yield plan, opened.load(plan)


def surrounded(mixture: Mixture, number: int) -> Mixture:
    """Return a mixture between two stretches of its noise, 20, 40, 60 or 80 dB quieter.

    As where a recorder was switched on, or a recording cut out of another; `number` chooses.
    """
    quiet = np.resize(mixture.noise[::-1], SURROUNDING)
    quiet = quiet * np.float32(10 ** (-QUIETER_DB[number % len(QUIETER_DB)] / 20))
    noisy, noise = (np.concatenate([quiet, part, quiet]) for part in (mixture.noisy, mixture.noise))
    clean = np.pad(mixture.clean, SURROUNDING)
    return dataclasses.replace(mixture, noisy=noisy, clean=clean, noise=noise)


def group_of(plan: Plan) -> str:
    """Return the animal group of a mixture's call."""
    return Path(plan.clip).name.split("_")[0]


def _calls(rows: list[Row]) -> list[Row]:
    heard = [row for row in rows if row["set"] == "train"]
    unheard = [row for row in rows if row["set"] == "research"]
    return _unheard_calls(unheard, heard, MOST_OF_A_TAXON)


def _rare_calls(rows: list[Row]) -> list[Row]:
    withheld = [row for row in rows if row["set"] == "train" and row["tier"] == WITHHELD_TIER]
    heard = [row for row in rows if row["set"] == "train" and row["tier"] != WITHHELD_TIER]
    unheard = [*(row for row in rows if row["set"] == "research"), *withheld]
    rare = [row for row in unheard if row["group"] in RARE_GROUPS]
    return _unheard_calls(rare, heard, MOST_OF_A_RARE_TAXON)


def _unheard_calls(unheard: list[Row], heard: list[Row], most: int) -> list[Row]:
    """Return the clean calls of recordings and sources of which nothing is heard in training."""
    recordings = {row["recording"] for row in heard}
    sources = {row["source"] for row in heard if row["kind"] == "vocal"}
    taken: Counter[str] = Counter()
    chosen = []
    for row in unheard:
        if (
            row["kind"] == "vocal"
            and row["recording"] not in recordings
            and row["source"] not in sources
            and (row.get("est_snr_db") or 0.0) >= LEAST_SNR_DB
            and taken[row["taxon"]] < most
        ):
            taken[row["taxon"]] += 1
            chosen.append(row)
    return chosen


def _noises(rows: list[Row], refused: Sequence[str]) -> list[Row]:
    recordings = {row["recording"] for row in rows if row["set"] == "train"}
    return [
        row
        for row in rows
        if row["kind"] == "noise"
        and row["noise_type"] not in refused
        and (
            (row["set"] == "research" and row["recording"] not in recordings)
            or (row["set"] == "train" and is_held_back(row["recording"]))
        )
    ]
