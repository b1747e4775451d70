"""Ctrl-C in the middle of a call of libsndfile is heeded, and costs no sample."""

from __future__ import annotations

import io
import signal
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from biodenoising.audio import encodings, mpeg, open_reader
from biodenoising.audio.encodings import Encoding
from biodenoising.signals import interrupts_held

PCM = Encoding("PCM_16", "LITTLE", 16_000, 1)
SAMPLES = np.linspace(-0.5, 0.5, 100_000, dtype=np.float32)[None]


class Interrupting(io.BytesIO):
    """A file in memory; at its third piece somebody presses Ctrl-C."""

    pieces = 0

    def _press(self) -> None:
        Interrupting.pieces += 1
        if Interrupting.pieces == 3:
            signal.raise_signal(signal.SIGINT)

    def readinto(self, *arguments: Any) -> int:
        self._press()
        return super().readinto(*arguments)

    def write(self, *arguments: Any) -> int:
        self._press()
        return super().write(*arguments)


@pytest.fixture(autouse=True)
def heeded() -> Iterator[None]:
    """A shell has what it starts in the background ignore Ctrl-C; not so here."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def pressed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(Interrupting, "pieces", 0)
    monkeypatch.setattr(encodings.io, "BytesIO", Interrupting)
    yield
    assert Interrupting.pieces >= 3


def coded(work: str) -> object:
    return PCM.encode(SAMPLES) if work == "encode" else PCM.decode(bytes(200_000))


@pytest.mark.parametrize("work", ["decode", "encode"])
def test_an_interrupt_in_the_call_is_heeded_after_it(pressed: None, work: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        coded(work)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("work", ["decode", "encode"])
def test_samples_that_got_lost_are_an_error(
    pressed: None, work: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever else breaks into the call: an alarm of the caller's, for example."""
    monkeypatch.setattr(encodings, "interrupts_held", nullcontext)
    with pytest.raises((RuntimeError, AssertionError)):  # the second is soundfile's own
        coded(work)


def test_an_interrupt_in_an_mp3_without_a_length(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.mp3"
    noise = np.random.default_rng(0).normal(0, 0.1, 64_000)
    soundfile.write(path, noise, 16_000, format="MP3", bitrate_mode="CONSTANT")
    raw = path.read_bytes()
    path.write_bytes(raw[raw.index(raw[:2], 4) :])  # without the frame that tells the length
    undisturbed = mpeg.Spliced.read
    pressed = []

    def read(self: mpeg.Spliced, size: int = -1) -> bytes:
        if not pressed:
            pressed.append(True)
            signal.raise_signal(signal.SIGINT)
        return undisturbed(self, size)

    with open_reader(path) as reader:
        assert "counted" in " ".join(reader.notes)
        monkeypatch.setattr(mpeg.Spliced, "read", read)
        with pytest.raises(KeyboardInterrupt):
            reader.read(60_000)
    assert pressed


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_only_the_first_is_heeded_and_handlers_come_back(number: int) -> None:
    came = []

    def handler(number: int, frame: object) -> None:
        came.append(number)

    before = signal.signal(number, handler)
    try:
        with interrupts_held():
            for _ in range(3):
                signal.raise_signal(number)
            assert came == []
        assert came == [number]
        assert signal.getsignal(number) is handler
    finally:
        signal.signal(number, before)
