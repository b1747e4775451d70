"""Parametric animal calls and environmental noises, made from nothing but a random generator.

Made for tests, for a machine without recordings, and to fill thin groups in training. Calls are
caricatures: they have the right frequencies, durations and shapes, not the right individuals.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import signal

from biodenoising.corpus.sounds import Rng, Samples, band, coloured, flutter


@dataclass(frozen=True)
class CallKind:
    """How one kind of call is made; `sample_rate` in Hz is the least that holds its band."""

    group: str
    sample_rate: int
    make: Callable[[Rng, float], Samples]


def synthesize_call(kind: str, sample_rate: float, rng: Rng) -> NDArray[np.float32]:
    """Return one call with silence of 10-50 ms around it, mono, peak 1, shape (samples,).

    Raises KeyError for an unknown kind and ValueError where `sample_rate` (Hz) is too low for it.
    """
    call = CALLS[kind]
    if sample_rate < call.sample_rate:
        raise ValueError(f"{kind} needs a sampling rate of at least {call.sample_rate} Hz")
    body = call.make(rng, sample_rate)
    edges = [np.zeros(int(sample_rate * rng.uniform(0.01, 0.05))) for _ in range(2)]
    padded = np.concatenate([edges[0], body, edges[1]])
    return (padded / max(float(np.abs(padded).max()), 1e-12)).astype(np.float32)


def synthesize_noise(
    kind: str, sample_rate: float, duration_s: float, rng: Rng
) -> NDArray[np.float32]:
    """Return noise of the named kind, mono, rms 0.1, shape (samples,). Raises KeyError."""
    samples = max(int(sample_rate * duration_s), 1)
    noise = NOISES[kind](rng, sample_rate, samples)
    rms = float(np.sqrt(np.mean(noise**2)))
    return (0.1 * noise / max(rms, 1e-12)).astype(np.float32)


# --- building blocks -----------------------------------------------------------------------------


def _time(duration_s: float, rate: float) -> Samples:
    return np.arange(max(int(duration_s * rate), 16)) / rate


def _envelope(n: int, attack: float = 0.1, release: float = 0.3) -> Samples:
    """Return a raised-cosine attack and release; both are shares of the duration."""
    up, down = max(int(n * attack), 1), max(int(n * release), 1)
    shape = np.ones(n)
    shape[:up] *= 0.5 - 0.5 * np.cos(np.pi * np.arange(up) / up)
    shape[-down:] *= 0.5 + 0.5 * np.cos(np.pi * np.arange(down) / down)
    return shape


def _contour(rng: Rng, n: int, low_hz: float, high_hz: float, knots: int = 4) -> Samples:
    """Return a smooth frequency contour in Hz through random knots between the bounds."""
    values = np.exp(rng.uniform(np.log(low_hz), np.log(high_hz), knots))
    weights = signal.windows.hann(2 * max(n // (2 * knots), 1) + 1)
    line = np.interp(np.linspace(0, knots - 1, n), np.arange(knots), values)
    return np.asarray(
        signal.oaconvolve(np.pad(line, len(weights) // 2, mode="edge"), weights, "valid")
        / weights.sum()
    )


def _tones(frequency_hz: Samples, rate: float, gains: Samples) -> Samples:
    """Return harmonics of a frequency contour; those above 0.45 of the rate are left out."""
    phase = 2 * np.pi * np.cumsum(frequency_hz) / rate
    total = np.zeros(len(phase))
    for order, gain in enumerate(gains, start=1):
        audible = frequency_hz * order < 0.45 * rate
        total += gain * np.sin(order * phase) * audible
    return total


def _repeat(pulse: Samples, rate: float, interval_s: Samples, gains: Samples) -> Samples:
    """Lay copies of a pulse at cumulated intervals in seconds, each with its gain."""
    starts = (np.cumsum(interval_s) * rate).astype(int)
    starts -= starts[0]
    train = np.zeros(starts[-1] + len(pulse))
    for start, gain in zip(starts, gains, strict=True):
        train[start : start + len(pulse)] += gain * pulse
    return train


def _gains(rng: Rng, count: int, slope_db: float) -> Samples:
    return np.asarray(10 ** ((-slope_db * np.arange(count) + rng.normal(0, 4, count)) / 20))


# --- calls ---------------------------------------------------------------------------------------


def _whistle(rng: Rng, rate: float) -> Samples:
    t = _time(rng.uniform(0.15, 0.9), rate)
    f = _contour(rng, len(t), 1500, 7000, int(rng.integers(2, 6)))
    return _tones(f, rate, _gains(rng, 2, 25)) * _envelope(len(t))


def _harmonic_stack(rng: Rng, rate: float) -> Samples:
    t = _time(rng.uniform(0.08, 0.6), rate)
    base = rng.uniform(300, 1500)
    f = _contour(rng, len(t), base, base * 1.5, 3)
    return _tones(f, rate, _gains(rng, 12, rng.uniform(1, 6))) * _envelope(len(t))


def _trill(rng: Rng, rate: float) -> Samples:
    t = _time(rng.uniform(0.01, 0.05), rate)
    low = rng.uniform(2000, 5000)
    sweep = np.linspace(low * rng.uniform(1.0, 1.6), low, len(t))
    note = _tones(sweep, rate, _gains(rng, 2, 20)) * _envelope(len(t), 0.2, 0.4)
    count = int(rng.integers(8, 40))
    gap = len(t) / rate * rng.uniform(1.2, 2.5)
    return _repeat(note, rate, np.full(count, gap), 0.3 + 0.7 * _envelope(count, 0.3, 0.3))


def _frog_pulses(rng: Rng, rate: float) -> Samples:
    t = _time(rng.uniform(0.008, 0.04), rate)
    carrier = rng.uniform(400, 3500)
    pulse = _tones(np.full(len(t), carrier), rate, _gains(rng, 3, 12))
    pulse *= np.exp(-t / t[-1] * rng.uniform(2, 5)) * _envelope(len(t), 0.1, 0.2)
    count = int(rng.integers(5, 40))
    interval = rng.uniform(0.01, 0.08) * np.linspace(1, rng.uniform(0.7, 1.5), count)
    return _repeat(pulse, rate, interval, 0.4 + 0.6 * _envelope(count, 0.5, 0.1))


def _stridulation(rng: Rng, rate: float) -> Samples:
    t = _time(rng.uniform(0.4, 1.6), rate)
    carrier = rng.uniform(3500, 9000)
    tone = np.sin(2 * np.pi * np.cumsum(carrier * (1 + 0.01 * np.sin(40 * t))) / rate)
    rough = band(rng.standard_normal(len(t)), 0.8 * carrier, 1.25 * carrier, rate)
    teeth = np.clip(np.sin(2 * np.pi * rng.uniform(15, 90) * t), 0, None) ** rng.uniform(0.5, 2)
    return (tone + rng.uniform(0, 2) * rough) * teeth * _envelope(len(t), 0.1, 0.1)


def _bat_sweep(rng: Rng, rate: float) -> Samples:
    t = _time(rng.uniform(0.002, 0.012), rate)
    low = rng.uniform(20e3, 55e3)
    shape = np.linspace(0, 1, len(t)) ** rng.uniform(0.3, 1)
    f = low * rng.uniform(1.3, 2.2) ** (1 - shape)
    pulse = _tones(f, rate, _gains(rng, 2, 18)) * _envelope(len(t), 0.2, 0.4)
    count = int(rng.integers(1, 7))
    gaps = rng.uniform(0.03, 0.1) * rng.uniform(0.8, 1.2, count)
    return _repeat(pulse, rate, gaps, rng.uniform(0.4, 1, count))


def _dolphin_whistle(rng: Rng, rate: float) -> Samples:
    t = _time(rng.uniform(0.3, 1.2), rate)
    f = _contour(rng, len(t), 4000, 20000, int(rng.integers(3, 7)))
    return _tones(f, rate, _gains(rng, 3, 15)) * _envelope(len(t))


def _whale_moan(rng: Rng, rate: float) -> Samples:
    t = _time(rng.uniform(0.8, 3.0), rate)
    base = rng.uniform(40, 500)
    f = _contour(rng, len(t), base, base * 2, 3)
    return _tones(f, rate, _gains(rng, 6, 7)) * _envelope(len(t), 0.2, 0.4)


def _click_train(rng: Rng, rate: float) -> Samples:
    t = _time(rng.uniform(0.0005, 0.003), rate)
    carrier = rng.uniform(0.08, 0.35) * rate
    click = np.sin(2 * np.pi * carrier * t) * np.exp(-t / t[-1] * 6)
    count = int(rng.integers(5, 50))
    gaps = rng.uniform(0.01, 0.08) * np.linspace(1, rng.uniform(0.4, 1.6), count)
    return _repeat(click, rate, gaps, rng.uniform(0.5, 1, count))


def _click(rng: Rng, rate: float) -> Samples:
    """One click of a toothed whale: half a cycle to two, and what surface and bottom send back."""
    carrier = rate * 10 ** rng.uniform(-1.4, -0.4)
    width_s = 10 ** rng.uniform(-0.4, 0.3) / carrier
    t = np.arange(-int(1.5 * width_s * rate) - 8, int(1.5 * width_s * rate) + 9) / rate
    click = np.cos(2 * np.pi * (carrier * t + rng.uniform())) * np.exp(-((2 * t / width_s) ** 2))
    click -= click.mean()
    count = int(rng.integers(1, 5))
    delays = np.append(0, rng.uniform(0.0002, 0.006, count - 1))
    gains = rng.choice([-1, 1], count) * 10 ** (-rng.uniform(3, 20, count) / 20)
    gains[0] = 1
    total = np.zeros(len(click) + int(delays.max() * rate))
    for delay, gain in zip(delays, gains, strict=True):
        start = int(delay * rate)
        total[start : start + len(click)] += gain * click
    return total


def _swell(rng: Rng, count: int) -> Samples:
    """Return the levels of a train whose caller turns its head."""
    knots = rng.uniform(-20, 0, 4)
    level_db = np.interp(np.linspace(0, 3, count), np.arange(4), knots) + rng.normal(0, 2, count)
    return np.asarray(10 ** (level_db / 20))


def _echolocation(rng: Rng, rate: float) -> Samples:
    first_s = 10 ** rng.uniform(-2.2, -0.6)
    count = int(np.clip(10 ** rng.uniform(-0.5, 0.3) / first_s, 5, 60))
    gaps = first_s * np.geomspace(1, 10 ** rng.uniform(-0.3, 0.3), count)
    gaps *= rng.normal(1, 0.03, count).clip(0.8)
    return _repeat(_click(rng, rate), rate, gaps, _swell(rng, count))


def _burst_pulses(rng: Rng, rate: float) -> Samples:
    """Clicks too fast to be told apart, which sound as a creak or a squeal."""
    first_s = 10 ** rng.uniform(-3.2, -2.3)
    count = int(np.clip(10 ** rng.uniform(-1, 0) / first_s, 20, 1000))
    gaps = first_s * np.geomspace(1, 10 ** rng.uniform(-0.3, 0.3), count)
    return _repeat(_click(rng, rate), rate, gaps, _swell(rng, count) * _envelope(count))


def _hoot(rng: Rng, rate: float) -> Samples:
    t = _time(rng.uniform(0.15, 0.6), rate)
    base = rng.uniform(200, 700)
    f = base * (1 + rng.uniform(0.1, 0.6) * np.sin(np.pi * t / t[-1]))
    note = _tones(f, rate, _gains(rng, 4, 12)) * _envelope(len(t), 0.25, 0.35)
    count = int(rng.integers(1, 4))
    return _repeat(note, rate, np.full(count, t[-1] * 1.4), rng.uniform(0.5, 1, count))


def _formants(rng: Rng, source: Samples, rate: float, lowest_hz: float) -> Samples:
    """Filter a source through three resonances, as a vocal tract would."""
    total = 0.1 * source
    for order in range(3):
        centre = lowest_hz * (1 + 1.3 * order) * rng.uniform(0.8, 1.2)
        width = centre * rng.uniform(0.1, 0.3)
        total += band(source, centre - width, centre + width, rate, 1) * 10 ** (-order * 0.3)
    return total


def _throat(
    rng: Rng, rate: float, t: Samples, pitch_hz: tuple[float, float], rough: float
) -> Samples:
    """Return a jittered buzz mixed with breath noise: the source of barks, grunts and growls."""
    f = _contour(rng, len(t), *pitch_hz, 3) * (1 + 0.05 * rough * coloured(rng, len(t), 1.0))
    buzz = _tones(np.abs(f), rate, _gains(rng, 20, 1.0))
    breath = rng.standard_normal(len(t)) * np.sqrt(np.mean(buzz**2))
    return np.asarray(buzz + rough * breath)


def _bark(rng: Rng, rate: float) -> Samples:
    t = _time(rng.uniform(0.08, 0.3), rate)
    pitch = rng.uniform(250, 800)
    note = _throat(rng, rate, t, (pitch, pitch * 1.6), 0.4)
    note = _formants(rng, note, rate, rng.uniform(600, 1400)) * _envelope(len(t), 0.15, 0.5)
    count = int(rng.integers(1, 5))
    return _repeat(note, rate, rng.uniform(0.25, 0.5, count), rng.uniform(0.6, 1, count))


def _grunt(rng: Rng, rate: float) -> Samples:
    t = _time(rng.uniform(0.1, 0.4), rate)
    note = _throat(rng, rate, t, (60, 180), 0.6)
    note = _formants(rng, note, rate, rng.uniform(250, 700)) * _envelope(len(t), 0.2, 0.4)
    count = int(rng.integers(1, 6))
    return _repeat(note, rate, rng.uniform(0.2, 0.5, count), rng.uniform(0.5, 1, count))


def _growl(rng: Rng, rate: float) -> Samples:
    t = _time(rng.uniform(0.5, 2.0), rate)
    note = _formants(rng, _throat(rng, rate, t, (40, 140), 1.0), rate, rng.uniform(300, 900))
    pulse = 0.6 + 0.4 * np.sin(2 * np.pi * rng.uniform(15, 40) * t)
    return np.asarray(note * pulse * _envelope(len(t), 0.2, 0.3))


CALLS: dict[str, CallKind] = {
    "whistle": CallKind("bird", 16_000, _whistle),
    "harmonic stack": CallKind("bird", 16_000, _harmonic_stack),
    "trill": CallKind("bird", 22_050, _trill),
    "frog pulse train": CallKind("frog", 8_000, _frog_pulses),
    "insect stridulation": CallKind("insect", 24_000, _stridulation),
    "bat sweep": CallKind("bat", 250_000, _bat_sweep),
    "dolphin whistle": CallKind("cetacean", 48_000, _dolphin_whistle),
    "whale moan": CallKind("cetacean", 4_000, _whale_moan),
    "click train": CallKind("cetacean", 16_000, _click_train),
    "echolocation": CallKind("cetacean", 48_000, _echolocation),
    "burst pulses": CallKind("cetacean", 48_000, _burst_pulses),
    "primate hoot": CallKind("primate", 8_000, _hoot),
    "bark": CallKind("mammal", 16_000, _bark),
    "grunt": CallKind("mammal", 8_000, _grunt),
    "growl": CallKind("mammal", 8_000, _growl),
}


# --- noises --------------------------------------------------------------------------------------


def _wind(rng: Rng, rate: float, n: int) -> Samples:
    body = coloured(rng, n, rng.uniform(1.5, 3)) * flutter(rng, n, rate, 1.5, 6)
    return body / np.std(body) + rng.uniform(0, 0.2) * coloured(rng, n, 0.5)


def _rain(rng: Rng, rate: float, n: int) -> Samples:
    drops = np.zeros(n)
    count = rng.poisson(n / rate * rng.uniform(30, 600))
    np.add.at(drops, rng.integers(0, n, count), rng.exponential(1.0, count))
    ring = band(drops, 0.03 * rate, rng.uniform(0.15, 0.45) * rate, rate, 1)
    hiss = coloured(rng, n, rng.uniform(0, 1))
    return ring / max(float(np.std(ring)), 1e-12) + rng.uniform(0.2, 2) * hiss / np.std(hiss)


def _stream(rng: Rng, rate: float, n: int) -> Samples:
    total = 0.3 * coloured(rng, n, rng.uniform(0.3, 1.2))
    for _ in range(int(rng.integers(3, 8))):
        centre = rate * 10 ** rng.uniform(-2.2, -0.6)
        voice = band(rng.standard_normal(n), 0.8 * centre, 1.25 * centre, rate, 1)
        total += voice / np.std(voice) * flutter(rng, n, rate, 8, 5) * rng.uniform(0.1, 0.5)
    return total


def _surf(rng: Rng, rate: float, n: int) -> Samples:
    t = np.arange(n) / rate
    swell = 0.15 + np.clip(np.sin(2 * np.pi * (t / rng.uniform(4, 12) + rng.uniform())), 0, 1) ** 2
    return coloured(rng, n, rng.uniform(0.7, 1.6)) * swell


def _traffic(rng: Rng, rate: float, n: int) -> Samples:
    rumble = coloured(rng, n, rng.uniform(1.5, 2.5))
    tyres = band(rng.standard_normal(n), 400, 2500, rate, 1) * flutter(rng, n, rate, 0.3, 6)
    return rumble / np.std(rumble) + rng.uniform(0.1, 1) * tyres / np.std(tyres)


def _ship(rng: Rng, rate: float, n: int) -> Samples:
    blades = np.full(n, rng.uniform(6, 60))
    lines = _tones(blades, rate, _gains(rng, 30, 0.7))
    beat = 1 + rng.uniform(0.1, 0.8) * np.sin(2 * np.pi * np.cumsum(blades) / rate)
    wash = coloured(rng, n, rng.uniform(0.8, 1.8)) * beat
    return lines / np.std(lines) * rng.uniform(0.1, 1) + wash / np.std(wash)


def _hum(rng: Rng, rate: float, n: int) -> Samples:
    lines = _tones(np.full(n, rng.choice([50.0, 60.0])), rate, _gains(rng, 20, 1.5))
    return lines / np.std(lines) + 0.1 * rng.standard_normal(n)


def _insect_bed(rng: Rng, rate: float, n: int) -> Samples:
    t = np.arange(n) / rate
    total = np.zeros(n)
    for _ in range(int(rng.integers(2, 6))):
        centre = rate * rng.uniform(0.06, 0.3)
        voice = band(rng.standard_normal(n), 0.95 * centre, 1.05 * centre, rate, 1)
        pulsing = 1 + rng.uniform(0, 1) * np.sin(2 * np.pi * rng.uniform(5, 80) * t)
        total += voice / np.std(voice) * pulsing * rng.uniform(0.3, 1)
    return total


def _colour(exponent: float) -> Callable[[Rng, float, int], Samples]:
    def make(rng: Rng, rate: float, n: int) -> Samples:
        return coloured(rng, n, exponent)

    return make


NOISES: dict[str, Callable[[Rng, float, int], Samples]] = {
    "wind": _wind,
    "rain": _rain,
    "stream": _stream,
    "surf": _surf,
    "traffic": _traffic,
    "ship": _ship,
    "hum": _hum,
    "insects": _insect_bed,
    "white": _colour(0.0),
    "pink": _colour(1.0),
    "brown": _colour(2.0),
}
