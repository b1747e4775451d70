"""What happens to a sound between the animal and the file, drawn at random.

Every function takes a generator and arrays of shape (samples,) and returns new ones of the same
length. Frequencies are shares of half the sampling rate, times are in samples: a model hears any
rate, so nothing here knows a frequency in Hz.
"""

from __future__ import annotations

import io

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray
from scipy import fft, ndimage, signal

from biodenoising.signals import interrupts_held

Samples = NDArray[np.float32]
Rng = np.random.Generator

LOUD_EVENT_DB = (15.0, 45.0)
WARP_OCTAVES = 0.25
COLOUR_OCTAVES, COLOUR_DB = 9, 9.0  # below half the rate, either way
SMALLEST_RMS = 1e-9
LEAST_KEPT = 0.1  # of a call's power, by a filter that is thought to leave the call
QUIETER_DB = (15.0, 80.0)
SHORTEST_RAMP = 8
RAMP_SHARE = 0.3  # of the whole, at most
OPEN_END = 0.3  # of the stretches begin, or end, with the recording
NOISE_ALONE = 0.5
MP3_RATES_HZ = (16_000, 22_050, 32_000, 44_100, 48_000)
# What encoder and decoder put before the sound where the file does not say so.
MP3_DELAY = 1105


def rms(x: Samples) -> float:
    """Return the root mean square, never zero."""
    return max(float(np.sqrt(np.mean(x**2))), SMALLEST_RMS)


def fit_length(
    audio: Samples, samples: int, speed: float, rng: Rng, *, call: bool, loud: bool = True
) -> Samples:
    """Cut, resample to `speed` times the playback rate and bring to length and rms 1.

    A call is cut where it is `loud`, else anywhere, and padded with silence; noise is cut anywhere
    and repeated, every other time backwards. What a higher speed moves beyond half the rate is
    filtered out (soxr).
    """
    wanted = int(samples * speed) + 1
    if len(audio) > wanted:
        if call and loud:
            power = np.add.reduceat(audio**2, np.arange(0, len(audio), 1024)) + 1e-12
            centre = 1024 * rng.choice(len(power), p=power / power.sum(dtype=np.float64))
            start = int(np.clip(centre - rng.uniform(0.1, 0.9) * wanted, 0, len(audio) - wanted))
        else:
            start = int(rng.integers(len(audio) - wanted))
        audio = audio[start : start + wanted]
    elif not call:
        audio = np.resize(np.concatenate([audio, audio[::-1]]), wanted)
    audio = np.asarray(soxr.resample(audio, speed, 1.0, quality="MQ"), np.float32)[:samples]
    if len(audio) < samples:
        before = int(rng.integers(samples - len(audio) + 1)) if call else 0
        audio = np.pad(audio, (before, samples - len(audio) - before))
    return audio / np.float32(rms(audio))


def warp_time(call: Samples, rng: Rng) -> Samples:
    """Play now faster, now slower, by up to a quarter of an octave each way: other contours.

    The first and the last sample stay where they are. Where it is fastest, what lies above 0.84 of
    half the rate is folded back, a sixth of the band that few calls fill.
    """
    knots = rng.uniform(-WARP_OCTAVES, WARP_OCTAVES, int(rng.integers(3, 12)))
    time = np.linspace(0, len(knots) - 1, len(call))
    speed = 2 ** np.interp(time, np.arange(len(knots)), knots)
    position = np.cumsum(speed)
    position = (position - position[0]) * ((len(call) - 1) / max(position[-1] - position[0], 1.0))
    warped = ndimage.map_coordinates(call, [position], order=3, mode="nearest")
    return np.asarray(warped, np.float32)


def colour(sound: Samples, rng: Rng) -> Samples:
    """Raise and lower bands by up to 9 dB, smoothly over octaves, as microphones and places do.

    Returns rms 1.
    """
    spectrum = fft.rfft(sound)
    octaves = np.log2(np.arange(1, len(spectrum) + 1) / len(spectrum))
    knots = np.arange(-COLOUR_OCTAVES, 1)
    gain_db = np.interp(octaves, knots, rng.uniform(-COLOUR_DB, COLOUR_DB, len(knots)))
    coloured = fft.irfft(spectrum * 10 ** (gain_db / 20), len(sound)).astype(np.float32)
    return np.asarray(coloured / rms(coloured), np.float32)


def limit_band(call: Samples, noise: Samples, rng: Rng) -> tuple[Samples, Samples]:
    """Low- or high-pass both at one random corner: recordings end at many frequencies.

    A corner that would take most of the call away leaves both as they are.
    """
    if rng.random() < 0.7:
        sos = signal.butter(int(rng.integers(2, 9)), rng.uniform(0.2, 0.9), "lowpass", output="sos")
    else:
        corner = 10 ** rng.uniform(-2.5, -0.7)
        sos = signal.butter(int(rng.integers(1, 5)), corner, "highpass", output="sos")
    filtered = signal.sosfilt(sos, call)
    if np.mean(filtered**2) < LEAST_KEPT * np.mean(call**2):
        return call, noise
    return filtered.astype(np.float32), signal.sosfilt(sos, noise).astype(np.float32)


def carry_far(call: Samples, rng: Rng) -> Samples:
    """Dampen high frequencies as the way through air does: in dB with frequency squared.

    Up to 40 dB at half the rate; less where the call would hardly be left. Returns rms 1.
    """
    spectrum = fft.rfft(call)
    squared = np.linspace(0, 1, len(spectrum), dtype=np.float32) ** 2
    power = np.abs(spectrum) ** 2
    damping_db = rng.uniform(5, 40)
    while np.sum(power * 10 ** (-damping_db * squared / 10)) < LEAST_KEPT * np.sum(power):
        damping_db /= 2
    far = fft.irfft(spectrum * 10 ** (-damping_db * squared / 20), len(call)).astype(np.float32)
    return np.asarray(far / rms(far), np.float32)


def reverberate(call: Samples, rng: Rng) -> Samples:
    """Add echoes: noise that decays by 60 dB within 300 to 10,000 samples, duller than the call.

    They come up to 300 samples late and are 3 to 20 dB weaker in sum. Returns rms 1.
    """
    decay = int(10 ** rng.uniform(2.5, 4.0))
    echoes = rng.standard_normal(decay) * 10 ** (-3 * np.arange(decay) / decay)
    dullness = rng.uniform(0.0, 0.9)
    echoes = signal.lfilter([1.0], [1.0, -dullness], echoes)
    echoes *= 10 ** (-rng.uniform(3, 20) / 20) / np.sqrt(np.sum(echoes**2))
    response = np.concatenate([[1.0], np.zeros(int(rng.integers(300))), echoes])
    wet = signal.oaconvolve(call, response.astype(np.float32))[: len(call)].astype(np.float32)
    return np.asarray(wet / rms(wet), np.float32)


def quieten_around(call: Samples, noise: Samples, rng: Rng) -> tuple[Samples, Samples]:
    """Lower both, or the noise alone, by 15 to 80 dB but for a stretch around the call's peak.

    Recordings fade in and out, are gated or cut together, and noises are switched on. Levels in the
    stretch stay as they are; it begins and ends in ramps of 8 samples to 0.3 of the whole.
    """
    samples = len(call)
    peak = int(np.abs(call).argmax())
    begin, end = peak * rng.uniform(), peak + (samples - peak) * rng.uniform()
    draw = rng.random()
    if draw < OPEN_END:
        begin = 0.0
    elif draw < 2 * OPEN_END:
        end = float(samples)
    shortest, longest = np.log(SHORTEST_RAMP), np.log(RAMP_SHARE * samples)
    before, behind = np.exp(rng.uniform(shortest, longest, 2))
    quiet = 10 ** (-rng.uniform(*QUIETER_DB) / 20)
    knots = [begin - before, begin, end, end + behind]
    gain = np.interp(np.arange(samples), knots, [quiet, 1, 1, quiet]).astype(np.float32)
    if rng.random() >= NOISE_ALONE:
        call = call * gain
    return call, noise * gain


def loud_event(samples: int, rng: Rng) -> Samples:
    """Return a knock, a clap or a shriek, far above noise of rms 1: a few to some hundred ms."""
    length = int(10 ** rng.uniform(1.5, 3.9))
    start = int(rng.integers(samples))
    length = min(length, samples - start)
    time = np.arange(length)
    if rng.random() < 0.5:
        sound = rng.standard_normal(length)
        if length > 64:
            corners = np.sort(10 ** rng.uniform(-2.3, -0.05, 2)) + np.array([0, 0.03])
            corners = np.minimum(corners, 0.98)
            sos = signal.butter(1, corners, "bandpass", output="sos")
            sound = signal.sosfilt(sos, sound)
    else:
        sound = np.sin(2 * np.pi * 10 ** rng.uniform(-2.3, -0.4) * time + rng.uniform(0, 6))
    sound = sound * np.exp(-time / length * rng.uniform(0, 6))
    event = np.zeros(samples, np.float32)
    peak = max(float(np.abs(sound).max(initial=0.0)), 1e-9)
    event[start : start + length] = sound / peak * 10 ** (rng.uniform(*LOUD_EVENT_DB) / 20)
    return event


def clip_softly(noisy: Samples, rng: Rng) -> Samples:
    """Bend the loudest samples as an overloaded preamplifier does; quiet ones stay as they are."""
    drive = np.float32(10 ** (rng.uniform(-6, 10) / 20) / max(float(np.abs(noisy).max()), 1e-9))
    return np.asarray(np.tanh(drive * noisy) / drive, np.float32)


def through_mp3(noisy: Samples, rng: Rng) -> Samples:
    """Encode as MP3 at a random rate and quality and decode again, sample for sample in place."""
    gain = np.float32(0.9 / max(float(np.abs(noisy).max()), 1e-9))
    rate = int(rng.choice(MP3_RATES_HZ))
    with interrupts_held(), io.BytesIO() as file:
        soundfile.write(
            file, noisy * gain, rate, format="MP3", subtype="MPEG_LAYER_III",
            compression_level=rng.uniform(0.3, 0.95), bitrate_mode="CONSTANT",
        )  # fmt: skip
        file.seek(0)
        coded, _ = soundfile.read(file, dtype="float32")
    start = MP3_DELAY if len(coded) > len(noisy) else 0
    coded = coded[start : start + len(noisy)]
    return np.asarray(np.pad(coded, (0, len(noisy) - len(coded))) / gain, np.float32)
