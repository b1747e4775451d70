"""Choices that come out the same on every machine: drawn from SHA-256, never from a generator.

NumPy may change its streams between versions and Python's `hash` changes with every process; a
digest of the names of what is mixed does neither.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TypeVar

Item = TypeVar("Item")


def digest(*parts: object) -> int:
    """Return 64 bits that depend on the text of all parts and on their order."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def unit(*parts: object) -> float:
    """Return a number in [0, 1)."""
    return (digest(*parts) >> 11) / (1 << 53)


def pick(items: Sequence[Item], *parts: object) -> Item:
    """Return one of the items, each equally likely over many parts."""
    return items[digest(*parts) % len(items)]


def shuffled(items: Sequence[Item], *parts: object) -> list[Item]:
    """Return the items in an order that depends on their text and the parts only."""
    return sorted(items, key=lambda item: digest(item, *parts))
