"""Known vulnerabilities of the pinned packages: `python -m tests.faults.advisories`.

pip-audit asks PyPI about each line of constraints.txt. A vulnerability is a failure. Where PyPI's
advisories cannot be had, one line says that nothing was checked: pip-audit itself would call
packages that a mirror does not know free of vulnerabilities. All arguments go to pip-audit.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

PINNED = Path(__file__).resolve().parents[2] / "constraints.txt"
MOST_S = 50.0
# What pip-audit says, or lets through from below, where its service does not answer.
SILENCE = ("your network may be blocking", "requests.exceptions.", "ServiceError")


def ask(pinned: Path, words: list[str]) -> tuple[list[str], bool]:
    """Ask pip-audit about a file of pinned packages; return what to say and whether to go on."""
    command = [sys.executable, "-m", "pip_audit", "-r", str(pinned), "--no-deps", "--disable-pip"]
    command += ["--format", "json", "--progress-spinner", "off", *words]
    try:
        asked = subprocess.run(
            command, capture_output=True, text=True, timeout=MOST_S, check=False
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return [f"not checked: no answer within {MOST_S:.0f} s"], True
    try:
        return judge(json.loads(asked.stdout)["dependencies"])
    except (ValueError, KeyError):
        reason = (asked.stderr.strip().splitlines() or ["no reason given"])[-1]
        if any(word in asked.stderr for word in SILENCE):
            return [f"not checked: the service cannot be reached ({reason})"], True
        return [f"pip-audit failed: {reason}"], False


def judge(packages: list[dict[str, Any]]) -> tuple[list[str], bool]:
    """Return what to say of pip-audit's answers and whether they are good enough to go on."""
    found = [
        f"{package['name']} {package['version']}: {flaw['id']}, mended in "
        f"{', '.join(flaw['fix_versions']) or 'no version yet'}"
        for package in packages
        for flaw in package.get("vulns", [])
    ]
    unknown = [package["name"] for package in packages if "skip_reason" in package]
    checked = len(packages) - len(unknown)
    if not packages:
        return ["no package is pinned"], False
    if not checked:
        return [f"not checked: PyPI's advisories on {len(unknown)} packages cannot be had"], True
    told = f"{checked} packages checked, {len(found)} vulnerabilities known"
    return [*found, told + (f"; not known to PyPI: {', '.join(unknown)}" if unknown else "")], (
        not found
    )


def main() -> int:
    lines, good = ask(PINNED, sys.argv[1:])
    for line in lines:
        print(f"advisories: {line}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
