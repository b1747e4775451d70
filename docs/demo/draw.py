"""Draw spectrograms of a recording before and after, and of what was removed, one colour scale.

python docs/demo/draw.py BEFORE AFTER PICTURE.png
"""

from __future__ import annotations

import sys

import matplotlib as mpl

mpl.use("Agg")

import soundfile

from biodenoising.plot import before_after


def main(before: str, after: str, picture: str) -> None:
    """Write the picture; what was removed is the difference of the other two."""
    audio, rate = soundfile.read(before, always_2d=True, dtype="float32")
    denoised, _ = soundfile.read(after, always_2d=True, dtype="float32")
    before_after(audio.T, denoised.T, rate).savefig(picture, dpi=110)


if __name__ == "__main__":
    main(*sys.argv[1:4])
