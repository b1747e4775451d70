"""`python -m benchmark`: run the reachable sets, write RESULTS.md, results.json and plots."""

from __future__ import annotations

import argparse
import fnmatch
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from benchmark import PROTOCOL
from benchmark.catalogue import ALL_SETS, DEFAULT_SETS
from benchmark.report import MIXTURE_SETS, render
from benchmark.results import read_results, write_results
from benchmark.run import Options, draw, plotted_set, run_benchmark
from benchmark.runner import Job
from benchmark.sets import Settings
from benchmark.systems import System, all_systems
from biodenoising import BiodenoisingError, OptionError

HERE = Path(__file__).resolve().parent
QUICK_MIXTURES = 6
REPEATED = 2
QUICK_SETS = ("field", "synthetic")


def parser() -> argparse.ArgumentParser:
    """Return the command line; every path also has an environment variable where it says so."""
    made = argparse.ArgumentParser(prog="python -m benchmark", description=__doc__)
    audio = made.add_argument_group("audio")
    audio.add_argument(
        "--corpus",
        type=Path,
        default=_path("BIODENOISING_CORPUS"),
        help="local copy of the corpus (BIODENOISING_CORPUS)",
    )
    audio.add_argument("--fetch", action="store_true", help="download originals by URL")
    audio.add_argument(
        "--validation",
        type=Path,
        default=_path("BIODENOISING_VALIDATION"),
        help="the paper's set, zip or folder (BIODENOISING_VALIDATION)",
    )
    audio.add_argument("--clean", type=Path, help="your folder of clean clips (set `own`)")
    audio.add_argument("--noise", type=Path, help="your folder of noise (set `own`)")
    what = made.add_argument_group("what to run")
    what.add_argument("--sets", help=f"comma-separated, of {', '.join(ALL_SETS)}")
    what.add_argument("--limit", type=int, metavar="N", help="at most N mixtures a set")
    what.add_argument("--quick", action="store_true", help="a few mixtures, under two minutes")
    what.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="PATTERN",
        help="systems to run, shell patterns; repeatable",
    )
    what.add_argument(
        "--system",
        action="append",
        default=[],
        metavar="NAME=CMD",
        help="an external command with {input} and {output}; repeatable",
    )
    what.add_argument(
        "--teachers",
        type=Path,
        default=_path("BIODENOISING_TEACHERS"),
        help="weights of GTCRN and UL-UNAS (BIODENOISING_TEACHERS)",
    )
    what.add_argument(
        "--repeat",
        type=int,
        default=None,
        metavar="N",
        help="measure N mixtures a set once more and compare (default 2, none in a partial run)",
    )
    what.add_argument("--retry-errors", action="store_true", help="run failed rows again")
    what.add_argument("--no-cost", action="store_true", help="leave speed and memory out")
    what.add_argument("--no-plots", action="store_true")
    what.add_argument("--list", action="store_true", help="show sets and systems, run nothing")
    how = made.add_argument_group("how and where")
    how.add_argument("--workers", type=int, default=2, help="processes (default 2)")
    how.add_argument("--seed", type=int, default=0, help="of all draws (default 0)")
    how.add_argument(
        "--output",
        type=Path,
        help="folder of RESULTS.md (default benchmark/; "
        "benchmark/cache/quick with --quick or --limit)",
    )
    how.add_argument("--cache", type=Path, default=HERE / "cache", help="rows and downloads")
    how.add_argument(
        "--check", action="store_true", help="only check that RESULTS.md is what results.json gives"
    )
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; 0 done, 1 failed, 2 wrong options."""
    options = parser().parse_args(arguments)
    try:
        output = options.output or _default_output(options)
        if options.check:
            return check(output)
        systems = _chosen(all_systems(options.teachers, options.system), options.only)
        if options.list:
            return show(systems)
        return _run(options, output, systems, arguments)
    except OptionError as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 2
    except BiodenoisingError as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 1


def check(folder: Path) -> int:
    """Compare RESULTS.md with what results.json gives, the whole text."""
    written = folder / "RESULTS.md"
    if not written.is_file():
        raise BiodenoisingError(f"{written} is missing; run `make benchmark`")
    expected = render(read_results(folder / "results.json")).splitlines()
    actual = written.read_text(encoding="utf-8").splitlines()
    for number, (one, other) in enumerate(zip(actual, expected, strict=False), start=1):
        if one != other:
            raise BiodenoisingError(f"{written}, line {number} is not what results.json gives")
    if len(actual) != len(expected):
        raise BiodenoisingError(f"{written} has {len(actual)} lines, not {len(expected)}")
    print(f"{written} agrees with results.json")
    return 0


def show(systems: Sequence[System]) -> int:
    """Print sets and systems with what they need."""
    print("sets:", ", ".join(ALL_SETS))
    for system in systems:
        state = f"not available: {system.missing}" if system.missing else system.version
        print(f"{system.kind:9} {system.name:32} {state}")
    return 0


def _run(
    options: argparse.Namespace,
    output: Path,
    systems: Sequence[System],
    arguments: Sequence[str] | None,
) -> int:
    settings = Settings(
        corpus=options.corpus,
        cache=options.cache,
        fetch=options.fetch,
        validation=options.validation,
        own_clean=options.clean,
        own_noise=options.noise,
        seed=options.seed,
    )
    names = tuple(options.sets.split(",")) if options.sets else DEFAULT_SETS
    if options.quick and not options.sets:
        names = QUICK_SETS
    for system in systems:
        if system.missing:
            print(f"not available: {system.name}: {system.missing}", file=sys.stderr)
    words = sys.argv[1:] if arguments is None else arguments
    chosen = Options(
        sets=names,
        systems=tuple(systems),
        limit=options.limit or (QUICK_MIXTURES if options.quick else None),
        workers=options.workers,
        rows=options.cache / f"rows-{PROTOCOL}.jsonl",
        retry_errors=options.retry_errors,
        repeat=_repeated(options),
        with_cost=not (options.no_cost or options.quick),
        command=shlex.join(["python", "-m", "benchmark", *words]),
    )
    job = Job(settings, options.teachers, tuple(options.system))
    output.mkdir(parents=True, exist_ok=True)
    with tqdm(unit="mixture", smoothing=0.05, disable=None) as bar:
        results = run_benchmark(job, chosen, bar)
    results.meta["plots"] = None if options.no_plots else plotted_set(results)
    write_results(results, output / "results.json")
    text = render(read_results(output / "results.json"))
    (output / "RESULTS.md").write_text(text, encoding="utf-8")
    if results.meta["plots"]:
        draw(job, results, output / "plots")
    for name, entry in results.sets.items():
        print(f"{name}: {entry.get('reason') or 'done'}")
    if not any(results.rows.get(name) for name in MIXTURE_SETS):
        print("No recordings were reachable: the figures are of synthesized sound only.")
    print(f"{output / 'RESULTS.md'} written")
    differing = results.meta.get("repeated", {}).get("differing", [])
    if differing:
        raise BiodenoisingError(
            f"{len(differing)} rows were not the same when measured again, first {differing[0]}"
        )
    return 0


def _chosen(systems: Sequence[System], patterns: Sequence[str]) -> list[System]:
    if not patterns:
        return list(systems)
    kept = [s for s in systems if any(fnmatch.fnmatchcase(s.name, p) for p in patterns)]
    if not kept:
        raise OptionError(f"--only {' '.join(patterns)} matches no system; see --list")
    return kept


def _repeated(options: argparse.Namespace) -> int:
    if options.repeat is not None:
        return max(0, int(options.repeat))
    return 0 if options.quick or options.limit or options.only or options.sets else REPEATED


def _default_output(options: argparse.Namespace) -> Path:
    partial = options.quick or options.limit or options.only or options.sets
    return Path(options.cache / "quick") if partial and not options.check else HERE


def _path(variable: str) -> Path | None:
    value = os.environ.get(variable)
    return Path(value) if value else None


if __name__ == "__main__":
    sys.exit(main())
