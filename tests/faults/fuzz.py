"""Fuzz the readers: `python -m tests.faults.fuzz [TARGET ...] --seconds 60`.

By atheris, which follows the code's branches, where it is installed, and else by plain mutations.
An input that ends in an error which is not ours is kept in tests/faults/crashers/TARGET and
replayed by the tests for ever after.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
CRASHERS = HERE / "crashers"


def seeds(name: str) -> list[bytes]:
    """Return honest inputs to start from."""
    sys.path.insert(0, str(HERE.parent / "audio"))
    import recordings

    import biodenoising

    folder = Path(tempfile.mkdtemp())
    root = HERE.parent.parent
    if name in ("riff", "reading", "twav"):
        found = []
        for number, subtype in enumerate(("PCM_16", "PCM_24", "FLOAT", "PCM_U8")):
            path = folder / f"{number}.wav"
            after = ((b"guan", recordings.GUANO), (b"LIST", recordings.INFO))
            recordings.wav(path, 300, subtype=subtype, before=((b"bext", b"x" * 60),), after=after)
            found.append(path.read_bytes())
        recordings.rf64(folder / "r", 200)
        recordings.encoded(
            folder / "a", 200, container="AIFF", subtype="PCM_16", rate=48_000
        )  # fmt: skip
        counter = b"\1\0" + b"\xff\xff" * 31 + bytes(448)
        return [*found, (folder / "r").read_bytes(), (folder / "a").read_bytes(), counter * 3]
    if name in ("flac", "lengths"):
        kinds = (("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III"))
        for container, subtype in kinds:
            path = folder / subtype
            recordings.encoded(path, 5000, container=container, subtype=subtype, rate=48_000)
        return [path.read_bytes() for path in sorted(folder.iterdir())]
    texts = {
        "settings": [p.read_bytes() for p in sorted((root / "recipes").rglob("*.yaml"))],
        "card": [(Path(biodenoising.__file__).parent / "checkpoints/compact.json").read_bytes()],
        "manifest": [(root / "benchmark/manifests/field.jsonl").read_bytes()[:4000]],
        "journal": [b'{"file": "a", "status": "done", "settings": "s", "input_sha256": "1", '
                    b'"output_sha256": "2", "residual_sha256": null}\n'],
        "annotations": [b"Begin Time (s)\tEnd Time (s)\tAnnotation\n0.1\t0.5\tx\n",
                        b"0.1\t0.2\tx\n\\\t100\t200\n", b'xmin = 0\nxmax = 1\ntext = "a"\n'],
    }  # fmt: skip
    return texts.get(name, [bytes(range(200))])


def keep(name: str, data: bytes) -> Path:
    path = CRASHERS / name / hashlib.sha256(data).hexdigest()[:16]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def mutated(rng: random.Random, pool: list[bytes]) -> bytes:
    data = bytearray(rng.choice(pool))
    for _ in range(rng.randint(1, 8)):
        at = rng.randrange(len(data) + 1)
        kind = rng.randrange(5)
        if kind == 0 and at < len(data):
            data[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
        elif kind == 1:
            data[at : at + 4] = rng.choice((b"\xff" * 4, bytes(4), b"\xff\xff\xff\x7f"))
        elif kind == 2:
            del data[at : at + rng.randint(1, 64)]
        elif kind == 3:
            other = rng.choice(pool)
            start = rng.randrange(len(other) + 1)
            data[at:at] = other[start : start + rng.randint(1, 200)]
        else:
            data[at:at] = bytes([rng.randrange(256)]) * rng.choice((1, 2, 500))
    return bytes(data)


def plain(name: str, seconds: float, seed: int = 0) -> tuple[int, int]:
    """Fuzz by mutations; return executions and crashers."""
    from tests.faults.fuzz_targets import run_one

    rng, pool = random.Random(seed), seeds(name)
    end, count, crashers = time.monotonic() + seconds, 0, set()
    while time.monotonic() < end:
        data = mutated(rng, pool)
        count += 1
        try:
            run_one(name, data)
        except Exception as error:  # noqa: BLE001 - that is what is looked for
            kind = f"{type(error).__name__}: {str(error)[:60]}"
            if kind not in crashers:
                crashers.add(kind)
                print(f"{name}: {kind} -> {keep(name, data)}", flush=True)
    return count, len(crashers)


def guided(name: str, seconds: float) -> None:
    """Fuzz by atheris in this process, which does not return."""
    import atheris

    with atheris.instrument_imports(include=["biodenoising"]):
        from tests.faults.fuzz_targets import run_one
    corpus = Path(tempfile.mkdtemp())
    for number, data in enumerate(seeds(name)):
        (corpus / str(number)).write_bytes(data)
    found = CRASHERS / name
    found.mkdir(parents=True, exist_ok=True)
    limits = [f"-max_total_time={int(seconds)}", "-rss_limit_mb=4000", "-max_len=20000"]
    atheris.Setup(
        [sys.argv[0], str(corpus), f"-artifact_prefix={found}/", "-timeout=20", *limits,
         "-print_final_stats=1", "-verbosity=0"],
        lambda data: run_one(name, bytes(data)),
    )  # fmt: skip
    atheris.Fuzz()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="*")
    parser.add_argument("--seconds", type=float, default=60, help="for each target")
    parser.add_argument("--plain", action="store_true", help="mutations only, without atheris")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    from importlib.util import find_spec

    by_atheris = not chosen.plain and find_spec("atheris") is not None
    if chosen.here:
        guided(chosen.targets[0], chosen.seconds)
    from tests.faults.fuzz_targets import TARGETS

    for name in chosen.targets or TARGETS:
        if by_atheris:
            words = [sys.executable, "-m", "tests.faults.fuzz", "--here", name]
            shown = subprocess.run(
                [*words, "--seconds", str(chosen.seconds)],
                capture_output=True, text=True, check=False, errors="replace",
            )  # fmt: skip
            lines = [
                line for line in shown.stderr.splitlines() + shown.stdout.splitlines()
                if "number_of_executed_units" in line or "Error" in line or "artifact" in line
            ]  # fmt: skip
            print(f"{name}: exit {shown.returncode}; " + "; ".join(lines), flush=True)
        else:
            count, crashers = plain(name, chosen.seconds)
            print(f"{name}: {count} executions, {crashers} crashers", flush=True)


if __name__ == "__main__":
    main()
