"""The stretch of a file that is shown: cut from input and output, drawn and made to be heard."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biodenoising.audio import open_reader
from biodenoising.batch.listing import Task
from biodenoising.report.facts import Facts, shown_s
from biodenoising.report.pictures import levels, png, scale_of
from biodenoising.report.sounds import audible_speed, listening_gain_db, mp3

Samples = NDArray[np.float32]
SKIPPED_FRAMES = 1 << 18
TITLES = ("before", "after", "removed")
STYLE = (
    "display:grid;grid-template-columns:4.6em minmax(0,1fr);gap:.5em .7em;max-width:60em;"
    "font-family:inherit"
)
AXIS = (
    "display:flex;flex-direction:column;justify-content:space-between;align-items:flex-end;"
    "height:10em;line-height:1.1;font-size:.9em"
)
PICTURE = "width:100%;height:9em;display:block;border-radius:5px;margin:0"


def card_of(task: Task, facts: Facts) -> dict[str, Any]:
    """Return pictures and sounds of a file, before, after and removed, as JSON holds them.

    All three have one colour scale and are played equally much louder. Of several channels the
    loudest is taken. Raises AudioReadError.
    """
    length_s = shown_s(facts.sample_rate, facts.duration_s)
    before, after = (_cut(path, facts, length_s) for path in (task.input, task.output))
    short = max(before.shape[1] - after.shape[1], 0)
    after = np.pad(after, ((0, 0), (0, short)))[:, : before.shape[1]]
    channel = int(np.argmax(np.square(before).sum(axis=1)))
    return facing(before[channel], after[channel], facts.sample_rate, marks=facts.shown) | {
        "start": facts.start_s,
        "channel": channel + 1 if facts.channels > 1 else 0,
    }


def facing(
    before: Samples,
    after: Samples,
    sample_rate: float,
    marks: tuple[tuple[float, float, float, float], ...] = (),
) -> dict[str, Any]:
    """Return pictures and sounds of mono samples before and after, as JSON holds them."""
    three = (before, after, before - after)
    drawn = [levels(samples) for samples in three]
    scale = scale_of(drawn[0])
    gain_db = listening_gain_db(before)
    loud = [np.asarray(samples * 10 ** (gain_db / 20), np.float32) for samples in three]
    speed = audible_speed(sample_rate, max((mark[3] for mark in marks), default=0.0))
    return {
        "seconds": len(before) / sample_rate,
        "rate": sample_rate,
        "low": round(scale.low, 1),
        "high": round(scale.high, 1),
        "gain": gain_db,
        "speed": speed,
        "marks": marks,
        "pictures": [_text(png(picture, scale)) for picture in drawn],
        "sounds": [_text(mp3(samples, sample_rate)) for samples in loud],
        "other": [_text(mp3(s, sample_rate * speed)) for s in loud] if speed != 1 else [],
    }


def html_of(card: dict[str, Any]) -> str:
    """Return pictures and players of a card as a piece of HTML that needs no script.

    What cannot be heard at its own speed is played at another one.
    """
    speed, start = card["speed"], card.get("start", 0.0)
    rows = "".join(
        f'<div style="{AXIS}"><span>{_hertz(card["rate"] / 2)}</span><b>{title}</b><span>0</span>'
        f'</div><div><img alt="Spectrogram {title}" style="{PICTURE}" '
        f'src="data:image/png;base64,{picture}"><audio controls preload="metadata" '
        f'style="width:100%;height:40px" src="data:audio/mpeg;base64,{sound}"></audio></div>'
        for title, picture, sound in zip(
            TITLES, card["pictures"], card["other"] or card["sounds"], strict=True
        )
    )
    said = [
        f"{start:.4g} to {start + card['seconds']:.4g} s",
        f"0 to {_hertz(card['rate'] / 2)}",
        f"colours {card['low']:.0f} to {card['high']:.0f} dB",
        f"played {card['gain']:.0f} dB louder" if card["gain"] >= 1 else "",
        f"played {1 / speed:g} times slower" if speed < 1 else "",
        f"played {speed:g} times faster" if speed > 1 else "",
    ]
    words = ", ".join(text for text in said if text).replace("-", "\u2212")
    return f'<div style="{STYLE}">{rows}<span></span><small>{words}</small></div>'


def _hertz(frequency: float) -> str:
    return f"{frequency / 1000:g} kHz" if frequency >= 1000 else f"{frequency:g} Hz"


def _cut(path: Path, facts: Facts, length_s: float) -> Samples:
    """Read a stretch of shape (channels, samples), forward: that is how everything is decoded."""
    start = round(facts.start_s * facts.sample_rate)
    with open_reader(path) as reader:
        while start > 0:
            passed = reader.read(min(start, SKIPPED_FRAMES)).shape[1]
            if not passed:
                break
            start -= passed
        return np.nan_to_num(reader.read(max(round(length_s * facts.sample_rate), 1)))


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
