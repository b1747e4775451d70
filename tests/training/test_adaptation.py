"""Adapting a model: what is refused and how, what is held back, going on, the verdict."""

from __future__ import annotations

import dataclasses
import functools
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner, Result

import biodenoising
from biodenoising import adapt
from biodenoising.cli.adapt import biodenoise_adapt
from biodenoising.corpus.clips import is_held_back
from biodenoising.corpus.manifest import Row
from biodenoising.corpus.synthesis import synthesize_call, synthesize_noise
from biodenoising.metrics import Interval
from biodenoising.models.cards import read_card
from biodenoising.teachers.candidates import TeacherPlan
from biodenoising.teachers.select import select
from biodenoising.training import (
    adaptation_check,
    adaptation_material,
    adaptation_run,
    fine_tuning,
    trainer,
)
from biodenoising.training.adaptation import plan_adaptation
from biodenoising.training.adaptation_check import (
    Checks,
    Known,
    Verdict,
    choose_share,
    judge,
    make_checks,
)
from biodenoising.training.adaptation_material import divided, gathered, lacking
from biodenoising.training.adaptation_survey import (
    Recording,
    Survey,
    events_of,
    read_stretch,
    stretches,
    survey,
)

RATE_HZ = 16_000
QUICK = TeacherPlan("noisereduce")
SETTINGS = """
import dataclasses
from biodenoising.training import adaptation_check, adaptation_run, fine_tuning
adaptation_run.GATHER_SHARE = 1000
adaptation_run.SHARES_ALONE = (1.0,)
adaptation_check.SAMPLES = 4000
adaptation_check.CALLS_OF_A_HALF = (4, 4)
fine_tuning.MIXTURES = dataclasses.replace(fine_tuning.MIXTURES, samples=2048)
"""


def write(
    path: Path, seed: int, *, seconds: float = 20.0, calls: bool = True, rate: int = RATE_HZ
) -> None:
    """Write pink noise with a whistle every three seconds, or without."""
    rng = np.random.default_rng(seed)
    audio = 0.3 * synthesize_noise("pink", rate, seconds, rng).astype(float)
    for at in np.arange(1.5, seconds - 2, 3.0) if calls else ():
        call = synthesize_call("whistle", rate, rng)
        start = int(at * rate)
        audio[start : start + len(call)] += 0.5 * call[: len(audio) - start]
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, audio, rate, subtype="PCM_16")


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four recordings, two minutes, nine calls in each."""
    folder = tmp_path_factory.mktemp("mine")
    for number in range(4):
        write(folder / f"night {number}" / "x.wav", number, seconds=29)
    return folder


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short mixtures, few checks, and all recordings heard whatever the minutes."""
    monkeypatch.setattr(adaptation_run, "GATHER_SHARE", 1000)
    monkeypatch.setattr(adaptation_run, "SHARES_ALONE", (1.0,))
    monkeypatch.setattr(adaptation_check, "SAMPLES", 4_000)
    monkeypatch.setattr(adaptation_check, "CALLS_OF_A_HALF", (4, 4))
    mixtures = dataclasses.replace(fine_tuning.MIXTURES, samples=2_048)
    monkeypatch.setattr(fine_tuning, "MIXTURES", mixtures)


@pytest.fixture(scope="module")
def begun(
    recordings: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:  # fmt: skip
    """A work folder in which gathering is over: what four tests go on from."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(adaptation_run, "GATHER_SHARE", 1000)
        patch.setattr(adaptation_run, "usable_plans", lambda base: ([QUICK], []))
        patch.setattr(adaptation_run, "fast_precision", _break_off)
        # Whatever one quick teacher makes of the calls is good enough here.
        anything = functools.partial(select, least_gain_db=-100.0, least_room_db=-100.0)
        patch.setattr(adaptation_material, "select", anything)
        out = tmp_path_factory.mktemp("begun") / "mine.safetensors"
        with pytest.raises(KeyboardInterrupt):
            adapt(recordings, out, base=tiny_model, minutes=0.04)
    return out.with_name("mine.adapting")


def _break_off(network: object, samples: int) -> str:
    raise KeyboardInterrupt


@pytest.fixture
def out(begun: Path, tmp_path: Path) -> Path:
    """A new model's path, beside a work folder in which gathering is over."""
    shutil.copytree(begun, tmp_path / "out" / "mine.adapting")
    return tmp_path / "out" / "mine.safetensors"


def command(*arguments: Any) -> Result:
    result = CliRunner().invoke(biodenoise_adapt, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture(autouse=True)
def _signals_as_they_were() -> Any:
    before = [(number, signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM)]
    yield
    for number, handler in before:
        signal.signal(number, handler)


# --- what cannot be, in one line -----------------------------------------------------------------


def refused(result: Result, *words: str) -> None:
    assert result.exit_code == 2
    line = result.output.splitlines()[-1]
    assert line.startswith("biodenoise-adapt: ")
    assert all(word in line for word in words), line


def test_five_seconds_are_too_little(tmp_path: Path) -> None:
    write(tmp_path / "in" / "x.wav", 1, seconds=5)
    result = command(tmp_path / "in", tmp_path / "new.safetensors")
    refused(result, "5.0 s of audio in all", "at least 60 s")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]


def test_one_recording_leaves_none_to_check_with(tmp_path: Path) -> None:
    write(tmp_path / "x.wav", 1, seconds=61)
    refused(command(tmp_path / "x.wav", tmp_path / "new.safetensors"), "only one recording")


def test_a_folder_without_recordings(tmp_path: Path) -> None:
    (tmp_path / "broken.wav").write_text("no sound")
    refused(
        command(tmp_path, tmp_path / "new.safetensors"), "no recordings that can be read", "broken"
    )
    refused(command(tmp_path / "gone", tmp_path / "new.safetensors"), "is not there")


def test_only_noise(
    quick: None, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adaptation_run, "usable_plans", lambda base: ([QUICK], []))
    for number in range(3):
        write(tmp_path / "in" / f"{number}.wav", number, seconds=21, calls=False)
    new = tmp_path / "new.safetensors"
    result = command(tmp_path / "in", new, "--from", tiny_model, "--minutes", 0.1)
    refused(result, "no calls found", "only noise")
    assert not new.exists()


def test_a_base_without_weights(recordings: Path, tmp_path: Path) -> None:
    new = tmp_path / "new.safetensors"
    refused(command(recordings, new, "--from", "noisereduce"), "noisereduce", "no weights")
    refused(command(recordings, new, "--from", "nothing"), "no model 'nothing'")


def test_a_damaged_base(recordings: Path, tiny_model: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_model.parent, tmp_path / "base")
    (tmp_path / "base" / "tiny.safetensors").write_bytes(b"no weights")
    result = command(
        recordings, tmp_path / "new.safetensors", "--from", tmp_path / "base" / "tiny.json"
    )
    refused(result, "tiny.safetensors", "damaged")


def test_names_that_cannot_be_a_models(recordings: Path, tmp_path: Path) -> None:
    refused(command(recordings, tmp_path / "new.pt"), "NAME.safetensors")
    no_corpus = command(recordings, tmp_path / "new.safetensors", "--general", tmp_path)
    refused(no_corpus, "has no manifest.jsonl")
    (tmp_path / "old.json").write_text("{}")
    refused(command(recordings, tmp_path / "old.safetensors"), "is there already")
    assert (tmp_path / "old.json").read_text() == "{}"


def test_without_the_extra(
    recordings: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "lightning.fabric", None)
    result = command(recordings, tmp_path / "new.safetensors", "--from", tiny_model)
    refused(result, "biodenoising[train]")
    assert list(tmp_path.iterdir()) == []


def test_dry_run_says_what_it_takes_and_writes_nothing(tmp_path: Path) -> None:
    write(tmp_path / "in" / "a.wav", 1, seconds=31)
    write(tmp_path / "in" / "b.wav", 2, seconds=31, rate=48_000)
    (tmp_path / "in" / "b.txt").write_text("1.0\t2.0\tcall\n")
    result = command(tmp_path / "in", tmp_path / "new.safetensors", "--dry-run", "--minutes", 9)
    assert result.exit_code == 0
    for words in (
        "2 recordings, 0.02 hours at 16, 48 kHz, 1 with annotations", "compact",
        "9 minutes", "GB of memory", "GB of disk", "several rates",
    ):  # fmt: skip
        assert words in result.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]


def test_help_loads_no_torch() -> None:
    code = (
        "import sys; from biodenoising.cli.adapt import biodenoise_adapt as c\n"
        "try: c(['--help'])\n"
        "except SystemExit: print([m for m in ('torch', 'lightning', 'numpy') if m in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.rstrip().endswith("[]")


# --- material ------------------------------------------------------------------------------------


def test_stretches_cover_everything_once() -> None:
    long = Recording(Path("a"), "a", None, 16_000, 150.0, 1)
    short = Recording(Path("b"), "b", None, 16_000, 1.0, 1)
    made = stretches(Survey((long, short)))
    assert sorted((s.start_s, s.duration_s) for s in made) == [(0, 50), (50, 50), (100, 50)]


def test_a_stretch_holds_its_own_samples(tmp_path: Path) -> None:
    audio = np.random.default_rng(0).uniform(-0.5, 0.5, 90 * 1_000).astype(np.float32)
    soundfile.write(tmp_path / "x.wav", audio, 1_000, subtype="FLOAT")
    found = survey([tmp_path])
    for stretch in stretches(found):
        start = round(stretch.start_s * 1_000)
        assert np.array_equal(read_stretch(stretch)[0], audio[start : start + 45_000])


def piece(kind: Any, recording: str, seconds: float = 4.0) -> Row:
    return Row(f"{kind}{recording}{seconds}", kind, recording=recording, duration_s=seconds)


def test_recordings_stand_on_one_side_and_one_with_noise_is_held_back() -> None:
    for count in range(2, 14):
        rows = [piece("vocal", f"r{n}") for n in range(count) for _ in range(8)]
        rows += [piece("noise", f"r{n}") for n in range(0, count, max(1, count // 2))]
        made = divided(rows)
        sides = {
            side: {row.recording for row in made if row.set == side}
            for side in ("train", "held back")
        }
        assert not sides["train"] & sides["held back"]
        assert len(sides["held back"]) == max(1, round(count / 4))
        for side in sides:
            assert any(row.kind == "noise" and row.set == side for row in made)
        assert any(row.kind == "vocal" and row.set == "train" for row in made)


@pytest.mark.parametrize("count", [4, 10, 15, 16, 20, 40])
def test_more_is_held_back_until_the_check_has_enough_calls(count: int) -> None:
    """One call in each recording: a quarter of 16 would be four."""
    rows = [piece("vocal", f"r{n}") for n in range(count)]
    rows += [piece("noise", f"r{n}") for n in range(count)]
    made = divided(rows)
    held = sum(row.kind == "vocal" and row.set == "held back" for row in made)
    assert held == max(round(count / 4), min(8, count // 2))
    assert ("held back" in lacking(rows)) == (count < 16)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([piece("noise", "a"), piece("noise", "b")], "no calls found"),
        ([piece("soundscape", "a"), piece("noise", "b")], "0 calls could .* of 1 found"),
        ([*[piece("vocal", "a")] * 3, piece("noise", "a", 9.0)], "in 1 recordings"),
        ([*[piece("vocal", "a")] * 3, piece("noise", "a", 1), piece("noise", "b", 1)], "2.0 s"),
        ([*[piece("vocal", "a")] * 9, piece("noise", "a"), piece("noise", "b")], "0 of 9 calls"),
    ],
)
def test_too_little_is_told(rows: list[Row], words: str) -> None:
    assert re.search(words, lacking(rows))


def test_what_is_enough_lacks_nothing() -> None:
    rows = [piece(kind, name) for name in "ab" for kind in ("noise", *["vocal"] * 8)]
    assert lacking(rows) == ""


def test_annotations_say_where_the_calls_are(quick: None, tiny_model: Path, tmp_path: Path) -> None:
    """A mark on a stretch in which nothing stands out makes a call of it; the rest is noise."""
    path = tmp_path / "in" / "a.wav"
    write(path, 1, seconds=61, calls=False)
    path.with_suffix(".txt").write_text("10.0\t12.0\tcall\n")
    (found,) = survey([tmp_path]).recordings
    assert found.annotation == path.with_suffix(".txt")
    marked = [
        (round(event.start_s), round(event.end_s), stretch.start_s)
        for stretch in stretches(Survey((found,)))
        for event in events_of(stretch) or ()
    ]
    assert marked == [(10, 12, 0.0)]


# --- a whole one, with an untrained model --------------------------------------------------------


def verdict(better: bool) -> Callable[..., Verdict]:
    interval = Interval(1.0, 0.5, 1.5)

    def say(*arguments: Any) -> Verdict:
        reason = "" if better else "it is not better"
        return Verdict(better, reason, 1.0, interval, None, interval, interval, 1.0, 2.0, 4, 3)

    return say


def test_a_better_model_is_handed_over_with_its_card(
    quick: None, recordings: Path, tiny_model: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path.name: path.read_bytes() for path in tiny_model.parent.iterdir()}
    monkeypatch.setattr(adaptation_run, "choose_share", lambda *a: 1.0)
    monkeypatch.setattr(adaptation_run, "judge", verdict(True))
    result = command(recordings, out, "--from", tiny_model, "--minutes", 0.04)
    assert result.exit_code == 0, result.output
    assert "better, written with its card" in result.output
    assert "new minus old +1.00 dB, 95 % interval +0.50 to +1.50" in result.output
    assert sorted(path.name for path in out.parent.iterdir()) == [
        "mine.int8.onnx", "mine.json", "mine.onnx", "mine.safetensors", "mine.steps.onnx",
    ]  # fmt: skip
    card = read_card(out.with_suffix(".json"))
    assert card.training["base"]["name"] == "tiny"
    assert card.training["recordings"]["found"] == 4
    assert card.training["recordings"]["held back"] == 1
    assert "base model's" in card.licence
    assert str(recordings) not in out.with_suffix(".json").read_text()
    assert before == {path.name: path.read_bytes() for path in tiny_model.parent.iterdir()}
    audio = np.random.default_rng(0).standard_normal(8_000).astype(np.float32)
    assert np.isfinite(biodenoising.denoise(audio, RATE_HZ, model=out)).all()


def test_otherwise_nothing_is_written_and_it_says_why(
    quick: None, recordings: Path, tiny_model: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adaptation_run, "choose_share", lambda *a: 1.0)
    monkeypatch.setattr(adaptation_run, "judge", verdict(False))
    result = command(recordings, out, "--from", tiny_model, "--minutes", 0.04)
    assert result.exit_code == 3
    last = result.output.splitlines()[-1]
    assert last == "kept the old model, nothing was written: it is not better"
    assert list(out.parent.iterdir()) == []


def test_out_of_memory_is_one_line_and_it_goes_on(
    quick: None, recordings: Path, tiny_model: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_much(*arguments: Any) -> Any:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 99 bytes")

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "loss_terms", too_much)
        result = command(recordings, out, "--from", tiny_model, "--minutes", 0.04)
    refused(result, "out of memory", "goes on from where it was")
    monkeypatch.setattr(adaptation_run, "choose_share", lambda *a: 0.0)
    result = command(recordings, out, "--from", tiny_model, "--minutes", 0.04)
    assert result.exit_code == 3
    assert "going on with what was begun before" in result.output


def test_other_recordings_another_base_or_corpus_do_not_go_on(
    recordings: Path, tiny_model: Path, out: Path, corpus: Path, tmp_path: Path
) -> None:
    for number in range(2):
        write(tmp_path / "others" / f"{number}.wav", number, seconds=31)
    refused(command(tmp_path / "others", out, "--from", tiny_model), "other recordings")
    refused(command(recordings, out, "--from", "compact"), "other base")
    with_a_corpus = command(recordings, out, "--from", tiny_model, "--general", corpus)
    refused(with_a_corpus, "other general corpora")


@pytest.mark.slow
def test_going_on_after_a_kill(recordings: Path, tiny_model: Path, out: Path) -> None:
    """Killed with a checkpoint there, the same command goes on at its step and comes to an end."""
    code = SETTINGS + "from biodenoising.cli.adapt import main; main()"
    words = [
        sys.executable, "-c", code, str(recordings), str(out), "--from", str(tiny_model),
        "--minutes", "0.1",
    ]  # fmt: skip
    checkpoint = out.with_name("mine.adapting") / "training" / "checkpoint.pt"
    process = subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 120
        while not checkpoint.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        assert process.poll() is None, process.communicate()
    finally:
        process.kill()
        process.communicate()
    assert checkpoint.exists()
    assert not out.exists()
    again = subprocess.run(words, capture_output=True, text=True, timeout=200)
    assert "going on at step" in again.stderr
    assert again.returncode in (0, 3), again.stderr
    assert not out.with_name("mine.adapting").exists()


# --- the verdict ---------------------------------------------------------------------------------


def half(count: int = 30, own: int = 0, beside: Any = "synthesized") -> Checks:
    audio = np.random.default_rng(0).standard_normal(2_000).astype(np.float32)
    noise = np.random.default_rng(1).standard_normal(2_000).astype(np.float32)
    known = tuple(
        Known(audio + noise, audio, f"call {n}", "own" if n < own else beside) for n in range(count)
    )
    return Checks(known, known)


def hearing(monkeypatch: pytest.MonkeyPatch, **models: tuple[float, float, float]) -> None:
    """Have models be heard at a mean SI-SDR: on known calls, on the general ones, on own calls."""
    turn: dict[str, int] = {}

    def heard(model: str, known: Any, progress: Any) -> Any:
        values = np.random.default_rng(2).normal(0, 0.1, len(known))
        which = turn[model] = turn.get(model, -1) + 1
        values += models[model][which % 2]
        return values + [models[model][2] if mixture.whose == "own" else 0.0 for mixture in known]

    monkeypatch.setattr(adaptation_check, "heard", heard)


@pytest.mark.parametrize(
    ("new", "words"),
    [
        ((1.0, 0.0, 0.0), ""),
        ((0.0, 0.0, 0.0), "not surely better"),
        ((0.08, 0.0, 0.0), "hardly better"),
        ((1.0, -0.3, 0.0), "it forgets"),
        ((1.0, 0.0, -2.0), "on your own calls it is not surely better"),
    ],
)
def test_only_what_is_surely_better_passes(
    new: tuple[float, float, float], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hearing(monkeypatch, old=(0.0, 0.0, 0.0), new=new)
    made = judge("old", "new", 1.0, half(own=8), [], lambda n: None)  # type: ignore[arg-type]
    assert made.better == (not words)
    assert words in made.reason
    json.dumps(adaptation_check.verdict_record(made))


@pytest.mark.parametrize(("losing", "better"), [(2, True), (6, False)])
def test_forgetting_is_what_more_than_a_few_mixtures_lose(
    losing: int, better: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two of thirty general mixtures may be chance; a fifth of them is not."""
    hearings = {"old": [0.0, 0.0], "new": [1.0, -20.0]}

    def heard(model: str, known: Any, progress: Any) -> Any:
        gain = hearings[model].pop(0)
        count = losing if gain < 0 else len(known)
        return np.where(np.arange(len(known)) < count, gain, 0.0)

    monkeypatch.setattr(adaptation_check, "heard", heard)
    made = judge("old", "new", 1.0, half(own=8), [], lambda n: None)  # type: ignore[arg-type]
    assert made.better == better
    assert ("it forgets" in made.reason) != better


def test_with_a_corpus_its_clean_calls_have_to_gain_as_well(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Targets that the old model made praise what is near it: a gain on them alone is none."""
    hearing(monkeypatch, old=(0.0, 0.0, 0.0), praised=(0.0, 0.0, 1.0), good=(0.5, 0.0, 0.0))
    both = half(own=15, beside="corpus")
    for new, better in (("praised", False), ("good", True)):
        made = judge("old", new, 1.0, both, [], lambda n: None)  # type: ignore[arg-type]
        assert made.better == better
        assert made.corpus is not None
        assert ("corpus's clean calls" in made.reason) != better
        assert "corpus, new minus old_db" in adaptation_check.verdict_record(made)


def test_the_step_that_helps_without_harm_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    hearing(monkeypatch, old=(0, 0, 0), a=(0.5, 0, 0), b=(0.9, -0.05, 0), c=(2, -1, 0))
    steps: Any = {0.25: "a", 0.5: "b", 1.0: "c"}
    assert choose_share("old", steps, half(own=8), lambda n: None) == 0.5
    assert choose_share("old", {1.0: "c"}, half(own=8), lambda n: None) == 0.0  # type: ignore[dict-item]


def test_beyond_the_new_weights_nothing_may_be_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    hearing(monkeypatch, old=(0, 0, 0), a=(0.5, -0.05, 0), b=(0.9, -0.05, 0), c=(0.9, 0.01, 0))
    for further, best in (("b", 1.0), ("c", 1.5)):
        steps: Any = {1.0: "a", 1.5: further}
        assert choose_share("old", steps, half(own=8), lambda n: None) == best


def test_both_halves_hold_calls_of_ones_own(begun: Path) -> None:
    halves = make_checks(gathered(begun) or [], begun, [], 8)
    calls = [{mixture.call for mixture in made.known if mixture.whose == "own"} for made in halves]
    assert min(map(len, calls)) >= 4
    assert not calls[0] & calls[1]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Forty calls and forty noises of other people's, a tenth of each held back."""
    rng = np.random.default_rng(1)
    rows = []
    (tmp_path / "corpus").mkdir()
    for kind in ("vocal", "noise"):
        for number in range(40):
            path = f"{kind}_{number}.wav"
            audio = 0.1 * rng.standard_normal(8_000)
            soundfile.write(tmp_path / "corpus" / path, audio, RATE_HZ)
            rows.append({
                "path": path, "kind": kind, "set": "train", "tier": "open", "licence": "CC0-1.0",
                "source": "theirs", "recording": f"rec {kind} {number}", "taxon": "x",
                "noise_type": "wind", "est_snr_db": 30.0,
            })  # fmt: skip
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "corpus" / "manifest.jsonl").write_text(text)
    return tmp_path / "corpus"


def test_the_memory_that_a_corpus_takes_is_counted(recordings: Path, corpus: Path) -> None:
    rows = [json.loads(line) for line in (corpus / "manifest.jsonl").read_text().splitlines()]
    hour = {"duration_s": 3_600.0, "sample_rate": 48_000}
    text = "".join(json.dumps(row | hour) + "\n" for row in rows)
    (corpus / "manifest.jsonl").write_text(text)
    alone, both = (
        plan_adaptation(recordings, "new.safetensors", general=general).memory_gb
        for general in ([], [corpus])
    )
    heard = 2 * 40 - sum(is_held_back(row["recording"]) for row in rows)
    assert both - alone == pytest.approx(heard * 3_600 * 48_000 * 4 / 1e9)


def test_with_a_corpus_the_general_check_hears_nothing_else(begun: Path, corpus: Path) -> None:
    first, second = make_checks(gathered(begun) or [], begun, [corpus], 4)
    calls = [{mixture.call for mixture in made.general} for made in (first, second)]
    assert {mixture.whose for mixture in first.known} == {"own", "corpus"}
    assert all(call.startswith("corpus ") for call in calls[0] | calls[1])
    assert calls[0]
    assert calls[1]
    assert not calls[0] & calls[1]


def test_a_corpus_is_rehearsed_but_for_what_it_holds_back(
    begun: Path, corpus: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[Any] = []
    monkeypatch.setattr(
        fine_tuning, "train", lambda settings, material, folder, **rest: heard.append(material)
    )
    settings = fine_tuning.tuning_settings(read_card(tiny_model), 1.0, "32-true", rehearsal=True)
    for corpora in ([], [corpus]):
        fine_tuning.tune(
            settings, begun, tmp_path, corpora=corpora, observer=lambda event: None,
            stop=lambda: False,
        )  # fmt: skip
    alone, both = (material.mixer for material in heard)
    ours, theirs = both.own.calls, both.remembered.mixer.calls
    mine = len(alone.calls)
    weights = [clip.weight for clip in ours]
    assert sum(weights[mine:]) / sum(weights) == pytest.approx(fine_tuning.REHEARSED_CALLS)
    assert len(ours) == mine + len(theirs)
    # The noise of the place is theirs alone, and the corpus is remembered in its own.
    assert len(both.own.noises) == len(alone.noises)
    assert 28 < len(theirs) < 40
    assert 28 < len(both.remembered.mixer.noises) < 40


def test_without_a_corpus_no_model_far_from_the_old_one_is_tried() -> None:
    assert max(adaptation_check.SHARES_ALONE) <= 0.5 < max(adaptation_check.SHARES)


def test_halfway_is_halfway_and_twice_is_twice_as_far(tiny_model: Path, tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    from biodenoising.training.state import RunState

    card = read_card(tiny_model)
    settings = fine_tuning.tuning_settings(card, 1.0, "32-true")
    run = RunState(dataclasses.replace(settings, begin_from=None, seed=9))
    run.save_weights(tmp_path / "average.safetensors")
    paths = fine_tuning.write_between(card, settings, tmp_path, tmp_path / "steps", (0.5, 1, 2))
    old, new = load_file(card.weights_path), load_file(tmp_path / "average.safetensors")
    for share, path in paths.items():
        for name, weight in load_file(path.with_suffix(".safetensors")).items():
            wanted = old[name] + share * (new[name] - old[name])
            assert np.allclose(weight, wanted, atol=1e-6), name
