"""Numbers in a glTF file: its binary chunk, the accessors that describe it, and the container around both.

glTF 2.0, sections 3.6 (buffers, sparse accessors) and 4 (GLB).
"""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np

FLOAT = 5126
_COMPONENTS = {"uint8": 5121, "uint16": 5123, "uint32": 5125, "float32": FLOAT}
_TYPES = {(): "SCALAR", (2,): "VEC2", (3,): "VEC3", (4,): "VEC4", (4, 4): "MAT4"}
VERTICES, INDICES = 34962, 34963  # what a view is bound as
_ALIGNMENT = 4
_MAGIC, _VERSION, _JSON, _BIN = 0x46546C67, 2, 0x4E4F534A, 0x004E4942


class Binary:
    """The binary chunk as it grows; ``views`` and ``accessors`` are glTF's bufferViews and accessors of it."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.views: list[dict[str, Any]] = []
        self.accessors: list[dict[str, Any]] = []

    def view(self, data: bytes, target: int | None = None) -> int:
        """The index of a new view of ``data``; ``target`` is VERTICES, INDICES or neither."""
        self.data += bytes(-len(self.data) % _ALIGNMENT)
        view = {"buffer": 0, "byteOffset": len(self.data), "byteLength": len(data)}
        self.data += data
        self.views.append(view if target is None else view | {"target": target})
        return len(self.views) - 1

    def accessor(self, values: np.ndarray, target: int | None = None, *, bounds: bool = False) -> int:
        """The index of a new accessor of ``values`` [N] or [N, ...], with their least and largest if ``bounds``."""
        view = self.view(np.ascontiguousarray(values).tobytes(), target)
        return self._add({"bufferView": view, **_described(values)}, values if bounds else None)

    def sparse(self, values: np.ndarray, rows: np.ndarray) -> int:
        """An accessor of ``values`` [N, ...], zero except in ``rows`` [M], which alone are stored."""
        indices, kept = smallest_type(rows, len(values)), values[rows]
        parts = {
            "count": len(rows),
            "indices": {"bufferView": self.view(indices.tobytes()), "componentType": _COMPONENTS[indices.dtype.name]},
            "values": {"bufferView": self.view(np.ascontiguousarray(kept).tobytes())},
        }  # fmt: skip
        zero = np.zeros_like(values[:1]) if len(rows) < len(values) else values[:0]
        return self._add({**_described(values), "sparse": parts}, np.concatenate([kept, zero]))

    def _add(self, accessor: dict[str, Any], bounded: np.ndarray | None) -> int:
        if bounded is not None:
            flat = bounded.reshape(len(bounded), -1)
            accessor |= {"min": flat.min(0).tolist(), "max": flat.max(0).tolist()}
        self.accessors.append(accessor)
        return len(self.accessors) - 1


def _described(values: np.ndarray) -> dict[str, Any]:
    component = _COMPONENTS[values.dtype.name]
    return {"componentType": component, "count": len(values), "type": _TYPES[values.shape[1:]]}


def smallest_type(indices: np.ndarray, count: int) -> np.ndarray:
    """Indices below ``count`` in as few bytes as hold them; the largest number of a type is none in glTF."""
    return indices.astype(np.uint16 if count <= 0xFFFF else np.uint32)


def to_container(document: dict[str, Any], data: bytes | bytearray) -> bytes:
    """A glTF document and its binary chunk as a GLB file."""
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    chunks = b""
    for kind, chunk, padding in ((_JSON, text, b" "), (_BIN, bytes(data), b"\0")):
        chunk += padding * (-len(chunk) % _ALIGNMENT)
        chunks += struct.pack("<II", len(chunk), kind) + chunk
    return struct.pack("<III", _MAGIC, _VERSION, 12 + len(chunks)) + chunks


def from_container(data: bytes) -> tuple[dict[str, Any], bytes]:
    """The document and the binary chunk of a GLB file.

    Raises:
        ValueError: it is none, or damaged.
    """
    if len(data) < 20 or struct.unpack_from("<III", data) != (_MAGIC, _VERSION, len(data)):
        raise ValueError("no GLB file of glTF 2.0, or half of one")
    chunks: dict[int, bytes] = {}
    start = 12
    while start + 8 <= len(data):
        length, kind = struct.unpack_from("<II", data, start)
        chunks[kind] = data[start + 8 : start + 8 + length]
        start += 8 + length
    try:
        return json.loads(chunks[_JSON]), chunks.get(_BIN, b"")
    except (KeyError, ValueError):
        raise ValueError("no JSON in it") from None
