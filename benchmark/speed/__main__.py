"""`python -m benchmark.speed`: measure by section, write SPEED.md, speed.json and a plot."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

from benchmark.__main__ import HERE, _path
from benchmark.speed.page import Figures, draw, render
from benchmark.speed.sections import SECTIONS, Size, cores, processor
from biodenoising import BiodenoisingError


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    made = argparse.ArgumentParser(prog="python -m benchmark.speed", description=__doc__)
    made.add_argument("--quick", action="store_true", help="less of everything, about two minutes")
    made.add_argument("--long", action="store_true", help="also a day at 48 kHz: 33 GB of disk")
    made.add_argument(
        "--only", action="append", default=[], choices=[*SECTIONS], help="sections; repeatable"
    )
    made.add_argument("--output", type=Path, help="folder (default benchmark/; quick: its cache)")
    made.add_argument("--corpus", type=Path, default=_path("BIODENOISING_CORPUS"))
    made.add_argument("--teachers", type=Path, default=_path("BIODENOISING_TEACHERS"))
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; 0 done, 1 failed."""
    options = parser().parse_args(arguments)
    words = sys.argv[1:] if arguments is None else arguments
    output = options.output or (HERE / "cache" / "quick" if options.quick else HERE)
    output.mkdir(parents=True, exist_ok=True)
    store = output / "speed.json"
    figures: Figures = json.loads(store.read_text()) if options.only and store.exists() else {}
    if "machine" not in figures:
        figures["about"] = {
            "command": shlex.join(["python", "-m", "benchmark.speed", *words]),
            "date": f"{datetime.now(timezone.utc):%Y-%m-%d}",
            "partly": "",
        }
    elif options.only:
        where = f"on {cores()} of the cores of {processor()}"
        about = figures["about"]
        again = f"{', '.join(options.only)}, measured later {where}"
        about["partly"] += f", {'and' if about['partly'] else 'but'} for {again}"
    wanted = [name for name in SECTIONS if name in options.only or not options.only]
    # Everything else is said beside what the machine is.
    for name in wanted if "machine" in figures else dict.fromkeys(["machine", *wanted]):
        begun = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="biodenoise-speed-") as folder:
            size = Size(Path(folder), options.quick, options.long, options.teachers, options.corpus)
            try:
                figures[name] = SECTIONS[name](size)
            except BiodenoisingError as error:
                print(f"benchmark.speed: {name}: {error}", file=sys.stderr)
                return 1
        print(f"{name}: {time.monotonic() - begun:.0f} s", flush=True)
        # A run that is stopped leaves what it has measured.
        store.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
        (output / "SPEED.md").write_text(render(figures), encoding="utf-8")
    draw(figures, output / "plots" / "speed.png")
    print(f"{output / 'SPEED.md'} written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
