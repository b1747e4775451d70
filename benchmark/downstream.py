"""Does it help the next step? Detectors on mixtures with known calls, before and after denoising.

    python -m benchmark.downstream --corpus DIR     # measure; write downstream.json and the page
    python -m benchmark.downstream --corpus DIR --only BatDetect2   # the others' figures are kept
    python -m benchmark.downstream --check          # fail where the page is not what the JSON gives

Every mixture of the benchmark's held-back clips and scenes is given to the detectors as it is,
denoised by the default model, and half and half (`--mix 0.5`).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.catalogue import open_set
from benchmark.detectors import DETECTORS, Detector
from benchmark.mixtures import SNRS_DB, Audio, Mixture, Plan
from benchmark.report import number, table
from benchmark.sets import Settings
from biodenoising import BiodenoisingError, Denoiser
from biodenoising.metrics import Interval, bootstrap_interval

HERE = Path(__file__).parent
RESULTS = HERE / "downstream.json"
PAGE = HERE.parent / "docs" / "downstream.md"
VERSIONS = ("noisy", "denoised", "blend")
SETS = ("field", "detection")
BLEND = 0.5
Row = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line, measure or check; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    named = os.environ.get("BIODENOISING_CORPUS")
    parser.add_argument("--corpus", type=Path, default=Path(named) if named else None)
    parser.add_argument("--only", choices=[detector.name for detector in DETECTORS])
    parser.add_argument("--limit", type=int, help="at most so many mixtures of each set")
    parser.add_argument("--check", action="store_true", help="only compare the page with the JSON")
    options = parser.parse_args(arguments)
    try:
        if options.check:
            stale = PAGE.read_text("utf-8") != page(json.loads(RESULTS.read_text("utf-8")))
            print(f"{PAGE.name} {'is stale' if stale else 'agrees with ' + RESULTS.name}")
            return int(stale)
        chosen = [d for d in DETECTORS if options.only in (None, d.name)]
        results = measure(chosen, options.corpus, options.limit)
    except BiodenoisingError as error:
        print(f"benchmark.downstream: {error}", file=sys.stderr)
        return 2
    if options.only and RESULTS.exists():
        kept = json.loads(RESULTS.read_text("utf-8"))
        old = [row for row in kept["rows"] if row["detector"] != options.only]
        results["rows"] = sorted(old + results["rows"], key=lambda row: row["detector"])
        absent = {k: why for k, why in kept["missing"].items() if k != options.only}
        results["missing"] = {**absent, **results["missing"]}
    lines = ",\n".join(json.dumps(row) for row in results["rows"])
    head = json.dumps({**results, "rows": []}, indent=1)
    RESULTS.write_text(head.replace('"rows": []', f'"rows": [\n{lines}\n]') + "\n", "utf-8")
    PAGE.write_text(page(results), "utf-8")
    print(f"{PAGE} written")
    return 0


def measure(
    detectors: Sequence[Detector], corpus: Path | None, limit: int | None
) -> dict[str, Any]:
    """Return the counts of those detectors that are there. Raises BiodenoisingError."""
    denoiser = Denoiser()
    there = [detector for detector in detectors if not detector.missing]
    rows: list[Row] = []
    for name in SETS:
        mixtures = open_set(name, Settings(corpus=corpus, per_clip=len(SNRS_DB)))
        plans = [p for p in mixtures.plans() if any(d.suits(p) for d in there)]
        for done, plan in enumerate(plans[:limit]):
            mixture = mixtures.load(plan)
            rows += scored(plan, mixture, versions(mixture, denoiser), there)
            print(f"\r{name}: {done + 1} of {len(plans)}", end="", file=sys.stderr)
        print(file=sys.stderr)
    return {
        "model": denoiser.card.name,
        "weights_sha256": denoiser.card.weights_sha256,
        "missing": {d.name: d.missing for d in detectors if d.missing},
        "rows": rows,
    }


def versions(mixture: Mixture, denoiser: Denoiser) -> dict[str, Audio]:
    """Return the mixture as it is, denoised, and their blend."""
    denoised = denoiser.denoise(mixture.noisy, mixture.sample_rate)
    blend = BLEND * denoised + (1 - BLEND) * mixture.noisy
    return {"noisy": mixture.noisy, "denoised": denoised, "blend": blend.astype(np.float32)}


def scored(
    plan: Plan, mixture: Mixture, heard: dict[str, Audio], detectors: Iterable[Detector]
) -> list[Row]:
    """Return a row for each detector that suits the mixture and each version of it."""
    rows: list[Row] = []
    for detector in detectors:
        if not detector.suits(plan):
            continue
        for version, samples in heard.items():
            counts = detector.score(samples, mixture, plan)
            if counts is not None:
                rows.append(
                    {
                        "detector": detector.name,
                        "mixture": plan.mixture,
                        "clip": plan.clip,
                        "snr_db": plan.snr_db,
                        "version": version,
                        "seconds": round(len(samples) / mixture.sample_rate, 3),
                        **counts._asdict(),
                    }
                )
    return rows


def page(results: dict[str, Any]) -> str:
    """Return docs/downstream.md."""
    rows: list[Row] = results["rows"]
    parts = [INTRODUCTION.format(model=results["model"], weights=results["weights_sha256"][:12])]
    for detector in DETECTORS:
        own = [row for row in rows if row["detector"] == detector.name]
        parts.append(f"## {detector.name}\n\n{EXPLAINED[detector.name]}\n")
        parts.append(_section(own) if own else _unmeasured(results, detector.name))
    return "\n".join([*parts, ENDING])


def _section(rows: list[Row]) -> str:
    clips, mixtures = (len({row[key] for row in rows}) for key in ("clip", "mixture"))
    body = [
        [name, str(_count(part)), *_cells(part)]
        for name, part in [
            *((f"{snr:+g} dB", [r for r in rows if r["snr_db"] == snr]) for snr in _snrs(rows)),
            ("all", rows),
        ]
    ]
    head = ["SNR", "calls", *(f"{what} {v}" for what in ("recall", "false") for v in VERSIONS)]
    changes = "; ".join(
        f"{version} {_signed(_difference(rows, version))}" for version in VERSIONS[1:]
    )
    return (
        f"{mixtures} mixtures of {clips} clips. Recall in percent; false alarms a minute of "
        f"sound.\n\n{table(head, body)}\n\nChange of recall against noisy, in percentage points "
        f"with a 95 % interval over clips: {changes}.\n"
    )


def _unmeasured(results: dict[str, Any], name: str) -> str:
    left_out = f'left out of the run; `--only "{name}"` adds it'
    return f"Not measured: {results['missing'].get(name, left_out)}.\n"


def _cells(rows: list[Row]) -> list[str]:
    parts = [[r for r in rows if r["version"] == version] for version in VERSIONS]
    recalls = [number(100 * _recall(part), 0) for part in parts]
    minutes = [max(sum(r["seconds"] for r in part) / 60, 1e-9) for part in parts]
    alarms = [sum(r["false_alarms"] for r in part) for part in parts]
    return [*recalls, *(number(n / m, 1) for n, m in zip(alarms, minutes, strict=True))]


def _difference(rows: list[Row], version: str) -> Interval:
    """Return the change of recall in percentage points, all calls counting alike."""
    before = {r["mixture"]: r for r in rows if r["version"] == "noisy"}
    after = {r["mixture"]: r for r in rows if r["version"] == version}
    names = sorted(before)
    gained = np.array([after[n]["hits"] - before[n]["hits"] for n in names], float)
    calls = np.array([before[n]["hits"] + before[n]["misses"] for n in names], float)
    clips = [before[n]["clip"] for n in names]

    def share(indices: NDArray[np.float64]) -> float:
        at = indices.astype(int)
        return float(100 * gained[at].sum() / max(calls[at].sum(), 1))

    return bootstrap_interval(np.arange(len(names)), groups=clips, statistic=share)


def _recall(rows: list[Row]) -> float:
    calls = sum(row["hits"] + row["misses"] for row in rows)
    return sum(row["hits"] for row in rows) / calls if calls else float("nan")


def _count(rows: list[Row]) -> int:
    return sum(row["hits"] + row["misses"] for row in rows if row["version"] == "noisy")


def _snrs(rows: list[Row]) -> list[float]:
    return sorted({row["snr_db"] for row in rows})


def _signed(value: Interval) -> str:
    return f"{value.value:+.0f} [{value.low:+.0f}, {value.high:+.0f}]"


INTRODUCTION = """# Does denoising help the next step?

Made by `python -m benchmark.downstream` from `benchmark/downstream.json`; do not edit.

Detectors were given mixtures of known calls and field noise: as they are (*noisy*), *denoised* by
the model `{model}` (weights {weights}) with default options, and half and half (*blend*,
`--mix 0.5`). The clips are those of the benchmark: no model was trained, chosen or tuned on them.
The detectors are measured only; they are not part of this package.

**In short: it depends on the detector. Compare on some of your own files before you put a denoiser
in front of one.** These are short clips of loud calls, buried in noise afterwards; in a recorder's
files calls are fainter, and noise is part of what most detectors were trained on.
"""

EXPLAINED = {
    "BirdNET V2.4": (
        "Birds, frogs and mammals whose species BirdNET reports in the clean clip. A mixture is a "
        "hit where it reports the species with a confidence of 0.25 or more in any window of "
        "three seconds; every other species is a false alarm. No filter by place or season."
    ),
    "BatDetect2": (
        "Bats. What it finds with a probability of 0.5 or more in the clean clip is the truth; a "
        "hit begins within 10 ms of it, anything else is a false alarm."
    ),
    "onset/offset": (
        "A plain energy detector (`benchmark/detection.py`): what stands out of its frequency's "
        "median by 10 dB. Scenes of six calls at known times. No trained detector, but what many "
        "scripts for segmenting songs do."
    ),
}

ENDING = """## When not to denoise

- Where your detector does well on the noisy recordings: there is little to gain and calls to lose.
- Where it was trained on noisy sound and gets worse above at high signal-to-noise ratios: use the
  blend, or denoise only what people look at and listen to.
- Where a study compares sites or years: denoise all or nothing, with the same options, and say so.
- Where levels, call rates near the threshold, or the soundscape itself are what is measured.
"""


if __name__ == "__main__":
    sys.exit(main())
