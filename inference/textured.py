"""A mesh with a texture, as .obj, .mtl and .png: colours finer than its triangles.

Triangles lie in pairs in the square cells of an atlas, each texel where it is on its triangle; on the diagonal between
two the second one goes on.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from torch_utils.misc import atomic_path

CELL = 8  # texels a side for two triangles
LARGEST = 8192  # texels a side of an atlas


class Atlas(NamedTuple):
    """Where a mesh's triangles are in a texture of ``size`` texels a side."""

    size: int
    uv: np.ndarray  # [F, 3, 2] of corners, 0..1, v upwards
    texels: np.ndarray  # [N, 2] column, row
    triangles: np.ndarray  # [N] of each texel
    weights: np.ndarray  # [N, 3] of its triangle's corners


def make_atlas(count: int, cell: int = CELL) -> Atlas:
    """An atlas of ``count`` triangles."""
    side = max(1, math.ceil(math.sqrt(math.ceil(count / 2))))
    cell = max(4, min(cell, LARGEST // side))
    row, column = np.divmod(np.arange(cell * cell), cell)
    lower = column + row <= cell - 2
    steps = cell - 2
    a = np.where(lower, column, cell - 1 - column) / steps
    b = np.where(lower, row, cell - 1 - row) / steps
    weights = np.stack([1 - a - b, a, b], -1)
    ends = np.array([[(0, 0), (steps, 0), (0, steps)],
                     [(cell - 1, cell - 1), (1, cell - 1), (cell - 1, 1)]])  # fmt: skip
    triangle = np.arange(count)
    corner = np.stack([triangle // 2 % side, triangle // 2 // side], -1) * cell  # of the cell of each triangle
    places = corner[:, None] + ends[triangle % 2]
    uv = (places + 0.5) / (side * cell)
    uv[..., 1] = 1 - uv[..., 1]
    pairs = np.arange(math.ceil(count / 2))
    starts = np.stack([pairs % side, pairs // side], -1) * cell
    texels = (starts[:, None] + np.stack([column, row], -1)).reshape(-1, 2)
    owner = (2 * pairs[:, None] + ~lower).ravel()
    kept = owner < count
    return Atlas(side * cell, uv, texels[kept], owner[kept], np.tile(weights, (len(pairs), 1))[kept])


def write_textured(
    file: Path, path: Path, vertices: np.ndarray, faces: np.ndarray, colour: Callable[[np.ndarray], np.ndarray]
) -> None:
    """Writes a mesh to ``file``, to be called ``path`` (.obj), and its .mtl and .png beside ``path``.

    Args:
        vertices: [V, 3]. faces: [F, 3].
        colour: points [N, 3] -> [N, 3] in 0..1.
    """
    atlas = make_atlas(len(faces))
    points = (vertices[faces[atlas.triangles]] * atlas.weights[..., None]).sum(1)
    texture = np.full((atlas.size, atlas.size, 3), 255, np.uint8)
    texture[atlas.texels[:, 1], atlas.texels[:, 0]] = np.round(255 * colour(points)).astype(np.uint8)
    picture, material = path.with_suffix(".png"), path.with_suffix(".mtl")
    with atomic_path(picture) as temporary:
        Image.fromarray(texture).save(temporary, "PNG")
    with atomic_path(material) as temporary:
        words = f"newmtl person\nKa 0 0 0\nKd 1 1 1\nKs 0 0 0\nillum 1\nmap_Kd {picture.name}\n"
        temporary.write_text(words, encoding="utf-8")
    corners = np.arange(3 * len(faces)).reshape(-1, 3) + 1
    lines = [
        "# metres, y up, +z out of the face", f"mtllib {material.name}", "usemtl person",
        *("v {:.6f} {:.6f} {:.6f}".format(*row) for row in vertices.tolist()),
        *("vt {:.6f} {:.6f}".format(*row) for row in atlas.uv.reshape(-1, 2).tolist()),
        *("f {}/{} {}/{} {}/{}".format(*np.stack([face, corner], -1).ravel())
          for face, corner in zip(faces + 1, corners, strict=True)),
    ]  # fmt: skip
    file.write_text("\n".join([*lines, ""]), encoding="utf-8")
