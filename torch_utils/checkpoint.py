"""Checkpoints: tensors and plain data only, written whole or not at all, read without running anything in them.

Ours are safetensors with a checksum (:mod:`torch_utils.tensor_file`). Torch's archives, which other people's files are
and ours once were, are read with ``weights_only``.
"""

from __future__ import annotations

import pickle
import pickletools
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from torch_utils.assets import find_asset
from torch_utils.misc import UserError, atomic_path, one_line, reason
from torch_utils.tensor_file import FORMAT, VERSION, is_tensor_file, read_tensor_file, write_tensor_file

READABLE = (1, VERSION)  # the first one was a torch archive


def save_checkpoint(path: str | Path, data: Mapping[str, Any]) -> None:
    """Writes `data` (tensors and plain data) to `path` in our own format; atomic.

    Raises:
        UserError: the place cannot be written to, or the disk is full; a file that was there stays.
        TypeError: `data` holds something else.
    """
    with atomic_path(path) as temporary:
        write_tensor_file(temporary, data)


def load_checkpoint(path: str | Path) -> dict[str, Any]:
    """Reads a checkpoint in our own format, tensors on the CPU.

    Raises:
        UserError: as `load_raw`, and for a file of another format or of a newer version.
    """
    data = load_raw(path)
    check_format(data, path)
    return data


def check_format(data: Mapping[str, Any], path: str | Path) -> None:
    """Raises a UserError unless `data`, loaded from `path`, is in our own format and of a version we can read."""
    name, version = data.get("format"), data.get("version")
    if not (isinstance(name, str) and name == FORMAT):
        found = f"format {_short(name)}" if "format" in data else f"keys {_some(data) or 'none'}"
        raise UserError(
            f"{path}: expected a checkpoint of this project (format '{FORMAT}') or, with --config, one in the released "
            f"layout, found {found}"
        )
    if not (isinstance(version, int) and version in READABLE):
        known = " or ".join(map(str, READABLE))
        raise UserError(f"{path}: expected checkpoint version {known}, found {_short(version)}")


def load_raw(path: str | Path) -> dict[str, Any]:
    """Reads a mapping of tensors and plain data in any layout, tensors on the CPU; never runs code from the file.

    Raises:
        UserError: the file is missing, truncated, no checkpoint, wants to run code, or holds no mapping.
    """
    path = find_asset(path)
    try:
        if path.is_dir():
            inside = path / "latest"  # of a run
            raise UserError(f"{path}: expected a checkpoint file, found a folder{f'; see {inside}' * inside.is_file()}")
        if path.stat().st_size == 0:
            raise UserError(f"{path}: expected a checkpoint, found an empty file")
        if is_tensor_file(path):
            return read_tensor_file(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the pickle's protocol: what matters becomes an error below
            data = torch.load(path, map_location="cpu", weights_only=True)
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"{path}: no such checkpoint file") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {reason(error)}") from error
    except Exception as error:  # damage comes as RuntimeError, UnpicklingError, EOFError, KeyError ...
        raise UserError(f"{path}: {_diagnose(path, error)}") from error
    if not isinstance(data, Mapping):
        raise UserError(f"{path}: expected a checkpoint (a mapping of names), found {type(data).__name__}")
    return dict(data)


def in_single_precision(state: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of `state`, floating-point tensors as float32."""
    return {
        name: value.float() if torch.is_tensor(value) and value.is_floating_point() else value
        for name, value in state.items()
    }


def load_weights(module: nn.Module, state: Mapping[str, Any], where: str) -> None:
    """Copies `state` into `module`; every name, shape and kind of number must agree, every value be finite.

    Raises:
        UserError: names the missing, unexpected, misshapen and non-finite entries (the first few of each).
    """
    own = module.state_dict()
    missing = [name for name in own if name not in state]
    unexpected = [str(name) for name in state if name not in own]
    given = {name: state[name] for name in own if name in state}
    misshapen = [
        f"{name} (expected {list(own[name].shape)}, found {_describe(value, own[name])})"
        for name, value in given.items()
        if not _fits(value, own[name])
    ]
    tensors = {name: value for name, value in given.items() if _is_dense(value)}
    infinite = [name for name, tensor in tensors.items() if not tensor.isfinite().all()]
    problems = (("missing", missing), ("unexpected", unexpected), ("misshapen", misshapen), ("not finite", infinite))
    found = "; ".join(f"{len(names)} {kind}: {_some(names)}" for kind, names in problems if names)
    if found:
        raise UserError(f"{where}: weights do not fit {type(module).__name__}: {found}")
    module.load_state_dict(state)


def _is_dense(value: Any) -> bool:
    """Whether `value` is a tensor with plain values (not sparse, quantised or without storage)."""
    return torch.is_tensor(value) and value.layout == torch.strided and not (value.is_quantized or value.is_meta)


def _fits(value: Any, own: torch.Tensor) -> bool:
    """Whether `own` can hold `value`: a tensor of its shape, of floats where it has floats, else of integers."""
    same_kind = _is_dense(value) and not value.is_complex() and value.is_floating_point() == own.is_floating_point()
    return same_kind and value.shape == own.shape


def _describe(value: Any, own: torch.Tensor) -> str:
    """What `value` is that does not fit `own`: its shape, or what else is odd about it."""
    if not torch.is_tensor(value):
        return type(value).__name__
    kind = "" if value.shape != own.shape else f"{value.dtype} ".removeprefix("torch.")
    kind += "" if _is_dense(value) else "without plain values "
    return f"{kind}{list(value.shape)}"


def _diagnose(path: Path, error: Exception) -> str:
    """Why `torch.load` failed, in a user's words."""
    with path.open("rb") as file:
        zipped = file.read(2) == b"PK"
    if zipped and not zipfile.is_zipfile(path):
        return "truncated or damaged checkpoint (the archive has no end)"
    if isinstance(error, pickle.UnpicklingError) and (zipped or _has_whole_pickles(path)):
        wanted = re.search(r"GLOBAL ([\w.<>]+)", one_line(str(error)))
        what = f" ({wanted[1]})" if wanted else ""
        return f"expected tensors and plain data, found a pickle that wants to run code{what}; not loaded"
    return "not a checkpoint, or a truncated or damaged one"


def _has_whole_pickles(path: Path) -> bool:
    """Whether a file that is no archive begins with whole pickles (five in torch's old layout); runs nothing."""
    with path.open("rb") as file:
        try:
            for i in range(5):
                if i and not file.peek(1):
                    break
                for _ in pickletools.genops(file):
                    pass
        except Exception:  # whatever pickletools thinks of bytes that are no pickle
            return False
    return True


def _short(value: Any) -> str:
    """Something from a file, for a message: numbers and words as they are, of anything else the type."""
    text = repr(value) if value is None or isinstance(value, str | int | float) else type(value).__name__
    return text if len(text) <= 60 else text[:57] + "..."


def _some(names: Any, limit: int = 5) -> str:
    names = [str(name) for name in names]
    return ", ".join(names[:limit]) + (f", ... ({len(names) - limit} more)" if len(names) > limit else "")
