"""Read the events that people marked in a recording, from the table formats they use.

Read: Raven selection tables, Audacity labels (with or without frequencies), comma-separated
tables (crowsetta's simple-seq and generic-seq, and any with columns for start and end), Praat
TextGrids and evsonganaly's `.not.mat`. A line that cannot be read stops with its number.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import io
from scipy.io.matlab import MatReadError

from biodenoising.errors import CorpusError
from biodenoising.storage import printable

STARTS = ("begin time (s)", "onset_s", "start_s", "start_time", "begin_time", "onset", "start")
ENDS = ("end time (s)", "offset_s", "stop_s", "end_s", "end_time", "offset", "stop", "end")
LOWS = ("low freq (hz)", "low_hz", "low_f", "low_freq", "min_freq")
HIGHS = ("high freq (hz)", "high_hz", "high_f", "high_freq", "max_freq")
LABELS = ("label", "annotation", "species", "common name", "species code", "class", "name")
# Raven gives a selection once for each of its views; the spectrogram's line has the band.
VIEW, WANTED_VIEW = "view", "spectrogram"
LARGEST_FILE_BYTES = 64 << 20
INTERVAL = re.compile(
    r"xmin\s*=\s*(?P<start>\S+)\s*xmax\s*=\s*(?P<end>\S+)\s*text\s*=\s*\"(?P<label>(?:[^\"]|\"\")*)\""
)


@dataclass(frozen=True)
class Annotation:
    """One marked event: seconds from the recording's start, and its band in Hz if it was given."""

    start_s: float
    end_s: float
    label: str = ""
    low_hz: float | None = None
    high_hz: float | None = None


def read_annotations(path: Path, *, recording: str | None = None) -> tuple[Annotation, ...]:
    """Return the events of an annotation file, ordered by start; the content tells the format.

    `recording` is the recording's file name: of a table that covers several recordings (a column
    `notated_path`, `begin file` or `file`), only its rows are taken.

    Raises:
        CorpusError: the file cannot be read or is in no known format, or a line holds no
            times or an end before its start; the message names the file and the line.
    """
    if path.name.lower().endswith(".not.mat"):
        return _ordered(_not_mat(path))
    text = _text(path)
    if "ooTextFile" in text[:200]:
        return _ordered(_text_grid(path, text))
    lines = text.splitlines()
    first = next((line for line in lines if line.strip()), "")
    if not first:
        raise CorpusError(f"{printable(path)}: is empty; give an annotation file or none")
    if _is_number(first.split("\t")[0]) and "\t" in first:
        return _ordered(_audacity(path, lines))
    return _ordered(_table(path, lines, recording))


def _text(path: Path) -> str:
    name = printable(path)
    try:
        if path.stat().st_size > LARGEST_FILE_BYTES:
            raise CorpusError(f"{name}: is too large for annotations; is it a recording?")
        raw = path.read_bytes()
    except OSError as error:
        raise CorpusError(
            f"{name}: cannot be read ({error.strerror}); check that it exists and may be read"
        ) from error
    if b"\0" in raw and not raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise CorpusError(f"{name}: is no text; give a table of events, not a recording")
    encoding = "utf-16" if raw.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    return raw.decode(encoding, "replace")


def _table(path: Path, lines: list[str], recording: str | None) -> Iterator[Annotation]:
    """Read a table with a header line: tabs as Raven writes them, or commas or semicolons."""
    filled = [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    head = filled[0][1]
    comma = max("\t,;", key=head.count)
    names = [name.lower() for name in _cells(path, filled[0][0], head, comma)]
    start, end = _column(names, STARTS), _column(names, ENDS)
    if start is None or end is None:
        raise CorpusError(
            f"{printable(path)}: line {filled[0][0]} names no columns for start and end (as "
            "'Begin Time (s)' and 'End Time (s)', or onset_s and offset_s); is it an annotation"
            " table?"
        )
    low, high, label = _column(names, LOWS), _column(names, HIGHS), _column(names, LABELS)
    view = _column(names, (VIEW,))
    file = _column(names, ("notated_path", "begin file", "file"))
    for number, line in filled[1:]:
        cells = _cells(path, number, line, comma)
        if view is not None and WANTED_VIEW not in _cell(cells, view).lower():
            continue
        of = re.split(r"[/\\]", _cell(cells, file))[-1]
        if recording and of and of != recording:
            continue
        yield _event(
            path, number, _cell(cells, start), _cell(cells, end), _cell(cells, label),
            _cell(cells, low), _cell(cells, high),
        )  # fmt: skip


def _cells(path: Path, number: int, line: str, comma: str) -> list[str]:
    try:
        return [cell.strip() for cell in next(csv.reader([line], delimiter=comma))]
    except csv.Error as error:
        raise _bad(path, number, f"is no line of a table ({error})") from error


def _audacity(path: Path, lines: list[str]) -> Iterator[Annotation]:
    """Read Audacity's labels; a second line that begins with a backslash holds the band."""
    event: Annotation | None = None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        cells = [cell.strip() for cell in line.split("\t")]
        if cells[0] == "\\":
            if event is None:
                raise _bad(path, number, "gives frequencies before any label")
            band = _event(path, number, "0", "0", "", _cell(cells, 1), _cell(cells, 2))
            event = Annotation(event.start_s, event.end_s, event.label, band.low_hz, band.high_hz)
            continue
        if event is not None:
            yield event
        event = _event(path, number, cells[0], _cell(cells, 1), _cell(cells, 2), "", "")
    if event is not None:
        yield event


def _text_grid(path: Path, text: str) -> Iterator[Annotation]:
    """Read the labelled intervals of all tiers of a Praat TextGrid in its long form."""
    found = False
    for match in INTERVAL.finditer(text):
        found = True
        label = match["label"].replace('""', '"').strip()
        if label:
            number = text.count("\n", 0, match.start()) + 1
            yield _event(path, number, match["start"], match["end"], label, "", "")
    if not found:
        raise CorpusError(
            f"{printable(path)}: is a TextGrid without intervals in the long text form; save it"
            " from Praat by 'Save as text file'"
        )


def _not_mat(path: Path) -> Iterator[Annotation]:
    """Read evsonganaly's syllables: onsets and offsets in milliseconds, one letter for each."""
    name = printable(path)
    try:
        content = io.loadmat(path, squeeze_me=True, variable_names=["onsets", "offsets", "labels"])
        onsets, offsets = (np.atleast_1d(content[key]) / 1000.0 for key in ("onsets", "offsets"))
    except (OSError, MatReadError, ValueError, TypeError, KeyError, NotImplementedError) as error:
        reason = " ".join(str(error).split())
        raise CorpusError(
            f"{name}: holds no syllables as evsonganaly writes them ({reason})"
        ) from error
    labels = str(content.get("labels", ""))
    if len(onsets) != len(offsets):
        raise CorpusError(f"{name}: has {len(onsets)} onsets but {len(offsets)} offsets")
    for place, (start, end) in enumerate(zip(onsets, offsets, strict=True)):
        label = labels[place] if place < len(labels) else ""
        yield _event(path, place + 1, str(start), str(end), label, "", "")


def _event(
    path: Path, number: int, start: str, end: str, label: str, low: str, high: str
) -> Annotation:
    """Turn a line's cells into an event, or say what is wrong with the line."""
    times = [_number(path, number, cell, what) for cell, what in ((start, "start"), (end, "end"))]
    if times[0] < 0 or times[1] < times[0]:
        raise _bad(path, number, f"ends ({end} s) before it starts ({start} s) or starts below 0")
    band = [_number(path, number, cell, "frequency") if cell else None for cell in (low, high)]
    # Audacity writes -1 for a frequency that was not chosen.
    low_hz, high_hz = (None if hz is None or hz < 0 else hz for hz in band)
    if low_hz is not None and high_hz is not None and high_hz < low_hz:
        raise _bad(path, number, f"has its upper frequency ({high} Hz) below its lower ({low} Hz)")
    return Annotation(times[0], times[1], label, low_hz, high_hz)


def _number(path: Path, number: int, cell: str, what: str) -> float:
    if not _is_number(cell):
        shown = f"{what} {cell!r} is no number" if cell else f"there is no {what}"
        raise _bad(path, number, shown)
    return float(cell.replace(",", "."))


def _is_number(cell: str) -> bool:
    # Programs in half of Europe write the decimals after a comma.
    try:
        return math.isfinite(float(cell.replace(",", ".")))
    except ValueError:
        return False


def _column(names: Sequence[str], known: Sequence[str]) -> int | None:
    return next((names.index(name) for name in known if name in names), None)


def _cell(cells: Sequence[str], column: int | None) -> str:
    return cells[column] if column is not None and column < len(cells) else ""


def _bad(path: Path, number: int, what: str) -> CorpusError:
    return CorpusError(f"{printable(path)}: line {number}: {what}; correct the line")


def _ordered(events: Iterator[Annotation]) -> tuple[Annotation, ...]:
    return tuple(sorted(events, key=lambda event: (event.start_s, event.end_s)))
