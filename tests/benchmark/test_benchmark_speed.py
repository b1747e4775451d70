"""The speed benchmark counts and measures what it says, and its page is what its figures give."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmark.catalogue import open_set
from benchmark.sets import Settings
from benchmark.speed import integers
from benchmark.speed.costs import run, take_turns, write_noise
from benchmark.speed.page import render
from benchmark.speed.reference import count_multiplications
from biodenoising import BiodenoisingError
from biodenoising.inference.eight_bits import exact_products

FIGURES = {
    "about": {"command": "c", "date": "today", "partly": ""},
    "machine": {"cores": 1, "processor": "p", "load_before": 0.0, "gflops": 1.0},
}
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


def test_integers_are_compared_with_floats_mixture_by_mixture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        integers, "open_set", lambda name, settings: open_set("synthetic", Settings())
    )
    monkeypatch.setattr(integers, "QUICK", 3)
    found = integers.compare(tmp_path, quick=True)
    if not exact_products():
        assert found == {"mixtures": 0, "rows": {}}
        return
    assert found["mixtures"] == 3
    assert set(found["rows"]) == {"demucs", "cleanunet"}
    for row in found["rows"].values():
        assert abs(row["change_db"][0]) < 1
        assert row["change_db"][1] <= row["change_db"][0] <= row["change_db"][2]
        assert abs(row["int8_db"] - row["float32_db"]) < 2
        assert row["times_faster"] > 0
    page = render({**FIGURES, "integers": found})
    assert "| demucs |" in page.partition("## 8-bit integers")[2]
    assert "Not measured" in render({**FIGURES, "integers": {"mixtures": 0, "rows": {}}})


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
