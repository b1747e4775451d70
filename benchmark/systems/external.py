"""Any command as a system: `name=cmd {input} {output}`.

The command gets a mono float WAV at the mixture's rate and must write a WAV of the same rate and
length. What it writes is judged, not repaired: another rate, length or channel count, values that
are not finite, and an output that has nothing to do with its input are errors in the table.
"""

from __future__ import annotations

import hashlib
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import soundfile
from scipy import signal

from benchmark.clips import read_audio
from benchmark.mixtures import Audio
from benchmark.systems.base import Estimate, System, SystemFailure, of_noisy
from biodenoising import OptionError

TIMEOUT_S = 300
FFMPEG = "ffmpeg -loglevel error -y -i {input} -af {filters} -c:a pcm_f32le {output}"
UNRELATED = 0.05
"""Largest correlation with the input, over all lags, that no denoised version of it has."""
LOUD_ENOUGH_DB = -60.0
LAG_SAMPLES = 8
"""A lag of more samples than this, where the shifted output fits twice as well, is a delay."""


def external_system(option: str) -> System:
    """Return the system of one `--system` option."""
    name, separator, command = option.partition("=")
    if not separator or not name or "{input}" not in command or "{output}" not in command:
        raise OptionError(f"--system needs 'name=cmd {{input}} {{output}}', not {option!r}")
    words = shlex.split(command)
    missing = "" if shutil.which(words[0]) else f"the command {words[0]} is not on this machine"
    version = f"command {hashlib.sha256(command.encode()).hexdigest()[:8]}"
    return System(
        name,
        "external",
        version,
        lambda: of_noisy(lambda noisy, rate: run_command(words, noisy, rate)),
        missing=missing,
    )


def ffmpeg_system() -> System:
    """Return ffmpeg's spectral gate, its delay taken out.

    `afftdn` works in steps of an eightieth of a second and gives every sample two steps late.
    """

    def enhance(noisy: Audio, sample_rate: int) -> Estimate:
        delay = 2 * (sample_rate // 80)
        filters = f"apad=pad_len={delay},afftdn,atrim=start_sample={delay}"
        return run_command(shlex.split(FFMPEG.replace("{filters}", filters)), noisy, sample_rate)

    missing = "" if shutil.which("ffmpeg") else "ffmpeg is not on this machine"
    return System(
        "ffmpeg-afftdn", "peer", "filter", lambda: of_noisy(enhance), level_dependent=True,
        missing=missing,
    )  # fmt: skip


def run_command(words: list[str], noisy: Audio, sample_rate: int) -> Estimate:
    """Run the command on one mixture and return what it wrote, checked."""
    with tempfile.TemporaryDirectory(prefix="biodenoise-benchmark-") as folder:
        source, target = Path(folder) / "input.wav", Path(folder) / "output.wav"
        soundfile.write(source, noisy, sample_rate, subtype="FLOAT")
        filled = [w.replace("{input}", str(source)).replace("{output}", str(target)) for w in words]
        try:
            done = subprocess.run(filled, capture_output=True, timeout=TIMEOUT_S, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise SystemFailure(f"{words[0]}: {error}") from error
        if done.returncode:
            last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
            raise SystemFailure(f"{words[0]} ended with {done.returncode}: {' '.join(last)}")
        if not target.is_file():
            raise SystemFailure(f"{words[0]} wrote no output")
        output, rate = read_audio(target)
    if rate != sample_rate:
        raise SystemFailure(f"{words[0]} wrote {rate} Hz for {sample_rate} Hz")
    if output.shape != (len(noisy), 1):
        raise SystemFailure(
            f"{words[0]} wrote {output.shape[0]} samples in {output.shape[1]} channels "
            f"for {len(noisy)} in one"
        )
    if not np.isfinite(output).all():
        raise SystemFailure(f"{words[0]} wrote values that are not finite")
    check_related(output[:, 0], noisy)
    return output[:, 0]


def check_related(output: Estimate, noisy: Audio) -> None:
    """Raise when an output that is not near silence cannot have come from this input in order."""
    energies = float(output @ output), float(noisy.astype(np.float64) @ noisy)
    if energies[0] <= energies[1] * 10 ** (LOUD_ENOUGH_DB / 10):
        return
    middle = len(noisy) - 1
    correlation = np.abs(signal.correlate(output, noisy.astype(np.float64), method="fft"))
    correlation /= np.sqrt(energies[0] * energies[1])
    best = int(np.argmax(correlation))
    if correlation[best] < UNRELATED:
        raise SystemFailure(
            f"the output does not resemble its input (correlation {correlation[best]:.3f}): "
            "shuffled, or another recording's"
        )
    lag = best - middle
    if abs(lag) > LAG_SAMPLES and correlation[best] > 2 * correlation[middle]:
        raise SystemFailure(f"the output is shifted by {lag} samples against its input")
