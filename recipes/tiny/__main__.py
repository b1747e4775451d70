"""Synthesize recordings, make a training set of them, compare it with the truth.

    python -m recipes.tiny [--run runs/tiny] [--seed 1] [--jobs 1]

Takes a minute or two of one core. The last line says by how much the targets are nearer to the
truth than the segments they were made from; the exit code is 1 where that is not enough.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from time import monotonic

from biodenoising.errors import BiodenoisingError
from recipes.pseudo_clean.__main__ import run_stages
from recipes.pseudo_clean.items import read_outcome
from recipes.pseudo_clean.settings import Settings, read_settings
from recipes.tiny.check import check
from recipes.tiny.synthesize import BROKEN, synthesize

CONFIG = Path(__file__).with_name("config.yaml")
MADE = "made"


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line and run; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, default=Path("runs/tiny"), help="the run's folder")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args(arguments)
    begun = monotonic()
    # Beside the run's folder and not in it: what a run reads must not lie where it writes.
    made = options.run.with_name(f"{options.run.name}_{MADE}")
    try:
        settings = settings_of(options.run, made, options.jobs)
        synthesize(made, options.seed)
        run_stages(settings)
        verdict = check(options.run, made / "truth")
    except BiodenoisingError as error:
        print(f"tiny: {error}", file=sys.stderr)
        return 2
    complaints = verdict.complaints()
    failed = read_outcome(options.run, "recordings")["failed"]
    if [BROKEN in line for line in failed] != [True]:
        complaints.append(f"{BROKEN} alone should have failed, but {len(failed)} did: {failed}")
    for complaint in complaints:
        print(f"tiny: {complaint}", file=sys.stderr)
    print(f"{verdict}; {monotonic() - begun:.0f} s")
    return 1 if complaints else 0


def settings_of(run: Path, made: Path, jobs: int) -> Settings:
    """Return the settings of the configuration, with the folders of this run."""
    settings = read_settings(CONFIG, run=str(run), jobs=jobs)
    source = dataclasses.replace(settings.sources[0], path=str(made / "recordings"))
    return dataclasses.replace(settings, sources=(source,))


if __name__ == "__main__":
    sys.exit(main())
