"""Endurance: `python -m tests.faults.soak --minutes 10`.

Generated recordings, some of them damaged, are denoised again and again onto a small disk that is
filled and emptied meanwhile, by runs that are killed at random or meet each other. When a round is
left to end, its tree has to equal the undisturbed one, with one state for each input. The small
disk is a tmpfs in a name space of its own; where that is not allowed, there is only the killing.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import soundfile

KINDS = (("wav", None), ("flac", None), ("ogg", None), ("mp3", None), ("aif", None))
RATE_HZ = 16_000
COMMAND = "from biodenoising.cli.denoise import main; main()"


def generate(folder: Path, count: int, rng: np.random.Generator) -> None:
    """Write recordings in subfolders; one in eleven is cut, emptied or scribbled over."""
    for number in range(count):
        suffix, _ = KINDS[number % len(KINDS)]
        path = folder / f"{number % 7}" / f"20240501_{number:06}.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        frames = int(rng.integers(100, 20_000))
        samples = rng.uniform(-0.3, 0.3, (frames, 1 + number % 2)).astype(np.float32)
        container = {"aif": "AIFF", "mp3": "MP3", "ogg": "OGG"}.get(suffix, suffix.upper())
        soundfile.write(path, samples, RATE_HZ, format=container)
        if number % 11 == 9:
            raw = bytearray(path.read_bytes())
            fate = rng.integers(3)
            if fate == 0:
                raw = raw[: len(raw) // 2]
            elif fate == 1:
                raw[len(raw) // 3 : len(raw) // 3 + 500] = bytes(500)
            else:
                raw = bytearray(b"")
            path.write_bytes(raw)


def start(source: Path, output: Path, model: str, jobs: int) -> subprocess.Popen[str]:
    words = [sys.executable, "-c", COMMAND, str(source), str(output), "--model", model]
    return subprocess.Popen(
        [*words, "--jobs", str(jobs), "--quiet"], stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip


def kill(process: subprocess.Popen[str]) -> str:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    return process.communicate()[1]


def tree_of(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name[0] != "." and path.name not in ("biodenoise.jsonl", "fill")
    }


def states(folder: Path) -> dict[str, str]:
    """Return each file's state by its last row."""
    found = {}
    for line in (folder / "biodenoise.jsonl").read_text(errors="replace").splitlines():
        try:
            row = json.loads(line)
        except ValueError:  # torn by a kill
            continue
        found[row["file"]] = row["status"]
    return found


def round_of_faults(
    place: Path, wanted: dict[str, bytes], model: str, rng: random.Random, end: float
) -> Counter[str]:
    """Disturb runs on one OUTPUT until the time for that is over; check what is there each time."""
    source, output, counts = place / "in", place / "disk" / "out", Counter[str]()
    ballast = place / "disk" / "fill"
    while time.monotonic() < end:
        if rng.random() < 0.4:
            free = shutil.disk_usage(place / "disk").free
            if free < 1 << 30:  # only ever fill a disk made for this
                ballast.write_bytes(bytes(int(max(0, free - rng.randrange(4_000, 400_000)))))
        process = start(source, output, model, rng.choice((1, 1, 2)))
        rival = start(source, output, model, 1) if rng.random() < 0.2 else None
        try:
            process.wait(timeout=rng.uniform(1.0, 12.0))
        except subprocess.TimeoutExpired:
            counts["kills"] += 1
        error = kill(process)
        counts["runs"] += 1
        counts["full disks"] += "no space left" in error
        counts["tracebacks"] += "Traceback" in error
        if rival is not None:
            counts["rivals"] += 1
            counts["tracebacks"] += "Traceback" in kill(rival)
        made = tree_of(output) if output.exists() else {}
        counts["wrong outputs"] += sum(wanted.get(name) != data for name, data in made.items())
        counts["looks at outputs"] += len(made)
        ballast.unlink(missing_ok=True)
        if process.returncode in (0, 1) and made.keys() == wanted.keys():
            break
    return counts


def soak(place: Path, minutes: float, files: int, model: str, seed: int) -> int:
    rng, begun = random.Random(seed), time.monotonic()
    (place / "in").mkdir()
    generate(place / "in", files, np.random.default_rng(seed))
    inputs = {str(p.relative_to(place / "in")) for p in (place / "in").rglob("*") if p.is_file()}
    undisturbed = start(place / "in", place / "undisturbed", model, 1)
    _, error = undisturbed.communicate()
    wanted = tree_of(place / "undisturbed")
    fates = states(place / "undisturbed")
    print(f"{files} files: {len(wanted)} outputs, {len(error.splitlines())} refused", flush=True)
    counts, end = Counter[str](), begun + 60 * minutes
    while time.monotonic() < end:
        share = min(end, time.monotonic() + 90)
        counts += round_of_faults(place, wanted, model, rng, share)
        last = start(place / "in", place / "disk" / "out", model, 2)
        _, error = last.communicate()
        counts["rounds"] += 1
        made, fate = tree_of(place / "disk" / "out"), states(place / "disk" / "out")
        left = list((place / "disk").rglob(".*.part"))
        if made != wanted or fate != fates or fates.keys() != inputs or left:
            counts["rounds that differ"] += 1
            odd = sorted(name for name in wanted if made.get(name) != wanted[name])
            odd += sorted(name for name in inputs if fate.get(name) != fates.get(name))
            print(f"differs: {odd}, {left}; exit {last.returncode}: {error}", flush=True)
        shutil.rmtree(place / "disk" / "out")
    shown = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    bad = counts["wrong outputs"] + counts["rounds that differ"] + counts["tracebacks"]
    print(f"{(time.monotonic() - begun) / 60:.1f} min: {shown}; {bad} faults found", flush=True)
    return min(bad, 1)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--megabytes", type=int, help="size of the disk; by default twice OUTPUT")
    parser.add_argument("--model", default="compact")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.inside:
        return soak(
            Path(chosen.inside), chosen.minutes, chosen.files, chosen.model, chosen.seed
        )  # fmt: skip
    with tempfile.TemporaryDirectory() as place:
        (Path(place) / "disk").mkdir()
        size = chosen.megabytes or max(4, chosen.files * 80_000 // 1_000_000)
        words = [sys.executable, "-m", "tests.faults.soak", *sys.argv[1:], "--inside", place]
        mount = f'mount -t tmpfs -o size={size}m none "$0" && exec "$@"'
        inside = ["unshare", "-Urm", "sh", "-c", mount, f"{place}/disk", *words]
        trial = ["unshare", "-Urm", "sh", "-c", "mount -t tmpfs none /mnt"]
        allowed = shutil.which("unshare") and not subprocess.run(
            trial, capture_output=True, check=False
        ).returncode  # fmt: skip
        if not allowed:
            print("no small disk: mounting is not allowed here")
        return subprocess.run(inside if allowed else words, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
