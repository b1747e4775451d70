"""Run the command once for every call that changes a file of OUTPUT, with a fault at that call.

A process of its own, started with the shim preloaded: it forks a child for each point, runs again
without faults on what the child left, and prints one JSON line for each point.
"""

from __future__ import annotations

import ctypes
import io
import json
import os
import sys
from pathlib import Path

MOST_POINTS = 400


def outputs(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name[0] != "." and path.name != "biodenoise.jsonl"
    }


def alike(made: dict[str, bytes], wanted: dict[str, bytes]) -> bool:
    """Tell whether all that was made is what was wanted, byte for byte or sample for sample.

    A FLAC encoder takes it lightly where the frame sizes in its header, which are only hints,
    cannot be filled in at the end.
    """
    return all(name in wanted and same(made[name], wanted[name], name) for name in made)


def same(one: bytes, other: bytes, name: str) -> bool:
    if one == other:
        return True
    if not name.endswith(".flac") or len(one) != len(other):
        return False
    import soundfile

    first, second = (soundfile.read(io.BytesIO(data), dtype="int32")[0] for data in (one, other))
    # The hash of all samples lies behind the sizes.
    return first.tobytes() == second.tobytes() and one[18:] == other[18:]


def in_a_child(words: list[str], log: Path, arm: tuple[int, int, int, bytes] | None) -> int:
    """Run the command in a forked child; return its exit code, negative for a signal."""
    pid = os.fork()
    if pid == 0:
        from click.testing import CliRunner

        from biodenoising.cli.denoise import biodenoise

        shim = ctypes.CDLL(None)
        if arm is not None:
            shim.fault_arm(ctypes.c_long(arm[0]), arm[1], arm[2], arm[3])
        result = CliRunner().invoke(biodenoise, words)
        count = shim.fault_count()
        shim.fault_arm(ctypes.c_long(0), 0, 0, b"")
        odd = result.exception is not None and not isinstance(result.exception, SystemExit)
        error = f"traceback: {result.exception!r}" if odd else result.stderr
        log.write_text(json.dumps({"count": count, "error": error}))
        os._exit(result.exit_code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def main() -> None:
    source, root, model, number, for_good = sys.argv[1:6]
    error, keep = int(number), int(for_good)
    import biodenoising.batch.runner
    import biodenoising.cli.show  # noqa: F401 - loaded once, for all children

    log, wanted = Path(root) / "log", outputs(Path(root).parent / "undisturbed")
    for point in range(1, MOST_POINTS):
        folder = Path(root) / str(point)
        folder.mkdir(parents=True)
        words = [source, str(folder), "--model", model, "--jobs", "1"]
        log.write_text("{}")
        code = in_a_child(words, log, (point, error, keep, os.fsencode(folder) + b"/"))
        told = json.loads(log.read_text() or "{}")
        made = outputs(folder)
        again = in_a_child(words, log, None)
        print(json.dumps({
            "point": point, "code": code, "error": told.get("error", ""),
            "count": told.get("count", 0), "whole": alike(made, wanted), "again": again,
            "same": alike(outputs(folder), wanted) and outputs(folder).keys() == wanted.keys(),
            "left": [p.name for p in folder.rglob(".*.part")],
        }), flush=True)  # fmt: skip
        if told.get("count", point) < point:
            return
    raise SystemExit("the run was never left alone")


if __name__ == "__main__":
    main()
