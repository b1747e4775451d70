"""Make a model one's own: fine-tune it on unlabelled recordings, and keep it only if it is better.

    gather (a third of the minutes) -> train -> check -> hand over, or keep the old one

All that is made on the way lies in a work folder beside the new model; whatever breaks off a run,
the same call goes on from there. The base model is only ever read. Needs the extra `train`.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from biodenoising.corpus.manifest import MANIFEST_NAME
from biodenoising.errors import OptionError, TrainingError
from biodenoising.models import DEFAULT_MODEL
from biodenoising.models.cards import Card
from biodenoising.models.registry import find_model, verify_model
from biodenoising.storage import (
    free_bytes,
    printable,
    remove_leftovers,
    require_writable_folder,
)
from biodenoising.training.adaptation_events import GATHER_SHARE, Adaptation, Needs, Observer
from biodenoising.training.adaptation_survey import STRETCH_S, Survey, rehearsed_samples, survey

WORK_SUFFIX = ".adapting"
LEAST_AUDIO_S, LEAST_RECORDINGS = 60.0, 2
# How much sound a second of gathering gets through, and what a process with torch takes: generous.
HEARD_A_SECOND, PROCESS_GB, BATCH_GB = 4.0, 0.8, 0.7
OUT_OF_MEMORY = ("out of memory", "not enough memory", "can't allocate memory", "bad_alloc")


def plan_adaptation(
    recordings: str | Path | Sequence[str | Path],
    model: str | Path,
    *,
    base: str | Path = DEFAULT_MODEL,
    minutes: float = 30.0,
    general: Sequence[str | Path] = (),
) -> Needs:
    """Say what `adapt` would work on and what it needs; nothing is written.

    Raises what `adapt` raises before it starts.
    """
    return _prepare(recordings, model, base, minutes, [Path(folder) for folder in general])[0]


def adapt(
    recordings: str | Path | Sequence[str | Path],
    model: str | Path,
    *,
    base: str | Path = DEFAULT_MODEL,
    minutes: float = 30.0,
    general: Sequence[str | Path] = (),
    keep: bool = False,
    observer: Observer = lambda event: None,
    stop: Callable[[], bool] = lambda: False,
) -> Adaptation:
    """Adapt a model to recordings and hand it over as `model` if it is surely better.

    Parameters
    ----------
    recordings : path or paths
        Files, or folders with recordings anywhere below; annotation files beside them are used.
    model : path
        Where the new weights go, NAME.safetensors; card and graph lie beside. Must not exist.
    base : str or path
        The model to begin from, by name or card's path; it is left as it is.
    minutes : float
        Of computing, for all: gathering takes up to a third, training most of the rest.
    general : paths
        Corpus folders (manifest.jsonl) to rehearse with: their recordings are heard in training
        and their held-back tenth in the check that nothing is forgotten. Without any, synthesized
        sounds do both, and no model further than half the way from the old one is tried.
    keep : bool
        Leave the work folder, MODEL.adapting, behind.
    observer, stop
        Told what happens; asked between steps whether to stop. A run that stopped raises
        KeyboardInterrupt, and the same call goes on from there.

    Returns
    -------
    Adaptation
        Whether a model was handed over, and the verdict with its intervals.

    Raises
    ------
    OptionError, ModelError, AudioReadError
        The options, the base model or the recordings cannot be used.
    TrainingError
        Too little was found in the recordings, memory ran out, or the extra `train` is missing.
    BatchError, DiskFullError
        The work folder cannot be written to.
    """
    corpora = [Path(folder) for folder in general]
    needs, found, out = _prepare(recordings, model, base, minutes, corpora)
    _require_training()
    observer(needs)
    work = work_folder(out)
    require_writable_folder(work)
    with _only_one(work), _naming_memory():
        remove_leftovers(work)
        from biodenoising.training.adaptation_run import Run

        run = Run(needs, found, out, work, corpora, observer, stop)
        ended = run.until_over(base)
    if not keep:
        shutil.rmtree(work, ignore_errors=True)
    return ended


def work_folder(model: Path) -> Path:
    """Return the folder that holds what is made on the way to a model."""
    return model.with_name(model.stem + WORK_SUFFIX)


def _prepare(
    recordings: str | Path | Sequence[str | Path], model: str | Path, base: str | Path,
    minutes: float, corpora: Sequence[Path],
) -> tuple[Needs, Survey, Path]:  # fmt: skip
    """Look at everything that could be refused before any work."""
    out = Path(model)
    if out.suffix != ".safetensors" or not out.stem:
        raise OptionError(f"{printable(out)}: name the new model NAME.safetensors")
    if not 0 < minutes < float("inf"):
        raise OptionError(f"minutes is {minutes:g}; give a number above 0")
    if out.with_suffix(".json").exists() or (out.exists() and not work_folder(out).exists()):
        raise OptionError(f"{printable(out)}: is there already; choose another name for the model")
    card = find_model(base)
    if card.folder is None:
        raise OptionError(
            f"model {card.name} has no weights to adapt; begin from a trained one (--from)"
        )
    verify_model(card)
    sources = [recordings] if isinstance(recordings, str | Path) else list(recordings)
    found = survey([Path(source) for source in sources])
    _require_audio(found, sources)
    for folder in corpora:
        if not (folder / MANIFEST_NAME).is_file():
            raise OptionError(f"{printable(folder)}: has no {MANIFEST_NAME}; give a corpus folder")
    return _needs(found, card, out, minutes, rehearsed_samples(corpora)), found, out


def _require_audio(found: Survey, sources: Sequence[str | Path]) -> None:
    names = ", ".join(printable(Path(source)) for source in sources[:3])
    if not found.recordings:
        why = f" ({found.unreadable[0]})" if found.unreadable else ""
        raise OptionError(f"{names}: no recordings that can be read{why}; give others")
    if found.seconds < LEAST_AUDIO_S:
        raise OptionError(
            f"{names}: {found.seconds:.1f} s of audio in all; adaptation takes at least "
            f"{LEAST_AUDIO_S:g} s, better an hour"
        )
    if len(found.recordings) < LEAST_RECORDINGS:
        raise OptionError(
            f"{names}: only one recording; a second one is needed to check with, which the "
            "adaptation does not hear"
        )


def _needs(found: Survey, card: Card, out: Path, minutes: float, rehearsed: float) -> Needs:
    heard_s = min(found.seconds, 60 * minutes * GATHER_SHARE * HEARD_A_SECOND)
    mean_rate = sum(r.duration_s * r.sample_rate for r in found.recordings) / found.seconds
    longest = max(min(r.duration_s, STRETCH_S) * r.sample_rate * r.channels
                  for r in found.recordings)  # fmt: skip
    samples = heard_s * mean_rate
    return Needs(
        card,
        len(found.recordings),
        found.seconds / 3600,
        tuple(sorted({round(r.sample_rate) for r in found.recordings})),
        sum(r.annotation is not None for r in found.recordings),
        minutes,
        # Clips as float32, a stretch with its spectra, the process and a batch's activations.
        PROCESS_GB + BATCH_GB + (4 * (samples + rehearsed) + 40 * longest) / 1e9,
        # Calls raw and clean, noise; 24 bits hardly compressed.
        2 * 3 * samples / 1e9 + 0.1,
        free_bytes(out) / 1e9,
        found.unreadable,
    )


def _require_training() -> None:
    try:
        import lightning.fabric  # noqa: F401  # asked for here, for one clear message
        import onnx  # noqa: F401
        import torch  # noqa: F401
    except ImportError as error:
        raise TrainingError(
            f"adaptation needs the package {error.name}; install biodenoising[train] (pip "
            "install 'biodenoising[train]')"
        ) from error


@contextmanager
def _only_one(work: Path) -> Iterator[None]:
    lock = FileLock(work / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise TrainingError(
            f"{printable(work)}: another adaptation is going on there; wait for it"
        ) from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _naming_memory() -> Iterator[None]:
    """Turn the many ways of running out of memory into one line; what was done stays."""
    try:
        yield
    except (RuntimeError, MemoryError, TrainingError) as error:
        text = str(error).lower()
        if not isinstance(error, MemoryError) and not any(w in text for w in OUT_OF_MEMORY):
            raise
        raise TrainingError(
            "out of memory; close other programs or take a machine with more, then give the same "
            "command again: it goes on from where it was"
        ) from error
