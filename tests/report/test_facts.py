"""What the report says of a file is what was done to it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from biodenoising.batch.plan import Task
from biodenoising.report.facts import Facts, examine, shown_s
from biodenoising.report.flags import Entry, flags_of, most_telling

RATE = 32_000
CALL_S, GAP_S, CALLS = 0.3, 1.5, 12


def scene(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return (calls, noise): tone bursts at 5 kHz over white noise."""
    rng = np.random.default_rng(seed)
    samples = int(CALLS * (CALL_S + GAP_S) * RATE)
    time_s = np.arange(samples) / RATE
    sounding = time_s % (CALL_S + GAP_S) > GAP_S
    return 0.2 * np.sin(2 * np.pi * 5000 * time_s) * sounding, 0.01 * rng.normal(size=samples)


def looked_at(folder: Path, before: np.ndarray, after: np.ndarray, rate: int = RATE) -> Facts:
    paths = folder / "before.wav", folder / "after.wav"
    for path, samples in zip(paths, (before, after), strict=True):
        soundfile.write(path, samples, rate, subtype="FLOAT")
    return examine(Task(Path("x.wav"), *paths, None))


def test_gains_of_calls_and_background_are_told_apart(tmp_path: Path) -> None:
    calls, noise = scene()
    facts = looked_at(tmp_path, calls + noise, 0.5 * calls + 0.1 * noise)
    assert facts.calls == CALLS
    assert facts.calls_db == pytest.approx(-6.0, abs=0.2)
    assert facts.background_db == pytest.approx(-20.0, abs=1.0)
    assert facts.lost == 0
    assert facts.duration_s == pytest.approx(CALLS * (CALL_S + GAP_S))
    assert facts.flat == 0


def test_calls_that_are_gone_count_as_lost_and_are_shown(tmp_path: Path) -> None:
    calls, noise = scene()
    kept = calls.copy()
    kept[len(kept) * 3 // 4 :] = 0
    facts = looked_at(tmp_path, calls + noise, kept + noise / 10)
    assert facts.lost == CALLS // 4
    assert facts.start_s == pytest.approx(facts.duration_s - shown_s(RATE, 60), abs=0.5)
    assert facts.shown
    assert all(low < 5000 < high for _, _, low, high in facts.shown)


def test_nothing_changed_and_all_taken_away(tmp_path: Path) -> None:
    calls, noise = scene()
    same = looked_at(tmp_path, calls + noise, calls + noise)
    gone = looked_at(tmp_path, calls + noise, np.zeros_like(calls))
    assert same.calls_db == same.background_db == 0
    assert flags_of([Entry("a", "done", same), Entry("b", "done", gone)]) == [
        ("little",),
        ("silent",),
    ]


def test_flat_peaks_are_counted_and_a_square_wave_of_few_bits_is_not(tmp_path: Path) -> None:
    time_s = np.arange(3 * RATE) / RATE
    loud = np.clip(1.4 * np.sin(2 * np.pi * 440 * time_s), -0.8, 0.8)
    assert looked_at(tmp_path, loud, loud).flat == pytest.approx(2 * 440 * 3, abs=8)
    assert looked_at(tmp_path, loud / 100, loud / 100).flat == 0


def test_silence_noise_and_values_that_are_none(tmp_path: Path) -> None:
    silent = looked_at(tmp_path, np.zeros(RATE), np.zeros(RATE))
    assert (silent.calls, silent.calls_db, silent.background_db) == (0, None, None)
    assert flags_of([Entry("a", "done", silent)]) == [("empty",)]
    lost = np.full(RATE, np.nan)
    assert looked_at(tmp_path, lost, lost).input_db == silent.input_db
    short = looked_at(tmp_path, np.ones(3) / 2, np.ones(3) / 2)
    assert short.calls == 0


def test_an_output_that_is_shorter_is_taken_for_silent_after_its_end(tmp_path: Path) -> None:
    calls, noise = scene()
    facts = looked_at(tmp_path, calls + noise, np.zeros(10))
    assert facts.output_db < facts.input_db - 60


@pytest.mark.parametrize(("rate", "seconds"), [(384_000, 1.5), (48_000, 6.25), (2_000, 20.0)])
def test_what_is_shown_fits_the_rate(rate: int, seconds: float) -> None:
    assert shown_s(rate, 3600) == seconds
    assert shown_s(rate, 0.5) == 0.5


def made_up(background_db: float, **others: object) -> Facts:
    values = {
        "duration_s": 60.0, "sample_rate": RATE, "channels": 1, "input_db": -30.0,
        "output_db": -35.0, "calls": 4, "calls_db": -0.5, "lost": 0,
        "background_db": background_db, "flat": 0, "start_s": 0.0, "shown": (), "notes": (),
    }  # fmt: skip
    return Facts(**{**values, **others})  # type: ignore[arg-type]


def test_flags_and_who_differs_from_the_rest() -> None:
    entries = [Entry(f"{i}", "done", made_up(-12 - i / 10)) for i in range(20)]
    entries += [
        Entry("odd", "done", made_up(-40)),
        Entry("cut", "done", made_up(-12, flat=50)),
        Entry("weak", "done", made_up(-12, calls_db=-8.0)),
        Entry("bad", "failed", None, "cannot be read"),
        Entry("seen", "skipped", made_up(-12, notes=("cut short",), calls=0, calls_db=None)),
        Entry("unlooked", "done", None, "cannot be read beyond 3 s"),
    ]
    flags = dict(zip((entry.name for entry in entries), flags_of(entries), strict=True))
    assert flags["odd"] == ("unusual",)
    assert flags["cut"] == ("clipped",)
    assert flags["weak"] == ("heavy", "unusual")
    assert flags["bad"] == ("failed",)
    assert flags["seen"] == ("note", "nocalls")
    assert flags["unlooked"] == ("note",)
    assert all(not flags[str(i)] for i in range(20))


def test_the_shown_files_are_the_flagged_ones_and_a_cross_section() -> None:
    entries = [Entry(f"{i}", "done", made_up(-10 - i / 50)) for i in range(100)]
    entries[7] = Entry("cut", "done", made_up(-11, flat=50))
    entries[9] = Entry("bad", "failed", None, "no audio")
    flags = flags_of(entries)
    shown = most_telling(entries, flags, 10)
    assert len(shown) == len(set(shown)) == 10
    assert shown[0] == 7
    assert 9 not in shown
    backgrounds = [entries[i].facts.background_db for i in shown[1:]]  # type: ignore[union-attr]
    assert backgrounds[0] - backgrounds[-1] < -1.9
    assert most_telling(entries, flags, 0) == []
    assert len(most_telling(entries, flags, 1000)) == 99
    assert most_telling(entries, flags, 1) == [7]


MEASURE = """
import resource, sys
import subprocess
import sys
from pathlib import Path
from biodenoising.batch.plan import Task
from biodenoising.report.facts import examine
examine(Task(Path("x"), Path(sys.argv[1]), Path(sys.argv[1]), None))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_memory_is_nearly_flat_in_length(tmp_path: Path) -> None:
    peaks = []
    for seconds in (60, 960):
        path = tmp_path / f"{seconds}.wav"
        rng = np.random.default_rng(0)
        with soundfile.SoundFile(path, "w", 48_000, 1, "PCM_16") as file:
            for _ in range(seconds):
                file.write(0.1 * rng.standard_normal(48_000))
        shown = subprocess.run(
            [sys.executable, "-c", MEASURE, path], capture_output=True, text=True, check=True
        )
        peaks.append(int(shown.stdout))
    # The longer one alone has 184 MB of samples as float32.
    assert peaks[1] < 1.3 * peaks[0]
