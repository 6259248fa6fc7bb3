"""YAML <-> frozen dataclasses, strictly: an unknown key or a value of another type is an error that names the key."""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml

from torch_utils.misc import UserError, check_file, one_line, reason

T = TypeVar("T")
MAX_BYTES = 2**20  # of a configuration file


def find_config(name: str, folder: Path, flag: str) -> Path:
    """A YAML file, or the one of that name in ``folder``: ``synth_tiny`` is ``configs/synth_tiny.yaml``.

    Raises:
        UserError: there is no such name; names ``flag`` and those that there are.
    """
    if Path(name).suffix in (".yaml", ".yml"):
        return Path(name)
    path = folder / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in folder.glob("*.yaml")))
        raise UserError(f"{flag}: expected one of {known}, or a .yaml file, found '{name}'")
    return path


def load_yaml(path: str | Path) -> dict[str, Any]:
    """Reads a YAML file whose top level is a mapping.

    Raises:
        UserError: the file is missing, is not YAML, or holds something else than a mapping.
    """
    check_file(path, "configuration", most=MAX_BYTES)
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        found = reason(error) if isinstance(error, OSError) else "not a text file"
        raise UserError(f"{path}: cannot be read: {found}") from error
    data = _parse(text, f"{path}: not valid YAML")
    if not isinstance(data, dict):
        raise UserError(f"{path}: expected a mapping of keys to values, found {_kind(data)}")
    return data


def load_layered(path: str | Path) -> dict[str, Any]:
    """Reads a YAML file that may name another one, relative to itself, as `base`, and says only what is different.

    Raises:
        UserError: as `load_yaml`, or a chain of bases that runs in a circle.
    """
    layers: list[dict[str, Any]] = []
    seen: list[Path] = []
    where: Path | None = Path(path)
    while where is not None:
        if where.resolve() in seen:
            raise UserError(f"{path}: key 'base': expected a chain of files that ends, found {where} twice")
        seen.append(where.resolve())
        layer = load_yaml(where)
        base = layer.pop("base", None)
        if not (base is None or isinstance(base, str)):
            raise _wrong(str(where), "base", "the name of a file", base)
        layers.append(layer)
        where = None if base is None else where.parent / base
    data: dict[str, Any] = {}
    for layer in reversed(layers):
        data = merge(data, layer)
    return data


def _parse(text: str, complaint: str) -> Any:
    """What YAML says; UserError, beginning with ``complaint``, where it is none, too deep, or a number of a novel."""
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: an integer of thousands of digits, a date that is none
        raise UserError(f"{complaint}: {one_line(str(error))}") from error
    except RecursionError:
        raise UserError(f"{complaint}: nested too deeply") from None


def merge(data: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`data` with `changes`; mappings in both are merged key by key, anything else is replaced."""
    merged = dict(data)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = merge(merged[key], value) if both else value
    return merged


def parse_overrides(words: Sequence[str]) -> dict[str, Any]:
    """`["--optim.g_lr", "1e-4", "seed=3"]` -> `{"optim": {"g_lr": "1e-4"}, "seed": 3}`; values are YAML.

    Raises:
        UserError: a word that is neither `--key value`, `--key=value` nor `key=value`.
    """
    data: dict[str, Any] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        name, given, text = word.removeprefix("--").partition("=")
        if not given and word.startswith("--") and rest and not rest[0].startswith("--"):
            given, text = "=", rest.pop(0)
        if not given or not all(part.isidentifier() for part in name.split(".")):
            raise UserError(f"{word}: expected an option, or a key of the configuration as --key value or key=value")
        value = _parse(text, f"--{name}: expected a YAML value, found {_short(text)}")
        for part in reversed(name.split(".")):
            value = {part: value}
        data = merge(data, value)
    return data


def differences(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[str]:
    """`key: old -> new` for every leaf in which two mappings differ, keys dotted."""
    found = []
    for key in dict.fromkeys([*old, *new]):
        a, b = old.get(key, "(absent)"), new.get(key, "(absent)")
        if isinstance(a, dict) and isinstance(b, dict):
            found += differences(a, b, f"{prefix}{key}.")
        elif a != b:
            found.append(f"{prefix}{key}: {a} -> {b}")
    return found


def check_same(names: Iterable[str], found: Any, expected: Any, path: str, section: str = "generator") -> None:
    """UserError for the first of ``names`` that a configuration in ``path`` has another value of than ``expected``."""
    for name in names:
        there, here = getattr(found, name), getattr(expected, name)
        if there != here:
            where = f"{path}: {section}.{name}"
            raise UserError(f"{where}: expected the same in both runs, found {there}, in the configuration {here}")


def config_from_dict(cls: type[T], data: dict[str, Any], where: str) -> T:
    """Builds the dataclass `cls` from plain data, nested dataclasses included.

    Lists become tuples, integers are accepted for floats (and `1e-3`, which YAML reads as a string); nothing else is
    converted.

    Args:
        cls: a dataclass type; missing keys take its defaults.
        data: keys and values, e.g. of `load_yaml` or of a checkpoint.
        where: the file (or other origin) that errors shall name.

    Raises:
        UserError: an unknown key (with the nearest valid one), a missing key, a value of a wrong type, or a value that
            the dataclass's own check refuses.
    """
    if not isinstance(data, dict):
        raise UserError(f"{where}: expected a mapping for {cls.__name__}, found {_kind(data)}")
    hints = typing.get_type_hints(cls)
    assert dataclasses.is_dataclass(cls), cls
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init}
    for key in data:
        if key not in fields:
            near = difflib.get_close_matches(str(key), fields, n=1, cutoff=0.0)
            hint = f"the nearest valid key is '{near[0]}'" if near else "no keys are valid here"
            raise UserError(f"{where}: unknown key '{key}'; {hint}")
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and name not in data:
            raise UserError(f"{where}: missing key '{name}'")
    values = {name: _convert(hints[name], value, where, name) for name, value in data.items()}
    try:
        return cls(**values)
    except ValueError as error:
        raise UserError(f"{where}: {one_line(str(error))}") from error


def completed(cls: type, data: dict[str, Any]) -> dict[str, Any]:
    """Plain data of a `cls` as today's would give it: keys that an earlier version did not know had their defaults'
    effect. Data that make no `cls` stay as they are."""
    try:
        return config_to_dict(config_from_dict(cls, data, "saved"))
    except UserError:
        return data


def config_to_dict(cfg: Any) -> dict[str, Any]:
    """Plain data (dicts, lists, numbers, strings, None) of a dataclass; the inverse of `config_from_dict`."""
    return {f.name: _plain(getattr(cfg, f.name)) for f in dataclasses.fields(cfg) if f.init}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return config_to_dict(value)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value


def _convert(hint: Any, value: Any, where: str, key: str) -> Any:
    """`value` as the annotated type `hint`, or a UserError naming `key`."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        return _convert_union(args, value, where, key)
    if origin is typing.Literal:
        if value in args and type(value) in {type(arg) for arg in args}:
            return value
        raise _wrong(where, key, "one of " + ", ".join(map(repr, args)), value)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        if isinstance(value, hint):
            return value
        return config_from_dict(hint, value, f"{where}: {key}")
    if origin is tuple:
        return _convert_tuple(args, value, where, key)
    if origin is list and isinstance(value, list | tuple):
        return [_convert(args[0], item, where, f"{key}[{i}]") for i, item in enumerate(value)]
    if origin is dict and isinstance(value, dict):
        return {name: _convert(args[1], item, where, f"{key}.{name}") for name, item in value.items()}
    if hint is float:
        return _convert_float(value, where, key)
    plain = origin or hint
    if plain is type(None):
        plain_ok = value is None
    else:
        plain_ok = isinstance(value, plain) and (plain is bool or not isinstance(value, bool))
    if plain_ok and not (isinstance(value, str) and "\0" in value):  # no file has such a name
        return value
    raise _wrong(where, key, _hint_name(hint), value)


def _convert_union(args: tuple[Any, ...], value: Any, where: str, key: str) -> Any:
    if value is None and type(None) in args:
        return None
    choices = [arg for arg in args if arg is not type(None)]
    if len(choices) == 1:  # Optional[X]: let X itself complain, it knows more
        return _convert(choices[0], value, where, key)
    for choice in choices:
        try:
            return _convert(choice, value, where, key)
        except UserError:
            continue
    raise _wrong(where, key, " or ".join(_hint_name(choice) for choice in choices), value)


def _convert_tuple(args: tuple[Any, ...], value: Any, where: str, key: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise _wrong(where, key, "a list", value)
    if len(args) == 2 and args[1] is Ellipsis:
        args = (args[0],) * len(value)
    if len(args) != len(value):
        raise UserError(f"{where}: key '{key}': expected {len(args)} values, found {len(value)}")
    return tuple(
        _convert(arg, item, where, f"{key}[{i}]") for i, (arg, item) in enumerate(zip(args, value, strict=True))
    )


def _convert_float(value: Any, where: str, key: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise _wrong(where, key, "float", value)
    try:
        return float(value)
    except (ValueError, OverflowError):  # an integer may be too large
        raise _wrong(where, key, "float", value) from None


def _wrong(where: str, key: str, expected: str, value: Any) -> UserError:
    return UserError(f"{where}: key '{key}': expected {expected}, found {_kind(value)} {_short(value)}".rstrip())


def _kind(value: Any) -> str:
    return "nothing" if value is None else type(value).__name__


def _short(value: Any) -> str:
    try:
        text = "" if value is None else one_line(repr(value))
    except (ValueError, RecursionError):  # an integer of thousands of digits; lists in lists in lists
        return ""
    return text if len(text) <= 60 else text[:57] + "..."


def _hint_name(hint: Any) -> str:
    return getattr(hint, "__name__", str(hint))
