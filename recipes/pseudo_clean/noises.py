"""Stage 5: the noise set, every stretch of it once.

Writes `noise.jsonl`: the call-free segments whose samples no other one has, and rows for the rest.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from time import monotonic, process_time

from tqdm import tqdm

from biodenoising.corpus.duplicates import find_duplicates
from biodenoising.corpus.manifest import read_manifest, write_manifest
from recipes.pseudo_clean import cutting
from recipes.pseudo_clean.items import Outcome, write_outcome
from recipes.pseudo_clean.recordings import tell
from recipes.pseudo_clean.settings import Settings

STAGE = "noise"
LIST = "noise.jsonl"
DUPLICATE = "the same samples as another one"


def run_stage(run: Path, settings: Settings) -> Outcome:
    """List the noise of all segments without duplicates; it only reads, so it is done anew."""
    begun, clock = monotonic(), process_time()
    rows = [row for row in read_manifest(run / cutting.LIST) if row.kind == "noise"]
    kept = [row for row in rows if row.path]
    outcome = Outcome()
    with tqdm(total=len(kept), desc=STAGE, unit="", file=sys.stderr, disable=None) as bar:
        found = find_duplicates(
            [run / row.path for row in kept], progress=lambda path: bar.update() and None
        )
    again = {path for group in found.groups for path in group[1:]}
    unreadable = dict(found.unreadable)
    for row in rows:
        reason = row.rejected
        if row.path and run / row.path in again:
            reason = DUPLICATE
        elif row.path and run / row.path in unreadable:
            reason = "cannot be read"
            outcome.failed.append(unreadable[run / row.path])
            tell(f"failed   {unreadable[run / row.path]}")
        path = "" if reason else row.path
        outcome.rows.append(dataclasses.replace(row, path=path, rejected=reason))
    write_manifest(run / LIST, outcome.rows)
    outcome.made, outcome.seconds = len(rows), process_time() - clock
    outcome.wall_s = monotonic() - begun
    write_outcome(run, STAGE, outcome)
    return outcome
