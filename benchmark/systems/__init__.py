"""Every system of a run: references, peers, our models, external commands.

Systems that cannot run stay in the list with what to install; the report prints them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmark.systems.base import System, of_noisy
from benchmark.systems.classic import classic_systems
from benchmark.systems.external import external_system, ffmpeg_system
from benchmark.systems.neural import neural_systems
from benchmark.systems.ours import our_systems

__all__ = ["System", "all_systems"]

UNREACHABLE = {
    "htdemucs": "its weights are on a host that pip does not reach; --system runs it from your own",
    "biodenoising (published)": "weights on storage.googleapis.com; --system runs it from your own",
}


def all_systems(teachers: Path | None = None, commands: Sequence[str] = ()) -> list[System]:
    """Return all systems by kind; names are unique, later ones do not hide earlier ones."""
    systems = [
        *our_systems(),
        *classic_systems(),
        *neural_systems(teachers),
        ffmpeg_system(),
        *(external_system(command) for command in commands),
        *(
            System(name, "peer", "absent", lambda: of_noisy(lambda noisy, rate: noisy), missing=why)
            for name, why in UNREACHABLE.items()
        ),
    ]
    names = [system.name for system in systems]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise ValueError(f"two systems are called {', '.join(doubled)}")
    return systems
