"""Draw spectrograms of a recording before and after, and of what was removed, one colour scale.

python docs/demo/draw.py BEFORE AFTER REMOVED PICTURE.png
"""

from __future__ import annotations

import sys

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import soundfile

FFT = 1024
RANGE_DB = 70.0


def main(before: str, after: str, removed: str, picture: str) -> None:
    """Write the picture."""
    figure, axes = plt.subplots(3, 1, figsize=(9, 7.5), sharex=True, layout="constrained")
    top = 0.0
    for axis, path, title in zip(
        axes, (before, after, removed), ("before", "after", "removed"), strict=True
    ):
        audio, rate = soundfile.read(path, always_2d=True)
        mono = audio[:, 0]
        padded = np.pad(mono, (0, -len(mono) % FFT))
        frames = np.lib.stride_tricks.sliding_window_view(padded, FFT)[:: FFT // 4]
        power = np.abs(np.fft.rfft(frames * np.hanning(FFT), axis=1)) ** 2
        level = 10 * np.log10(power.T + 1e-12)
        top = top or float(level.max())
        extent = (0.0, len(mono) / rate, 0.0, rate / 2000)
        image = axis.imshow(
            level, origin="lower", aspect="auto", extent=extent, cmap="magma",
            vmin=top - RANGE_DB, vmax=top,
        )  # fmt: skip
        axis.set_ylabel("kHz")
        axis.set_title(title, loc="left")
    axes[-1].set_xlabel("s")
    figure.colorbar(image, ax=axes, label="dB", shrink=0.6)
    figure.savefig(picture, dpi=110)


if __name__ == "__main__":
    main(*sys.argv[1:5])
