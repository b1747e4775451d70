"""Annotation files of all the formats, and the lines that are wrong in them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import io

from biodenoising.corpus.annotations import Annotation, read_annotations
from biodenoising.errors import CorpusError

RAVEN = (
    "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)"
    "\tSpecies\n"
    "1\tWaveform 1\t1\t1.5\t2.25\t0\t11025\towl\n"
    "1\tSpectrogram 1\t1\t1.5\t2.25\t400.5\t900\towl\n"
    "2\tSpectrogram 1\t1\t0.25\t0.5\t300\t800\towl\n"
)
TEXT_GRID = """File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 2
tiers? <exists>
size = 1
item []:
    item [1]:
        class = "IntervalTier"
        name = "calls"
        xmin = 0
        xmax = 2
        intervals: size = 2
        intervals [1]:
            xmin = 0
            xmax = 0.75
            text = ""
        intervals [2]:
            xmin = 0.75
            xmax = 1.5
            text = "a ""b""\"
"""
GOOD = {
    "raven": (
        RAVEN,
        [Annotation(0.25, 0.5, "owl", 300, 800), Annotation(1.5, 2.25, "owl", 400.5, 900)],
    ),
    "audacity": ("0.5\t1.25\tfrog\n2,5\t3\n", [Annotation(0.5, 1.25, "frog"), Annotation(2.5, 3)]),
    "audacity with bands": (
        "0.5\t1.25\tfrog\n\\\t300\t1200\n2\t3\tbird\n\\\t-1\t-1\n",
        [Annotation(0.5, 1.25, "frog", 300, 1200), Annotation(2, 3, "bird")],
    ),
    "simple-seq": (
        "onset_s,offset_s,label\n0.5,0.75,a\n1,2,b\n",
        [Annotation(0.5, 0.75, "a"), Annotation(1, 2, "b")],
    ),
    "generic-seq": (
        "label,onset_s,offset_s,onset_sample,offset_sample,notated_path,annot_path,sequence,"
        "annotation\n"
        "a,0.5,0.75,,,audio/one.wav,x.csv,0,0\nb,1,2,,,audio/two.wav,x.csv,0,1\n",
        [Annotation(0.5, 0.75, "a")],
    ),
    "semicolons": ("start;end;species\r\n1,5;2;Rana\r\n", [Annotation(1.5, 2, "Rana")]),
    "text grid": (TEXT_GRID, [Annotation(0.75, 1.5, 'a "b"')]),
    "table without rows": ("onset_s,offset_s,label\n", []),
    "byte order mark": ("\ufeffonset_s,offset_s,label\n1,2,x\n", [Annotation(1, 2, "x")]),
}
BAD = {
    "empty": ("\n", r"is empty"),
    "no columns": ("time,what\n1,2\n", r"line 1 names no columns for start and end"),
    "no number": ("onset_s,offset_s\n1,2\nsoon,3\n", r"line 3: start 'soon' is no number"),
    "no end": ("onset_s,offset_s\n1\n", r"line 2: there is no end"),
    "not a number": ("onset_s,offset_s\nnan,3\n", r"line 2: start 'nan' is no number"),
    "backwards": ("onset_s,offset_s\n\n3,1\n", r"line 3: ends \(1 s\) before it starts \(3 s\)"),
    "below zero": ("-1\t2\tx\n", r"line 1: ends .* or starts below 0"),
    "band upside down": (
        "Begin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)\n1\t2\t900\t400\n",
        r"line 2: has its upper frequency \(400 Hz\) below its lower \(900 Hz\)",
    ),
    "band first": ("1\t2\tx\n\\\t3\tmany\n", r"line 2: frequency 'many' is no number"),
    "short grid": ('File type = "ooTextFile"\n"TextGrid"\n0\n2\n', r"without intervals"),
    "binary": ("RIFF\0\0WAVE", r"is no text"),
}


@pytest.mark.parametrize("kind", GOOD)
def test_events_are_read(kind: str, tmp_path: Path) -> None:
    text, expected = GOOD[kind]
    path = tmp_path / "events.txt"
    path.write_bytes(text.encode())
    assert list(read_annotations(path, recording="one.wav")) == expected


@pytest.mark.parametrize("kind", BAD)
def test_bad_lines_are_named(kind: str, tmp_path: Path) -> None:
    text, message = BAD[kind]
    path = tmp_path / "events.txt"
    path.write_bytes(text.encode())
    with pytest.raises(CorpusError, match=message) as caught:
        read_annotations(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"none\.csv: cannot be read \(No such file"):
        read_annotations(tmp_path / "none.csv")


def test_a_table_in_utf_16_is_read(tmp_path: Path) -> None:
    path = tmp_path / "raven.txt"
    path.write_bytes(RAVEN.encode("utf-16"))
    assert len(read_annotations(path)) == 2


def test_syllables_of_evsonganaly_are_read(tmp_path: Path) -> None:
    path = tmp_path / "song.cbin.not.mat"
    content = {"onsets": np.array([[500.0], [900.0]]), "offsets": np.array([[650.0], [950.0]])}
    io.savemat(path, {**content, "labels": "ab"}, appendmat=False)
    assert read_annotations(path) == (Annotation(0.5, 0.65, "a"), Annotation(0.9, 0.95, "b"))
    io.savemat(path, {"onsets": np.array([1.0, 2.0]), "offsets": np.array([2.0])}, appendmat=False)
    with pytest.raises(CorpusError, match="2 onsets but 1 offsets"):
        read_annotations(path)
    path.write_bytes(b"no matrix at all")
    with pytest.raises(CorpusError, match="holds no syllables"):
        read_annotations(path)


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, raw: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.txt"
    path.write_bytes(raw)
    try:
        events = read_annotations(path)
    except CorpusError:
        return
    assert all(0 <= event.start_s <= event.end_s for event in events)
