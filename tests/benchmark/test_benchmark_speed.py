"""The speed benchmark counts and measures what it says, and its page is what its figures give."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmark.speed.costs import run, take_turns, write_noise
from benchmark.speed.page import render
from benchmark.speed.reference import count_multiplications
from biodenoising import BiodenoisingError

BENCHMARK = Path(__file__).resolve().parent.parent.parent / "benchmark"


def test_multiplications_of_a_demucs(tiny_model: Path) -> None:
    """Counted by hand: hidden 4, depth 5, kernel 8, stride 4, four times the rate."""
    frames, widths = [], [4 * 2**level for level in range(5)]
    samples = 4 * 64_085  # 4 s on their way up, to the next length that fits
    for _ in widths:
        samples = (samples - 8) // 4 + 1
        frames.append(samples)
    total = 0
    for level, (width, inner) in enumerate(zip(widths, [1, *widths[:-1]], strict=True)):
        layer = inner * width * 8 + width * 2 * width
        total += 2 * layer * frames[level]
    total += 2 * 2 * 4 * widths[-1] ** 2 * frames[-1]
    assert count_multiplications(str(tiny_model)) == pytest.approx(total / 4, rel=0.002)


def test_costs_of_commands(tmp_path: Path) -> None:
    busy = [sys.executable, "-c", "x = b'x' * 200_000_000; [i * i for i in range(10**6)]"]
    cost = run(busy)
    assert 200 < cost.peak_mb < 400
    assert cost.cpu_s > 0
    assert cost.wall_s > 0
    with pytest.raises(BiodenoisingError, match="ended with 3"):
        run([sys.executable, "-c", "raise SystemExit(3)"])
    mark = tmp_path / "turns"
    write = "import sys; open(sys.argv[1], 'a').write(sys.argv[2])"
    commands = {name: [sys.executable, "-c", write, mark, name] for name in "ab"}
    take_turns(commands, 2)
    assert mark.read_text() == "abab"


def test_noise_has_the_length_it_should(tmp_path: Path) -> None:
    import soundfile

    path = write_noise(tmp_path / "in" / "a.wav", 12.5, 8_000, 2)
    info = soundfile.info(path)
    assert (info.frames, info.samplerate, info.channels) == (100_000, 8_000, 2)


def test_the_page_is_what_the_figures_give() -> None:
    figures = json.loads((BENCHMARK / "speed.json").read_text(encoding="utf-8"))
    assert (BENCHMARK / "SPEED.md").read_text(encoding="utf-8") == render(figures)


def test_every_table_has_a_head_for_every_column() -> None:
    lines = (BENCHMARK / "SPEED.md").read_text(encoding="utf-8").splitlines()
    heads = 0
    for head, rule, body in zip(lines, lines[1:], lines[2:], strict=False):
        if rule.startswith("|---"):
            heads += 1
            assert head.count("|") == rule.count("|") == body.count("|"), head
    assert heads >= 3
