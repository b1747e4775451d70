"""Reading a tree of frozen dataclasses from YAML; nothing unknown, misspelt or mistyped passes."""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from biodenoising.errors import ModelError, OptionError, TrainingError
from biodenoising.storage import printable
from biodenoising.training.settings import TrainingSettings

Settings = TypeVar("Settings")


def read_settings(path: Path) -> TrainingSettings:
    """Read the settings of a training; raises as read_yaml does."""
    return read_yaml(path, TrainingSettings)


def read_yaml(
    path: Path, kind: type[Settings], prepare: Callable[[dict[str, Any]], None] | None = None
) -> Settings:
    """Read a YAML file into a tree of dataclasses; `prepare` may change its keys before.

    Raises OptionError naming the file, the key and what would be right, TrainingError where the
    file cannot be read.
    """
    import yaml

    name = printable(path)
    try:
        record = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise TrainingError(f"{name}: cannot be read ({error.strerror})") from error
    # Numbers of thousands of digits and lists within lists are no settings.
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise OptionError(f"{name}: not YAML ({reason})") from error
    try:
        if prepare is not None and isinstance(record, dict):
            prepare(record)
        return build(kind, record)
    except OptionError as error:
        raise OptionError(f"{name}: {error}") from error


def build(kind: type[Settings], record: Any, where: str = "") -> Settings:
    """Return a dataclass of a mapping, and those inside it. Raises OptionError naming the key."""
    if not isinstance(record, dict):
        place = f"{where.rstrip('.')}: " if where else ""
        raise OptionError(f"{place}expected keys and values, found {_shown(record)}")
    hints = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for key in record:
        if key not in fields:
            raise OptionError(f"unknown key {where}{key}{_suggestion(str(key), fields, where)}")
    missing = [
        name
        for name, field in fields.items()
        if name not in record
        and field.default is dataclasses.MISSING
        and field.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise OptionError(f"{where}{missing[0]} is missing")
    values = {key: _convert(hints[key], value, f"{where}{key}") for key, value in record.items()}
    try:
        return kind(**values)
    except (ValueError, TypeError, ModelError) as error:
        raise OptionError(f"{where.rstrip('.') or 'settings'}: {error}") from error


def _suggestion(key: str, known: Any, where: str) -> str:
    nearest = difflib.get_close_matches(key, list(known), n=1, cutoff=0.5)
    if nearest:
        return f"; did you mean {where}{nearest[0]}?"
    return f"; known: {', '.join(known)}"


def _convert(hint: Any, value: Any, where: str) -> Any:
    """Return a value as the type that a field has."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        return build(typing.cast(type, hint), value, f"{where}.")
    if origin is typing.Literal:
        if value not in inner:
            raise OptionError(
                f"{where} must be {' or '.join(map(str, inner))}, not {_shown(value)}"
            )
        return value
    if origin in (types.UnionType, typing.Union):
        if value is None:
            return None
        return _convert(next(kind for kind in inner if kind is not type(None)), value, where)
    if origin is tuple:
        return _convert_sequence(inner, value, where)
    if origin is dict:
        if not isinstance(value, dict):
            raise OptionError(f"{where} must be keys and values, not {_shown(value)}")
        return {str(key): _frozen(item) for key, item in value.items()}
    return _convert_plain(hint, value, where)


def _convert_sequence(inner: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise OptionError(f"{where} must be a list, not {_shown(value)}")
    if inner[-1] is Ellipsis:
        return tuple(_convert(inner[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if len(value) != len(inner):
        raise OptionError(f"{where} must be {len(inner)} values, not {len(value)}")
    return tuple(_convert(kind, item, where) for kind, item in zip(inner, value, strict=True))


def _convert_plain(hint: Any, value: Any, where: str) -> Any:
    if hint is float and isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            number = float(value)  # YAML takes 1e-3, without a point, for text
        except (ValueError, OverflowError):
            number = math.nan
        if math.isfinite(number):
            return number
    elif type(value) is hint:
        return value
    kinds = {float: "a number", int: "a whole number", bool: "true or false", str: "text"}
    raise OptionError(f"{where} must be {kinds[hint]}, not {_shown(value)}")


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def _shown(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 40 else text[:37] + "..."
