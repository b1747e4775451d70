"""Adapt to places of a corpus and measure what it did on recordings that the adaptation never saw.

    python -m recipes.adaptation.measure CORPUS OUT [--place NAME ...] [--minutes 8] [--rehearse]

A place is one source's clips with their own background, or the calls of one source in the noise of
another, mixed at -5 to 15 dB (`composed`). Four tenths of the recordings, of calls and of noise, is
kept from the adaptation and gives the known calls (clips of 15 dB or more) and the noise to hear
them in. With --rehearse the adaptation gets what the shipped models were trained on as its general
corpus, without the sources of any place. The general check is the development set
(recipes.development), without the sources of the place. OUT/PLACE.json holds the figures; the same
command goes on where it was broken off.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from biodenoising import Adaptation, adapt
from biodenoising.corpus.clips import ClipSettings, read_rows
from biodenoising.corpus.manifest import MANIFEST_NAME
from biodenoising.corpus.segments import find_segments
from biodenoising.errors import BiodenoisingError
from biodenoising.metrics import bootstrap_interval, si_sdr
from biodenoising.models import DEFAULT_MODEL
from biodenoising.storage import whole_file
from biodenoising.training.adaptation_check import Known, heard, mix_known
from recipes.development.mixing import mixtures

Samples = NDArray[np.float32]
Row = dict[str, Any]

KNOWN = 40
LEAST_CLEAN_DB, LEAST_NOISE_S = 15.0, 1.0
HELD_OUT_TENTHS = 4
REFUSED_NOISES = ClipSettings().refused_noises
SCENE_S, SCENE_SNR_DB, SCENES = 30.0, (-5.0, 15.0), 16


@dataclass(frozen=True)
class Place:
    """Whose calls and whose noise; without a noise source the clips stay as they are."""

    name: str
    calls: str
    noise: str = ""


PLACES = (
    Place("birds", "isensee-bastian/bird-guess"),
    Place("piha", "UCSD-E4E/PyHa"),
    Place("frogs", "anEvolvingPatternIntegrity/frog-call-trainer"),
    # One noise in all recordings, as at a place where one recorder stands.
    Place("ships", "MazdakFatahi/marine-mammal-sound-classification", "irfankamboh/DeepShip"),
    Place("chorus", "UCSD-E4E/PyHa", "QutEcoacoustics/recognizer_workshop"),
    Place("rain", "anEvolvingPatternIntegrity/frog-call-trainer", "xeranas/weather_pack"),
    # Noises of many kinds, each looped by its maker.
    Place("rooms", "landbuoy/landbuoy.github.io", "remvze/moodist"),
    Place("meadow", "isensee-bastian/bird-guess", "CreativeMD/AmbientSounds"),
    # Looked at while adaptation was being built; the others were not.
    Place("ambience", "nianlonggu/WhisperSeg", "CreativeMD/AmbientSounds"),
)


def is_held_out(recording: str) -> bool:
    """Tell by hash whether a recording is kept from the adaptation."""
    return hashlib.sha256(f"place {recording}".encode()).digest()[0] % 10 < HELD_OUT_TENTHS


def rows_of(corpus: Path, source: str, kinds: Sequence[str]) -> list[Row]:
    """Return the rows of a source that the shipped models were not trained on."""
    return [
        row
        for row in read_rows(corpus)
        if row["source"] == source
        and row["kind"] in kinds
        and (
            row["set"] == "research"
            or (row["set"] == "train" and row["tier"] == "noncommercial")
            or (row["set"] == "train" and row.get("noise_type") in REFUSED_NOISES)
        )
    ]


def read(corpus: Path, row: Row) -> tuple[Samples, int]:
    """Return a clip's first channel and its rate."""
    audio, rate = soundfile.read(corpus / row["path"], dtype="float32", always_2d=True)
    return audio[:, 0] - audio[:, 0].mean(), int(rate)


def make_place(place: Place, corpus: Path, folder: Path) -> list[Known]:
    """Write what the adaptation may hear into a folder; return the held-out known mixtures."""
    rng = np.random.default_rng(int(hashlib.sha256(place.name.encode()).hexdigest()[:8], 16))
    folder.mkdir(parents=True, exist_ok=True)
    calls = rows_of(corpus, place.calls, ("vocal",))
    if not place.noise:
        rows = calls + rows_of(corpus, place.calls, ("soundscape", "noise"))
        for number, row in enumerate(r for r in rows if not is_held_out(r["recording"])):
            audio, rate = read(corpus, row)
            soundfile.write(folder / f"{number:03d}.wav", audio, rate, subtype="PCM_16")
        noises = [
            noise
            for row in rows
            if is_held_out(row["recording"])
            for noise in _quiet(*read(corpus, row))
        ]
        return _known(calls, noises, corpus, rng)
    noise_rows = rows_of(corpus, place.noise, ("noise", "soundscape"))
    theirs = [read(corpus, r) for r in noise_rows if not is_held_out(r["recording"])]
    some = [read(corpus, r) for r in calls if not is_held_out(r["recording"])]
    for number in range(SCENES):
        noise, rate = theirs[number % len(theirs)]
        scene = _scene(some, noise, rate, rng)
        soundfile.write(folder / f"{number:03d}.wav", scene, rate, subtype="PCM_16")
    kept = [read(corpus, r)[0] for r in noise_rows if is_held_out(r["recording"])]
    return _known(calls, kept, corpus, rng)


def _quiet(audio: Samples, rate: int) -> list[Samples]:
    return [
        audio[round(s.start_s * rate) : round(s.end_s * rate)]
        for s in find_segments(audio, rate)
        if s.kind == "noise" and s.end_s - s.start_s >= LEAST_NOISE_S
    ]


def _known(
    rows: Sequence[Row], noises: Sequence[Samples], corpus: Path, rng: np.random.Generator
) -> list[Known]:
    clean = [
        row
        for row in rows
        if is_held_out(row["recording"]) and (row.get("est_snr_db") or 0) >= LEAST_CLEAN_DB
    ]
    if not clean or not noises:
        raise SystemExit(f"{len(clean)} clean calls, {len(noises)} noises held out: too few")
    calls = [(row["recording"], read(corpus, row)[0]) for row in clean]
    return [mix_known(*calls[n % len(calls)], noises, rng) for n in range(KNOWN)]


def _scene(
    calls: Sequence[tuple[Samples, int]], noise: Samples, rate: int, rng: np.random.Generator
) -> Samples:
    """Return half a minute of noise with a call every few seconds."""
    scene = np.resize(noise, int(SCENE_S * rate)).astype(np.float32)
    level = float(np.sqrt(np.mean(noise**2))) + 1e-9
    at = rng.uniform(1, 3)
    while at < SCENE_S - 2:
        call, call_rate = calls[int(rng.integers(len(calls)))]
        call = np.asarray(soxr.resample(call, call_rate, rate), np.float32)[: 3 * rate]
        loud = float(np.sqrt(np.mean(call**2))) + 1e-9
        start = int(at * rate)
        call = call[: len(scene) - start] * level / loud * 10 ** (rng.uniform(*SCENE_SNR_DB) / 20)
        scene[start : start + len(call)] += call
        at += len(call) / rate + rng.uniform(1.5, 4)
    return np.asarray(0.5 * scene / np.abs(scene).max(), np.float32)


def rehearsal(corpus: Path, folder: Path) -> Path:
    """Write a manifest of what the shipped models were trained on, but for the places' sources."""
    named = {source for place in PLACES for source in (place.calls, place.noise)}
    rows = [
        row
        for row in read_rows(corpus)
        if row["set"] == "train"
        and row["tier"] in ClipSettings().tiers
        and row["source"] not in named
    ]
    folder.mkdir(parents=True, exist_ok=True)
    for top in {Path(row["path"]).parts[0] for row in rows}:
        if not (folder / top).exists():
            (folder / top).symlink_to((corpus / top).resolve())
    with whole_file(folder / MANIFEST_NAME) as temporary:
        temporary.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


def general(place: Place, corpus: Path, folder: Path) -> list[Known]:
    """Return the development set's mixtures of which the place's sources have no part."""
    sources = {row["sha256"][:8]: row["source"] for row in read_rows(corpus)}
    made = []
    for plan, mixture in mixtures(corpus, folder, 1):
        heard_in = {sources[Path(name).stem.split("_")[-1]] for name in (plan.clip, plan.noise)}
        if not heard_in & {place.calls, place.noise}:
            made.append(Known(mixture.noisy, mixture.clean, plan.clip))
    return made


def compare(old: str, new: Path | str, mixtures: Sequence[Known]) -> dict[str, Any]:
    """Return the improvements of both and their paired difference."""

    def silent(count: int) -> None:
        return None

    inputs = np.array([si_sdr(m.noisy, m.target) for m in mixtures])
    before, after = (heard(model, mixtures, silent) for model in (old, new))
    groups = [m.call for m in mixtures]
    mean = bootstrap_interval(
        after - before, groups=groups, statistic=lambda values: float(np.mean(values))
    )
    return {
        "calls": len(set(groups)),
        "mixtures": len(groups),
        "before_db": round(float(np.median(before - inputs)), 2),
        "after_db": round(float(np.median(after - inputs)), 2),
        "difference_db": [round(value, 3) for value in mean],
        "median_difference_db": round(float(np.median(after - before)), 3),
    }


def measure(
    place: Place, corpus: Path, out: Path, minutes: float, *, rehearse: bool
) -> dict[str, Any]:
    """Adapt to one place and measure; return the record."""
    folder = out / place.name / "recordings"
    beside = (rehearsal(corpus, out / "rehearsal"),) if rehearse else ()
    known = make_place(place, corpus, folder)
    model = out / place.name / f"{place.name}.safetensors"
    begun = monotonic()
    record: dict[str, Any] = {
        "place": dataclasses.asdict(place), "minutes": minutes, "rehearsed": rehearse,
    }  # fmt: skip
    try:
        ended: Adaptation | None = adapt(
            folder, model, minutes=minutes, general=beside, keep=True, observer=_tell
        )
    except BiodenoisingError as error:
        ended, record["refused"] = None, str(error)
    record["wall_minutes"] = round((monotonic() - begun) / 60, 1)
    if ended is not None:
        record["targets"], record["noises"] = ended.targets, ended.noises
        record["steps"], record["verdict"] = ended.steps, dataclasses.asdict(ended.verdict)
        if ended.model is None:
            record["refused"] = ended.verdict.reason
    record["handed over"] = ended is not None and ended.model is not None
    # Where it was refused: what the farthest step would have brought, for who doubts the verdict.
    farthest = sorted((model.with_name(model.stem + ".adapting") / "steps").glob("*.json"))[-1:]
    new = ended.model if ended is not None else None
    path = new or (farthest[0] if farthest else model)
    if path.exists():
        record["new" if new else "farthest"] = {
            "known": compare(DEFAULT_MODEL, path, known),
            "general": compare(DEFAULT_MODEL, path, general(place, corpus, out / "development")),
        }
        if not new:
            record["farthest"]["share"] = int(path.stem.removeprefix("step_")) / 100
    return record


def table(out: Path) -> str:
    """Return what was measured, a line a place, as markdown."""
    lines = [
        "| place | targets | steps | way | known calls: before, after | new - old | own check said "
        "| general: new - old | handed over |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for path in sorted(out.glob("*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        said = record.get("verdict") or {}
        lines.append(_line(path.stem, record, said, record.get("new"), f"{said.get('share', 0):g}"))
        if record.get("new") is None and record.get("farthest"):
            figures = record["farthest"]
            way = f"{figures['share']:g}"
            lines.append(_line(f"{path.stem}, not used", record, said, figures, way))
    return "\n".join(lines)


def _line(name: str, record: Row, said: Row, figures: Row | None, way: str) -> str:
    cells = [name, record.get("targets", ""), record.get("steps", ""), way]
    if figures is None:
        cells += ["", "", _interval(said.get("known")), "", record.get("refused", "")]
    else:
        known, other = figures["known"], figures["general"]
        cells += [
            f"{known['before_db']:.1f}, {known['after_db']:.1f} dB",
            _interval(known["difference_db"]), _interval(said.get("known")),
            _interval(other["difference_db"]),
            "yes" if record["handed over"] else record.get("refused", "no"),
        ]  # fmt: skip
    return "| " + " | ".join(map(str, cells)) + " |"


def _interval(values: Sequence[float] | None) -> str:
    return "" if not values else "{:+.2f} ({:+.2f} to {:+.2f})".format(*values)


def _tell(event: object) -> None:
    if isinstance(event, str):
        print(event, file=sys.stderr)


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("corpus", type=Path)
    parser.add_argument("out", type=Path)
    names = [place.name for place in PLACES]
    parser.add_argument("--place", action="append", choices=names, help="this one (repeatable)")
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--rehearse", action="store_true", help="with a general corpus")
    parser.add_argument("--table", action="store_true", help="only print OUT's figures")
    options = parser.parse_args()
    if options.table:
        print(table(options.out))
        return
    for place in PLACES:
        path = options.out / f"{place.name}.json"
        if (options.place and place.name not in options.place) or path.exists():
            continue
        record = measure(
            place, options.corpus, options.out, options.minutes, rehearse=options.rehearse
        )
        with whole_file(path) as temporary:
            temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        print(json.dumps(record), file=sys.stderr)


if __name__ == "__main__":
    main()
