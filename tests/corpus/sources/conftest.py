"""A service of its own for each test, and a client that does not wait."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from loopback import Service

from biodenoising.corpus.sources.client import Client, Manners


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    """A service of its own for each test."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    made = Service()
    yield made
    made.close()


@dataclass
class Waits:
    """The seconds that a client would have waited; its clock moves by them only."""

    seconds: list[float] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        self.seconds.append(seconds)

    def clock(self) -> float:
        return sum(self.seconds)


@pytest.fixture
def waits() -> Waits:
    return Waits()


@pytest.fixture
def client(waits: Waits) -> Client:
    """A client that tries three times, asks as often as it likes, and waits only in thought."""
    manners = Manners(interval_s=0, retries=2, longest_wait_s=100, connect_s=5, read_s=5)
    return Client(manners, sleep=waits.sleep, clock=waits.clock)
