"""The manifest: what is written is read again, what is wrong is named with its line."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from biodenoising.corpus.duplicates import audio_digest, find_duplicates
from biodenoising.corpus.licences import licence_name, tier_of
from biodenoising.corpus.manifest import (
    KINDS,
    MEDIA,
    STAGES,
    TIERS,
    Part,
    Row,
    append_row,
    check_manifest,
    lineage,
    mend_manifest,
    parse_row,
    read_manifest,
    row_line,
    row_record,
    split_of,
    write_manifest,
)
from biodenoising.errors import CorpusError

GOOD = '{"path": "a/x.wav", "kind": "vocal"}'
HASH = "0123456789abcdef" * 4

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
numbers = st.floats(allow_nan=False, allow_infinity=False)
positive = st.floats(0, 1e12)
above_0 = st.floats(1e-6, 1e6)
hashes = st.sampled_from(["", HASH])
paths = st.lists(
    st.text("abcXYZ 0123_-ä", min_size=1, max_size=8), min_size=1, max_size=4
).map("/".join)  # fmt: skip
rows = st.builds(
    Row,
    path=paths,
    kind=st.sampled_from(KINDS),
    stage=st.sampled_from(STAGES),
    medium=st.sampled_from(MEDIA),
    tier=st.sampled_from(TIERS),
    set=texts, group=texts, taxon=texts, common=texts, noise_type=texts, source=texts,
    recording=texts, licence=texts, attribution=texts, notes=texts, teacher=texts, rejected=texts,
    sample_rate=st.integers(0, 10**6),
    duration_s=positive, start_s=positive, highpass_hz=positive,
    gain_db=numbers, est_snr_db=st.none() | numbers, blend=st.none() | numbers,
    time_expansion=above_0, expansion=above_0,
    sha256=hashes, url_sha256=hashes,
    parts=st.lists(st.builds(Part, texts, hashes), max_size=3).map(tuple),
    scores=st.dictionaries(texts, numbers, max_size=3),
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(rows)
def test_a_row_is_read_as_it_was_written(row) -> None:
    line = row_line(row)
    assert len(line.splitlines()) == 1
    assert parse_row(line) == row
    assert parse_row(line.encode()) == row
    assert row_line(parse_row(line)) == line


@settings(max_examples=30, deadline=None)
@given(st.lists(rows, max_size=5, unique_by=lambda row: row.path))
def test_a_manifest_is_read_as_it_was_written(tmp_path_factory, made) -> None:
    folder = tmp_path_factory.mktemp("manifest")
    write_manifest(folder / "whole.jsonl", made)
    assert read_manifest(folder / "whole.jsonl") == made
    for row in made:
        append_row(folder / "added.jsonl", row)
    if made:
        assert (folder / "added.jsonl").read_bytes() == (folder / "whole.jsonl").read_bytes()


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=80) | st.text(max_size=80) | st.from_regex(r"\{.*\}"))
def test_no_line_makes_the_reader_crash(line) -> None:
    try:
        row = parse_row(line)
    except CorpusError as error:
        message = str(error)
        assert message
    else:
        assert parse_row(row_line(row)) == row


def record(**changes: object) -> str:
    return json.dumps({"path": "x.wav", "kind": "vocal", **changes})


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (record(licens="x"), "unknown key 'licens'; the nearest known one is 'licence'"),
        (record(est_snr="x"), "'est_snr_db'"),
        ('{"kind": "vocal"}', "has no 'path'"),
        ('{"path": "x.wav"}', "has no 'kind'"),
        (record(kind="bird"), "kind is 'bird', must be one of 'vocal', 'noise', 'soundscape'"),
        (record(medium="sea"), "medium"),
        (record(tier="free"), "tier"),
        (record(stage="clip"), "stage"),
        (record(sample_rate="16000"), "sample_rate is '16000', must be a whole number"),
        (record(sample_rate=16000.5), "must be a whole number"),
        (record(sample_rate=True), "must be a whole number"),
        (record(sample_rate=-1), "must not be negative"),
        (record(duration_s=-0.1), "must not be negative"),
        (record(duration_s=None), "must be a number"),
        (record(est_snr_db="loud"), "must be a number or null"),
        (record(time_expansion=0), "must be above 0"),
        (record(sha256="abc"), "64 hexadecimal digits"),
        (record(url_sha256=HASH.upper()), "64 hexadecimal digits"),
        (record(parts={}), "parts is not a list"),
        (record(parts=[{"url": "x"}]), "exactly url and sha256"),
        (record(parts=[{"url": "x", "sha256": 1}]), "a part's sha256"),
        (record(scores={"a": "b"}), "score a"),
        (record(scores=[1]), "must be a map"),
        ('{"path": "x.wav", "kind": "vocal", "start_s": NaN}', "NaN is no number"),
        ('{"path": "x.wav", "kind": "vocal", "start_s": 1e999}', "must be finite"),
        ('{"path": "x.wav", "kind": "vocal", "kind": "noise"}', "'kind' stands twice"),
        ("[1, 2]", "not a JSON object"),
        ('{"path": "x.wav", "kind"', "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ('{"path": "' + "x" * (1 << 20) + '"}', "longer than"),
    ],
)
def test_a_bad_line_is_named_with_file_number_and_reason(tmp_path, line, words) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text(f"{GOOD}\n\n{line}\n{GOOD}\n")
    with pytest.raises(CorpusError) as error:
        read_manifest(path)
    message = str(error.value)
    assert message.startswith(f"{path}, line 3: ")
    assert words in message
    assert len(message.splitlines()) == 1
    assert len(message) < len(str(path)) + 300


@pytest.mark.parametrize(
    "path",
    ["../x.wav", "/x.wav", "a/../../x", "C:/x.wav", "a\\b.wav", "~/x.wav", "file:///x", "a\0b",
     "a//b", "./x", "https://example.org/x.wav", "\\\\server\\x"],
)  # fmt: skip
@pytest.mark.parametrize("key", ["path", "annotation"])
def test_paths_that_could_lead_out_are_refused(path, key) -> None:
    with pytest.raises(CorpusError, match=key):
        parse_row(record(**{key: path}))


def test_bytes_that_are_no_text(tmp_path) -> None:
    (tmp_path / "m.jsonl").write_bytes(GOOD.encode() + b"\n\xff\xfe\n")
    with pytest.raises(CorpusError, match="line 2: is not valid JSON"):
        read_manifest(tmp_path / "m.jsonl")


def test_a_mark_in_front_and_foreign_line_ends_are_no_fault(tmp_path) -> None:
    other = GOOD.replace("x.wav", "y.wav")
    (tmp_path / "m.jsonl").write_bytes(f"\ufeff{GOOD}\r\n\r\n{other}".encode())
    assert [row.path for row in read_manifest(tmp_path / "m.jsonl")] == ["a/x.wav", "a/y.wav"]


def test_one_path_in_two_lines_is_refused(tmp_path) -> None:
    (tmp_path / "m.jsonl").write_text(f"{GOOD}\n{GOOD}\n")
    with pytest.raises(CorpusError, match=r"line 2: line 1 has the path 'a/x\.wav' already"):
        read_manifest(tmp_path / "m.jsonl")
    with pytest.raises(CorpusError, match="two rows have the path"):
        write_manifest(tmp_path / "n.jsonl", [parse_row(GOOD), parse_row(GOOD)])
    assert not (tmp_path / "n.jsonl").exists()


def test_rows_without_a_file_may_be_many(tmp_path) -> None:
    rejected = Row(path="", kind="vocal", stage="candidate", rejected="too quiet")
    write_manifest(tmp_path / "m.jsonl", [rejected, rejected])
    assert read_manifest(tmp_path / "m.jsonl") == [rejected, rejected]


def test_all_wrong_lines_are_found_in_one_go(tmp_path) -> None:
    (tmp_path / "m.jsonl").write_text(f"x\n{GOOD}\n{record(kind='')}\n")
    found = list(check_manifest(tmp_path / "m.jsonl"))
    assert [number for number, row in found if isinstance(row, str)] == [1, 3]


def test_a_missing_manifest(tmp_path) -> None:
    with pytest.raises(CorpusError, match="cannot be read"):
        read_manifest(tmp_path / "none.jsonl")


@pytest.mark.parametrize("torn", [GOOD[:-3], "{", "\xff", GOOD.replace("a/", "b/")[:20]])
def test_a_torn_last_line_is_taken_away(tmp_path, torn) -> None:
    path = tmp_path / "m.jsonl"
    path.write_bytes(GOOD.encode() + b"\n" + torn.encode("latin-1"))
    assert mend_manifest(path)
    assert path.read_text() == GOOD + "\n"
    assert not mend_manifest(path)


def test_a_whole_last_line_without_its_end_is_kept(tmp_path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text(GOOD)
    assert not mend_manifest(path)
    append_row(path, Row(path="b.wav", kind="noise"))
    assert [row.path for row in read_manifest(path)] == ["a/x.wav", "b.wav"]
    assert not mend_manifest(tmp_path / "none.jsonl")


def test_a_very_long_torn_line_is_taken_away(tmp_path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_bytes(GOOD.encode() + b"\n" + b"x" * 100_000)
    assert mend_manifest(path)
    assert path.read_text() == GOOD + "\n"


def test_a_row_knows_where_it_ends_and_cannot_be_made_wrong() -> None:
    row = Row(path="x.wav", kind="vocal", start_s=1.5, duration_s=2)
    assert row.end_s == 3.5
    assert "start_s" in row_record(row)
    assert "gain_db" not in row_record(row)
    with pytest.raises(CorpusError, match="kind"):
        dataclasses.replace(row, kind="x")
    with pytest.raises(dataclasses.FrozenInstanceError):
        row.kind = "noise"


def test_a_target_leads_back_to_its_recording() -> None:
    recording = Row(path="XC1.mp3", kind="vocal", stage="recording", licence="CC-BY-4.0")
    segment = Row(path="s.flac", kind="vocal", parent="XC1.mp3")
    target = Row(path="t.flac", kind="vocal", stage="target", parent="s.flac", teacher="gtcrn")
    known = {row.path: row for row in (recording, segment, target)}
    assert lineage(target, known) == [target, segment, recording]
    with pytest.raises(CorpusError, match=r"'XC1\.mp3' is in no row"):
        lineage(target, {"s.flac": segment})
    circle = dataclasses.replace(segment, parent="t.flac")
    with pytest.raises(CorpusError, match="circle"):
        lineage(target, {**known, "s.flac": circle})


def test_splits_follow_the_hash_of_the_recording() -> None:
    names = [f"XC{number}" for number in range(2000)]
    held_back = [name for name in names if split_of(name) == "validation"]
    # The rule that the first recipe split by, so that its validation tenth stays unseen.
    assert held_back == [
        name for name in names if hashlib.sha256(name.encode()).digest()[0] % 10 < 1
    ]
    assert 150 < len(held_back) < 260
    three = [split_of(name, test_tenths=1) for name in names]
    assert [n for n, s in zip(names, three, strict=True) if s == "validation"] == held_back
    assert 150 < three.count("test") < 260
    assert split_of("XC1", test_tenths=10, validation_tenths=0) == "test"


@pytest.mark.parametrize("shares", [(-1, 0), (6, 5), (0, -1)])
def test_splits_that_cannot_be(shares) -> None:
    with pytest.raises(CorpusError, match="tenths"):
        split_of("XC1", validation_tenths=shares[0], test_tenths=shares[1])
    with pytest.raises(CorpusError, match="without a recording"):
        split_of("")


def saved(path: Path, samples: np.ndarray, rate: int = 16_000, **options: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, **options)
    return path


def test_the_same_samples_are_found_under_other_names_and_in_other_containers(tmp_path) -> None:
    samples = np.random.default_rng(1).integers(-(2**15), 2**15, (100_000, 2)).astype(np.int16)
    wav = saved(tmp_path / "a.wav", samples)
    flac = saved(tmp_path / "deep" / "b.flac", samples)
    slow = saved(tmp_path / "slow.wav", samples, 1_600)
    floating = saved(tmp_path / "f.wav", samples / 2.0**15, subtype="FLOAT")
    mono = saved(tmp_path / "mono.wav", samples.reshape(-1))
    short = saved(tmp_path / "short.wav", samples[:-1])
    twin = saved(tmp_path / "twin.wav", samples[:-1])
    broken = tmp_path / "broken.wav"
    broken.write_bytes(wav.read_bytes()[:20])
    seen = []
    paths = [wav, flac, slow, floating, mono, short, twin, broken]
    found = find_duplicates(paths, progress=seen.append)
    assert found.groups == ((wav, flac, slow, floating), (short, twin))
    assert [path for path, _ in found.unreadable] == [broken]
    assert seen == paths


def test_zeros_of_either_sign_are_the_same_and_nothing_is_no_duplicate(tmp_path) -> None:
    zeros = np.zeros(100, np.float32)
    one = saved(tmp_path / "a.wav", zeros, subtype="FLOAT")
    other = saved(tmp_path / "b.wav", -zeros, subtype="FLOAT")
    assert audio_digest(one) == audio_digest(other) != ""
    empty = [saved(tmp_path / f"empty{n}.wav", zeros[:0], subtype="FLOAT") for n in range(2)]
    assert find_duplicates(empty).groups == ()


@pytest.mark.parametrize(
    ("statement", "name", "tier"),
    [
        ("//creativecommons.org/licenses/by-nc-sa/4.0/", "CC-BY-NC-SA-4.0", "noncommercial"),
        ("https://creativecommons.org/licenses/by-nc-nd/2.5", "CC-BY-NC-ND-2.5", "noncommercial"),
        ("http://creativecommons.org/licenses/by-nd/3.0/", "CC-BY-ND-3.0", "unclear"),
        ("cc-by-sa", "CC-BY-SA", "copyleft"),
        ("cc-by-4.0", "CC-BY-4.0", "open"),
        ("CC BY", "CC-BY", "open"),
        ("https://creativecommons.org/publicdomain/zero/1.0/", "CC0-1.0", "open"),
        ("cc-zero", "CC0-1.0", "open"),
        ("https://creativecommons.org/publicdomain/mark/1.0/", None, "open"),
        ("GPL-3.0", "GPL-3.0", "copyleft"),
        ("all rights reserved", "all rights reserved", "unclear"),
        ("CC-BY-4.0 not stated in the repository", None, "unclear"),
        ("", "none stated", "unclear"),
    ],
)  # fmt: skip
def test_licences_get_short_names_and_tiers(statement, name, tier) -> None:
    assert name is None or licence_name(statement) == name
    assert tier_of(statement) == tier_of(licence_name(statement)) == tier


corpus = pytest.mark.skipif(
    not os.environ.get("BIODENOISING_CORPUS"), reason="BIODENOISING_CORPUS names no corpus"
)


@corpus
def test_the_real_corpus_is_read_and_none_of_it_lost() -> None:
    path = Path(os.environ["BIODENOISING_CORPUS"]) / "manifest.jsonl"
    read = read_manifest(path)
    raw = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert len(read) == len(raw) > 0
    for row, wanted in zip(read, raw, strict=True):
        known = {**dataclasses.asdict(row), **row_record(row)}
        assert {key: known[key] for key in wanted} == wanted
    assert all(row.recording and row.licence and row.tier for row in read)
    benchmark = {row.recording for row in read if row.set == "benchmark"}
    assert benchmark
    assert not benchmark & {row.recording for row in read if row.set != "benchmark"}


@corpus
def test_tiers_of_the_real_corpus_are_never_judged_too_freely() -> None:
    path = Path(os.environ["BIODENOISING_CORPUS"]) / "manifest.jsonl"
    read = read_manifest(path)
    order = {tier: place for place, tier in enumerate(TIERS)}
    too_free = {r.licence for r in read if order[tier_of(r.licence)] < order[r.tier]}
    agree = sum(tier_of(row.licence) == row.tier for row in read)
    assert agree > 0.95 * len(read)
    assert len(too_free) <= 0.02 * len({row.licence for row in read}), sorted(too_free)
