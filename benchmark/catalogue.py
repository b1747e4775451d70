"""Sets by name: which there are, which run without being asked for, how one is opened."""

from __future__ import annotations

from collections.abc import Callable

from benchmark.scenes import ControlSet, SceneSet
from benchmark.sets import (
    MixtureSet,
    Settings,
    SyntheticSet,
    Unreachable,
    field_set,
    own_set,
)
from benchmark.speech import SpeechSet
from benchmark.validation import validation_set
from biodenoising import OptionError


def _base(settings: Settings) -> MixtureSet:
    """Return what derived sets are made of: real clips where there are any."""
    try:
        return field_set(settings)
    except Unreachable:
        return SyntheticSet(settings.seed)


_OPENERS: dict[str, Callable[[Settings], MixtureSet]] = {
    "field": lambda settings: field_set(settings),
    "ultrasonic": lambda settings: field_set(settings, "ultrasonic"),
    "biodenoising-validation": validation_set,
    "synthetic": lambda settings: SyntheticSet(settings.seed),
    "own": own_set,
    "controls": lambda settings: ControlSet(_base(settings)),
    "detection": lambda settings: SceneSet(_base(settings)),
    "speech": lambda settings: SpeechSet(settings.seed),
    "field-first": lambda settings: field_set(settings, "field-first"),
}

DEFAULT_SETS = tuple(name for name in _OPENERS if name != "field-first")
ALL_SETS = tuple(_OPENERS)


def open_set(name: str, settings: Settings) -> MixtureSet:
    """Return a set; Unreachable says what is missing, OptionError lists the names there are."""
    if name not in _OPENERS:
        raise OptionError(f"there is no set {name!r}; there are {', '.join(ALL_SETS)}")
    return _OPENERS[name](settings)
