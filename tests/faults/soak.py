"""Endurance: `python -m tests.faults.soak --minutes 60 --files 10100`.

Generated recordings, some of them damaged, are denoised again and again onto a small disk that is
filled and emptied meanwhile, by runs that are killed at random, lose workers or meet each other.
When a round is left to end, its tree has to equal the undisturbed one, with one state for each
input. The small disk is a tmpfs in a name space of its own; where that is not allowed, there is
only the killing. The model is a tiny untrained one: what is tried is everything around it.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
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

from tests.conftest import write_tiny_model

SUFFIXES = ("wav", "flac", "ogg", "mp3", "aif")
RATE_HZ = 16_000
MOST_FRAMES = 4_000
COMMAND = "from biodenoising.cli.denoise import main; main()"
PAGE_BYTES = 4_096
ROOM = 1.5  # the disk holds so many times OUTPUT, and a manifest that grows
ROUND_SHARE = 0.2  # of the soak is a round's time for faults
STOP_S = 120.0  # far more than a run needs to end after SIGTERM on a busy machine
# Nothing else may come of a run: 2 where the folder is locked or the disk is full at the start,
# -15 where the signal came before the command could listen to it.
FAULTS = (
    "wrong outputs", "rounds that differ", "tracebacks", "wrong exit codes", "false successes",
    "runs that did not stop",
)  # fmt: skip
EXPECTED_CODES = (0, 1, 2, 130, -signal.SIGTERM, -signal.SIGKILL)


def generate(folder: Path, count: int, rng: np.random.Generator) -> None:
    """Write recordings in subfolders; one in eleven is cut, emptied or scribbled over."""
    for number in range(count):
        suffix = SUFFIXES[number % len(SUFFIXES)]
        path = folder / f"{number % 7}" / f"20240501_{number:06}.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        frames = int(rng.integers(100, MOST_FRAMES))
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


class Run:
    """The command as a process of its own, with the soak's INPUT, model and small disk."""

    def __init__(self, place: Path, output: Path, jobs: int, *more: str) -> None:
        words = [sys.executable, "-c", COMMAND, str(place / "in"), str(output), "--quiet", *more]
        words += ["--model", str(place / "tiny.json"), "--jobs", str(jobs)]
        # A file takes any number of messages, however late they are read.
        self._said = tempfile.TemporaryFile("w+", dir=place, errors="replace")  # noqa: SIM115
        self.process = subprocess.Popen(
            words, stderr=self._said, text=True, start_new_session=True
        )  # fmt: skip

    def wait(self, seconds: float | None = None) -> bool:
        """Tell whether the run has ended within this time."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def workers(self) -> list[int]:
        """Return the worker processes by their numbers."""
        number = self.process.pid
        try:
            children = Path(f"/proc/{number}/task/{number}/children").read_text().split()
            return [n for n in map(int, children) if b"spawn_main" in _command_line(n)]
        except OSError:  # it ended just now
            return []

    def kill(self) -> str:
        """End it, with all its workers, if it has not ended; return what it said."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._said.seek(0)
        with self._said:
            return self._said.read()


def _command_line(number: int) -> bytes:
    return Path(f"/proc/{number}/cmdline").read_bytes()


def tree_of(folder: Path) -> dict[str, str]:
    """Return the hash of each output by its name."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name[0] != "." and path.name != "biodenoise.jsonl"
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


def logged(log: Path) -> Counter[tuple[str, str]]:
    """Return how often a run told each file's state."""
    rows = map(json.loads, log.read_text().splitlines())
    return Counter((row["file"], row["status"]) for row in rows if "file" in row)


def refill(place: Path, rng: random.Random) -> None:
    """Leave next to nothing of the small disk, or give it back."""
    ballast = place / "disk" / "fill"
    free = shutil.disk_usage(place / "disk").free
    if ballast.exists():
        ballast.unlink()
    elif free < 1 << 30:  # only ever fill a disk made for this
        with contextlib.suppress(OSError):  # the run was quicker
            ballast.write_bytes(bytes(max(0, free - rng.randrange(4_000, 400_000))))


def disturb(place: Path, run: Run, rng: random.Random, seconds: float) -> Counter[str]:
    """Fill and empty the disk and kill workers for a while, then end the run in some way."""
    counts, end = Counter[str](), time.monotonic() + seconds
    while not run.wait(min(rng.expovariate(1 / 6), max(0.0, end - time.monotonic()))):
        if time.monotonic() >= end:
            break
        workers = run.workers()
        if workers and rng.random() < 0.4:
            with contextlib.suppress(ProcessLookupError):
                os.kill(rng.choice(workers), signal.SIGKILL)
                counts["killed workers"] += 1
        else:
            counts["refills"] += 1
            refill(place, rng)
    if run.process.poll() is not None:
        return counts
    if rng.random() < 0.25:
        counts["interruptions"] += 1
        run.process.send_signal(signal.SIGTERM)
        counts["runs that did not stop"] += not run.wait(STOP_S)
    else:
        counts["kills"] += 1
    return counts


def told(run: Run) -> Counter[str]:
    """End a run; count what it said and how it ended."""
    error = run.kill()
    code = run.process.returncode
    if "Traceback" in error or code not in EXPECTED_CODES:
        print(f"exit {code}: {error[-4000:]}", flush=True)
    return Counter({
        "full disks": "no space left" in error,
        "tracebacks": "Traceback" in error,
        "wrong exit codes": code not in EXPECTED_CODES,
        # Nothing but a whole tree may be called so; here every tree has damaged files.
        "false successes": code == 0,
    })  # fmt: skip


def round_of_faults(
    place: Path, wanted: dict[str, str], rng: random.Random, seconds: float
) -> Counter[str]:
    """Disturb runs on one OUTPUT until the time for that is over; check what is there each time."""
    output, end = place / "disk" / "out", time.monotonic() + seconds
    counts = Counter[str]()
    while time.monotonic() < end:
        run = Run(place, output, rng.choice((1, 2, 2)))
        rival = Run(place, output, 1) if rng.random() < 0.15 else None
        most = rng.choice((12.0, seconds / 4))
        counts += disturb(place, run, rng, rng.uniform(1.0, most))
        counts += told(run) + Counter({"runs": 1})
        if rival is not None:
            counts += told(rival) + Counter({"rivals": 1})
        made = tree_of(output) if output.exists() else {}
        counts["wrong outputs"] += sum(wanted.get(name) != data for name, data in made.items())
        counts["looks at outputs"] += len(made)
    (place / "disk" / "fill").unlink(missing_ok=True)
    return counts


def soak(place: Path, minutes: float, seed: int) -> int:
    """Go through rounds of faults for some minutes; return whether any fault was found."""
    rng, begun = random.Random(seed), time.monotonic()
    inputs = {str(p.relative_to(place / "in")) for p in (place / "in").rglob("*") if p.is_file()}
    wanted, fates = tree_of(place / "undisturbed"), states(place / "undisturbed")
    counts, end, output = Counter[str](), begun + 60 * minutes, place / "disk" / "out"
    while time.monotonic() < end:
        share = min(end - time.monotonic(), 60 * minutes * ROUND_SHARE)
        counts += round_of_faults(place, wanted, rng, share)
        log = place / "log.jsonl"
        last = Run(place, output, 2, "--log-json", str(log))
        last.wait()
        counts["rounds"] += 1
        error, made, fate, log_rows = last.kill(), tree_of(output), states(output), logged(log)
        left = list((place / "disk").rglob(".*.part"))
        once = sorted(name for name, _ in log_rows) == sorted(inputs)
        exact = made == wanted and fate == fates and fates.keys() == inputs
        if not (exact and once and not left and set(log_rows.values()) == {1}):
            counts["rounds that differ"] += 1
            odd = sorted(name for name in wanted if made.get(name) != wanted[name])
            odd += sorted(name for name in inputs if fate.get(name) != fates.get(name))
            print(f"differs: {odd[:20]}, {left}; exit {last.process.returncode}: {error[-2000:]}")
        shutil.rmtree(output)
        log.unlink()
        print(f"{(time.monotonic() - begun) / 60:.1f} min: {shown(counts)}", flush=True)
    bad = sum(counts[name] for name in FAULTS)
    print(f"{(time.monotonic() - begun) / 60:.1f} min: {shown(counts)}; {bad} faults found")
    return min(bad, 1)


def shown(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count)


def prepare(place: Path, files: int, seed: int) -> int:
    """Write INPUT, the model and the undisturbed tree; return the small disk's size in bytes."""
    generate(place / "in", files, np.random.default_rng(seed))
    write_tiny_model(place)
    run = Run(place, place / "undisturbed", 1)
    run.wait()
    # Decoders have notes of their own on what is damaged.
    refused = sum(line.startswith("failed") for line in run.kill().splitlines())
    outputs = len(tree_of(place / "undisturbed"))
    print(f"{files} files: {outputs} outputs, {refused} refused", flush=True)
    made = [path for path in (place / "undisturbed").rglob("*") if path.is_file()]
    pages = sum(-(-path.stat().st_size // PAGE_BYTES) for path in made)
    return max(4 << 20, int(ROOM * PAGE_BYTES * pages))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60)
    # By default a few more than a run plans ahead.
    parser.add_argument("--files", type=int, default=10_100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.inside:
        return soak(Path(chosen.inside), chosen.minutes, chosen.seed)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "disk").mkdir()
        size = prepare(place, chosen.files, chosen.seed)
        words = [sys.executable, "-m", "tests.faults.soak", *sys.argv[1:], "--inside", folder]
        mount = f'mount -t tmpfs -o size={size} none "$0" && exec "$@"'
        inside = ["unshare", "-Urm", "sh", "-c", mount, str(place / "disk"), *words]
        trial = ["unshare", "-Urm", "sh", "-c", "mount -t tmpfs none /mnt"]
        allowed = shutil.which("unshare") and not subprocess.run(
            trial, capture_output=True, check=False
        ).returncode  # fmt: skip
        print(f"a disk of {size / 1e6:.0f} MB" if allowed else "no small disk: not allowed here")
        sys.stdout.flush()
        return subprocess.run(inside if allowed else words, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
