"""Putting a grown shell of hair on one person: it follows the skull, rests on shoulders, moves with head and body.

All of this varies slowly: it is worked out on every third strand and row of the outer sheet and interpolated; the inner
sheet goes with the outer one.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import sparse
from scipy.spatial import cKDTree

from training.data.synthetic.hair import COLUMNS, ROWS, HairShell
from training.data.synthetic.mesh import MM, nearby, smoothstep

_STEP = 3  # divides COLUMNS and ROWS - 1
KNOTS = (np.arange(0, ROWS, _STEP)[:, None] * COLUMNS + np.arange(0, COLUMNS, _STEP)).ravel()  # outer sheet's vertices


class Scalp(NamedTuple):
    """The mean person's skin as hair sees it: no ears, and shirt where there is one."""

    index: np.ndarray  # type: ignore[assignment]  # [M] into body and face vertices; hides tuple.index
    points: np.ndarray  # [M, 3]
    tree: cKDTree  # of the points
    weights: np.ndarray  # [M, J] skinning


def between_knots() -> sparse.csr_matrix:
    """[2 * ROWS * COLUMNS, K] bilinear interpolation from the knots to both sheets; strands close round the head."""
    rows, columns = ROWS // _STEP + 1, COLUMNS // _STEP
    along = sparse.lil_matrix((ROWS, rows))
    around = sparse.lil_matrix((COLUMNS, columns))
    for matrix, last in ((along, rows - 1), (around, columns)):
        for i in range(matrix.shape[0]):
            knot, part = divmod(i, _STEP)
            matrix[i, knot] = 1 - part / _STEP
            if part and knot < last:
                matrix[i, (knot + 1) % matrix.shape[1]] = part / _STEP
    sheet = sparse.kron(along, around)
    return sparse.vstack([sheet, sheet]).tocsr()


def fit(shell: HairShell, skin: np.ndarray, normals: np.ndarray, scalp: Scalp, spread: sparse.csr_matrix) -> np.ndarray:
    """Vertices [2 * ROWS * COLUMNS, 3] of a shell on a person.

    Args:
        skin, normals: [N, 3] the person's body (with shirt) and face vertices, numbered as in ``scalp.index``.
        spread: :func:`between_knots`.
    """
    change = skin[scalp.index] - scalp.points
    normals = normals[scalp.index]
    rest = shell.vertices[KNOTS]  # as if on the mean head
    index, weight = nearby(scalp.tree, rest, k=8, soft=4 * MM)
    carried = (change[index] * weight[..., None]).sum(1)
    near, normal = scalp.points[index] + change[index], (normals[index] * weight[..., None]).sum(1)
    # On the skull the shell keeps its exact height over this person's skin.
    height = (((rest + carried)[:, None] - near) * weight[..., None]).sum(1)
    height = (height * normal).sum(1)
    lying = shell.fall[KNOTS] == 0
    lift = np.where(lying, np.clip(shell.height[KNOTS] - height, -8 * MM, 8 * MM), 0.0)
    move = carried + lift[:, None] * normal
    # Hanging strands rest on neck, shoulders and shirt instead of passing through.
    for _ in range(2 if not lying.all() else 0):
        index, weight = nearby(scalp.tree, rest + move - carried, k=8)
        near, normal = scalp.points[index] + change[index], (normals[index] * weight[..., None]).sum(1)
        gap = (((rest + move)[:, None] - near) * normals[index]).sum(-1)
        height, distance = (gap * weight).sum(1), np.sqrt((((rest + move)[:, None] - near) ** 2).sum(-1)).min(1)
        push = np.clip(6.0 * MM - height, 0.0, 30 * MM) * smoothstep(44 * MM, 36 * MM, distance) * ~lying
        move = move + _even_out(push[:, None] * normal)
    return shell.vertices + spread @ move


def carry(points: np.ndarray, skin: np.ndarray, scalp: Scalp) -> np.ndarray:
    """Points [N, 3] over the mean head, moved as the nearest skin ([V, 3], as in :func:`fit`) differs from its."""
    index, weight = nearby(scalp.tree, points, k=24, soft=20 * MM)
    return points + ((skin[scalp.index] - scalp.points)[index] * weight[..., None]).sum(1)


def skinning(vertices: np.ndarray, shell: HairShell, head: np.ndarray, scalp: Scalp, spread) -> np.ndarray:
    """Skinning weights [V, J]: fixed to the skull (``head`` [J]), and following the body where strands hang on it."""
    knots = vertices[KNOTS]
    fall = smoothstep(-0.085, -0.165, knots[:, 1])[:, None] * (shell.fall[KNOTS] > 0)[:, None]
    if not fall.any():
        return np.broadcast_to(head, (len(vertices), len(head)))
    index, weight = nearby(scalp.tree, knots, k=14, soft=2 * MM)
    body = (scalp.weights[index] * weight[..., None]).sum(1)
    return spread @ (head * (1 - fall) + body * fall)


def _even_out(move: np.ndarray) -> np.ndarray:
    """Displacements [K, 3] of the knots blurred over their grid, so that pushes leave no steps."""
    grid = move.reshape(-1, COLUMNS // _STEP, 3)
    grid = 0.5 * grid + 0.25 * (np.roll(grid, 1, 1) + np.roll(grid, -1, 1))
    padded = np.concatenate([grid[:1], grid, grid[-1:]])
    return (0.5 * grid + 0.25 * (padded[:-2] + padded[2:])).reshape(-1, 3)
