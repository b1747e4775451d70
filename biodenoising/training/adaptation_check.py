"""Is the adapted model better? Known calls in held-back noise, old and new beside each other.

Everything here hears what a person would get: the exported checkpoint through the denoiser. How far
to go from the old weights to the new ones is chosen on one half of the checks and reported on the
other, with other calls and, where there are two held-back recordings with noise, another one's
noise (the way between the two: Wortsman et al. 2022, "Robust fine-tuning of zero-shot models").
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import trim_mean

from biodenoising.corpus.augment import fit_length, rms
from biodenoising.corpus.clips import Clip, ClipSettings, load_clips, read_clip
from biodenoising.corpus.manifest import TIERS, Row
from biodenoising.corpus.sounds import NOISE_RATES_HZ
from biodenoising.corpus.synthesis import CALLS, NOISES, synthesize_call, synthesize_noise
from biodenoising.errors import TrainingError
from biodenoising.inference.denoiser import Denoiser
from biodenoising.inference.scores import LEAST_SAMPLES, analyse, predicted_gain_db, scores_of
from biodenoising.metrics import Interval, bootstrap_interval, si_sdr
from biodenoising.training.adaptation_material import HELD_BACK, LEAST_HELD_BACK

Samples = NDArray[np.float32]
Values = NDArray[np.float64]
Progress = Callable[[int], None]
Whose = Literal["own", "corpus", "synthesized"]

SAMPLES = 48_000
SNR_DB = (-5.0, 10.0)
# Beyond the new weights gain and harm go on as before them, and what is remembered leaves room;
# where it leaves none nobody should go there, be the loss as small as it may.
SHARES = (0.25, 0.5, 1.0, 1.5, 2.0)
# Without a corpus to rehearse with, what lies further on is known by heart and forgets the rest
# (recipes/adaptation); synthesized calls do not notice.
SHARES_ALONE = (0.25, 0.5)
LARGEST_LOSS_DB = 0.1
# Few of the general mixtures lose or gain many dB, and which of them are drawn is chance: without
# a tenth at either end their mean tells what the others do (recipes/adaptation).
TRIMMED = 0.1
LEAST_GAIN_DB = 0.1  # nobody hears less, and one model more is a burden
# A deleted call has an SI-SDR of minus infinity; one such must not be a mean by itself.
BOUNDS_DB = (-40.0, 60.0)
MOST_SEGMENTS = 24
# Mixtures of one held-back target at most, and the largest share of them among the known calls,
# without a corpus and with one, whose calls were clean before any model heard them.
MIXTURES_OF_ONE, OWN_SHARE, OWN_SHARE_BESIDE = 3, 0.75, 0.5
# The score errs by some dB: only a plain loss counts.
LARGEST_SCORE_LOSS_DB = 1.0
CALLS_OF_A_HALF = (24, 80)
LOUDEST_PEAK = 0.9


@dataclass(frozen=True)
class Known:
    """A mixture of which the call is known, (samples,) each; `call` tells which call it was.

    `own` ones hold a call of the recordings, a target made clean; those of the `corpus` were clean.
    """

    noisy: Samples
    target: Samples
    call: str
    whose: Whose = "synthesized"


@dataclass(frozen=True)
class Checks:
    """One half of the checks."""

    known: tuple[Known, ...]
    general: tuple[Known, ...]


@dataclass(frozen=True)
class Verdict:
    """What the second half of the checks said of the chosen step from old to new.

    `share` is how far from the old weights (0) to the new ones (1) or beyond it lies; 0 where none
    was better. `known` and `general` are new minus old, the mean SI-SDR difference in dB with its
    95 % interval by call, of `general` without a tenth at either end; `own` is `known` on the
    recordings' own calls alone, `corpus` on those of a corpus, None without one; `score` that of
    the predicted gain on raw calls, None without any.
    `before_db` and `after_db` are the median improvements over the input on the known calls.
    """

    better: bool
    reason: str
    share: float = 0.0
    known: Interval | None = None
    own: Interval | None = None
    general: Interval | None = None
    score: Interval | None = None
    before_db: float = float("nan")
    after_db: float = float("nan")
    calls: int = 0
    segments: int = 0
    corpus: Interval | None = None


def make_checks(
    rows: Sequence[Row], work: Path, corpora: Sequence[Path], calls: int
) -> tuple[Checks, Checks]:
    """Return the two halves, `calls` mixtures of each kind in either.

    `rows` are those of a gathering, `corpora` folders with a manifest. Their held-back tenth is
    the general check, and its calls are among the known ones: a model's own targets praise any
    model that is near it. Raises TrainingError where nothing was held back.
    """
    held = [row for row in rows if row.set == HELD_BACK]
    halves = _halved([row for row in held if row.kind == "noise"])
    targets = _trusted([row for row in held if row.kind == "vocal"])
    if not halves[0]:
        raise TrainingError("no noise was held back; the adaptation cannot be checked")
    corpus = _corpus(corpora)
    made = []
    for half in (0, 1):
        noises = [read_clip(work / row.path) for row in halves[half]]
        rng = np.random.default_rng((half, 1))
        own = [(row.path, read_clip(work / row.path, row.highpass_hz)) for row in targets[half::2]]
        share = OWN_SHARE_BESIDE if corpora else OWN_SHARE
        own = (own * MIXTURES_OF_ONE)[: round(share * calls)]
        known = [mix_known(*call, noises, rng, whose="own") for call in own]
        theirs, missing = _calls_of(corpus, half), calls - len(own)
        others = [theirs[number % len(theirs)] for number in range(missing)] if theirs else (
            synthesized_calls(missing, rng, f"half {half}")
        )  # fmt: skip
        whose: Whose = "corpus" if theirs else "synthesized"
        known += [mix_known(*call, noises, rng, whose=whose) for call in others]
        made.append(Checks(tuple(known), _general(corpus, calls, half)))
    return made[0], made[1]


def _halved(rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """Divide noise between the halves by recording, or in time where there is but one."""
    names = sorted({row.recording for row in rows})
    if len(names) > 1:
        first = set(names[::2])
        return (
            [row for row in rows if row.recording in first],
            [row for row in rows if row.recording not in first],
        )
    ordered = sorted(rows, key=lambda row: row.start_s)
    middle = len(ordered) // 2
    return (ordered[:middle], ordered[middle:]) if middle else (ordered, ordered)


def _trusted(rows: Sequence[Row]) -> list[Row]:
    """Return the better half of the targets by their predicted gain, all where there are few."""
    ordered = sorted(rows, key=lambda row: -row.scores.get("predicted_gain_db", 0.0))
    return ordered[: max((len(ordered) + 1) // 2, LEAST_HELD_BACK)]


def synthesized_calls(
    count: int, rng: np.random.Generator, label: str
) -> list[tuple[str, Samples]]:
    """Return `count` calls of all kinds, named apart, each at the least rate that holds it."""
    kinds = rng.permutation(sorted(CALLS))
    chosen = [str(kinds[number % len(kinds)]) for number in range(count)]
    return [
        (f"{label}, {kind} {number}", synthesize_call(kind, CALLS[kind].sample_rate, rng))
        for number, kind in enumerate(chosen)
    ]


def _corpus(folders: Sequence[Path]) -> tuple[list[Clip], list[Clip]]:
    settings = ClipSettings(tiers=TIERS, refused_licences=())
    calls, noises = (
        load_clips(folders, settings, noise=noise, held_back=True) for noise in (False, True)
    )
    if folders and not (calls and noises):
        raise TrainingError(
            f"general check: {len(calls)} calls and {len(noises)} noises are held back in "
            f"{', '.join(map(str, folders))}; both are needed"
        )
    return calls, noises


def _general(corpus: tuple[list[Clip], list[Clip]], count: int, half: int) -> tuple[Known, ...]:
    """Return calls of the corpus in its noises, or synthesized ones where there is none.

    The halves share no call; of a corpus, they share its noises.
    """
    rng = np.random.default_rng((half, 2))
    made = []
    calls = _calls_of(corpus, half)
    if calls:
        noises = [clip.audio for clip in corpus[1]]
        return tuple(mix_known(*calls[number % len(calls)], noises, rng) for number in range(count))
    for label, audio in synthesized_calls(count, rng, f"general {half}"):
        kind, rate = str(rng.choice(sorted(NOISES))), float(rng.choice(NOISE_RATES_HZ))
        noise = synthesize_noise(kind, rate, (SAMPLES + 1) / rate, rng)
        made.append(mix_known(label, audio, [noise], rng))
    return tuple(made)


def _calls_of(corpus: tuple[list[Clip], list[Clip]], half: int) -> list[tuple[str, Samples]]:
    return [(f"corpus {n}", clip.audio) for n, clip in enumerate(corpus[0]) if n % 2 == half]


def mix_known(
    label: str, call: Samples, noises: Sequence[Samples], rng: np.random.Generator, *,
    whose: Whose = "synthesized",
) -> Known:  # fmt: skip
    """Mix one call into a noise drawn at random, at the samples' own speed and -5 to 10 dB.

    Shapes (samples,), of any length; the mixture has 48,000, the call where it is loud.
    """
    target = fit_length(call, SAMPLES, 1.0, rng, call=True)
    noise = fit_length(noises[int(rng.integers(len(noises)))], SAMPLES, 1.0, rng, call=False)
    noise = noise / np.float32(rms(noise)) * np.float32(10 ** (-rng.uniform(*SNR_DB) / 20))
    noisy = target + noise
    gain = np.float32(LOUDEST_PEAK / max(float(np.abs(noisy).max()), 1e-9))
    return Known(noisy * gain, target * gain, label, whose)


# --- measuring -----------------------------------------------------------------------------------


def heard(model: str | Path, known: Iterable[Known], progress: Progress) -> Values:
    """Return the SI-SDR in dB of what a model makes of each mixture, within bounds."""
    denoiser = Denoiser(model)
    values = []
    for mixture in known:
        clean = denoiser.denoise(mixture.noisy, denoiser.card.sample_rate)
        values.append(si_sdr(clean, mixture.target))
        progress(1)
    return np.clip(np.array(values), *BOUNDS_DB)


def predicted_gains(model: str | Path, segments: Sequence[Samples], progress: Progress) -> Values:
    """Return the reference-free score of what a model makes of raw calls, dB."""
    denoiser = Denoiser(model)
    gains = []
    for segment in segments:
        clean = denoiser.denoise(segment, denoiser.card.sample_rate)
        gains.append(predicted_gain_db(scores_of(clean, analyse(segment))))
        progress(1)
    return np.array(gains)


def raw_calls(rows: Sequence[Row], work: Path) -> list[Samples]:
    """Return held-back calls as they were recorded, at most so many, spread over all."""
    held = [row for row in rows if row.set == HELD_BACK and row.kind == "soundscape"]
    step = max(1, -(-len(held) // MOST_SEGMENTS))
    pieces = (read_clip(work / row.path) for row in held[::step])
    return [piece for piece in pieces if len(piece) >= LEAST_SAMPLES and piece.any()]


def affordable_calls(model: str | Path, budget_s: float, steps: int) -> int:
    """Return how many calls a half can have for a check of `steps` checkpoints in that time."""
    denoiser = Denoiser(model)
    noise = np.random.default_rng(0).standard_normal(SAMPLES).astype(np.float32)
    seconds = []
    for _ in range(2):  # the first one warms up
        begun = monotonic()
        denoiser.denoise(noise, denoiser.card.sample_rate)
        seconds.append(monotonic() - begun)
    # As `choose_share` and `judge` hear them: two kinds for every step, and for old and new.
    share = 2 * (steps + 1) + 4
    count = (budget_s / max(min(seconds), 1e-4) - 2 * MOST_SEGMENTS) / share
    return int(min(max(count, CALLS_OF_A_HALF[0]), CALLS_OF_A_HALF[1]))


def choose_share(
    old: str | Path, steps: Mapping[float, Path], half: Checks, progress: Progress
) -> float:
    """Return the share of the way that helps most on the first half without harm, 0 for none."""
    known, general = heard(old, half.known, progress), heard(old, half.general, progress)
    # Synthesized calls are of the kind that was trained on, and gain from any training.
    real = np.array([mixture.whose != "synthesized" for mixture in half.known])
    best, best_db = 0.0, 0.0
    for share, model in steps.items():
        gain = float(np.mean((heard(model, half.known, progress) - known)[real]))
        change = _trimmed(heard(model, half.general, progress) - general)
        if gain > best_db and change >= (-LARGEST_LOSS_DB if share <= 1 else 0):
            best, best_db = share, gain
    return best


def judge(
    old: str | Path, new: Path, share: float, half: Checks, segments: Sequence[Samples],
    progress: Progress,
) -> Verdict:  # fmt: skip
    """Compare old and new on the second half; say whether the new one is to be handed over."""
    inputs = np.array([si_sdr(m.noisy, m.target) for m in half.known])
    before, after = (heard(model, half.known, progress) for model in (old, new))
    known = _interval(after - before, half.known)
    own = _part(after - before, half.known, "own")
    corpus = _part(after - before, half.known, "corpus")
    general = _interval(
        heard(new, half.general, progress) - heard(old, half.general, progress),
        half.general,
        _trimmed,
    )
    score = None
    if segments:
        gains = [predicted_gains(model, segments, progress) for model in (new, old)]
        score = bootstrap_interval(gains[0] - gains[1], statistic=_mean)
    reason = ""
    if not known.low > 0:
        reason = f"on known calls in your noise it is not surely better ({as_text(known)})"
    elif known.value < LEAST_GAIN_DB:
        reason = f"on known calls in your noise it is hardly better ({as_text(known)})"
    elif own is None:
        reason = "none of your own calls was held back to check with"
    elif not own.low > 0:
        reason = f"on your own calls it is not surely better ({as_text(own)})"
    elif corpus is not None and corpus.value < LEAST_GAIN_DB:
        reason = (
            f"on the corpus's clean calls in your noise it is hardly better ({as_text(corpus)})"
        )
    elif general.value < -LARGEST_LOSS_DB:
        reason = f"it forgets: on the general check it loses ({as_text(general)})"
    elif score is not None and score.high < -LARGEST_SCORE_LOSS_DB:
        reason = f"your own calls come out worse by the reference-free score ({as_text(score)})"
    return Verdict(
        not reason, reason, share, known, own, general, score, float(np.median(before - inputs)),
        float(np.median(after - inputs)), len(half.known), len(segments), corpus,
    )  # fmt: skip


def nothing_better(share_tried: Sequence[float]) -> Verdict:
    """Return the verdict where no step from old to new helped on the first half."""
    tried = ", ".join(f"{share:g}" for share in share_tried)
    return Verdict(
        False,
        f"no step from the old weights to the new ones ({tried} of the way) was better on the "
        "first half of the check without losing more than "
        f"{LARGEST_LOSS_DB:g} dB on the general one",
    )


def verdict_record(verdict: Verdict) -> dict[str, Any]:
    """Return a verdict as a card keeps it."""
    record: dict[str, Any] = {
        "known calls in their noise, improvement before_db": round(verdict.before_db, 2),
        "improvement after_db": round(verdict.after_db, 2),
        "calls": verdict.calls,
        "raw calls": verdict.segments,
    }
    for name in ("known", "own", "corpus", "general", "score"):
        interval = getattr(verdict, name)
        if interval is not None:
            values = [round(value, 3) for value in interval]
            middle = f"mean of the middle {1 - 2 * TRIMMED:.0%}"
            mean = middle if name == "general" else "mean"
            record[f"{name}, new minus old_db"] = {mean: values[0], "interval_95": values[1:]}
    return record


def as_text(interval: Interval) -> str:
    """Return a difference in dB with its interval."""
    return f"{interval.value:+.2f} dB, 95 % interval {interval.low:+.2f} to {interval.high:+.2f}"


def _part(differences: Values, known: Sequence[Known], whose: Whose) -> Interval | None:
    chosen = [number for number, mixture in enumerate(known) if mixture.whose == whose]
    return _interval(differences[chosen], [known[n] for n in chosen]) if chosen else None


def _mean(values: Values) -> float:
    return float(np.mean(values))


def _trimmed(values: Values) -> float:
    return float(trim_mean(values, TRIMMED))


def _interval(
    differences: Values, known: Sequence[Known], statistic: Callable[[Values], float] = _mean
) -> Interval:
    groups = [mixture.call for mixture in known]
    return bootstrap_interval(differences, groups=groups, statistic=statistic)
