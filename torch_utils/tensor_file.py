"""Our own files: safetensors with nested plain data in the header, and a checksum that every byte is part of.

The header's ``__metadata__`` has ``format``, ``version``, ``sha256``, and every entry of the data as JSON, in which
``{"$tensor": NAME}`` is a tensor and ``{"$items": [[key, value], ...]}`` a mapping whose keys are not all words.
``sha256`` is that of the whole file with zeros for its own 64 digits. Any reader of safetensors shows what is inside.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from torch_utils.misc import UserError

FORMAT = "aniportraitgan"
VERSION = 2
OURS = ("format", "version", "sha256")  # entries that say what the file is
_TENSOR, _ITEMS = "$tensor", "$items"
_NO_DIGEST = "0" * 64
_DIGEST = re.compile(rb'"sha256":"([0-9a-f]{64})"')  # quotation marks within values are escaped
_MAX_HEADER = 100_000_000  # bytes, the format's own bound
_DTYPES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64",
    torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip


def write_tensor_file(path: Path, data: Mapping[str, Any]) -> None:
    """Writes tensors and plain data, on disk when this returns. The same data give the same bytes; tuples become lists.

    Raises:
        TypeError: `data` holds something else.
        OSError: the disk is full.
    """
    tensors: dict[str, Tensor] = {}
    entries = {key: json.dumps(_without_tensors(value, key, tensors)) for key, value in data.items() if key not in OURS}
    # The widest numbers first, so that each lies at a multiple of its size.
    ordered = sorted(tensors.items(), key=lambda item: -item[1].element_size())
    about, end = {"format": FORMAT, "version": str(VERSION), "sha256": _NO_DIGEST}, 0
    header: dict[str, Any] = {"__metadata__": about | entries}
    for name, tensor in ordered:
        start, end = end, end + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": _DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    digest = hashlib.sha256()
    with path.open("wb") as file:
        arrays = (tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy() for _, tensor in ordered)
        blocks: Iterable[Any] = (len(text).to_bytes(8, "little"), text, *arrays)
        for block in blocks:
            file.write(block)
            digest.update(block)
        file.seek(8 + text.index(_NO_DIGEST.encode()))
        file.write(digest.hexdigest().encode())
        file.flush()
        os.fsync(file.fileno())


def is_tensor_file(path: Path) -> bool:
    """Whether a file begins as safetensors do: eight bytes of a length, then JSON."""
    with path.open("rb") as file:
        return file.read(9)[8:] == b"{"


def read_tensor_file(path: Path) -> dict[str, Any]:
    """The inverse of `write_tensor_file`, with ``format`` and ``version``; of other people's files the plain tensors.

    Raises:
        UserError: the file is damaged.
    """
    about = _check_digest(path)
    try:
        with safe_open(path, framework="pt") as file:
            # Copies: while a file is mapped into memory, some systems do not let it be replaced.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 (no mapping)
        if about is None:
            return tensors
        data = {key: _with_tensors(json.loads(text), tensors) for key, text in about.items() if key not in OURS}
        return data | {"format": about["format"], "version": int(about["version"])}
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:  # RuntimeError: RecursionError
        raise UserError(f"{path}: damaged, or not made as its header says ({error})") from error


def _check_digest(path: Path) -> dict[str, str] | None:
    """``__metadata__`` of a file in our format whose bytes are those that were written, None of any other file.

    Raises:
        UserError: the file is damaged.
    """
    with path.open("rb") as file:
        start = file.read(8)
        size = int.from_bytes(start, "little")
        if size > min(_MAX_HEADER, os.fstat(file.fileno()).st_size):
            raise UserError(f"{path}: truncated or damaged checkpoint (its header has no end)")
        text = file.read(size)
        try:
            about = json.loads(text).get("__metadata__", {})
            is_ours = about.get("format") == FORMAT
        except (ValueError, AttributeError, RecursionError):
            raise UserError(f"{path}: damaged checkpoint (its header is not readable)") from None
        if not is_ours:
            return None
        found = _DIGEST.search(text)
        if found is None:
            raise UserError(f"{path}: damaged checkpoint (its header has no checksum)")
        digest = hashlib.sha256(start + text[: found.start(1)] + _NO_DIGEST.encode() + text[found.end(1) :])
        while block := file.read(1 << 20):
            digest.update(block)
    if digest.hexdigest().encode() != found[1]:
        raise UserError(f"{path}: truncated or damaged checkpoint (its bytes are not those that its checksum is of)")
    return about


def _without_tensors(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """`value` as JSON can hold it; its tensors go to `tensors`, by the way to them."""
    if torch.is_tensor(value):
        dense = value.layout == torch.strided and not (value.is_quantized or value.is_meta)
        if not dense or value.dtype not in _DTYPES or name in tensors:
            raise TypeError(
                f"{name}: a checkpoint holds plain tensors by distinct names, not {value.dtype} such as this"
            )
        tensors[name] = value
        return {_TENSOR: name}
    if isinstance(value, Mapping):
        if not all(type(key) in (str, int) for key in value):
            raise TypeError(f"{name}: a checkpoint's mappings have words and whole numbers as keys")
        items = [[key, _without_tensors(item, f"{name}/{key}", tensors)] for key, item in value.items()]
        plain = all(isinstance(key, str) and key not in (_TENSOR, _ITEMS) for key in value)
        return dict(items) if plain else {_ITEMS: items}
    if isinstance(value, list | tuple):
        return [_without_tensors(item, f"{name}/{i}", tensors) for i, item in enumerate(value)]
    if value is None or type(value) in (bool, int, float, str):
        return value
    raise TypeError(f"{name}: a checkpoint holds tensors and plain data, not {type(value).__name__}")


def _with_tensors(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    """The inverse of `_without_tensors`."""
    if isinstance(value, list):
        return [_with_tensors(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    if _TENSOR in value:
        return tensors[value[_TENSOR]]
    if _ITEMS in value:
        return {key: _with_tensors(item, tensors) for key, item in value[_ITEMS]}
    return {key: _with_tensors(item, tensors) for key, item in value.items()}
