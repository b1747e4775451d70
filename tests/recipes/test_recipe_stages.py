"""The stages: what they make, that they do it once, and that bad input costs itself only."""

from __future__ import annotations

import functools
import json
import shutil

import numpy as np
import pytest
import soundfile

from biodenoising.corpus.manifest import lineage, split_of
from biodenoising.corpus.pieces import without_rumble
from biodenoising.corpus.sources import client
from biodenoising.errors import DiskFullError
from biodenoising.teachers import registry, suppressors
from recipes.pseudo_clean import cutting, targets

RATE_HZ = 22_050


def test_from_recordings_to_a_training_set(project) -> None:
    code, told = project.run()
    assert code == 0, told
    rows = project.rows("manifest.jsonl")
    made = [row for row in rows if row.kind == "vocal"]
    noise = [row for row in rows if row.kind == "noise"]
    assert len(made) >= 3
    assert len(noise) >= 2
    found = {
        row.path: row
        for name in ("recordings.jsonl", "segments.jsonl", "targets.jsonl")
        for row in project.rows(name)
        if row.path
    }
    for row in made:
        chain = lineage(row, found)
        assert [r.stage for r in chain] == ["target", "segment", "recording"]
        assert (row.teacher, row.expansion, row.blend) == ("noisereduce", 1.0, 1.0)
        assert row.scores["noisereduce x1"] >= 0.5
        audio, rate = soundfile.read(project.run_folder / row.path)
        before, _ = soundfile.read(project.run_folder / row.parent)
        assert rate == row.sample_rate == RATE_HZ
        assert len(audio) == len(before) == round(row.duration_s * rate)
        # The context holds noise alone, and that is what a teacher takes away.
        assert np.std(audio[: rate // 8]) < 0.5 * np.std(before[: rate // 8])
        assert np.max(np.abs(audio)) > 0.3 * np.max(np.abs(before))
    for row in rows:
        assert row.set == "train"
        assert row.licence == "none stated"
        listed = project.rows(f"{split_of(row.recording)}.jsonl")
        assert row in listed
    summary = project.summary()
    assert summary["targets"]["targets"] == len(made)
    assert summary["noise"]["minutes"] == round(sum(r.duration_s for r in noise) / 60, 2)
    assert "| targets: targets |" in (project.run_folder / "summary.md").read_text()


def test_times_in_segments_are_those_of_the_recording(project) -> None:
    project.run("--stop-stage", "2")
    rows = [row for row in project.rows("segments.jsonl") if row.path]
    assert {row.kind for row in rows} == {"vocal", "noise"}
    for row in rows:
        piece, _ = soundfile.read(project.run_folder / row.path)
        start = round(row.start_s * RATE_HZ)
        whole, _ = soundfile.read(project.run_folder / row.parent, start=start, frames=len(piece))
        assert np.allclose(piece, whole - whole.mean(), atol=1e-6)


def test_a_second_run_does_nothing(project) -> None:
    project.run()
    before = {path: path.stat().st_mtime_ns for path in project.run_folder.rglob("*.flac")}
    files = project.files()
    code, told = project.run()
    assert code == 0
    for line in told.splitlines():
        assert line.startswith("stage 5") or ", 0 items done now" in line
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert project.files() == files


def test_stages_can_be_run_one_by_one(project) -> None:
    project.run()
    whole = project.files()
    shutil.rmtree(project.run_folder)
    for stage in "12456":
        assert project.run("--stage", stage, "--stop-stage", stage)[0] == 0
    assert project.files() == whole


def test_a_stage_without_the_one_before_says_so(project) -> None:
    code, told = project.run("--stage", "3")
    assert code == 2
    assert "segments.jsonl: " in told
    assert told.count("\n") == 1


def test_a_changed_setting_redoes_what_depends_on_it(project) -> None:
    project.run()
    segments = {path: path.stat().st_mtime_ns for path in project.run_folder.glob("segments/*/*")}
    old = set(project.run_folder.glob("targets/*/*"))
    project.configure(least_gain_db=0.6)
    project.run()
    assert {path: path.stat().st_mtime_ns for path in segments} == segments
    new = set(project.run_folder.glob("targets/*/*"))
    assert new
    assert not new & old
    assert new == {project.run_folder / r.path for r in project.rows("targets.jsonl") if r.path}


def test_a_limit_takes_the_same_recordings_again(project, recording) -> None:
    for seed in (3, 4, 5):
        recording(project.root / f"in/{seed}.wav", seed)
    taken = []
    for limit in ("2", "4"):
        project.run("--stop-stage", "2", "--limit", limit)
        taken.append({row.parent for row in project.rows("segments.jsonl")})
    assert [len(parents) for parents in taken] == [2, 4]
    assert taken[0] < taken[1]


@pytest.mark.slow
def test_two_processes_make_the_same(project) -> None:
    project.run("--stop-stage", "2")
    alone = project.files()
    shutil.rmtree(project.run_folder)
    project.run("--stop-stage", "2", "--jobs", "2")
    assert project.files() == alone


def test_a_file_that_cannot_be_decoded_costs_itself_only(project, recording) -> None:
    broken = project.root / "in/broken.wav"
    broken.write_bytes(b"no recording at all")
    code, told = project.run()
    assert code == 1
    lines = [line for line in told.splitlines() if line.startswith("failed")]
    assert len(lines) == 1
    assert "broken.wav: is no audio file" in lines[0]
    assert project.summary()["failed"]["recordings"]["count"] == 1
    good = len(project.rows("manifest.jsonl"))
    assert good >= 5
    recording(broken, 9)
    assert project.run()[0] == 0
    assert len(project.rows("manifest.jsonl")) > good


def test_a_recording_damaged_further_on(project) -> None:
    path = project.root / "in/cut.flac"
    audio, _ = soundfile.read(project.root / "in/night/1.wav")
    soundfile.write(path, np.concatenate([audio] * 4), RATE_HZ)
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 4000] = bytes(4000)
    path.write_bytes(data)
    code, told = project.run("--stop-stage", "2")
    assert code == 1
    assert [line for line in told.splitlines() if line.startswith("failed") and "cut.flac" in line]
    assert not [row for row in project.rows("segments.jsonl") if row.parent.endswith("cut.flac")]


def test_a_recording_without_calls(project, recording) -> None:
    recording(project.root / "in/quiet.wav", 7, calls=0)
    code, told = project.run()
    assert code == 0
    assert told.count("quiet.wav: no call found") == 1
    assert project.summary()["segments"]["turned down"]["no call found"] == 1


def test_every_candidate_refused(project) -> None:
    project.configure(least_gain_db=90)
    code, told = project.run()
    assert code == 0
    assert told.count("not one target: all segments were refused") == 1
    summary = project.summary()
    refused = summary["targets"]["refused"]
    assert refused >= 3
    assert summary["targets"]["refused share"] == 1
    assert summary["targets"]["refused by reason"] == {targets.GAINS_LITTLE: refused}
    for row in project.rows("targets.jsonl"):
        assert row.rejected == targets.GAINS_LITTLE
        assert row.scores["noisereduce x1"] < 90
    assert {row.kind for row in project.rows("manifest.jsonl")} == {"noise"}


def test_a_missing_teacher_is_named_and_the_others_go_on(project, monkeypatch) -> None:
    registry.find_teacher.cache_clear()
    monkeypatch.setattr(
        suppressors, "missing_package", lambda module, how: f"it needs a package: {how}"
    )
    project.configure(teachers=[{"name": "logmmse"}, {"name": "noisereduce"}])
    code, told = project.run()
    assert code == 0
    left = [line for line in told.splitlines() if line.startswith("left out")]
    assert left == ["left out teacher logmmse: it needs a package: pip install logmmse"]
    assert project.summary()["targets"]["teachers left out"] == [left[0][len("left out ") :]]
    assert {r.teacher for r in project.rows("targets.jsonl") if r.path} == {"noisereduce"}
    # Once it is there, its candidates count.
    monkeypatch.undo()
    pytest.importorskip("logmmse")
    registry.find_teacher.cache_clear()
    project.run()
    assert all("logmmse x1" in row.scores for row in project.rows("targets.jsonl"))


def test_no_teacher_at_all(project) -> None:
    project.configure(teachers=[{"name": "nowhere/card.json"}])
    code, told = project.run()
    assert code == 2
    assert "left out teacher nowhere/card.json" in told
    assert told.splitlines()[-1].startswith("pseudo_clean: none of the teachers can be used")


def test_no_key_and_no_network_cost_their_source_only(project, monkeypatch) -> None:
    monkeypatch.delenv("XENO_CANTO_KEY", raising=False)
    manners = client.Manners(interval_s=0, retries=1, longest_wait_s=1, connect_s=1, read_s=1)
    impatient = functools.partial(client.Client, manners, sleep=lambda seconds: None)
    monkeypatch.setattr(client, "Client", impatient)
    mine = {"kind": "folder", "name": "mine", "path": str(project.root / "in")}
    songs = {"kind": "xeno_canto", "query": "gen:larus"}
    record = {"kind": "zenodo", "record": 7, "address": "http://127.0.0.1:9/api/records"}
    project.configure(sources=[songs, record, mine])
    code, told = project.run("--stop-stage", "2")
    assert code == 1
    failed = [line for line in told.splitlines() if line.startswith("failed")]
    assert len(failed) == 2
    assert "Xeno-canto needs a key: get yours at" in failed[0]
    assert "127.0.0.1:9" in failed[1]
    assert len({row.parent for row in project.rows("segments.jsonl")}) == 2


def test_a_full_disk_ends_the_run_and_the_next_one_goes_on(project, monkeypatch) -> None:
    real, calls = cutting.write_piece, []

    def full(path, audio, rate):
        calls.append(path)
        if len(calls) > 4:
            raise DiskFullError(f"{path}: no space left (0.0 MB free); make room")
        return real(path, audio, rate)

    monkeypatch.setattr(cutting, "write_piece", full)
    code, told = project.run()
    assert code == 1
    assert told.count("no space left") == 2  # when it happened, and in the stage's summary
    assert "stage 3" not in told
    monkeypatch.undo()
    assert project.run()[0] == 0
    resumed = project.files()
    shutil.rmtree(project.run_folder)
    project.run()
    assert project.files() == resumed


def test_another_run_in_the_same_folder_is_refused(project) -> None:
    from filelock import FileLock

    project.run_folder.mkdir()
    with FileLock(project.run_folder / ".pseudo_clean.lock"):
        code, told = project.run()
    assert code == 2
    assert "another run works there" in told


@pytest.fixture
def corpus(project, recording):
    """A corpus folder: a clean clip, a poor one, noise twice, and a clip of the benchmark."""
    folder = project.root / "corpus"
    recording(folder / "train/clean.wav", 1, calls=1)
    recording(folder / "train/poor.wav", 2, calls=1)
    recording(folder / "benchmark/held.wav", 3, calls=1)
    recording(folder / "train/wind.wav", 4, calls=0)
    audio, rate = soundfile.read(folder / "train/wind.wav")
    soundfile.write(folder / "train/again.flac", audio, rate)
    like = {"sample_rate": RATE_HZ, "duration_s": 3.5, "licence": "CC0-1.0", "tier": "open"}
    lines = [
        {"path": "train/clean.wav", "kind": "vocal", "est_snr_db": 40.0, "highpass_hz": 900},
        {"path": "train/poor.wav", "kind": "vocal", "est_snr_db": 4.0, "highpass_hz": 900},
        {"path": "train/wind.wav", "kind": "noise", "noise_type": "wind"},
        {"path": "train/again.flac", "kind": "noise", "noise_type": "wind"},
        {"path": "benchmark/held.wav", "kind": "vocal", "est_snr_db": 40.0},
    ]
    for number, line in enumerate(lines):
        line.update(like, set=line["path"].split("/")[0], source="s", recording=f"r{number}")
    (folder / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    project.configure(
        sources=[{"kind": "corpus", "name": "c", "path": str(folder)}], least_gain_db=90
    )
    return folder


def test_clips_of_a_corpus_stay_whole_and_clean_ones_unchanged(project, corpus) -> None:
    assert project.run()[0] == 0
    assert not any("benchmark" in row.path for row in project.rows("recordings.jsonl"))
    clean, poor = project.rows("targets.jsonl")
    assert (clean.teacher, clean.blend, clean.est_snr_db) == ("unchanged", 0.0, 40.0)
    assert not clean.scores
    assert poor.rejected
    before, rate = soundfile.read(corpus / "train/clean.wav", dtype="float32")
    after, _ = soundfile.read(project.run_folder / clean.path, dtype="float32")
    assert np.allclose(after, without_rumble(before - before.mean(), rate, 900), atol=1e-5)
    whole = [row for row in project.rows("noise.jsonl") if row.noise_type == "wind"]
    assert [bool(row.path) for row in whole] == [True, False]
    assert whole[1].rejected == "the same samples as another one"


def test_no_set_means_all_but_the_benchmark(project, corpus) -> None:
    source = {"kind": "corpus", "name": "c", "path": str(corpus), "sets": []}
    project.configure(sources=[source])
    project.run("--stop-stage", "1")
    assert len(project.rows("recordings.jsonl")) == 4


def test_the_licence_tiers_are_kept_to(project) -> None:
    project.configure(tiers=["open"])
    assert project.run("--stop-stage", "2")[0] == 0
    assert {row.rejected for row in project.rows("recordings.jsonl")} == {"licence tier unclear"}
    assert project.rows("segments.jsonl") == []
