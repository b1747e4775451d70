"""Train every student on every kind of target and write what came of it to recipes/RESULTS.md.

    python -m recipes.experiments RUN [--again RUN] [--corpus CORPUS] [--only PATTERN]

RUN is a finished run of the recipe (recipes/field), `--again` one with a student of the first round
among its teachers. Everything goes on where it ended.
"""

from __future__ import annotations

import argparse
import dataclasses
import fnmatch
import json
import os
import platform
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from biodenoising import BiodenoisingError, Denoiser
from biodenoising.corpus.manifest import read_manifest
from biodenoising.storage import whole_file
from biodenoising.training.configuration import read_settings
from biodenoising.training.export import export_run
from biodenoising.training.runs import run_training
from biodenoising.training.settings import TrainingSettings
from recipes.development.__main__ import score
from recipes.development.mixing import mixtures
from recipes.experiments.corpora import CHOSEN, TEACHERS, build
from recipes.pseudo_clean import targets

HERE = Path(__file__).resolve().parent
STUDENTS = ("compact", "demucs", "cleanunet")
SYNTHESIS, AGAIN = "chosen + synthesis", "chosen + synthesis + self-training"
ONE_RATE = "chosen, at recorded rates"
KINDS = (*TEACHERS, CHOSEN, ONE_RATE, SYNTHESIS, AGAIN)
SYNTHESIZED = 0.3


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line and run; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m recipes.experiments",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", type=Path, help="folder of a finished run of the recipe")
    parser.add_argument("--again", type=Path, help="the run with a student as a teacher")
    parser.add_argument("--corpus", type=Path, default=os.environ.get("BIODENOISING_CORPUS"))
    parser.add_argument("--folder", type=Path, default=Path("runs/experiments"))
    parser.add_argument("--students", type=Path, default=HERE, help="folder of their YAML files")
    parser.add_argument("--only", default="*", help="of STUDENT/TARGETS, a shell pattern")
    parser.add_argument("--results", type=Path, default=HERE.parent / "RESULTS.md")
    options = parser.parse_args(arguments)
    if options.corpus is None:
        parser.error("name a corpus to score on: --corpus or BIODENOISING_CORPUS")
    kinds = [kind for kind in KINDS if kind != AGAIN or options.again]
    grid = {
        student: [k for k in kinds if fnmatch.fnmatchcase(f"{student}/{k}", options.only)]
        for student in STUDENTS
    }
    words = sys.argv[1:] if arguments is None else arguments
    command = shlex.join(["python", "-m", "recipes.experiments", *map(str, words)])
    try:
        for student, chosen in grid.items():
            if chosen:
                text = _compared(student, chosen, command, options)
                _write(options.results, student, text)
                print(text)
    except BiodenoisingError as error:
        print(f"experiments: {error}", file=sys.stderr)
        return 2
    return 0


def _compared(student: str, kinds: Sequence[str], command: str, options: argparse.Namespace) -> str:
    """Train a student on every kind; return its section of the page."""
    runs = [_train(student, kind, options) for kind in kinds]
    models = {name: Denoiser(path, threads=1).denoise for name, path, _ in runs}
    development = options.folder / "development"
    table = score(models, mixtures(Path(options.corpus), development), development)
    return _section(command, table, [record for *_, record in runs], _students_among(options.run))


def _train(
    student: str, kind: str, options: argparse.Namespace
) -> tuple[str, Path, dict[str, Any]]:
    """Train one student on one kind; return its name, card and what is worth telling."""
    source = options.again if kind == AGAIN else options.run
    corpora = options.folder / ("corpora-again" if kind == AGAIN else "corpora")
    corpus = build(kind if kind in TEACHERS else CHOSEN, source, corpora)
    settings = _settings(student, kind, options.students)
    folder = options.folder / "runs" / settings.name
    finished = folder / "finished.json"
    card = folder / "model" / f"{settings.name}.json"
    if not finished.exists():
        print(f"{student} on {kind}", file=sys.stderr)
        summary = run_training(settings, [corpus], folder)
        export_run(settings, [corpus], folder, card.parent)
        record = {
            "targets": kind, "steps": summary.step, "seed": settings.seed,
            "minutes": round(summary.used_s / 60, 1), "batch": settings.batch,
            "samples": settings.mixtures.samples,
        }  # fmt: skip
        with whole_file(finished) as temporary:
            temporary.write_text(json.dumps(record), encoding="utf-8")
    return f"{student}, {kind}", card, json.loads(finished.read_text(encoding="utf-8"))


def _settings(student: str, kind: str, folder: Path) -> TrainingSettings:
    settings = read_settings(folder / f"{student}.yaml")
    share = SYNTHESIZED if kind in (SYNTHESIS, AGAIN) else 0.0
    name = re.sub(r"\W+", "-", f"{student}-{kind}")
    mixtures = dataclasses.replace(settings.mixtures, synthesized_calls=share)
    if kind == ONE_RATE:
        mixtures = dataclasses.replace(mixtures, call_octaves=0, noise_octaves=0)
    return dataclasses.replace(settings, name=name, mixtures=mixtures)


def _students_among(run: Path) -> list[str]:
    """Return the students of an earlier round that made targets of a run."""
    made_by = {row.teacher for row in read_manifest(run / targets.LIST) if row.path}
    return [student for student in STUDENTS if student in made_by]


def _section(
    command: str, table: str, records: Sequence[dict[str, Any]], students: Sequence[str]
) -> str:
    rows = "\n".join(
        f"| {r['targets']} | {r['steps']} x {r['batch']} x {r['samples']} | {r['seed']} | "
        f"{r['minutes']} |"
        for r in records
    )
    among = (
        f"In this run {' and '.join(students)} of an earlier round already stood among the "
        "teachers: its *chosen* is self-training too.\n\n"
        if students
        else ""
    )
    return (
        f"On the development set (recipes/development), made by\n\n    {command}\n\n"
        f"on {platform.machine()}, {os.cpu_count()} cores:\n\n{among}{table}\n\n"
        f"| targets | steps x batch x samples | seed | minutes |\n|---|---|---|---|\n{rows}\n"
    )


def _write(page: Path, student: str, text: str) -> None:
    """Put a student's section into the page; those of other students stay."""
    told = {}
    if page.exists():
        for part in re.split(r"^## ", page.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
            title, _, body = part.partition("\n")
            told[title] = body.strip() + "\n"
    told[student] = text
    parts = [f"## {name}\n\n{told[name]}" for name in STUDENTS if name in told]
    with whole_file(page) as temporary:
        temporary.write_text("\n".join([(HERE / "about.md").read_text(encoding="utf-8"), *parts]))


if __name__ == "__main__":
    sys.exit(main())
