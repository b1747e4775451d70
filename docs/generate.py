"""Write docs/cli.md from the commands' own help, and README's figures from benchmark/results.json.

python docs/generate.py           # write
python docs/generate.py --check   # fail where a page is stale
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import click
from click.testing import CliRunner

from biodenoising.cli.adapt import biodenoise_adapt
from biodenoising.cli.app import biodenoise_app
from biodenoising.cli.data import data
from biodenoising.cli.denoise import biodenoise
from biodenoising.cli.models import models
from biodenoising.cli.train import biodenoise_train

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
WIDTH = 96
HEADLINE = "field"
SHOWN_PEERS = 4


def cli_page() -> str:
    """Return the page of all commands."""
    parts = ["# Command line\n\nMade from the commands' own help by `make docs`.\n"]
    commands: list[tuple[str, click.Command, list[str]]] = [
        ("biodenoise", biodenoise, []),
        ("biodenoise-app", biodenoise_app, []),
        ("biodenoise-models", models, []),
        *((f"biodenoise-models {name}", models, [name]) for name in models.commands),
        ("biodenoise-data", data, []),
        *((f"biodenoise-data {name}", data, [name]) for name in data.commands),
        *(
            (f"biodenoise-data search {name}", data, ["search", name])
            for name in ("xeno-canto", "inaturalist", "zenodo")
        ),
        ("biodenoise-train", biodenoise_train, []),
        ("biodenoise-adapt", biodenoise_adapt, []),
    ]
    for name, command, words in commands:
        shown = CliRunner().invoke(
            command, [*words, "--help"], prog_name=name.split()[0], terminal_width=WIDTH
        )
        parts.append(f"## {name}\n\n```\n{shown.output.rstrip()}\n```\n")
    return "\n".join(parts)


def figures(readme: str) -> str:
    """Return README with the blocks `results` and `costs` filled from the benchmark's figures."""
    # Run as a script, the checkout's own folder is not where Python looks.
    sys.path.insert(0, str(ROOT))
    from benchmark.report import interval, number, table
    from benchmark.results import read_results
    from benchmark.statistics import summaries

    path = ROOT / "benchmark" / "results.json"
    if not path.exists():
        return readme
    results = read_results(path)
    if HEADLINE not in results.rows:
        return readme
    lines = summaries(results.rows[HEADLINE], results.kinds)
    peers = [line for line in lines if line.kind in ("peer", "external")]
    named = [line for line in peers if line.system.startswith("noisereduce-")]
    shown = [line for line in lines if line.kind in ("model", "oracle", "reference")]
    shown += [line for line in lines if line in peers[:SHOWN_PEERS] or line in named[:2]]
    shown.sort(key=lambda line: -line.si_sdri.value)
    rows = [
        [
            f"**{line.system}**" if line.kind == "model" else line.system,
            interval(line.si_sdri),
            f"{number(line.worse_percent, 0)} %",
        ]
        for line in shown
        if line.system != "unprocessed"
    ]
    count = max(line.mixtures for line in lines)
    readme = _block(
        readme,
        "results",
        f"{count} mixtures of held-back clean calls with field noise, -5 to 10 dB. Improvement of "
        "SI-SDR in dB, median with 95 % interval, and the share of mixtures made worse. The oracle "
        "knows the answer; no tool can reach it.\n\n"
        + table(["system", "improvement, dB", "made worse"], rows),
    )
    costs = {system["name"]: system for system in results.systems}
    tools = [line for line in shown if line.kind not in ("oracle", "reference")]
    timed = [line.system for line in tools if costs[line.system].get("rtf")]
    rows = [
        [name, f"{1 / costs[name]['rtf']:.0f} x real time", f"{costs[name]['memory_mb']:.0f} MB"]
        for name in timed
    ]
    return _block(
        readme,
        "costs",
        "One processor core, a recording at 48 kHz (ratios count, times are one machine's):\n\n"
        + table(["system", "speed", "memory"], rows),
    )


def _block(text: str, name: str, content: str) -> str:
    pattern = rf"(<!-- {name}: begin -->\n).*?(<!-- {name}: end -->)"
    return re.sub(pattern, lambda m: f"{m[1]}{content}\n{m[2]}", text, flags=re.DOTALL)


def main(arguments: list[str]) -> int:
    """Write the pages, or with --check compare them; return the exit code."""
    readme = ROOT / "README.md"
    pages = {DOCS / "cli.md": cli_page(), readme: figures(readme.read_text("utf-8"))}
    stale = [p for p, text in pages.items() if not p.exists() or p.read_text("utf-8") != text]
    if "--check" in arguments:
        for page in stale:
            print(f"{page.name} is stale: run make docs", file=sys.stderr)
        return 1 if stale else 0
    for page in stale:
        page.write_text(pages[page], encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
